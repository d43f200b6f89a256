"""Deep dream: gradient ascent on an image, octave by octave.

Source: Mordvintsev, Olah & Tyka 2015, Inceptionism, and the notebook dream.ipynb that came with it (octaves that keep
the detail of the photograph, jitter); the Laplacian gradient and the tiles from its TensorFlow form. Differs: the
gradient has a root mean square of 1 at each step, seeds, an early end of the forward, and a class image is checked as
it will be saved.
"""

from dataclasses import asdict, fields, replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from xai.core.images.inputs import ImageLike
from xai.core.model.classifier import Classifier, as_classifier
from xai.core.model.hooks import borrowed, gradients_on
from xai.core.results.codec import plain
from xai.core.results.message import Message
from xai.core.results.result import Provenance
from xai.core.runtime.batching import Progress, ShouldStop, reporting
from xai.core.validation import check_seed
from xai.errors import NameLookupError, RangeError, Stopped
from xai.explanations.dream.deep_dream import DeepDream, Settings, resize
from xai.explanations.dream.goals import ClassGoal, ClassJudge, LayerGoal
from xai.explanations.dream.plan import DreamPlan, Wish, direction, make_plan

_MORE = 100  # steps at most to make a class image one of its class
_SHRINK = 0.8  # of a step, over an octave: long ones find the shapes, short ones their place


