"""Tests of whether a probe attracts images to one class.

Removal is tested too; the images were not used to choose the probe.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy
import torch
from torch import Tensor

from xai.explanations.metrics import attribution_inside
from xai.fairness.shortcuts.predictor import Predictor, predicted_classes
from xai.fairness.shortcuts.probes.base import Explain, Form, ProbeImages, filled, inserted, moved
from xai.fairness.shortcuts.probes.data_forms import DataForm, Loss
from xai.fairness.shortcuts.result import Evidence
from xai.stats.intervals import Interval, difference, discordant, mcnemar, mean, share

FIRST, SECOND, TRIED = 12, 48, 96  # images that all forms, the better ones, and the best of each unit are tried on
_KEPT = 4  # one in so many forms gets into the second round
FEWEST = 20  # right images of other classes below which nothing can be said
LEANING = 0.5  # share of a class that is only recognised with the probe, above which the class leans on it
LEVEL = 0.05
MOST = 24  # images looked at
SHOWN = 4
_ELSEWHERE = 7  # number of the draw
_FEWEST_CARRIERS = 4  # carriers
_MOST_OTHERS = 96  # images of other classes that the same is done to
_TINY = 1e-6


@dataclass(frozen=True, eq=False)
class SuspectProbe:
    """A form with what it was chosen for.

    Attributes:
        form: the strongest of its unit.
        target: the class that it attracts to most.
        strength: at which it attracts most beyond neutral changes.
    """

    form: Form
    target: int
    strength: float


def strongest(predictor: Predictor, forms: Sequence[Form], images: ProbeImages) -> list[Form]:
    """Return the form of each unit that raises one class's probability most, in two rounds."""
    if not forms:
        return []
    first = _best(forms, _scores(predictor, forms, images.take(torch.arange(min(FIRST, len(images))))), _KEPT)
    again = [form for form in first if sum(other.unit == form.unit for other in first) > 1]
    if again:
        scores = _scores(predictor, again, images.take(torch.arange(min(SECOND, len(images)))))
        winners = {form.unit: form for form in _best(again, scores, None)}
        first = list({form.unit: winners.get(form.unit, form) for form in first}.values())
    return first


def _scores(predictor: Predictor, forms: Sequence[Form], images: ProbeImages) -> list[float]:
    rises = predictor.rises(forms, images)
    return [
        float(rise.max() if form.target is None else rise[form.target]) for form, rise in zip(forms, rises, strict=True)
    ]


