"""Predictions under corruptions, their accuracies, and the mean corruption error."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import isfinite
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from torch import Tensor

from xai.core.results.result import Result
from xai.core.validation import check_seed
from xai.errors import InputError, NameLookupError, RangeError, ShapeError
from xai.stats.intervals import wilson

if TYPE_CHECKING:
    import pandas as pd

# mean error over the five severities, ImageNet-C validation (Hendrycks and Dietterich 2019)
ALEXNET: Mapping[str, float] = {
    "gaussian_noise": 0.886428,
    "shot_noise": 0.894468,
    "impulse_noise": 0.922640,
    "defocus_blur": 0.819880,
    "glass_blur": 0.826268,
    "motion_blur": 0.785948,
    "zoom_blur": 0.798360,
    "snow": 0.866816,
    "frost": 0.826572,
    "fog": 0.819324,
    "brightness": 0.564592,
    "contrast": 0.853204,
    "elastic_transform": 0.646056,
    "pixelate": 0.717840,
    "jpeg_compression": 0.606500,
}
ALEXNET_CLEAN = 0.43478  # torchvision's AlexNet, 56.522 % right
IMAGENET_C = tuple(ALEXNET)  # the fifteen that count, in the paper's order
IMAGENET_C_EXTRA = ("speckle_noise", "gaussian_blur", "spatter", "saturate")
_SEVERITIES = 5


@dataclass(frozen=True)
class CorruptionError:
    """Errors under corruption, divided by AlexNet's. 1 is as bad as AlexNet, smaller is better.

    Attributes:
        ce: by corruption, its error over AlexNet's.
        mce: mean of `ce`.
        relative_ce: by corruption, what is lost from clean over what AlexNet loses; None without a clean error.
        relative_mce: mean of `relative_ce`.
        interval: 95 % bootstrap interval of `mce` over the images; None without the single answers.
        relative_interval: the same of `relative_mce`.
        names: the corruptions counted; all fifteen unless `partial` was given.

    Example:
        >>> import xai
        >>> xai.mce({"fog": [0.5] * 5}, partial=True).ce["fog"] < 1
        True
    """

    ce: Mapping[str, float]
    mce: float
    relative_ce: Mapping[str, float] | None
    relative_mce: float | None
    interval: tuple[float, float] | None
    relative_interval: tuple[float, float] | None
    names: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return everything, JSON-ready."""
        return asdict(self)


def mce(
    errors: Mapping[str, float | Sequence[float]],
    clean: float | None = None,
    *,
    partial: bool = False,
    wrong: Mapping[str, np.ndarray] | None = None,
    clean_wrong: np.ndarray | None = None,
    draws: int = 1000,
    seed: int = 0,
) -> CorruptionError:
    """Return the mean corruption error and its relative form.

    CE_c = sum over severities of the error / sum of AlexNet's; mCE is its mean over the fifteen corruptions. In the
    relative form the clean errors are subtracted above and below the line. Everything goes by name, never by position.

    Args:
        errors: by corruption, one error for each of the five severities, or their mean; shares in [0, 1].
        clean: error on the clean images; needed for the relative form.
        partial: allow fewer than the fifteen; the mean is then over those given, and no mCE in the paper's sense.
        wrong: by corruption, whether each answer was wrong (S, N) bool: gives intervals by drawing images anew.
        clean_wrong: the same on the clean images (N,), for the interval of the relative form.
        draws: of the bootstrap.
        seed: of the bootstrap.

    Returns:
        CorruptionError. AlexNet's own is 1.

    Raises:
        InputError: corruptions missing, and not `partial`.
        NameLookupError: a corruption without an error of AlexNet's (the four extra ones of ImageNet-C have none).
        RangeError: an error outside [0, 1].
        ShapeError: neither one nor five errors.

    Source: Hendrycks and Dietterich 2019, section 4.2. Meaningful for models of ImageNet's 1,000 classes alone.

    Example:
        >>> import xai
        >>> found = xai.mce({"fog": [0.1, 0.2, 0.3, 0.4, 0.5]}, partial=True)
        >>> found.names, 0 < found.mce < 1
        (('fog',), True)
    """
    names = _checked_names(errors, partial=partial)
    means = np.array([_mean(errors[name], name) for name in names])
    alexnet = np.array([ALEXNET[name] for name in names])
    lost = None if clean is None else _relative(means, _unit(clean, "clean"), alexnet)
    spread = relative_spread = None
    if wrong is not None:
        spread, relative_spread = _bootstrap(names, wrong, clean_wrong, draws, check_seed(seed))
    return CorruptionError(
        ce=dict(zip(names, (means / alexnet).tolist(), strict=True)),
        mce=float((means / alexnet).mean()),
        relative_ce=None if lost is None else dict(zip(names, lost.tolist(), strict=True)),
        relative_mce=None if lost is None else float(lost.mean()),
        interval=spread,
        relative_interval=relative_spread,
        names=names,
    )


