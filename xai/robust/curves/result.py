"""The curve: verdicts, accuracies with intervals, counterexamples."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from xai.core.results.result import Result
from xai.errors import RangeError
from xai.robust.curves.trust import Trust
from xai.stats.intervals import wilson

if TYPE_CHECKING:
    import pandas as pd

VERIFIED, VIOLATED, UNPROVEN = "verified", "violated", "unproven"


@dataclass(frozen=True, eq=False, repr=False)
class RobustnessCurve(Result):
    """Verdicts for N images at E radii.

    Attributes:
        eps: (E) increasing radii in the scale of pixels in [0, 1].
        norm: "linf", "l2" or "l1".
        labels: (N,) ground truth.
        clean_predictions: (N,) classes of the clean images.
        certified_radii: (N,) how many radii are certified, from the smallest on.
        broken: (N,) number of the smallest radius with a counterexample; E where none is known; 0 also for images
            that are wrong to begin with, whose counterexample is the image itself.
        distance: (N,) float64 to the nearest counterexample; infinite where none is known.
        predictions: (N,) class of the nearest counterexample, else of the clean image.
        broken_by: (N,) attack that found it; "clean" for images wrong to begin with.
        certified_by: (N,) method of the last certificate.
        rows: (M,) numbers of the images with a counterexample.
        adversarial: (M, C, h, w) the nearest counterexamples in [0, 1], in the model's input geometry.
        originals: (M, C, h, w) the clean images of `rows`.
        class_names: of the model.
        stages: what each attack and certificate did, in order: name, kind, images, cells decided, seconds, finished,
            note.
        trust: whether the evaluation is reliable; None when it was not asked for.
        budget: seconds allowed, or None.
        provenance: model, seed and versions.
        notes: what happened and what to beware of.

    Example:
        >>> import xai
        >>> clf = xai.load("example:fashion")
        >>> data = xai.load_data("example:fashion-test").subset(5)
        >>> curve = xai.robustness(clf, data, eps=[1 / 255, 8 / 255], attacks=["fgsm"], certificates=(), trust=False)
        >>> curve.verdicts.shape
        (5, 2)
    """

    _kind: ClassVar[str] = "robustness"
    _derived: ClassVar[tuple[str, ...]] = ("clean", "certified", "attacked", "intervals", "verdicts", "broken_first_by")

    eps: tuple[float, ...]
    norm: str
    labels: Tensor = field(repr=False)
    clean_predictions: Tensor
    certified_radii: Tensor
    broken: Tensor
    distance: Tensor
    predictions: Tensor
    broken_by: tuple[str, ...]
    certified_by: tuple[str, ...]
    rows: Tensor
    adversarial: Tensor
    originals: Tensor
    class_names: tuple[str, ...]
    stages: tuple[Mapping[str, Any], ...]
    trust: Trust | None
    budget: float | None

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.labels)

    def __repr__(self) -> str:
        """Size and ends of the curve."""
        return (
            f"RobustnessCurve({len(self)} image(s), {self.norm}, clean {self.clean:.1%}, at eps {self.eps[-1]:.4g}: "
            f"certified {self.certified[-1]:.1%}, attacked {self.attacked[-1]:.1%})"
        )

    @property
    def clean(self) -> float:
        """Accuracy on the clean images."""
        return float((self.clean_predictions == self.labels).double().mean())

    @property
    def certified(self) -> np.ndarray:
        """Share of all images that is certified right, at each radius (E,). It is a lower bound of robust accuracy."""
        return self._hits(self.certified_radii > self._levels()) / len(self)

    @property
    def attacked(self) -> np.ndarray:
        """Share of all images that no attack changed, at each radius (E,). It is an upper bound of robust accuracy."""
        return self._hits(self.broken > self._levels()) / len(self)

    @property
    def intervals(self) -> dict[str, np.ndarray]:
        """95 % Wilson intervals over the draw of images: "clean" (2,), "certified" and "attacked" (E, 2)."""
        clean = int((self.clean_predictions == self.labels).sum())
        certified, left = self._hits(self.certified_radii > self._levels()), self._hits(self.broken > self._levels())
        return {name: wilson(hits, len(self)) for name, hits in self._pairs(clean, certified, left)}

    @property
    def verdicts(self) -> np.ndarray:
        """Each image at each radius (N, E): "verified", "violated" or "unproven"."""
        levels = self._levels()
        verified, violated = (self.certified_radii > levels).T.numpy(), (self.broken <= levels).T.numpy()
        return np.where(verified, VERIFIED, np.where(violated, VIOLATED, UNPROVEN))

    @property
    def counterexamples(self) -> np.ndarray:
        """The nearest counterexample (C, h, w) where violated, None elsewhere: (N, E) objects."""
        images = np.full((len(self), len(self.eps)), None, dtype=object)
        for row, image in zip(self.rows.tolist(), self.adversarial, strict=True):
            for level in range(int(self.broken[row]), len(self.eps)):
                images[row, level] = image
        return images

    @property
    def smallest_eps(self) -> np.ndarray:
        """Smallest radius at which each image is violated (N,); infinite where none is."""
        radii: np.ndarray = np.array([*self.eps, np.inf])[self.broken.numpy()]
        return radii

    @property
    def table(self) -> "pd.DataFrame":
        """One row per radius: accuracies with intervals, and how many images are unproven."""
        import pandas as pd

        spans = self.intervals
        columns: dict[str, Any] = {"eps": self.eps, "eps_255": [255 * eps for eps in self.eps]}
        for name in ("certified", "attacked"):
            columns |= {name: getattr(self, name), f"{name}_low": spans[name][:, 0], f"{name}_high": spans[name][:, 1]}
        return pd.DataFrame(columns).assign(unproven=(self.verdicts == UNPROVEN).sum(0), images=len(self))

    @property
    def per_class(self) -> "pd.DataFrame":
        """One row per class and radius.

        Columns are images, clean, certified and attacked accuracy, and the 95 % interval of the last.
        """
        import pandas as pd

        parts = []
        for label in sorted(set(self.labels.tolist())):
            own = self.labels == label
            count, clean = int(own.sum()), float((self.clean_predictions[own] == label).double().mean())
            certified, left = (
                (levels[:, own] > self._levels()).sum(1).numpy()
                for levels in (self.certified_radii[None], self.broken[None])
            )
            low, high = wilson(left, count).T
            part = {"class": self.class_names[label], "images": count, "clean": clean, "eps": self.eps}
            shares = {
                "certified": certified / count,
                "attacked": left / count,
                "attacked_low": low,
                "attacked_high": high,
            }
            parts.append(pd.DataFrame(part | shares))
        return pd.concat(parts, ignore_index=True)

    def confusion(self, eps: float) -> "pd.DataFrame":
        """Return the adversarial confusion matrix at one of the radii.

        Rows are true classes, columns predictions under attack.

        Raises:
            RangeError: the radius is none of the curve's.
        """
        import pandas as pd

        matches = [k for k, radius in enumerate(self.eps) if abs(radius - eps) <= 1e-9]
        if not matches:
            raise RangeError(f"Expected one of the curve's radii {list(self.eps)}, but got {eps!r}.")
        predictions = torch.where(self.broken <= matches[0], self.predictions, self.labels)
        size = len(self.class_names)
        counts = torch.bincount(self.labels * size + predictions, minlength=size * size).view(size, size)
        return pd.DataFrame(counts.numpy(), index=list(self.class_names), columns=list(self.class_names))

    @property
    def broken_first_by(self) -> dict[str, int]:
        """How many nearest counterexamples each attack found."""
        names = [name for name in self.broken_by if name]
        return {name: names.count(name) for name in dict.fromkeys(names)}

    def plot(self) -> Any:
        """Draw both bounds with their intervals and the gap between them; return the matplotlib figure."""
        from xai.plots.robust import curve_figure

        return curve_figure(self)

    def strip(self, row: int | None = None) -> Any:
        """Draw one image along the radii: verdict, what was found, and the difference times ten.

        Args:
            row: number of the image; None takes the first one that an attack changed.

        Raises:
            RangeError: no counterexample of that image is known, or it was wrong to begin with.
        """
        from xai.plots.robust import strip_figure

        return strip_figure(self, self._changed(row))

    def png(self, row: int | None = None, *, strip: bool = False) -> bytes:
        """Return what `plot` draws, or `strip` of an image, as PNG bytes.

        Raises:
            RangeError: no counterexample of that image is known, or it was wrong to begin with.
        """
        from xai.plots.robust import curve_figure, png, strip_figure

        return png(strip_figure)(self, self._changed(row)) if strip else png(curve_figure)(self)

    @property
    def changed(self) -> list[int]:
        """Numbers of the images that an attack changed, nearest counterexample first."""
        changed = [k for k in self.rows.tolist() if float(self.distance[k]) > 0]
        return sorted(changed, key=lambda k: float(self.distance[k]))

    def _changed(self, row: int | None) -> int:
        changed = self.changed
        chosen = min(changed) if row is None and changed else row
        if chosen not in changed:
            raise RangeError(f"Expected an image that an attack changed, one of {changed[:10]}, but got {row!r}.")
        return int(chosen)

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the images, JSON-ready."""
        radii = [None if np.isinf(eps) else float(eps) for eps in self.smallest_eps]
        return super().to_dict() | {
            "smallest_eps": radii,
            "trust": None if self.trust is None else self.trust.to_dict(),
        }

    def _levels(self) -> Tensor:
        return torch.arange(len(self.eps))[:, None]

    @staticmethod
    def _hits(is_right: Tensor) -> np.ndarray:
        counts: np.ndarray = is_right.sum(1).numpy()
        return counts

    @staticmethod
    def _pairs(clean: int, certified: np.ndarray, attacked: np.ndarray) -> list[tuple[str, Any]]:
        return [("clean", clean), ("certified", certified), ("attacked", attacked)]
