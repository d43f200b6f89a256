"""Robust accuracy over a list of radii. Attacks bound it from above, certificates from below."""

from collections.abc import Sequence
from dataclasses import asdict
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from xai.core.images.border import open_data
from xai.core.images.inputs import ImageLike
from xai.core.labels import labels_of
from xai.core.model.classifier import Classifier, as_classifier
from xai.core.model.usage_checks import reading_doubts
from xai.core.results.message import Message
from xai.core.results.result import Provenance
from xai.core.runtime.batching import Progress, ShouldStop, reporting
from xai.core.runtime.randomness import image_key, repeated
from xai.core.validation import check_choices, check_eps, check_number, check_seed, radius_doubts
from xai.errors import InputError, RangeError, ShapeError, UnsupportedModelError
from xai.robust.attacks.base import ATTACKS, Attack
from xai.robust.attacks.search import check_norm
from xai.robust.certification.linear import METHODS
from xai.robust.certification.prover import Prover
from xai.robust.curves.result import RobustnessCurve
from xai.robust.curves.stages import TIME_RAN_OUT, Clock, CurveWork, ImageBounds, predictions_of
from xai.robust.curves.trust import Evaluation, assess

EPS = {
    "linf": (1 / 255, 2 / 255, 4 / 255, 8 / 255, 16 / 255),
    "l2": (0.1, 0.25, 0.5, 1.0, 2.0),
    "l1": (1.0, 3.0, 6.0, 12.0, 24.0),
}
STEPS = 10  # of the first, cheapest search
ROWS = {"ibp": 15.0, "crown_ibp": 30.0, "crown": 500.0}  # in forward rows: their place in the order
QUERIES = 1000  # of the attack without gradients


def robustness(
    model: Classifier | nn.Module,
    images: ImageLike,
    labels: Any = None,
    eps: Sequence[float] | float | None = None,
    norm: str = "linf",
    budget: float | None = None,
    seed: int = 0,
    *,
    attacks: Sequence[str | Attack] | None = None,
    certificates: Sequence[str] | None = None,
    trust: bool = True,
    progress: bool | Progress | None = None,
    should_stop: ShouldStop | None = None,
) -> RobustnessCurve:
    """Measure robust accuracy over radii. Attacks give an upper bound, certificates a lower bound.

    Each image is, at each radius, *verified* (certified), *violated* (here is the changed image) or *unproven*. A
    counterexample counts for all larger radii and a certificate for all smaller ones: both bounds fall by construction.

    Args:
        model: a classifier or a bare module.
        images: N images in any form, or a data set of `xai.load_data`.
        labels: the ground truth (N,), indices or names; None takes the data set's.
        eps: increasing radii in the scale of pixels in [0, 1] (8/255, not 8); None takes five usual ones of the norm.
        norm: "linf", "l2" or "l1".
        budget: seconds; what is not decided then stays unproven "for lack of time". None: no limit. One step of an
            attack or of a certificate may go beyond it, and so may the checks of `trust`.
        seed: fixes everything random, per image.
        attacks: names or attacks with settings, cheapest first; None takes FGSM, PGD (10 steps), APGD-CE, APGD-T and
            Square (1,000 queries). Without "square" one check of `trust` cannot be made.
        certificates: "ibp", "crown_ibp", "crown", cheapest first; None takes all three; () none.
        trust: check the evaluation itself, on part of the images.
        progress: None, True for a bar, or a callable `(done, total)` in hundredths of a stage.
        should_stop: asked at every step; True ends the work with `xai.errors.Stopped`.

    Returns:
        RobustnessCurve.

    Raises:
        InputError: an image, label, radius or name that cannot be used; no labels.
        ContractError: a certificate and a counterexample contradict each other: one of them is wrong.
        Stopped: `should_stop()` was true.

    Cost: per image and attack about one failing run (at its largest open radius) and a few rows for each radius at
        which it succeeds, whatever the number of radii, as `pgd` begins at the counterexample of the larger radius;
        certificates see only what no attack has broken.
    Source: escalation as in AutoAttack (Croce & Hein 2020) and CROWN-IBP (Zhang et al. 2020).

    Example:
        >>> import xai
        >>> clf, data = xai.load("example:fashion"), xai.load_data("example:fashion-test").subset(5)
        >>> curve = xai.robustness(clf, data, eps=[1 / 255, 8 / 255], attacks=["fgsm"], certificates=["ibp"])
        >>> bool(curve.attacked[1] <= curve.attacked[0] <= curve.clean)  # it falls by construction
        True
    """
    classifier, norm, radii = as_classifier(model), check_norm(norm), _radii(eps, norm)
    attackers, methods, seed, limit = _attacks(attacks, norm), _methods(certificates), check_seed(seed), _budget(budget)
    inputs, ground_truth, notes = _read(classifier, images, labels)
    training = any(getattr(part, "training", False) for part in classifier.module.modules())
    clean = predictions_of(classifier, inputs, ground_truth)
    keys = [image_key(image) for image in inputs]
    bounds = ImageBounds(inputs, ground_truth, radii, clean.clone())
    with reporting(progress, "robustness") as report:
        total = len(attackers) + len(methods)
        work = CurveWork(classifier, bounds, norm, seed, keys, Clock(limit, should_stop), report, total=total)
        _run(work, attackers, methods)
        evaluation = Evaluation(classifier, bounds, norm, seed, keys, work, attackers, clean, training)
        trusted = assess(evaluation) if trust else None
    return _result(work, clean, trusted, notes, limit)


