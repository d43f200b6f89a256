"""SmoothGrad."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai.core.runtime.randomness import noise_like
from xai.core.validation import check_number, check_whole
from xai.explanations.methods._gradients import (
    clean_scores,
    error_note,
    mean_and_error,
    moments,
    sum_of_slopes,
)
from xai.explanations.methods.base import EXPLAINERS, Cost, Explainer, MethodInput, MethodOutput


@EXPLAINERS.register("smoothgrad")
@dataclass(frozen=True)
class SmoothGrad(Explainer):
    """Averages the gradient over copies of the image with noise, so that what flickers between them goes.

    attribution = mean over samples of d score / d pixel at x + noise, noise normal with standard deviation
    `std` * (max x - min x). `details` has the standard error of each value ("standard_error").

    Misleads as the gradient does; and much noise explains another function than the model's answer to this image.

    Args:
        samples: noisy copies.
        std: of the noise, as a share of the image's range of values.

    Cost: `samples` rows forward and back and one row forward, at most 64 rows at once; all classes of one image share
    the forwards.
    Source: Smilkov et al. 2017, section 2 (arXiv 1706.03825). Differs: the mean of signed gradients, from noise that
    belongs to the image (captum's NoiseTunnel draws from torch's global state).
    """

    name: ClassVar[str] = "smoothgrad"
    title: ClassVar[str] = "SmoothGrad"
    family: ClassVar[str] = "gradient"
    unit: ClassVar[str] = "logit per unit of pixel value"
    needs: ClassVar[tuple[str, ...]] = ("gradients",)
    stochastic: ClassVar[bool] = True
    one_by_one: ClassVar[bool] = True

    samples: int = 25
    std: float = 0.15

    def __post_init__(self) -> None:
        """Check the settings."""
        check_whole("samples", self.samples)
        check_number("std", self.std, "[0, inf)", cure="It is a share of the range of values.")

    @property
    def cost(self) -> Cost:
        """One row per sample, and the clean image."""
        return Cost(forward=self.samples + 1, backward=self.samples)

    def _attribute(self, work: MethodInput) -> MethodOutput:
        logits, targets, _ = clean_scores(work)
        image, key = work.images, work.keys[0]
        spread = self.std * (image.amax() - image.amin())

        def noisy(start: int, stop: int) -> Tensor:
            noise = [noise_like(image, [key], seed=work.seed, draw=draw) for draw in range(start, stop)]
            return image + spread * torch.cat(noise)

        sums = sum_of_slopes(work, targets, self.samples, noisy, moments)
        mean, error = mean_and_error(sums, self.samples)
        details = [{"standard_error": row} for row in error.to(image.dtype)]
        return MethodOutput(
            mean.to(image.dtype), targets, work.spread(logits), notes=[error_note(mean, error)], details=details
        )
