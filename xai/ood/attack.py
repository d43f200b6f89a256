"""Attacks on a detector. They and explanations work on its score as a classifier."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from xai.core.images.inputs import ImageLike
from xai.core.model.classifier import Classifier
from xai.core.model.features import full_precision
from xai.core.model.hooks import add_hook
from xai.core.results.codec import plain
from xai.core.results.message import Message
from xai.core.results.result import Provenance, Result
from xai.core.runtime.batching import first_tensor
from xai.errors import InputError, UnsupportedModelError
from xai.explanations.explanation import Explanation
from xai.explanations.methods.base import EXPLAINERS
from xai.ood.detectors.base import Fitted
from xai.ood.detectors.passes import score_images
from xai.ood.detectors.reference import FeatureRows, place_of
from xai.ood.judgement import IN_DISTRIBUTION, OUT_OF_DISTRIBUTION, p_values, threshold
from xai.ood.serialization import split_settings
from xai.robust.attacks.base import ATTACKS
from xai.robust.attacks.result import AttackResult
from xai.stats.auroc import auroc, auroc_interval
from xai.stats.intervals import wilson_interval

_ALPHA = 0.05
_ASKED = ("seed", "progress", "should_stop")


class ScoreNet(nn.Module):
    """Normalised images (n, C, h, w) to (n, 2): minus and plus the score above its threshold.

    Args:
        classifier: that the detector was fitted on; its module is part of this one.
        fitted: the detector.
        limit: the score at which the verdict turns.
    """

    def __init__(self, classifier: Classifier, fitted: Fitted, limit: float) -> None:
        super().__init__()
        self.training = False  # of this module alone: the one inside keeps its mode
        self.module = classifier.module
        self.limit = limit
        self.label = fitted.detector.label
        self._classifier = [classifier]  # in a list: no second path to the same module
        self._fitted = fitted.to(place_of(classifier.device))
        for number, value in enumerate(self._fitted.state.values()):
            self.register_buffer(f"state{number}", value, persistent=False)  # part of the fingerprint

    def forward(self, images: Tensor) -> Tensor:
        """Return (n, 2), float32 or float64 as the images are."""
        classifier, place = self._classifier[0], place_of(images.device)
        captured: list[Tensor] = []
        head = self._fitted.view.head
        handles = [] if head is None else [add_hook(self.module.get_submodule(head.layer), _keeper(captured))]
        try:
            logits = classifier.logits_of_normalised(images)
        finally:
            for handle in handles:
                handle.remove()
        features = full_precision(captured[-1]).to(place) if captured else None
        rows = FeatureRows(
            self._fitted.view, logits.to(place).double(), features, images, classifier.logits_of_normalised
        )
        above = (self._fitted.score(rows) - self.limit).to(images)
        return torch.stack([-above, above], 1)


def _keeper(captured: list[Tensor]) -> Any:
    def keep(_module: nn.Module, given: Any, _output: Any) -> None:
        source = first_tensor(given)
        if source is not None and source.ndim == 2:
            captured.append(source)

    return keep


def score_classifier(classifier: Classifier, fitted: Fitted, limit: float) -> Classifier:
    """Return a classifier of images as in- or out-of-distribution; the second logit is the score minus the limit."""
    return Classifier(
        ScoreNet(classifier, fitted, limit),
        class_names=(IN_DISTRIBUTION, OUT_OF_DISTRIBUTION),
        input_size=classifier.input_size,
        channels=classifier.channels,
        mean=classifier.mean,
        std=classifier.std,
        resize=classifier.resize,
        crop_ratio=classifier.crop_ratio,
        name=f"{fitted.detector.label} of {classifier.name}",
    )


def explain_score(
    classifier: Classifier,
    fitted: Fitted,
    calibration: Tensor,
    images: ImageLike,
    method: str,
    settings: dict[str, Any],
) -> Explanation:
    """Explain the score; see `OODDetector.explain`.

    Raises:
        UnsupportedModelError: the method asks for a class, or for slopes where the score has none.
        NameLookupError: no such method or setting.
    """
    if {"target", "versus", "score"} & set(settings):
        raise UnsupportedModelError(
            "The out-of-distribution score is explained: leave `target`, `versus` and `score` out."
        )
    known, own = split_settings(EXPLAINERS[method], method, settings, _ASKED)
    limit = threshold(calibration, max(_ALPHA, 1 / (len(calibration) + 1)))
    scorer = score_classifier(classifier, fitted, limit)
    explanation = EXPLAINERS[method](**own).explain(scorer, images, OUT_OF_DISTRIBUTION, **known)
    shares = (1 - p_values(explanation.logits[:, 1].double() + limit, calibration)).to(explanation.probabilities)
    notes = (
        Message(
            "the score of {method} ({unit}) minus its threshold {threshold:.4g} is explained",
            **{"method": fitted.detector.label, "unit": Message(fitted.detector.unit), "threshold": limit},
        ),
        Message("the share displayed is that of calibration images with a lower score"),
    )
    return replace(explanation, probabilities=shares, notes=(*notes, *explanation.notes))


_ASKED_OF_ATTACK = ("eps", "norm", "seed", "progress", "should_stop")


@dataclass(frozen=True, eq=False, repr=False)
class OODAttack(Result):
    """Scores before and after two attacks.

    Attributes:
        clean_scores: (n,) of in-distribution images.
        adversarial_scores: (n,) of the same images attacked until the model answers wrongly.
        success: (n,) whether it does, and did not before.
        ood_scores: (m,) of out-of-distribution images; empty when none were given.
        evading_scores: (m,) of the same images attacked until the detector accepts them.
        limit: score above which images are rejected.
        alpha: of the decision.
        attack: name of the attack.
        eps: its radius.
        norm: of the radius.
        attack_settings: of the attack.
        method: name of the detector.
        provenance: model, settings of the detector, seed of everything random.
        notes: what happened.

    Example:
        >>> import xai
        >>> clf = xai.load("example:fashion")
        >>> fit, rest = (xai.load_data(f"example:fashion-{part}").subset(200) for part in ("train", "test"))
        >>> detector = xai.fit_ood(clf, fit, rest, method="energy")
        >>> found = detector.attack(rest.images[:4], rest.labels[:4], steps=2)
        >>> len(found.clean_scores)
        4
    """

    _kind: ClassVar[str] = "ood attack"
    _listed: ClassVar[tuple[str, ...]] = (
        *("clean_scores", "adversarial_scores", "success", "ood_scores", "evading_scores"),
    )
    _derived: ClassVar[tuple[str, ...]] = ("flagged", "flagged_before", "auroc", "evaded", "sentence")

    clean_scores: Tensor = field(repr=False)
    adversarial_scores: Tensor
    success: Tensor
    ood_scores: Tensor
    evading_scores: Tensor
    limit: float
    alpha: float
    attack: str
    eps: float | None
    norm: str
    attack_settings: Mapping[str, Any]
    method: str

    def __repr__(self) -> str:
        """Both findings."""
        return f"OODAttack({self.sentence})"

    @property
    def flagged(self) -> tuple[float, float, float]:
        """Share of successfully attacked images that the detector rejects, with its 95 % interval.

        These are the images whose prediction the attack changes.
        """
        return _share(self.adversarial_scores[self.success] > self.limit)

    @property
    def flagged_before(self) -> tuple[float, float, float]:
        """Share of the same images that it rejects before the attack."""
        return _share(self.clean_scores[self.success] > self.limit)

    @property
    def auroc(self) -> tuple[float, float, float]:
        """AUROC of the score for successfully attacked against clean images, with its 95 % interval.

        These are the images whose prediction the attack changes.
        """
        if not bool(self.success.any()):
            return 0.5, 0.0, 1.0
        pair = self.clean_scores.numpy(), self.adversarial_scores[self.success].numpy()
        return (auroc(*pair), *auroc_interval(*pair))

    @property
    def evaded(self) -> tuple[float, float, float]:
        """Share of rejected OOD images that an attack on the score makes accepted. It has an interval."""
        caught = self.ood_scores > self.limit
        return _share(self.evading_scores[caught] <= self.limit)

    @property
    def sentence(self) -> Message:
        """Both findings in words."""
        radius = "" if self.eps is None else " at {norm} {eps:.4g}"
        template = (
            f"{{attack}}{radius} changes the prediction of {{success}} of {{total}} images; {{method}} rejects "
            "{flagged} of these ({before} before the attack)"
        )
        values = {"attack": self.attack, "norm": self.norm, "eps": self.eps, "method": self.method}
        values |= {"success": int(self.success.sum()), "total": len(self.success)}
        values |= {"flagged": _share_words(self.flagged), "before": _share_words(self.flagged_before)}
        if len(self.ood_scores):
            template += (
                "; of {caught} out-of-distribution images rejected, the attack on the score makes {evaded} accepted"
            )
            values |= {"caught": int((self.ood_scores > self.limit).sum()), "evaded": _share_words(self.evaded)}
        return Message(template, **values)


def attack_detector(
    classifier: Classifier,
    fitted: Fitted,
    calibration: Tensor,
    images: ImageLike,
    labels: Any,
    ood_images: ImageLike | None,
    alpha: float,
    settings: dict[str, Any],
) -> OODAttack:
    """Attack the model, then the score; see `OODDetector.attack`.

    Raises:
        InputError: too few calibration images to reject anything at `alpha`.
        NameLookupError: no such attack or setting.
        UnsupportedModelError: the score has no gradient and the attack needs one.
    """
    name = str(settings.pop("method", "pgd"))
    known, own = split_settings(ATTACKS[name], name, settings, _ASKED_OF_ATTACK)
    limit = threshold(calibration, alpha)
    if limit == float("inf"):
        raise InputError(f"Nothing can be rejected at alpha {alpha:g} with {len(calibration)} calibration images.")
    first = ATTACKS[name](**own).run(classifier, images, labels, **known)
    second = None if ood_images is None else _evade(classifier, fitted, limit, ood_images, name, own, known)
    both = [first] if second is None else [first, second]
    before, after = (_scores(classifier, fitted, made) for made in (first.clean, first.adversarial))
    none = torch.zeros(0, dtype=torch.float64)
    return OODAttack(
        clean_scores=before,
        adversarial_scores=after,
        success=first.success & (first.clean_predictions == first.labels),
        ood_scores=none if second is None else _scores(classifier, fitted, second.clean),
        evading_scores=none if second is None else _scores(classifier, fitted, second.adversarial),
        limit=limit,
        alpha=alpha,
        attack=name,
        eps=first.eps,
        norm=first.norm,
        attack_settings=plain(first.settings),
        method=fitted.detector.name,
        provenance=Provenance.of(classifier, fitted.detector.settings, first.seed),
        notes=tuple(dict.fromkeys(note for result in both for note in result.notes)),
    )


def _evade(
    classifier: Classifier,
    fitted: Fitted,
    limit: float,
    ood_images: ImageLike,
    name: str,
    own: dict[str, Any],
    known: dict[str, Any],
) -> AttackResult:
    """Attack OOD images until the detector accepts them; the margin is climbed, which never saturates."""
    attack = ATTACKS[name]
    climbs = {"loss": "margin"} if "loss" in {f.name for f in fields(attack)} else {}  # type: ignore[arg-type]
    scorer = score_classifier(classifier, fitted, limit)
    inputs = classifier.prepare(ood_images).inputs
    return attack(**(climbs | own)).run(scorer, inputs, torch.ones(len(inputs), dtype=torch.int64), **known)


def _scores(classifier: Classifier, fitted: Fitted, images: Tensor) -> Tensor:
    return score_images(classifier, [fitted], images, keyed=False).scores[0]


def _share(hits: Tensor) -> tuple[float, float, float]:
    """Return a share and its 95 % Wilson interval; of nothing 0 from 0 to 1."""
    low, high = wilson_interval(int(hits.sum()), len(hits))
    return float(hits.double().mean()) if len(hits) else 0.0, low, high


def _share_words(share: tuple[float, float, float]) -> Message:
    return Message("{share:.1%} ({low:.1%} to {high:.1%})", **dict(zip(("share", "low", "high"), share, strict=True)))
