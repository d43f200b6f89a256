"""Adversarial pictures and detectors: are they flagged, and does an attack on the score itself go unseen."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from xai.attacks import ATTACKS, AttackResult
from xai.core.classifier import Classifier
from xai.core.images import ImageLike
from xai.core.intervals import wilson
from xai.core.records import Saved, plain, versions
from xai.detectors import Fitted
from xai.detectors._passes import score_pictures
from xai.errors import InputError
from xai.metrics.detection import auroc, auroc_interval
from xai.outliers._settings import split_settings
from xai.outliers.conformal import threshold
from xai.outliers.score_net import score_classifier

_ARRAYS = ("clean_scores", "adversarial_scores", "fooled", "foreign_scores", "evading_scores")
_ASKED = ("eps", "norm", "seed", "progress", "should_stop")


@dataclass(frozen=True, eq=False, repr=False)
class OODAttack(Saved):
    """Scores before and after two attacks.

    Attributes:
        clean_scores: (n,) of ordinary pictures.
        adversarial_scores: (n,) of the same pictures attacked until the model answers wrongly.
        fooled: (n,) whether it does, and did not before.
        foreign_scores: (m,) of foreign pictures; empty when none were given.
        evading_scores: (m,) of the same pictures attacked until the detector accepts them.
        limit: score above which pictures are rejected.
        alpha: of the decision.
        attack: name of the attack.
        eps: its radius.
        norm: of the radius.
        attack_settings: of the attack.
        method: name of the detector.
        settings: of the detector.
        seed: of everything random.
        model: name and fingerprint.
        versions: of the packages.
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

    clean_scores: Tensor = field(repr=False)
    adversarial_scores: Tensor
    fooled: Tensor
    foreign_scores: Tensor
    evading_scores: Tensor
    limit: float
    alpha: float
    attack: str
    eps: float | None
    norm: str
    attack_settings: Mapping[str, Any]
    method: str
    settings: Mapping[str, Any]
    seed: int
    model: Mapping[str, Any]
    versions: Mapping[str, str]
    notes: tuple[str, ...]

    def __repr__(self) -> str:
        """Both findings."""
        return f"OODAttack({self.sentence})"

    @property
    def flagged(self) -> tuple[float, float, float]:
        """Share of the pictures that fool the model which the detector rejects, with its 95 % interval."""
        return _share(self.adversarial_scores[self.fooled] > self.limit)

    @property
    def flagged_before(self) -> tuple[float, float, float]:
        """Share of the same pictures that it rejects before the attack."""
        return _share(self.clean_scores[self.fooled] > self.limit)

    @property
    def auroc(self) -> tuple[float, float, float]:
        """How well the score tells pictures that fool the model from the clean ones, with its 95 % interval."""
        if not bool(self.fooled.any()):
            return 0.5, 0.0, 1.0
        pair = self.clean_scores.numpy(), self.adversarial_scores[self.fooled].numpy()
        return (auroc(*pair), *auroc_interval(*pair))

    @property
    def evaded(self) -> tuple[float, float, float]:
        """Share of the rejected foreign pictures that an attack on the score makes accepted, with its interval."""
        caught = self.foreign_scores > self.limit
        return _share(self.evading_scores[caught] <= self.limit)

    @property
    def sentence(self) -> str:
        """Both findings in words."""
        radius = "" if self.eps is None else f" at {self.norm} {self.eps:.4g}"
        flagged, before = self.flagged, self.flagged_before
        said = (
            f"{self.attack}{radius} fools the model on {int(self.fooled.sum())} of {len(self.fooled)} pictures; "
            f"{self.method} rejects {_shown(flagged)} of these ({_shown(before)} before the attack)"
        )
        if not len(self.foreign_scores):
            return said
        caught, evaded = int((self.foreign_scores > self.limit).sum()), _shown(self.evaded)
        return f"{said}; of {caught} foreign pictures rejected, the attack on the score makes {evaded} accepted"

    def to_dict(self) -> dict[str, Any]:
        """Return everything, JSON-ready."""
        figures = {name: list(getattr(self, name)) for name in ("flagged", "flagged_before", "auroc", "evaded")}
        arrays = {name: getattr(self, name).tolist() for name in _ARRAYS}
        return self._fields() | figures | arrays | {"sentence": self.sentence}

    _kind: ClassVar[str] = "ood attack"

    def _arrays(self) -> Mapping[str, np.ndarray]:
        return {name: getattr(self, name).numpy() for name in _ARRAYS}

    @classmethod
    def _restored(cls, fields: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Self:
        result: dict[str, Any] = dict(fields)
        result["notes"] = tuple(result["notes"])
        result |= {name: torch.from_numpy(np.array(arrays[name])) for name in _ARRAYS}
        return cls(**result)

    def _fields(self) -> dict[str, Any]:
        return {f.name: plain(getattr(self, f.name)) for f in fields(self) if f.name not in _ARRAYS}


def attack_detector(
    classifier: Classifier,
    fitted: Fitted,
    calibration: Tensor,
    images: ImageLike,
    labels: Any,
    foreign: ImageLike | None,
    alpha: float,
    settings: dict[str, Any],
) -> OODAttack:
    """Attack the model, then the score; see `OODDetector.attack`.

    Raises:
        InputError: too few calibration pictures to reject anything at `alpha`.
        NameLookupError: no such attack or setting.
        UnsupportedModelError: the score has no gradient and the attack needs one.
    """
    name = str(settings.pop("method", "pgd"))
    known, own = split_settings(ATTACKS[name], name, settings, _ASKED)
    limit = threshold(calibration, alpha)
    if limit == float("inf"):
        raise InputError(f"Nothing can be rejected at alpha {alpha:g} with {len(calibration)} calibration pictures.")
    first = ATTACKS[name](**own).run(classifier, images, labels, **known)
    second = None if foreign is None else _evade(classifier, fitted, limit, foreign, name, own, known)
    both = [first] if second is None else [first, second]
    before, after = (_scores(classifier, fitted, made) for made in (first.clean, first.adversarial))
    none = torch.zeros(0, dtype=torch.float64)
    return OODAttack(
        before,
        after,
        first.success & (first.clean_predictions == first.labels),
        none if second is None else _scores(classifier, fitted, second.clean),
        none if second is None else _scores(classifier, fitted, second.adversarial),
        limit,
        alpha,
        name,
        first.eps,
        first.norm,
        first.settings,
        fitted.detector.name,
        fitted.detector.settings,
        first.seed,
        first.model,
        versions(),
        tuple(dict.fromkeys(note for found in both for note in found.notes)),
    )


def _evade(
    classifier: Classifier,
    fitted: Fitted,
    limit: float,
    foreign: ImageLike,
    name: str,
    own: dict[str, Any],
    known: dict[str, Any],
) -> AttackResult:
    """Attack foreign pictures until the detector accepts them; the margin is climbed, which never saturates."""
    attack = ATTACKS[name]
    climbs = {"loss": "margin"} if "loss" in {f.name for f in fields(attack)} else {}  # type: ignore[arg-type]
    asked = score_classifier(classifier, fitted, limit)
    inputs = classifier.prepare(foreign).inputs
    return attack(**(climbs | own)).run(asked, inputs, torch.ones(len(inputs), dtype=torch.int64), **known)


def _scores(classifier: Classifier, fitted: Fitted, pictures: Tensor) -> Tensor:
    return score_pictures(classifier, [fitted], pictures, keyed=False).scores[0]


def _share(hits: Tensor) -> tuple[float, float, float]:
    """Return a share and its 95 % Wilson interval; of nothing 0 from 0 to 1."""
    low, high = wilson(int(hits.sum()), len(hits))
    return float(hits.double().mean()) if len(hits) else 0.0, float(low), float(high)


def _shown(share: tuple[float, float, float]) -> str:
    return f"{share[0]:.1%} ({share[1]:.1%} to {share[2]:.1%})"