def _relative(means: np.ndarray, clean: Any, alexnet: np.ndarray) -> np.ndarray:
    relative: np.ndarray = (means - clean) / (alexnet - ALEXNET_CLEAN)
    return relative


def _checked_names(errors: Mapping[str, Any], *, partial: bool) -> tuple[str, ...]:
    for name in errors:
        if name not in ALEXNET:
            raise NameLookupError("corruption with an error of AlexNet's", name, list(ALEXNET))
    missing = [name for name in ALEXNET if name not in errors]
    if missing and not (partial and errors):
        raise InputError(
            f"Expected errors of all {len(ALEXNET)} corruptions, but without {', '.join(missing[:4])}"
            f"{', ...' if len(missing) > 4 else ''}. Measure them, or pass partial=True for the mean over the rest."
        )
    return tuple(name for name in ALEXNET if name in errors)


def _mean(given: float | Sequence[float], name: str) -> float:
    values = np.atleast_1d(np.asarray(given, dtype=np.float64))
    if values.shape not in {(1,), (_SEVERITIES,)}:
        raise ShapeError(
            f"Expected one error of {name} for each of {_SEVERITIES} severities, or their mean, but got "
            f"{values.size} number(s)."
        )
    return float(np.mean([_unit(value, name) for value in values]))


def _unit(value: Any, name: str) -> float:
    error = float(value)
    if not (isfinite(error) and 0 <= error <= 1):
        raise RangeError(f"Expected the error of {name} as a share in [0, 1], but got {error:.3g}. 80 % is 0.8.")
    return error


def _bootstrap(
    names: Sequence[str], wrong: Mapping[str, np.ndarray], clean_wrong: np.ndarray | None, draws: int, seed: int
) -> tuple[tuple[float, float], tuple[float, float] | None]:
    """Draw images anew, all corruptions and severities of an image together."""
    shares = np.stack([np.asarray(wrong[name], dtype=np.float64).mean(0) for name in names], 1)  # (N, corruptions)
    count = len(shares)
    times = np.random.default_rng(abs(seed)).multinomial(count, np.full(count, 1 / count), size=draws) / count
    alexnet = np.array([ALEXNET[name] for name in names])
    means = times @ shares
    spread = _middle((means / alexnet).mean(1))
    if clean_wrong is None:
        return spread, None
    clean = (times @ np.asarray(clean_wrong, dtype=np.float64))[:, None]
    return spread, _middle(_relative(means, clean, alexnet).mean(1))


def _middle(values: np.ndarray) -> tuple[float, float]:
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


_FIVE = (1.0, 2.0, 3.0, 4.0, 5.0)
_CLASSES = 1000


