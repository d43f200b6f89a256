"""From a score to a decision: p-values against held-out images, verdicts, and the guarantee."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import scipy
import torch
from torch import Tensor

from xai.core.results.message import Message, joined
from xai.core.results.result import Result
from xai.core.validation import check_alpha

if TYPE_CHECKING:
    import pandas as pd


def p_values(scores: Tensor, calibration: Tensor) -> Tensor:
    """Return conformal p-values (n,): (1 + calibration images that score as high or higher) / (1 + all of them).

    For an image drawn as the calibration images were, a p-value is at most alpha with a chance of at most alpha.

    Args:
        scores: (n,), higher is more out of distribution.
        calibration: (m,) scores of in-distribution images that the detector has not seen.

    Source: Vovk, Gammerman and Shafer 2005; Bates et al. 2023 (arXiv 2104.08279).
    """
    ordered = calibration.sort().values
    below = torch.searchsorted(ordered, scores.to(ordered).contiguous())
    return (1 + len(ordered) - below).double() / (1 + len(ordered))


_WHOLE_NUMBERS = 0.03  # upper end from which shares are told in whole percent


@dataclass(frozen=True)
class RejectionGuarantee:
    """How often in-distribution images will be rejected.

    Attributes:
        alpha: asked for; on average over calibration sets no more than this share is rejected.
        count: number of calibration images.
        low: lower end of the interval of the share that this one set will reject.
        high: upper end.
        level: of the interval.
    """

    alpha: float
    count: int
    low: float
    high: float
    level: float = 0.95

    @property
    def sentence(self) -> Message:
        """The guarantee in words."""
        if self.high == 0:
            return Message(
                "Nothing can be rejected at alpha {alpha:g} with {count} calibration images: at least {needed} are "
                "needed.",
                **{"alpha": self.alpha, "count": self.count, "needed": math.ceil(1 / self.alpha) - 1},
            )
        rejected = "{low:.0f} to {high:.0f}" if self.high >= _WHOLE_NUMBERS else "{low:.1f} to {high:.1f}"
        return Message(
            f"Expect {rejected} of 100 in-distribution images to be rejected ({{level:.0%}} interval for {{count}} "
            "calibration images, nominal {nominal:g}).",
            **{"low": 100 * self.low, "high": 100 * self.high, "level": self.level},
            **{"count": self.count, "nominal": 100 * self.alpha},
        )


def guarantee(alpha: float, count: int, level: float = 0.95) -> RejectionGuarantee:
    """Return what `count` calibration images promise at `alpha`.

    The share of ID images with a p-value of at most alpha, given the calibration set, is Beta(k, count + 1 - k)
    with k = floor(alpha (count + 1)), for scores without ties; with ties it is smaller.

    Raises:
        RangeError: `alpha` not between 0 and 1, both left out.
    """
    rejected = math.floor(check_alpha(alpha) * (count + 1) + 1e-9)
    if rejected == 0:
        return RejectionGuarantee(alpha, count, 0.0, 0.0, level)
    share = scipy.stats.beta(rejected, count + 1 - rejected)
    return RejectionGuarantee(alpha, count, float(share.ppf((1 - level) / 2)), float(share.ppf((1 + level) / 2)), level)


def threshold(calibration: Tensor, alpha: float) -> float:
    """Return the score above which an image is rejected at `alpha`; infinite where nothing can be.

    Raises:
        RangeError: `alpha` not between 0 and 1, both left out.
    """
    rejected = math.floor(check_alpha(alpha) * (len(calibration) + 1) + 1e-9)
    if rejected == 0:
        return math.inf
    return float(calibration.sort(descending=True).values[rejected - 1])


OUT_OF_DISTRIBUTION, IN_DISTRIBUTION = "out-of-distribution", "in-distribution"
_ROUNDING = 1e-12


@dataclass(frozen=True, eq=False, repr=False)
class Judgement(Result):
    """Verdicts on N images.

    Attributes:
        scores: (N,) float64, higher is more out of distribution.
        p_values: (N,) conformal p-values.
        parts: of the scores by name, each (N,); they add up to them.
        shares: by the same names, the share of calibration images whose part is lower (N,).
        predictions: (N,) names of the classes that the model answers.
        alpha: p-values of at most this are rejected.
        guarantee: how often in-distribution images will be rejected.
        image_names: of the images.
        single: one image was given, so that `score`, `p_value` and `verdict` are plain values.
        method: name of the detector.
        provenance: model, settings and seed of the detector.
        notes: what to beware of.

    Example:
        >>> import xai
        >>> clf = xai.load("example:fashion")
        >>> fit, rest = (xai.load_data(f"example:fashion-{part}").subset(200) for part in ("train", "test"))
        >>> detector = xai.fit_ood(clf, fit, rest, method="energy")
        >>> judged = detector.judge(xai.load_data("example:digits").images[:3])
        >>> len(judged.verdicts), judged.p_values.shape
        (3, torch.Size([3]))
    """

    _kind: ClassVar[str] = "ood judgement"
    _listed: ClassVar[tuple[str, ...]] = ("scores", "p_values", "parts", "shares")
    _derived: ClassVar[tuple[str, ...]] = ("verdicts", "fired", "reasons", "sentence")

    scores: Tensor = field(repr=False)
    p_values: Tensor
    parts: Mapping[str, Tensor]
    shares: Mapping[str, Tensor]
    predictions: tuple[str, ...]
    alpha: float
    guarantee: RejectionGuarantee
    image_names: tuple[str, ...]
    single: bool
    method: str

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.scores)

    def __repr__(self) -> str:
        """Method and how many were rejected."""
        count = sum(verdict == OUT_OF_DISTRIBUTION for verdict in self.verdicts)
        return f"Judgement({self.method}, {count} of {len(self)} image(s) out of distribution at alpha {self.alpha:g})"

    @property
    def verdicts(self) -> tuple[str, ...]:
        """Of each image "out-of-distribution" (its prediction must not be used) or "in-distribution"."""
        limit = self.alpha * (1 + _ROUNDING)
        return tuple(OUT_OF_DISTRIBUTION if p <= limit else IN_DISTRIBUTION for p in self.p_values.tolist())

    @property
    def score(self) -> Any:
        """The score: a float, or a tensor (N,)."""
        return float(self.scores[0]) if self.single else self.scores

    @property
    def p_value(self) -> Any:
        """The p-value: a float, or a tensor (N,)."""
        return float(self.p_values[0]) if self.single else self.p_values

    @property
    def verdict(self) -> Any:
        """The verdict: a string, or N of them."""
        return self.verdicts[0] if self.single else self.verdicts

    @property
    def fired(self) -> tuple[str, ...]:
        """Of each image the part of the score that is rarest among in-distribution images."""
        names = list(self.shares)
        table = torch.stack([self.shares[name] for name in names])
        return tuple(names[k] for k in table.argmax(0).tolist())

    @property
    def reasons(self) -> tuple[Message, ...]:
        """Of each image, in words, how unusual each part of its score is."""
        template = "{part} higher than that of {percent:.1f} % of in-distribution images"
        parts = [
            [Message(template, part=name, percent=100 * share) for share in shares.tolist()]
            for name, shares in self.shares.items()
        ]
        return tuple(joined(row) for row in zip(*parts, strict=True))

    @property
    def table(self) -> "pd.DataFrame":
        """One row per image."""
        import pandas as pd

        columns = {"name": self.image_names, "predicted": self.predictions, "score": self.scores.numpy()}
        columns |= {"p_value": self.p_values.numpy(), "verdict": self.verdicts, "fired": self.fired}
        return pd.DataFrame(columns).assign(**{name: values.numpy() for name, values in self.parts.items()})

    @property
    def sentence(self) -> Message:
        """The guarantee in words."""
        return self.guarantee.sentence