class Walk:
    """The steps of one dream and what is kept of them."""

    def __init__(self, plan: DreamPlan, report: Progress | None, should_stop: ShouldStop | None) -> None:
        self.plan, self.report, self.should_stop = plan, report, should_stop
        self.objective: list[float] = []
        self.octave: list[int] = []
        self.frames: list[Tensor] = []
        self.notes: list[str] = []
        self.still = 0  # steps without any gradient
        goal = plan.goal
        self.judge = ClassJudge(goal, plan.sizes[-1]) if isinstance(goal, ClassGoal) else None

    def run(self) -> Tensor:
        """Return the final image (1, C, H, W).

        Raises:
            Stopped: `should_stop()` was true between two steps.
        """
        plan, source = self.plan, self.plan.source()
        image = base = resize(plan.start, plan.sizes[0])
        for number, size in enumerate(plan.sizes):
            finer = resize(plan.start, size)  # the detail that the smaller octave could not hold comes back
            image, base = (finer + resize(image - base, size)).clamp(0, 1), finer
            image = self._climb(number, image, source)
        image = self._settle(image)
        if not self.frames or not torch.equal(self.frames[-1], image.cpu()):
            self.frames.append(image.cpu())
        self._judge_steps()
        return image

    def _climb(self, number: int, image: Tensor, source: torch.Generator) -> Tensor:
        """Return the image after the steps of one octave."""
        settings, size = self.plan.settings, self.plan.sizes[number]
        steps, best, waited = settings.steps or 1, -np.inf, 0
        for step in range(steps):
            self._ask(number * steps + step)
            image, value = self._step(image, source, settings.step_size * (1 - _SHRINK * step / steps))
            self.octave.append(number)
            waited = 0 if value > best else waited + 1
            best = max(best, value)
            ended = waited == settings.patience or self._reached(number, image)
            due = step + 1 == steps or ended
            if settings.frames_every is not None:
                due = len(self.objective) % settings.frames_every == 0
            if due:
                self.frames.append(resize(image, self.plan.sizes[-1]).clamp(0, 1).cpu())
            self._tell(number * steps + (steps if ended else step + 1))
            if ended:
                self.notes.append(
                    Message(
                        "octave {octave} ({height} x {width}) ended early, after {steps} steps",
                        **{"octave": number + 1, "height": size[0], "width": size[1], "steps": step + 1},
                    )
                )
                break
        return image

    def _step(self, image: Tensor, source: torch.Generator, length: float) -> tuple[Tensor, float]:
        """Return the image one step further, and the objective before it."""
        eye, settings = self.plan.eye, self.plan.settings
        size, full = (int(image.shape[2]), int(image.shape[3])), self.plan.sizes[-1]
        jitter = settings.jitter or 0
        reach = eye.reach(size, min(jitter, max(1, round(jitter * min(size) / min(full)))))
        value, slope = eye.slope(image, eye.draw(size, reach, source), reach)
        self.objective.append(value)
        self.still += not bool(slope.any())
        return (image + length * direction(slope, image, settings)).clamp(0, 1), value

    def _reached(self, number: int, image: Tensor) -> bool:
        """Return whether the class has the probability at which the dream may end, in the last octave."""
        until, judge, last = self.plan.settings.until, self.judge, number == len(self.plan.sizes) - 1
        return (
            until is not None and last and judge is not None and float(judge.probabilities(image)[judge.index]) >= until
        )

    def _settle(self, image: Tensor) -> Tensor:
        """Take further steps until the saved image is surely of its class; all scales may serve, rough ones too."""
        settings, judge = self.plan.settings, self.judge
        threshold = min(settings.least_confidence, settings.until or 1.0)
        if judge is None or not threshold:
            return image
        free = replace(settings, fourier=False, laplacian=True, tv=0.0)
        for taken in range(_MORE + 1):
            share, slope = judge.look(image)
            if share >= threshold or taken == _MORE:
                break
            self._ask(len(self.objective))
            image = (image + settings.step_size * direction(slope, image, free)).clamp(0, 1)
        if taken:
            self.notes.append(
                Message(
                    "{count} further step(s) raised the class above the others, to a probability of {share:.3f}",
                    **{"count": taken, "share": share},
                )
            )
        return image

    def _ask(self, done: int) -> None:
        if self.should_stop is not None and self.should_stop():
            total = len(self.plan.sizes) * (self.plan.settings.steps or 1)
            raise Stopped(f"Stopped after {done} of {total} steps, as asked.")

    def _tell(self, done: int) -> None:
        if self.report is not None:
            self.report(done, len(self.plan.sizes) * (self.plan.settings.steps or 1))

    def _judge_steps(self) -> None:
        """Say what went wrong with the steps, if anything."""
        if self.still:
            self.notes.append(
                Message(
                    "{count} of {total} steps had no gradient, as behind an inactive ReLU; name the layer before it, "
                    "another seed or an image",
                    **{"count": self.still, "total": len(self.objective)},
                )
            )
        steps = pairwise(zip(self.objective, self.octave, strict=True))
        rises = [after - before for (before, k), (after, n) in steps if k == n]
        if rises and not self.still and float(np.mean(rises)) <= 0:
            self.notes.append(
                Message("the steps did not raise the objective on average: take a smaller `step_size`, or `jitter=0`")
            )


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
    """Raise a goal in an image; see `xai.deep_dream`."""
    seed, classifier = check_seed(seed), as_classifier(model)
    wish.check()
    if settings.until is not None and wish.target is None:
        raise RangeError(
            "Expected `until` with a `target`: it is the probability of a class. For layers use `patience`."
        )
    with borrowed(classifier.module), gradients_on(), reporting(progress, "deep dream") as report:
        plan = make_plan(classifier, wish, image, settings, seed)
        walk = Walk(plan, report, should_stop)
        return _record(plan, walk, walk.run())


def _record(plan: DreamPlan, walk: Walk, image: Tensor) -> DeepDream:
    classifier, goal, judge = plan.classifier, plan.goal, walk.judge
    frames = tuple(_shown(frame) for frame in walk.frames)
    shares = None if judge is None else judge.probabilities(image)
    probability = None if judge is None or shares is None else float(shares[judge.index])
    notes = [*classifier.notes, *plan.notes, *walk.notes]
    if probability is not None and probability < plan.settings.least_confidence:
        notes.append(Message("the model gives the image only {share:.3f} for its class", share=probability))
    layered = goal if isinstance(goal, LayerGoal) else None
    model = {
        "name": classifier.name,
        "fingerprint": classifier.fingerprint,
        "preprocessing": classifier.settings_so_far,  # a dream of a layer stops there
    }
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
        target_name=classifier.class_names[judge.index] if judge else None,
        probability=probability,
        prediction=None if shares is None else classifier.class_names[int(shares.argmax())],
        provenance=Provenance(model, _used(plan), plan.seed),
        notes=tuple(notes),
    )