@dataclass(frozen=True, eq=False, repr=False)
class CorruptionResult(Result):
    """Answers under C corruptions at S severities, for N images.

    Attributes:
        names: of the corruptions (C).
        severities: increasing (S).
        labels: (N,) int64, the truth.
        clean_predictions: (N,) int64.
        predictions: (C, S, N) int64.
        num_classes: of the model.
        provenance: model, seed and versions.
        notes: what was done and what to beware of.

    Example:
        >>> import xai
        >>> clf = xai.load("example:fashion")
        >>> data = xai.load_data("example:fashion-test").subset(20)
        >>> found = xai.corruption_robustness(clf, data, names=["fog"], severities=[1, 5])
        >>> found.predictions.shape
        torch.Size([1, 2, 20])
    """

    _kind: ClassVar[str] = "corruption result"
    _derived: ClassVar[tuple[str, ...]] = ("clean", "clean_interval", "accuracy", "intervals", "mce")

    names: tuple[str, ...]
    severities: tuple[float, ...]
    labels: Tensor = field(repr=False)
    clean_predictions: Tensor = field(repr=False)
    predictions: Tensor = field(repr=False)
    num_classes: int

    def __post_init__(self) -> None:
        """Refuse arrays that do not belong together, of a file for instance."""
        if self.predictions.shape != (len(self.names), len(self.severities), len(self.labels)):
            raise ValueError("Expected predictions by corruption, severity and image.")

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.labels)

    def __repr__(self) -> str:
        """Size, accuracies and model."""
        return (
            f"CorruptionResult({len(self)} image(s), {len(self.names)} corruption(s), clean {self.clean:.1%}, "
            f"corrupted {self.accuracy.mean():.1%}, model: {self.model.get('name')})"
        )

    @property
    def correct(self) -> np.ndarray:
        """Whether each answer is right (C, S, N) bool."""
        is_correct: np.ndarray = (self.predictions == self.labels).numpy()
        return is_correct

    @property
    def clean_correct(self) -> np.ndarray:
        """Whether each answer on the clean image is right (N,) bool."""
        is_correct: np.ndarray = (self.clean_predictions == self.labels).numpy()
        return is_correct

    @property
    def clean(self) -> float:
        """Accuracy on the clean images."""
        return float(self.clean_correct.mean())

    @property
    def clean_interval(self) -> tuple[float, float]:
        """95 % interval of `clean` (Wilson)."""
        low, high = wilson(self.clean_correct.sum(), len(self))
        return float(low), float(high)

    @property
    def accuracy(self) -> np.ndarray:
        """Accuracy by corruption and severity (C, S)."""
        accuracy: np.ndarray = self.correct.mean(2)
        return accuracy

    @property
    def intervals(self) -> np.ndarray:
        """95 % intervals of `accuracy` (C, S, 2) (Wilson)."""
        return wilson(self.correct.sum(2), len(self))

    @property
    def errors(self) -> dict[str, list[float]]:
        """1 - accuracy by corruption, one for each severity: what `mce` takes."""
        return dict(zip(self.names, (1 - self.accuracy).tolist(), strict=True))

    @property
    def mce(self) -> CorruptionError | None:
        """Mean corruption error with bootstrap intervals.

        None unless the model has 1,000 classes and the fifteen corruptions of ImageNet-C were measured at severities 1
        to 5: AlexNet's errors are those on ImageNet.
        """
        if self.severities != _FIVE or self.num_classes != _CLASSES or not set(IMAGENET_C) <= set(self.names):
            return None
        wrong = {name: ~rows for name, rows in zip(self.names, self.correct, strict=True) if name in IMAGENET_C}
        errors = {name: values for name, values in self.errors.items() if name in IMAGENET_C}
        return mce(errors, 1 - self.clean, wrong=wrong, clean_wrong=~self.clean_correct, seed=self.seed)

    @property
    def critical_severity(self) -> np.ndarray:
        """Smallest severity measured at which the prediction is wrong, (C, N).

        It is 0 when it is wrong on the clean image.

        nan when it never is. Monotone by definition: an answer that turns right again at a higher severity does not
        count as robust, so the share of images with a critical severity of at most s never falls with s.
        """
        steps = np.array([0.0, *self.severities, np.nan])
        clean = np.broadcast_to(~self.clean_correct, (len(self.names), 1, len(self)))
        never = np.ones_like(clean)
        severities: np.ndarray = steps[np.concatenate([clean, ~self.correct, never], 1).argmax(1)]
        return severities

    def first_errors(self, name: str) -> np.ndarray:
        """Return `critical_severity` of one corruption (N,).

        Raises:
            NameLookupError: it was not measured.
        """
        if name not in self.names:
            raise NameLookupError("corruption in this result", name, self.names)
        severities: np.ndarray = self.critical_severity[self.names.index(name)]
        return severities

    @property
    def table(self) -> "pd.DataFrame":
        """One row per corruption and severity: accuracy, interval, error; severity 0 of "clean" first."""
        import pandas as pd

        low, high = self.clean_interval
        rows = [("clean", 0.0, self.clean, low, high)]
        for name, shares, spans in zip(self.names, self.accuracy, self.intervals, strict=True):
            rows += [
                (name, severity, float(share), float(span[0]), float(span[1]))
                for severity, share, span in zip(self.severities, shares, spans, strict=True)
            ]
        table = pd.DataFrame(rows, columns=["corruption", "severity", "accuracy", "low", "high"])
        return table.assign(error=1 - table["accuracy"], images=len(self))

    def plot(self) -> Any:
        """Draw accuracy by corruption and severity, with intervals; return the matplotlib figure."""
        from xai.plots.robust import corruption_matrix

        return corruption_matrix(self)

    def png(self) -> bytes:
        """Return what `plot` draws as the bytes of a PNG file."""
        from xai.plots.robust import corruption_matrix, png

        return png(corruption_matrix)(self)

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the single predictions, JSON-ready."""
        return super().to_dict() | {"images": len(self)}
