"""The mean corruption error: errors measured against AlexNet's, by name."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any

import numpy as np

from xai.core.validation import check_seed
from xai.errors import InputError, NameLookupError, RangeError, ShapeError

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
    """Errors under corruption as shares of AlexNet's; 1 is as bad as AlexNet, less is better.

    Attributes:
        ce: by corruption, its error over AlexNet's.
        mce: mean of `ce`.
        relative_ce: by corruption, what is lost from clean over what AlexNet loses; None without a clean error.
        relative_mce: mean of `relative_ce`.
        interval: 95 % bootstrap interval of `mce` over the pictures; None without the single answers.
        relative_interval: the same of `relative_mce`.
        names: the corruptions counted; all fifteen unless `partial` was given.
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
        clean: error on the clean pictures; needed for the relative form.
        partial: allow fewer than the fifteen; the mean is then over those given, and no mCE in the paper's sense.
        wrong: by corruption, whether each answer was wrong (S, N) bool: gives intervals by drawing pictures anew.
        clean_wrong: the same on the clean pictures (N,), for the interval of the relative form.
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
    found: np.ndarray = (means - clean) / (alexnet - ALEXNET_CLEAN)
    return found


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
    found = float(value)
    if not (isfinite(found) and 0 <= found <= 1):
        raise RangeError(f"Expected the error of {name} as a share in [0, 1], but got {found:.3g}. 80 % is 0.8.")
    return found


def _bootstrap(
    names: Sequence[str], wrong: Mapping[str, np.ndarray], clean_wrong: np.ndarray | None, draws: int, seed: int
) -> tuple[tuple[float, float], tuple[float, float] | None]:
    """Draw pictures anew, all corruptions and severities of a picture together."""
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