def _used(plan: DreamPlan) -> dict[str, Any]:
    used: dict[str, Any] = plain(asdict(plan.settings))
    return used | {"octaves": len(plan.sizes), "size": list(plan.sizes[-1])}


def _shown(image: Tensor) -> np.ndarray:
    """Return (H, W, 3) float32 in [0, 1]."""
    colour = image.detach()[0].expand(3, -1, -1).float().cpu()
    return np.ascontiguousarray(colour.permute(1, 2, 0).numpy())


def deep_dream(
    model: Classifier | nn.Module,
    layer: str | None = None,
    channel: int | None = None,
    target: int | str | None = None,
    image: ImageLike = None,
    octaves: int | None = None,
    steps: int | None = None,
    seed: int = 0,
    *,
    progress: bool | Progress | None = None,
    should_stop: ShouldStop | None = None,
    **settings: Any,
) -> DeepDream:
    """Make an image that strongly activates a layer, a channel or a class.

    It is known as deep dream or feature visualisation.

    Gradient ascent over octaves, from noise or into a photograph. The forward ends at the layer; no gradient of a
    parameter is ever computed.

    Args:
        model: from `xai.load`, an `xai.Classifier`, or a bare `nn.Module` that takes pixels in [0, 1].
        layer: name as in `module.named_modules()`; alone, the mean square of its output is raised. None, without a
            `target`, takes the last block with a place for every 16 pixels, and says so in `notes`.
        channel: of the layer; its mean is raised.
        target: index or name of a class; its logit is raised. Neither `layer` nor `channel` go with it.
        image: one image to start from, in any form that `xai.explain` takes; None starts from noise.
        octaves: sizes, each 1.4 times the one before; None takes 6 from noise, 4 into an image.
        steps: at each octave; None takes 25 from noise, 15 into an image.
        seed: fixes everything random.
        progress: None, True for a bar, or a callable `(done, total)` in steps.
        should_stop: asked before each step; True ends the work with `xai.errors.Stopped`. To end early and keep the
            image use `until` or `patience`.
        settings: `size`, `octave_scale`, `step_size`, `jitter`, `laplacian`, `tile`, `tv`, `decorrelated`, `fourier`,
            `frames_every`, `until`, `patience`, `least_confidence`; see
            `xai.explanations.dream.deep_dream.Settings`. From noise, `tv` is 0.15,
            `decorrelated` is on, and `fourier` on for a class; into an image all three are off.

    Returns:
        DeepDream; `.image` is (H, W, 3) in [0, 1], `.objective` has one value per step, `.save("dream.png")` writes it.

    Raises:
        InputError: an image, class, channel, size or setting that cannot be used.
        NameLookupError: no such layer or setting.
        UnsupportedModelError: the model lets no gradient through, or has no such output.
        NonFiniteError: the model answered NaN or infinity.
        Stopped: `should_stop` said so.

    Cost: a forward to the layer and a backward per step; memory is that of `tile` x `tile` pixels (512). A class takes
        the whole network at its input size, and up to 100 more steps where its probability is below `least_confidence`
        (0.95).

    Example:
        >>> import xai
        >>> clf = xai.load("example:fashion")
        >>> dream = xai.deep_dream(clf, target="Sandal", octaves=1, steps=2, least_confidence=0)
        >>> dream.image.shape[2]
        3
    """
    known = [f.name for f in fields(Settings)]
    for name in settings:
        if name not in known:
            raise NameLookupError("setting of deep_dream", name, known)
    chosen = Settings(octaves=octaves, steps=steps, **settings)
    wish = Wish(layer, channel, target)
    return dream(model, wish, image, seed, settings=chosen, progress=progress, should_stop=should_stop)
