"""The verb: ask every question of every explained picture."""

from torch import Tensor, nn

from xai.core.classifier import Classifier, as_classifier
from xai.core.explanation import Explanation
from xai.core.hooks import borrowed
from xai.core.images import ImageLike, read_images
from xai.core.records import versions
from xai.core.rows import Progress, ShouldStop, reporting
from xai.core.seeds import check_seed
from xai.errors import ShapeError, Stopped
from xai.metrics.faithfulness import Curves
from xai.ratings import checks
from xai.ratings.removal import faithfulness
from xai.ratings.result import VERDICTS, Check, Rating
from xai.ratings.subject import Subject


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
        image: the explained picture or pictures, in the form given to `xai.explain`.
        explanation: what `xai.explain` returned for them.
        masks: (h, w) or (N, h, w) bool, the object in the model's input geometry; None when not known.
        seed: fixes everything random.
        bits: as given to `xai.explain`.
        progress: None, True for a bar, or a callable `(done, total)`.
        should_stop: asked between questions; True ends with `xai.errors.Stopped`.

    Returns:
        Rating: `.verdict`, `.reasons`, `.checks`, and intervals over images when there are several.

    Raises:
        ShapeError: other pictures than explained, or masks of another size.

    Cost: per image 450 rows forward, and the method itself some 14 times; two to four times that near a border.

    Example:
        >>> import xai
        >>> clf, image = xai.load("example:fashion"), xai.load_data("example:fashion-test").images[0]
        >>> xai.rate_explanation(clf, image, xai.explain(clf, image)).verdict in {"trust", "doubt", "reject"}
        True
    """
    seed, classifier = check_seed(seed), as_classifier(model)
    inputs, notes = _inputs(classifier, image, bits, explanation)
    found = tuple(explanation.attribution.shape)
    places = _masks(masks, found[0], (found[2], found[3]))
    rated, curves = [], []
    with borrowed(classifier.module), reporting(progress, "rate") as report:
        for k in range(len(inputs)):
            subject = Subject(classifier, inputs[k : k + 1], explanation, k, seed)
            pace = _Pace(report, should_stop, k, len(inputs))
            answers, own = _ask(subject, None if places is None else places[k], pace)
            rated.append(tuple(answers))
            curves.append({} if own is None else _lists(own))
    return Rating(
        checks=tuple(rated),
        verdicts=tuple(_worst(answers) for answers in rated),
        method=explanation.method,
        labels=explanation.labels,
        names=explanation.names,
        curves=tuple(curves),
        seed=seed,
        versions=versions(),
        notes=notes,
    )


def _inputs(
    classifier: Classifier, image: ImageLike, bits: int | None, explanation: Explanation
) -> tuple[Tensor, tuple[str, ...]]:
    """Return the model's inputs (N, C, h, w), one for each map, and notes."""
    batch = classifier.prepare(image if bits is None else read_images(image, bits))
    inputs = batch.inputs
    if len(inputs) == 1 and len(explanation) > 1:
        inputs = inputs.expand(len(explanation), -1, -1, -1)  # several classes of one picture
    found = tuple(explanation.attribution.shape)
    if len(inputs) != found[0] or inputs.shape[2:] != found[2:]:
        raise ShapeError(
            f"Expected the explained picture(s), {found[0]} of {found[2:]}, but got {len(inputs)} of "
            f"{tuple(inputs.shape[2:])}. Pass the image given to xai.explain."
        )
    return inputs, batch.notes


class _Pace:
    """Progress in hundredths of a picture, and the stop."""

    def __init__(self, report: Progress | None, should_stop: ShouldStop | None, k: int, count: int) -> None:
        self.report, self.should_stop, self.k, self.count = report, should_stop, k, count
        self.done = 0

    def step(self, hundredths: int) -> None:
        """Go on, unless asked to stop."""
        if self.should_stop is not None and self.should_stop():
            raise Stopped(f"Stopped in picture {self.k + 1} of {self.count}, as asked.")
        self.done = min(100, self.done + hundredths)
        if self.report is not None:
            self.report(100 * self.k + self.done, 100 * self.count)


def _ask(subject: Subject, mask: Tensor | None, pace: _Pace) -> tuple[list[Check], Curves | None]:
    pace.step(0)
    seen = checks.evidence(subject)
    if seen.verdict == "reject":
        pace.step(100)
        return [seen], None
    origin = checks.reproduction(subject)
    pace.step(5)
    faithful, own = faithfulness(subject, origin, lambda: pace.step(1))
    found = [seen, origin, *faithful, *checks.stability(subject)]
    pace.step(20)
    sane = checks.sanity(subject)
    found += [*([sane] if sane else []), *checks.own_figures(subject)]
    if mask is not None:
        found.append(checks.localisation(subject, mask))
    pace.step(100)
    return found, own


def _worst(answers: tuple[Check, ...]) -> str:
    return max((check.verdict for check in answers if check.verdict in VERDICTS), key=VERDICTS.index)


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