def _read(classifier: Classifier, images: Any, labels: Any) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    """Return the model's inputs on the CPU, the truth, and what was done to the images."""
    images = open_data(images)
    batch = classifier.prepare(images)
    inputs = batch.inputs.to(dtype=classifier.dtype).cpu()
    classifier.count_classes(inputs)
    ground_truth, notes = labels_of(classifier, images, labels, len(inputs))
    return inputs, ground_truth, (*batch.notes, *notes)


def _run(work: CurveWork, attacks: Sequence[Attack], methods: Sequence[str]) -> None:
    """Cheapest first: quick searches, quick certificates, longer searches, dear certificates, dear searches."""
    prover = _prover(work, methods)
    known = methods if prover is not None else ()
    order: list[tuple[float, Attack | str]] = [(attack.cost.forward, attack) for attack in attacks]
    order += [(ROWS[method], method) for method in known]
    for _, stage in sorted(order, key=lambda pair: pair[0]):
        if isinstance(stage, Attack):
            work.attack(stage)
        elif prover is not None:
            work.certify(prover, stage)


def _prover(work: CurveWork, methods: Sequence[str]) -> Prover | None:
    """Return the network made ready for certificates; None, with a note, where there are none."""
    if not methods:
        return None
    try:
        return Prover.of(work.classifier, work.bounds.images)
    except UnsupportedModelError as error:
        for method in methods:
            work.leave_out(method, "certificate", error.message)
        return None


def _result(work: CurveWork, clean: Tensor, trust: Any, notes: Sequence[str], budget: float | None) -> RobustnessCurve:
    bounds, classifier = work.bounds, work.classifier
    rows = bounds.distance.isfinite().nonzero()[:, 0]
    late = len(bounds.open()) if any(stage.note == TIME_RAN_OUT for stage in work.stages) else 0
    doubts = radius_doubts(bounds.eps, work.norm, bounds.images[0].numel())
    doubts += repeated(work.keys) + reading_doubts(classifier, bounds.images, clean, bounds.labels)
    every = [*notes, *doubts, *(Message("{stage}: {note}", stage=s.name, note=s.note) for s in work.stages if s.note)]
    every += [Message("{count} image(s) have radii that are unproven for lack of time", count=late)] if late else []
    return RobustnessCurve(
        eps=bounds.eps,
        norm=work.norm,
        labels=bounds.labels,
        clean_predictions=clean,
        certified_radii=bounds.certified_radii,
        broken=bounds.broken,
        distance=bounds.distance,
        predictions=bounds.predictions,
        broken_by=tuple(bounds.broken_by),
        certified_by=tuple(bounds.certified_by),
        rows=rows,
        adversarial=bounds.nearest[rows],
        originals=bounds.images[rows],
        class_names=tuple(classifier.class_names),
        stages=tuple(asdict(stage) for stage in work.stages),
        trust=trust,
        budget=budget,
        provenance=Provenance.of(classifier, {}, work.seed),
        notes=tuple(dict.fromkeys(every)),
    )


def _radii(eps: Sequence[float] | float | None, norm: str) -> tuple[float, ...]:
    """Return increasing radii above 0.

    Raises:
        RangeError: one that is no radius, or 0.
        ShapeError: none, or not increasing.
    """
    given = EPS[norm] if eps is None else ([eps] if isinstance(eps, int | float) else list(eps))
    radii = tuple(check_eps(float(value) if isinstance(value, float | int) else value, norm) for value in given)
    if not radii or any(low >= high for low, high in pairwise(radii)):
        raise ShapeError(f"Expected increasing radii such as [2/255, 4/255, 8/255], but got {list(given)}.")
    if radii[0] == 0:
        raise RangeError("Expected radii above 0, but got 0: clean accuracy is always measured. Leave it out.")
    return radii


def _budget(budget: float | None) -> float | None:
    return check_number("budget", budget, "(0, inf)", optional=True, cure="In seconds; None is no limit.")


def _attacks(attacks: Sequence[str | Attack] | None, norm: str) -> list[Attack]:
    """Return the attacks of a curve.

    Raises:
        NameLookupError: no such attack.
        InputError: one that does not work in this norm or in no ball at all.
    """
    if attacks is None:
        usual = [ATTACKS["fgsm"](), ATTACKS["pgd"](steps=STEPS), ATTACKS["apgd-ce"](), ATTACKS["apgd-t"]()]  # type: ignore[call-arg]
        return [*usual, ATTACKS["square"](queries=QUERIES)]  # type: ignore[call-arg]
    attackers = [ATTACKS[attack]() if isinstance(attack, str) else attack for attack in attacks]
    for attack in attackers:
        if norm not in attack.norms or not attack.ball:
            raise InputError(f"{attack.name} does not search {norm} balls. Leave it out of `attacks`.")
    return attackers


def _methods(certificates: Sequence[str] | None) -> tuple[str, ...]:
    chosen = METHODS if certificates is None else tuple(certificates)
    return check_choices("method of bounds", chosen, METHODS)
