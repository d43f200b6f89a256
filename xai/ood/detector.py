"""A fitted and calibrated detector: it scores, judges and explains, and can be kept."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
from torch import Tensor, nn

from xai.core.images.border import open_data
from xai.core.images.inputs import ImageLike
from xai.core.model.classifier import Classifier, as_classifier
from xai.core.results.codec import plain, write_record
from xai.core.results.message import Message
from xai.core.results.result import Provenance
from xai.core.runtime.batching import Progress, ShouldStop
from xai.errors import InputError, NameLookupError
from xai.explanations.explanation import Explanation
from xai.ood.attack import OODAttack, attack_detector, explain_score
from xai.ood.detectors.base import Fitted
from xai.ood.detectors.passes import Scored, score_images
from xai.ood.judgement import Judgement, RejectionGuarantee, guarantee, p_values, threshold
from xai.ood.selection import SHIFTS, Choice, Shifted
from xai.ood.serialization import KIND, Neighbours, arrays_of, fields_of, names_of, restore

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False, repr=False)
class OODDetector:
    """A detector, fitted on some images and calibrated on others.

    Attributes:
        fitted: the detector with what it learned.
        calibration: parts of the scores of the calibration images, each (m,).
        fit_keys: (n,) fingerprints of the fit images.
        calibration_keys: (m,) fingerprints of the calibration images.
        bank: fit images for `neighbours`; None when the model has no features.
        choice: how the method was chosen; None when it was named.
        seed: of everything random.
        model: name, fingerprint and preprocessing.
        versions: of the packages.
        notes: what was chosen and what to beware of.
        classifier: the model; None after `load` without one.
        SHIFTS: names of the shifts that `shifted` makes.

    Example:
        >>> import xai
        >>> clf = xai.load("example:fashion")
        >>> fit, rest = (xai.load_data(f"example:fashion-{part}").subset(200) for part in ("train", "test"))
        >>> detector = xai.fit_ood(clf, fit, rest, method="knn")
        >>> detector.score(xai.load_data("example:digits").images[:3]).shape  # higher is more out of distribution
        torch.Size([3])
    """

    SHIFTS: ClassVar[tuple[str, ...]] = tuple(SHIFTS)

    fitted: Fitted
    calibration: Mapping[str, Tensor] = field(repr=False)
    fit_keys: Tensor
    calibration_keys: Tensor
    bank: Neighbours | None
    choice: Choice | None
    seed: int
    model: Mapping[str, Any]
    versions: Mapping[str, str]
    notes: tuple[str, ...]
    classifier: Classifier | None = None

    def __repr__(self) -> str:
        """Method, sizes and model."""
        return (
            f"OODDetector({self.fitted.detector.label}, fitted on {len(self.fit_keys)}, calibrated on "
            f"{len(self.calibration_keys)} image(s), model: {self.model.get('name')})"
        )

    @property
    def method(self) -> str:
        """Name of the detector."""
        return self.fitted.detector.name

    @property
    def settings(self) -> dict[str, Any]:
        """All settings of the detector, and the figures that it took from the fit images."""
        return {**self.fitted.detector.settings, "fitted": plain(self.fitted.facts)}

    @property
    def layer(self) -> str | None:
        """Name of the layer whose inputs are the features, or None."""
        head = self.fitted.view.head
        return None if head is None else head.layer

    @property
    def calibration_scores(self) -> Tensor:
        """(m,) float64 scores of the calibration images."""
        return torch.stack(list(self.calibration.values())).sum(0)

    @property
    def table(self) -> "pd.DataFrame | None":
        """Results of each method on shifted calibration images. It is None when the method was named."""
        return None if self.choice is None else self.choice.table

    def guarantee(self, alpha: float = 0.05) -> RejectionGuarantee:
        """Return how often in-distribution images will be rejected at `alpha`."""
        return guarantee(alpha, len(self.calibration_keys))

    def threshold(self, alpha: float = 0.05) -> float:
        """Return the score above which images are rejected at `alpha`; infinite where too few calibrate."""
        return threshold(self.calibration_scores, alpha)

    def score(
        self,
        images: ImageLike,
        *,
        progress: bool | Progress | None = None,
        should_stop: ShouldStop | None = None,
    ) -> Tensor:
        """Return scores (N,) float64; higher is more out of distribution.

        Args:
            images: in any form that `xai.explain` takes, or a data set.
            progress: None, True for a bar, or a callable `(done, total)` in images.
            should_stop: asked between chunks; True ends the work with `xai.errors.Stopped`.

        Raises:
            InputError: an image that cannot be used, or a detector loaded without its model.

        Cost: one forward row per image (ODIN: two, and one back).
        """
        many = open_data(images)
        return self._scored(many, keyed=False, progress=progress, should_stop=should_stop).scores[0]

    def judge(
        self,
        images: ImageLike,
        alpha: float = 0.05,
        *,
        progress: bool | Progress | None = None,
        should_stop: ShouldStop | None = None,
    ) -> Judgement:
        """Say of each image whether its answer must not be used.

        Args:
            images: in any form that `xai.explain` takes, or a data set.
            alpha: share of in-distribution images that may be rejected.
            progress: None, True for a bar, or a callable `(done, total)` in images.
            should_stop: asked between chunks; True ends the work with `xai.errors.Stopped`.

        Returns:
            Judgement: scores, conformal p-values, verdicts, the guarantee and which part of the score spoke.

        Raises:
            InputError: an image that cannot be used, or a detector loaded without its model.
            RangeError: `alpha` not between 0 and 1.
        """
        promise = self.guarantee(alpha)
        many = open_data(images)
        scored = self._scored(many, keyed=True, progress=progress, should_stop=should_stop)
        labels = self._ready().class_names
        return Judgement(
            scores=scored.scores[0],
            p_values=p_values(scored.scores[0], self.calibration_scores),
            parts=scored.parts[0],
            shares={name: _share_below(values, self.calibration[name]) for name, values in scored.parts[0].items()},
            predictions=tuple(labels[k] for k in scored.predicted.tolist()),
            alpha=float(alpha),
            guarantee=promise,
            image_names=names_of(many),
            single=getattr(many, "single", False),
            method=self.method,
            provenance=Provenance(self.model, plain(self.settings), self.seed, versions=self.versions),
            notes=(*self.notes, *self._seen_before(scored.keys)),
        )

    def explain(self, images: ImageLike, method: str = "occlusion", **settings: Any) -> Explanation:
        """Say which pixels make images out-of-distribution: an explanation of the score itself.

        Args:
            images: in any form that `xai.explain` takes.
            method: a name from `xai.methods()`; those with gradients need a score that has one (hbos has none).
            settings: as of `xai.explain`, `seed`, `progress` and the method's own.

        Returns:
            Explanation: what raises the score is positive. `.probabilities` are the shares of calibration images with
            a lower score, `.predicted` are the verdicts at alpha 0.05.
        """
        return explain_score(self._ready(), self.fitted, self.calibration_scores, images, method, settings)

    def neighbours(self, images: ImageLike, k: int = 5) -> "pd.DataFrame":
        """Return the nearest fit images. There is one row per image and rank, with number, class and distance.

        Numbers are those in the fit data; distances are between features with norm 1, 0 to 2.

        Raises:
            InputError: the model has no features, or the detector was loaded without its model.
        """
        if self.bank is None:
            raise InputError("This model has no features to find neighbours by: its logits come from no linear layer.")
        many = open_data(images)
        return self.bank.nearest(self._ready(), self.fitted.view, many, k)

    def attack(
        self, images: ImageLike, labels: Any, ood_images: ImageLike | None = None, alpha: float = 0.05, **settings: Any
    ) -> OODAttack:
        """Measure how the detector resists attacks.

        It says whether adversarial images are flagged, and whether an attack on the score itself goes unseen.

        Args:
            images: in-distribution images; they are attacked until the model answers wrongly.
            labels: their true classes.
            ood_images: those flagged are attacked until they are accepted. None leaves this out.
            alpha: of the decision.
            settings: as of `xai.attack`: `method`, `eps`, `norm`, `steps`, `seed`, `progress`, `should_stop`, ...
        """
        return attack_detector(
            self._ready(), self.fitted, self.calibration_scores, images, labels, ood_images, alpha, settings
        )

    def shifted(self, images: ImageLike, shift: str) -> Shifted:
        """Return OOD images made of in-distribution ones, as "auto" tries detectors on them.

        Each is made when it is read.

        Args:
            images: in any form that `xai.explain` takes, or a data set.
            shift: one of `OODDetector.SHIFTS`: every pixel drawn anew, 4 x 4 patches that change places, the negative,
                4 x 4 places that are left, or one flat colour.

        Returns:
            As many images, as the model sees them; with a number one of them, with a slice several.

        Raises:
            NameLookupError: no such shift.
            InputError: the detector was loaded without its model.
        """
        if shift not in SHIFTS:
            raise NameLookupError("shift", shift, list(SHIFTS))
        many = open_data(images)
        source = many.images
        return Shifted(self._ready(), source, range(len(source)), shift, self.seed)

    def plot(self, images: ImageLike | None = None, alpha: float = 0.05) -> Any:
        """Draw the scores of calibration images and of `images`, and the threshold. The figure is returned."""
        from xai.plots.uncertainty import detector_figure

        return detector_figure(self, None if images is None else self.judge(images, alpha), alpha)

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the arrays, JSON-ready."""
        return fields_of(self) | {"sentence": self.guarantee().sentence, "threshold": plain(self.threshold())}

    def save(self, path: str | Path) -> Path:
        """Write everything but the model into a folder: manifest.json and values.npz.

        Raises:
            RecordError: the place cannot be written.
        """
        write_record(Path(path), KIND, {"result": fields_of(self)}, arrays_of(self), {})
        return Path(path)

    @classmethod
    def load(cls, path: str | Path, model: Classifier | nn.Module | None = None) -> Self:
        """Read a saved detector; nothing in the files is executed.

        Args:
            path: of the folder.
            model: that it was fitted on; None loads one that `xai.load` knows by name.

        Raises:
            RecordError: none here, or a damaged one.
            InputError: another model.
        """
        return cls(**restore(Path(path), None if model is None else as_classifier(model)))

    def _ready(self) -> Classifier:
        if self.classifier is None:
            raise InputError(
                f"This detector was loaded without its model {self.model.get('name')!r}: write "
                "OODDetector.load(path, model)."
            )
        return self.classifier

    def _scored(self, many: Any, **settings: Any) -> Scored:
        return score_images(self._ready(), [self.fitted], many, **settings)

    def _seen_before(self, keys: Tensor) -> list[Message]:
        count = int(torch.isin(keys, torch.cat([self.fit_keys, self.calibration_keys])).sum())
        if not count:
            return []
        template = "{count} image(s) are among the fit or calibration images: their p-values guarantee nothing"
        return [Message(template, count=count)]


def _share_below(values: Tensor, calibration: Tensor) -> Tensor:
    """Return the share of calibration images with a lower value (n,)."""
    ordered = calibration.sort().values
    return torch.searchsorted(ordered, values.to(ordered).contiguous()).double() / len(ordered)
