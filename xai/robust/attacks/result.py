"""The result of an attack."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from xai.core.results.result import Result
from xai.stats.intervals import wilson


@dataclass(frozen=True, eq=False)
class AttackResult(Result):
    """Adversarial images and how many answers survive.

    Attributes:
        adversarial: (N, C, h, w) in [0, 1], in the model's input geometry: the first adversarial found of each
            misclassified image, the last iterate of the others; the clean image where the answer was wrong to begin
            with.
        clean: (N, C, h, w) what was attacked.
        success: (N,) bool: right before (or not the target before) and misclassified now, inside the ball.
        distance: (N,) float64 in the norm of the attack, in the scale of pixels in [0, 1].
        predictions: (N,) classes of `adversarial`.
        clean_predictions: (N,) classes of `clean`.
        labels: (N,) ground truth.
        logits: (N, K) of `adversarial`.
        method: name of the attack.
        eps: radius; None for attacks that look for the smallest distance.
        norm: "linf", "l2" or "l1".
        broken_by: (N,) which attack changed each image, "" where none did.
        targeted: (N,) classes to reach, or None.
        forwards: rows sent through the model: each image as it is, the search, and the judgement of what it claims.
        backwards: rows sent back.
        seconds: wall time.
        provenance: model, settings of the attack as used, seed and versions.
        notes: what happened and what to beware of.

    Example:
        >>> import xai
        >>> clf = xai.load("example:fashion")
        >>> data = xai.load_data("example:fashion-test").subset(8)
        >>> found = xai.attack(clf, data.images[:], data.labels, "fgsm", eps=8 / 255)
        >>> found.success.shape, found.robust_accuracy <= found.clean_accuracy
        (torch.Size([8]), True)
    """

    _kind: ClassVar[str] = "attack"
    _listed: ClassVar[tuple[str, ...]] = ("success", "distance", "predictions", "clean_predictions", "labels")
    _derived: ClassVar[tuple[str, ...]] = ("clean_accuracy", "robust_accuracy", "interval")

    adversarial: Tensor
    clean: Tensor
    success: Tensor
    distance: Tensor
    predictions: Tensor
    clean_predictions: Tensor
    labels: Tensor
    logits: Tensor
    method: str
    eps: float | None
    norm: str
    broken_by: tuple[str, ...]
    targeted: tuple[int, ...] | None
    forwards: int
    backwards: int
    seconds: float

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.labels)

    @property
    def robust(self) -> Tensor:
        """Which images are right before and after (N,) bool."""
        return (self.clean_predictions == self.labels) & (self.predictions == self.labels)

    @property
    def clean_accuracy(self) -> float:
        """Share of the images that are right before the attack."""
        return float((self.clean_predictions == self.labels).double().mean()) if len(self) else float("nan")

    @property
    def robust_accuracy(self) -> float:
        """Share of all images that are right before and after. It is an upper bound of robust accuracy."""
        return float(self.robust.double().mean()) if len(self) else float("nan")

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Wilson interval of the robust accuracy, over the draw of images."""
        low, high = wilson(int(self.robust.sum()), len(self))
        return float(low), float(high)
