"""A dream from wish to result."""

from dataclasses import asdict
from typing import Any

import numpy as np
from torch import Tensor, nn

from xai.core.classifier import Classifier, as_classifier
from xai.core.hooks import borrowed, gradients_on
from xai.core.images import ImageLike
from xai.core.records import plain, versions
from xai.core.rows import Progress, ShouldStop, reporting
from xai.core.seeds import check_seed
from xai.dreams.goals import LayerGoal
from xai.dreams.plan import Plan, Wish, make_plan
from xai.dreams.record import DeepDream
from xai.dreams.settings import Settings
from xai.dreams.walk import Walk
from xai.errors import RangeError


def dream(
    model: Classifier | nn.Module,
    wish: Wish,
    image: ImageLike = None,
    seed: int = 0,
    *,
    settings: Settings,
    progress: bool | Progress | None = None,
    should_stop: ShouldStop | None = None,
) -> DeepDream:
    """Raise a goal in a picture; see `xai.deep_dream`."""
    seed, classifier = check_seed(seed), as_classifier(model)
    wish.check()
    if settings.until is not None and wish.target is None:
        raise RangeError(
            "Expected `until` with a `target`: it is the probability of a class. For layers use `patience`."
        )
    with borrowed(classifier.module), gradients_on(), reporting(progress, "deep dream") as report:
        plan = make_plan(classifier, wish, image, settings, seed)
        walk = Walk(plan, report, should_stop)
        picture = walk.run()
        return _record(plan, walk, picture)


def _record(plan: Plan, walk: Walk, picture: Tensor) -> DeepDream:
    classifier, goal, judge = plan.classifier, plan.goal, walk.judge
    frames = tuple(_shown(frame) for frame in walk.frames)
    shares = None if judge is None else judge.probabilities(picture)
    probability = None if judge is None or shares is None else float(shares[judge.index])
    notes = [*classifier.notes, *plan.notes, *walk.notes]
    if probability is not None and probability < plan.settings.sure:
        notes.append(f"the model gives the picture only {probability:.3f} for its class")
    layered = goal if isinstance(goal, LayerGoal) else None
    return DeepDream(
        image=frames[-1],
        frames=frames,
        objective=np.array(walk.objective),
        octave=np.array(walk.octave, dtype=np.int64),
        sizes=plan.sizes,
        goal=goal.title,
        start=plan.origin,
        layer=layered.layer if layered else None,
        channel=layered.channel if layered else None,
        target=judge.index if judge else None,
        label=classifier.labels[judge.index] if judge else None,
        probability=probability,
        predicted=None if shares is None else classifier.labels[int(shares.argmax())],
        settings=_used(plan),
        seed=plan.seed,
        notes=tuple(notes),
        model={
            "name": classifier.name,
            "fingerprint": classifier.fingerprint,
            "preprocessing": classifier.settings_so_far,  # a dream of a layer stops there
        },
        versions=versions(),
    )


def _used(plan: Plan) -> dict[str, Any]:
    used: dict[str, Any] = plain(asdict(plan.settings))
    return used | {"octaves": len(plan.sizes), "size": list(plan.sizes[-1])}


def _shown(picture: Tensor) -> np.ndarray:
    """Return (H, W, 3) float32 in [0, 1]."""
    colour = picture.detach()[0].expand(3, -1, -1).float().cpu()
    return np.ascontiguousarray(colour.permute(1, 2, 0).numpy())