def _best(forms: Sequence[Form], scores: Sequence[float], share: int | None) -> list[Form]:
    """Return the best one of each unit, or one in `share` of it."""
    best = []
    for unit in dict.fromkeys(form.unit for form in forms):
        own = [k for k, form in enumerate(forms) if form.unit == unit]
        count = 1 if share is None else -(-len(own) // share)
        best += [forms[k] for k in sorted(own, key=lambda k: -scores[k])[:count]]
    return best


def choose(
    predictor: Predictor, form: Form, images: ProbeImages, strengths: Sequence[float], classes: int
) -> SuspectProbe:
    """Return class and strength at which a form attracts most beyond the strongest neutral change."""
    images = images.take(images.right.nonzero()[:TRIED, 0])
    labels = images.labels.numpy()
    own = _attractions(predicted_classes(predictor.doses(images, form.change(images), strengths)), labels, classes)
    others = [
        _attractions(predicted_classes(predictor.doses(images, change, strengths)), labels, classes)
        for change in form.neutral(images).values()
    ]
    gaps = own - np.max(others, axis=0)
    if form.target is not None:
        gaps[:, [k for k in range(classes) if k != form.target]] = -np.inf
    level, target = np.unravel_index(int(gaps.argmax()), gaps.shape)
    return SuspectProbe(form, int(target), float(strengths[int(level)]))


def _attractions(predictions: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """Return the share of images of other classes that is answered as each class (S, K)."""
    hits = np.stack([((predictions == k) & (labels != k)).sum(1) for k in range(classes)], 1)
    return hits / np.maximum(1, [(labels != k).sum() for k in range(classes)])


@dataclass(frozen=True, eq=False)
class Trial:
    """What the model answered.

    Attributes:
        suspect: what was inserted.
        labels: (n,) the truth.
        clean: (n,) answers to the images as they are.
        predictions: (S, n) answers at each strength.
        confidence: (S, n) probability of the true class.
        level: number of the suspect's strength.
        neutral: by name of the neutral change, (n,) answers at that strength.
        box: (top, left, bottom, right) of the region, where all images have the same; None otherwise.
    """

    suspect: SuspectProbe
    labels: np.ndarray
    clean: np.ndarray
    predictions: np.ndarray
    confidence: np.ndarray
    level: int
    neutral: dict[str, np.ndarray]
    box: tuple[int, int, int, int] | None

    @property
    def others(self) -> np.ndarray:
        """Images (n,) bool of other classes than the target that are right when clean."""
        is_other: np.ndarray = (self.clean == self.labels) & (self.labels != self.suspect.target)
        return is_other

    @property
    def inserted(self) -> np.ndarray:
        """Answers (n,) at the suspect's strength."""
        predictions: np.ndarray = self.predictions[self.level]
        return predictions


def try_out(predictor: Predictor, suspect: SuspectProbe, images: ProbeImages, strengths: Sequence[float]) -> Trial:
    """Ask the model about all strengths, and about neutral changes at the suspect's."""
    probabilities = predictor.doses(images, suspect.form.change(images), strengths)
    rows = torch.arange(len(images))
    neutral = {
        name: predicted_classes(predictor.doses(images, change, [suspect.strength]))[0]
        for name, change in suspect.form.neutral(images).items()
    }
    return Trial(
        suspect,
        images.labels.numpy(),
        images.predictions.numpy(),
        predicted_classes(probabilities),
        probabilities[:, rows, images.labels].numpy(),
        list(strengths).index(suspect.strength),
        neutral,
        _box(suspect.form.where(images.take(rows[:2]))),
    )


def _box(region: Tensor | None) -> tuple[int, int, int, int] | None:
    if region is None or bool((region[0] != region[-1]).any()):
        return None
    down, across = region[0].any(1).nonzero()[:, 0], region[0].any(0).nonzero()[:, 0]
    return int(down[0]), int(across[0]), int(down[-1]) + 1, int(across[-1]) + 1


def weigh(trial: Trial, *, local: bool) -> Evidence:
    """Return the figures; `local` probes can also stand out by harming less than neutral changes do."""
    target, others, own = trial.suspect.target, trial.others, trial.labels == trial.suspect.target
    labels, attracted = trial.labels[others], trial.inserted[others] == target
    attractions = [predictions[others] == target for predictions in trial.neutral.values()]
    breaks = [predictions[others] != labels for predictions in trial.neutral.values()]
    strongest_control, harm = max(attractions, key=np.sum), max(breaks, key=np.sum)
    with_probe, without = trial.inserted[own] == target, trial.clean[own] == target
    p = max(mcnemar(*discordant(attracted, each)) for each in attractions)
    if not trial.suspect.form.from_data:
        p = max(p, mcnemar(*discordant(with_probe, without)))
    if local and not trial.suspect.form.from_data:
        p = min(1.0, 2 * min(p, max(mcnemar(*discordant(attracted, each)) for each in breaks)))
    figures = {
        "attraction": share(attracted),
        "flips": share(trial.inserted[others] != labels),
        "excess": difference(attracted, strongest_control),
        "beyond": difference(attracted, harm),
        "leaning": difference(with_probe, without),
    }
    plain = {name: value for name, (value, _) in figures.items()}
    spans = {f"{name}_interval": span for name, (_, span) in figures.items()}
    return Evidence(
        images=int(others.sum()),
        neutral=share(strongest_control)[0],
        neutral_flips=share(harm)[0],
        members=int(own.sum()),
        p=p,
        **plain,  # type: ignore[arg-type]  # named figures
        **spans,  # type: ignore[arg-type]  # and their intervals
    )


def stands_out(evidence: Evidence, p: float, least: float, *, local: bool) -> bool:
    """Say whether a probe attracts to its class as a shortcut does.

    It must turn more images into the class than any neutral change does, by more than `least` and twice as many; most
    answers that it changes must go there; and either it does more than neutral changes harm, in any direction, or most
    images of the class are recognised only with it: a large change harms every network, often in one direction.
    """
    if evidence.images < FEWEST or p >= LEVEL or evidence.attraction <= max(evidence.flips / 2, 2 * evidence.neutral):
        return False
    beyond = local and evidence.beyond_interval[0] > least
    return evidence.excess_interval[0] > least and (beyond or leans(evidence))


def leans(evidence: Evidence) -> bool:
    """Say whether most images of the class are recognised only with the probe, and a quarter for certain."""
    return evidence.leaning > LEANING and evidence.leaning_interval[0] > LEANING / 2


def follows(evidence: Evidence, p: float, least: float) -> bool:
    """Say whether the model follows a probe that the data have: it attracts `least` more than controls do."""
    if evidence.images < FEWEST or p >= LEVEL:
        return False
    return evidence.excess >= least and evidence.excess_interval[0] > 0


def attracts_more(evidence: Evidence, least: float) -> bool:
    """Say whether a probe turns more into one class than controls do, by more than `least` for certain."""
    return evidence.images >= FEWEST and evidence.excess_interval[0] > least


Span = tuple[float, Interval]


@dataclass(frozen=True, eq=False)
class Confirmation:
    """What was seen on images that the probe turned into the class.

    Attributes:
        rows: numbers of these images.
        before: (m, C, h, w) the images, those that are shown.
        after: (m, C, h, w) with the probe.
        heatmaps: (m, h, w) explanations of the class with the probe.
        lift: share of the map inside the region over share of the area, mean and 95 % interval; None for probes that
            are everywhere.
        removed: share that is no longer the class when the region is filled in from around it.
        beyond: the same, minus the share for an equally large region elsewhere.
    """

    rows: tuple[int, ...]
    before: Tensor
    after: Tensor
    heatmaps: Tensor
    lift: Span | None
    removed: Span | None
    beyond: Span | None


def confirm(predictor: Predictor, trial: Trial, images: ProbeImages, explain: Explain) -> Confirmation:
    """Explain, and take the region out of, some images that a probe turned into its class."""
    suspect = trial.suspect
    turned = np.flatnonzero(trial.others & (trial.inserted == suspect.target))[:MOST]
    some = images.take(torch.from_numpy(turned))
    after = inserted(some, suspect.form.change(some), suspect.strength)
    heatmaps = explain(after, suspect.target).clamp_min(0)
    predictor.advance(len(some))
    region = suspect.form.where(some)
    lift = removed = beyond = None
    if region is not None:
        lift = mean((attribution_inside(heatmaps, region) / region.double().mean((1, 2)).clamp_min(1e-9)).numpy())
        removed, beyond = _removed(predictor, suspect.target, after, region, some.uniform(_ELSEWHERE, 2))
    shown = slice(SHOWN)
    rows = tuple(int(k) for k in turned[shown])
    return Confirmation(rows, some.images[shown], after[shown], heatmaps[shown], lift, removed, beyond)


def _removed(predictor: Predictor, target: int, images: Tensor, region: Tensor, rolls: Tensor) -> tuple[Span, Span]:
    """Return the share that leaves the class without the region, and that minus the share without another one."""
    elsewhere = moved(region[:, None], rolls)[:, 0]
    gone, control = (
        predicted_classes(predictor.probabilities(filled(images, part))) != target for part in (region, elsewhere)
    )
    return share(gone), difference(gone, control)


@dataclass(frozen=True)
class Association:
    """How the data go with the probe, on images it was not looked for in.

    Attributes:
        auroc: how well carrying it tells the class from the others.
        p: one-sided, that it does not (Mann and Whitney).
        own: share of the class that carries it.
        others: share of the other classes.
    """

    auroc: float
    p: float
    own: float
    others: float


@dataclass(frozen=True)
class Removal:
    """What taking the probe out does to images of the class that carry it.

    Attributes:
        carriers: how many there were.
        gone: share of those recognised that are no longer, with its 95 % interval.
        beyond: that, minus the share under the control; None where the control is other classes.
        fall: mean fall of the class's log odds, minus that of the control.
        p: that it falls no more than under the control; exact or by ranks.
        dose_p: for what cannot be brought back, that the log odds of the class in other images do not both rise with
            half of the probe and fall with half of its opposite; None for what can.
    """

    carriers: int
    gone: tuple[float, Interval]
    beyond: tuple[float, Interval] | None
    fall: float
    p: float
    dose_p: float | None

    @property
    def confirms(self) -> bool:
        """Whether the class is missed without the probe; what is lost for good may rest on the two-sided dose."""
        if self.p < LEVEL:
            return True
        return self.dose_p is not None and self.dose_p < LEVEL and self.fall > 0


def take_out(predictor: Predictor, form: DataForm, judged: ProbeImages) -> Removal | None:
    """Return what removal does, None with too few carriers.

    Args:
        predictor: asks the model.
        form: the probe, with its class.
        judged: images that the probe was not looked for in.
    """
    assert form.target is not None
    carries = (form.carried(judged.images) >= form.least) & (judged.labels == form.target)
    some = judged.take(carries.nonzero()[:_MOST_OTHERS, 0])
    if len(some) < _FEWEST_CARRIERS:
        return None
    before, after = (_odds(predictor, images, some.labels) for images in (some.images, form.without(some)))
    restored = form.control(some)
    gone = (before > 0) & (after <= 0)
    others = judged.take((judged.labels != form.target).nonzero()[:_MOST_OTHERS, 0])
    if restored is None:
        usual = _odds(predictor, others.images, others.labels) - _odds(predictor, form.without(others), others.labels)
        p = float(scipy.stats.mannwhitneyu(before - after, usual, alternative="greater").pvalue)
        return Removal(len(some), share(gone[before > 0]), None, float((before - after).mean() - usual.mean()), p, None)
    still = _odds(predictor, restored, some.labels)
    beyond = difference(gone[before > 0], ((before > 0) & (still <= 0))[before > 0])
    dose = _two_sided(predictor, form, others) if isinstance(form, Loss) else None
    fall = float((still - after).mean())
    return Removal(len(some), share(gone[before > 0]), beyond, fall, _higher(still, after), dose)


def _two_sided(predictor: Predictor, form: DataForm, others: ProbeImages) -> float:
    """Return the p-value that the class's log odds do not rise with half of the probe and fall with its opposite."""
    labels, change = torch.full_like(others.labels, int(form.target or 0)), form.change(others)
    less, none, more = (_odds(predictor, inserted(others, change, dose), labels) for dose in (-0.5, 0.0, 0.5))
    return max(_higher(more, none), _higher(none, less))


def _higher(more: np.ndarray, less: np.ndarray) -> float:
    """Return the one-sided p-value that paired values (n,) are not higher (Wilcoxon 1945)."""
    if bool((more == less).all()):
        return 1.0
    return float(scipy.stats.wilcoxon(more - less, alternative="greater").pvalue)


def _odds(predictor: Predictor, images: Tensor, labels: Tensor) -> np.ndarray:
    """Return log odds of one class of each image (n,) against the strongest other one (n,)."""
    probabilities = predictor.probabilities(images).double()
    rows = torch.arange(len(probabilities))
    own = probabilities[rows, labels].clone()
    probabilities[rows, labels] = 0
    odds: np.ndarray = ((own + _TINY) / (probabilities.amax(1) + _TINY)).log().numpy()
    return odds
