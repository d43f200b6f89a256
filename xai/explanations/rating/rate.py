"""`rate_explanation`: every check of every explained image, those by removing pixels among them."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from xai.core.images.inputs import ImageLike, read_images
from xai.core.model.classifier import Classifier, as_classifier
from xai.core.model.hooks import borrowed
from xai.core.results.message import Message
from xai.core.results.result import Provenance
from xai.core.runtime.batching import Progress, ShouldStop, reporting
from xai.core.validation import check_seed
from xai.errors import ShapeError, Stopped
from xai.explanations.explanation import Explanation
from xai.explanations.metrics import Curves, model_free_maps, moved_copies, removal_curves
from xai.explanations.rating import checks
from xai.explanations.rating.checks import CLOSE, Subject
from xai.explanations.rating.rating import VERDICTS, MapCheck, Rating

LEVEL = 0.05  # of the exact test against moved copies
ASKED_MORE = 0.1  # up to this p-value, and above the level, the mirrored copies are asked as well
CLEAR = 2.0  # standard deviations above the moved copies, asked of maps whose origin cannot be checked
LENIENT, STRICT = 1.0, 0.1  # standard deviations that a map may fall behind model-free ones, or must lead by
NUDGES, NUDGE = 32, 1 / 255  # copies with noise of one step of 8 bits, to see whether the map predicts small changes


def faithfulness(subject: Subject, origin: MapCheck, tick: Callable[[], None]) -> tuple[list[MapCheck], Curves]:
    """Does removing what the map calls relevant change the score more than moved copies and model-free maps do?

    What can be enumerated is not drawn, and the grain of filled pixels is the image's own: the seed changes nothing
    here. A map near the border meets 32 more copies. One that would be rejected is asked again with what its method
    showed instead of hidden pixels, another question than that of imputed ones.
    """
    heat, simple = subject.heatmap, model_free_maps(subject.image)

    def gaps_of(maps: Tensor, instead: Tensor | None = None) -> tuple[Curves, list[float]]:
        draws = subject.fixed_draws(1)
        curves = removal_curves(subject.score, subject.image, maps, generator=draws, instead=instead, tick=tick)
        return curves[0], [curve.gap for curve in curves]

    own, gaps = gaps_of(torch.cat([heat[None], torch.stack(list(simple.values())), moved_copies(heat)]))
    others, copies = gaps[1 : 1 + len(simple)], torch.tensor(gaps[1 + len(simple) :])
    near = LEVEL < chance(own.gap, copies) <= ASKED_MORE
    if near:
        copies = torch.cat([copies, torch.tensor(gaps_of(moved_copies(heat, mirrored=True))[1])])
    priors = dict(zip(simple, others, strict=True))
    checked = origin.values.get("correlation", 0.0) >= CLOSE
    against = _against_copies(subject, own, copies, checked=checked, near=near)
    if against.verdict == "reject" and origin.verdict == "trust" and subject.own_fill is not None:
        first, *rest = gaps_of(torch.cat([heat[None], moved_copies(heat)]), subject.own_fill)[1]
        against = _with_its_own_fill(against, chance(first, torch.tensor(rest)))
    return [
        against,
        _against_simple(own, priors, float(copies.std()) * (LENIENT if checked else -STRICT)),
    ], own


def chance(gap: float, others: Tensor) -> float:
    """Return the p-value of the exact test: the rank of a gap among its own and those of the moved copies (n,)."""
    return (1 + int((others >= gap).sum())) / (1 + len(others))


def _against_copies(subject: Subject, own: Curves, copies: Tensor, *, checked: bool, near: bool) -> MapCheck:
    p, beaten = chance(own.gap, copies), int((copies < own.gap).sum())
    values = {
        "gap": own.gap,
        "moved copies": float(copies.mean()),
        "p": p,
        "deletion": float(own.most_first.mean()),
        "insertion": float(1 - own.least_first.mean()),
        "infidelity": _infidelity(subject),
    }
    figure = Message(
        "it ranks pixels better than {count} of {total} copies of it moved elsewhere",
        **{"count": beaten, "total": len(copies)},
    )
    figure = Message("{figure}, near the limit", figure=figure) if near else figure
    if p <= LEVEL and (checked or own.gap - float(copies.mean()) >= CLEAR * float(copies.std())):
        reason = Message("removing what it calls relevant moves the score: {figure}", figure=figure)
        return MapCheck("faithfulness", "trust", reason, values)
    if p > 1 / 2 or not checked:
        reason = Message("what it calls relevant may be chance: {figure}", figure=figure)
        return MapCheck("faithfulness", "reject", reason, values)
    reason = Message("no better than chance on this image: {figure}", figure=figure)
    return MapCheck("faithfulness", "doubt", reason, values)


def _with_its_own_fill(check: MapCheck, p: float) -> MapCheck:
    """Doubt instead of a reject where the map is right about the pixels that its method showed instead."""
    values = {**check.values, "p with the method's own fill": p}
    if p > LEVEL:
        return replace(check, values=values)
    reason = Message("removing what it calls relevant moves the score only if the method's own fill is shown instead")
    return replace(check, verdict="doubt", reason=reason, values=values)


def _against_simple(own: Curves, priors: dict[str, float], margin: float) -> MapCheck:
    """Compare with maps that know no model: none may be clearly better, and a map of unknown origin must beat them."""
    values = {"gap": own.gap, **priors}
    best = max(priors, key=priors.__getitem__)
    if priors[best] >= own.gap + margin:
        reason = Message("{control}, which uses no model, ranks pixels better than the map does", control=Message(best))
        return MapCheck("controls", "doubt", reason, values)
    reason = Message("no map that uses no model (middle, edges, brightness, contrast) ranks pixels clearly better")
    return MapCheck("controls", "trust", reason, values)


def _infidelity(subject: Subject) -> float:
    """Return captum's infidelity of the map under noise, at its best scale, as a share of doing without it.

    0: the map predicts what small changes of the pixels do to the score; 1: it says nothing about that. Source: Yeh et
    al. 2019 (arXiv 1901.09392). Differs: one factor for the whole map is free, because most maps have no unit.
    """
    from captum.metrics import infidelity  # captum loads matplotlib's pyplot: only when asked for

    def perturb(images: Tensor) -> tuple[Tensor, Tensor]:
        noise = NUDGE * torch.randn(len(images), *subject.image.shape[1:], generator=subject.draws(6)).to(images)
        return noise, images - noise

    def infidelity_of(attribution: Tensor, *, normalize: bool) -> float:
        values = infidelity(
            subject.score, perturb, subject.image, attribution, n_perturb_samples=NUDGES, normalize=normalize
        )
        return float(values[0])

    spread = subject.heatmap.expand(1, *subject.image.shape[1:]) / subject.image.shape[1]
    without = infidelity_of(torch.zeros_like(subject.image), normalize=False)
    return infidelity_of(spread.to(subject.image), normalize=True) / max(without, 1e-30)


def rate_explanation(
    model: Classifier | nn.Module,
    image: ImageLike,
    explanation: Explanation,
    *,
    masks: Tensor | None = None,
    seed: int = 0,
    bits: int | None = None,
    progress: bool | Progress | None = None,
    should_stop: ShouldStop | None = None,
) -> Rating:
    """Say whether a map is faithful to this model: trust, doubt or reject, with reasons.

    It judges the map, not the model: is there anything to see; does the method run again give this map (else it is
    doubted at best); does removing what it calls relevant move the score more than moved copies and model-free maps do
    (ROAD); does it stay under noise, and change with random weights; do its values add up and its local model fit; does
    its peak lie inside the mask. Near a border more is drawn; what then is still near it is doubted.

    Args:
        model: the explained model.
        image: the explained image or images, in the form given to `xai.explain`.
        explanation: what `xai.explain` returned for them.
        masks: (h, w) or (N, h, w) bool, the object in the model's input geometry; None when not known.
        seed: fixes everything random.
        bits: as given to `xai.explain`.
        progress: None, True for a bar, or a callable `(done, total)`.
        should_stop: asked between questions; True ends with `xai.errors.Stopped`.

    Returns:
        Rating: `.verdict`, `.reasons`, `.checks`, and intervals over images when there are several.

    Raises:
        ShapeError: other images than explained, or masks of another size.

    Cost: per image 450 rows forward, and the method itself some 14 times; two to four times that near a border.

    Example:
        >>> import xai
        >>> clf, image = xai.load("example:fashion"), xai.load_data("example:fashion-test").images[0]
        >>> xai.rate_explanation(clf, image, xai.explain(clf, image)).verdict in {"trust", "doubt", "reject"}
        True
    """
    seed, classifier = check_seed(seed), as_classifier(model)
    inputs, notes = _inputs(classifier, image, bits, explanation)
    shape = tuple(explanation.attribution.shape)
    places = _masks(masks, shape[0], (shape[2], shape[3]))
    rated, curves = [], []
    with borrowed(classifier.module), reporting(progress, "rate") as report:
        for k in range(len(inputs)):
            subject = Subject(classifier, inputs[k : k + 1], explanation, k, seed)
            pace = _Pace(report, should_stop, k, len(inputs))
            checks, own = _ask(subject, None if places is None else places[k], pace)
            rated.append(tuple(checks))
            curves.append({} if own is None else _lists(own))
    return Rating(
        checks=tuple(rated),
        verdicts=tuple(_worst(checks) for checks in rated),
        method=explanation.method,
        target_names=explanation.target_names,
        image_names=explanation.image_names,
        curves=tuple(curves),
        provenance=Provenance.of(classifier, {}, seed),
        notes=notes,
    )


def _inputs(
    classifier: Classifier, image: ImageLike, bits: int | None, explanation: Explanation
) -> tuple[Tensor, tuple[str, ...]]:
    """Return the model's inputs (N, C, h, w), one for each map, and notes."""
    batch = classifier.prepare(image if bits is None else read_images(image, bits))
    inputs = batch.inputs
    if len(inputs) == 1 and len(explanation) > 1:
        inputs = inputs.expand(len(explanation), -1, -1, -1)  # several classes of one image
    shape = tuple(explanation.attribution.shape)
    if len(inputs) != shape[0] or inputs.shape[2:] != shape[2:]:
        raise ShapeError(
            f"Expected the explained image(s), {shape[0]} of {shape[2:]}, but got {len(inputs)} of "
            f"{tuple(inputs.shape[2:])}. Pass the image given to xai.explain."
        )
    return inputs, batch.notes


class _Pace:
    """Progress in hundredths of an image, and the stop."""

    def __init__(self, report: Progress | None, should_stop: ShouldStop | None, k: int, count: int) -> None:
        self.report, self.should_stop, self.k, self.count = report, should_stop, k, count
        self.done = 0

    def step(self, hundredths: int) -> None:
        """Go on, unless asked to stop."""
        if self.should_stop is not None and self.should_stop():
            raise Stopped(f"Stopped in image {self.k + 1} of {self.count}, as asked.")
        self.done = min(100, self.done + hundredths)
        if self.report is not None:
            self.report(100 * self.k + self.done, 100 * self.count)


def _ask(subject: Subject, mask: Tensor | None, pace: _Pace) -> tuple[list[MapCheck], Curves | None]:
    pace.step(0)
    seen = checks.evidence(subject)
    if seen.verdict == "reject":
        pace.step(100)
        return [seen], None
    origin = checks.reproduction(subject)
    pace.step(5)
    faithful, own = faithfulness(subject, origin, lambda: pace.step(1))
    results = [seen, origin, *faithful, *checks.stability(subject)]
    pace.step(20)
    sane = checks.sanity(subject)
    results += [*([sane] if sane else []), *checks.own_figures(subject)]
    if mask is not None:
        results.append(checks.localisation(subject, mask))
    pace.step(100)
    return results, own


def _worst(checks: tuple[MapCheck, ...]) -> str:
    return max((check.verdict for check in checks if check.verdict in VERDICTS), key=VERDICTS.index)


def _masks(masks: Tensor | None, count: int, size: tuple[int, int]) -> Tensor | None:
    if masks is None:
        return None
    if masks.shape[-2:] != size or masks.ndim not in {2, 3} or (masks.ndim == 3 and len(masks) not in {1, count}):
        raise ShapeError(
            f"Expected masks ({count}, {size[0]}, {size[1]}) in the model's input geometry, but got "
            f"{tuple(masks.shape)}."
        )
    return masks.bool().expand(count, *size)


def _lists(own: Curves) -> dict[str, list[float]]:
    return {name: getattr(own, name).tolist() for name in ("shares", "most_first", "least_first")}
