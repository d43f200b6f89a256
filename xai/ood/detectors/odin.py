"""ODIN."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from xai.core.model.hooks import gradient, gradients_on
from xai.core.runtime.batching import in_chunks
from xai.core.validation import check_number
from xai.ood.detectors.base import DETECTORS, Detector, Learned, Parts, State
from xai.ood.detectors.reference import FeatureRows, Reference

_EPS = 0.0014  # of normalised pixels
_MOST = 64  # rows whose graph is held at once


@DETECTORS.register("odin")
@dataclass(frozen=True)
class ODIN(Detector):
    """Softmax at a high temperature, after a small step that raises it: in-distribution images follow further.

    Args:
        temperature: divides the logits.
        eps: of the step, in the scale of pixels in [0, 1]; None takes 0.0014 of normalised pixels, as the paper does.

    Needs the images themselves and gradients: two forward passes and one back, where the others read stored outputs.
    Source: Liang, Li and Srikant 2018 (arXiv 1706.02690), eq. (2). Differs: 1 is added to -max p, which changes no
    order. As there, the step may leave [0, 1].
    """

    name: ClassVar[str] = "odin"
    title: ClassVar[str] = "ODIN"
    family: ClassVar[str] = "gradients"
    needs: ClassVar[tuple[str, ...]] = ("gradients",)
    unit: ClassVar[str] = "1 - probability"
    rows: ClassVar[tuple[int, int]] = (3, 1)

    temperature: float = 1000.0
    eps: float | None = None

    def __post_init__(self) -> None:
        """Check the settings."""
        check_number("temperature", self.temperature, "[1e-6, 1e6]")
        check_number("eps", self.eps, "[0, 1]", optional=True)

    def _fit(self, reference: Reference) -> Learned:
        std = torch.tensor(reference.view.std, dtype=torch.float64)
        step = torch.full_like(std, _EPS) if self.eps is None else self.eps / std
        return Learned({"step": step.view(-1, 1, 1)}, {"step": step.tolist()})

    def _parts(self, state: State, rows: FeatureRows) -> Parts:
        scores: list[Tensor] = []

        def work(start: int, stop: int) -> None:
            del scores[start:]  # of a chunk that did not fit
            scores.extend(self._some(state, rows.part(start, stop)))

        in_chunks(work, len(rows), limit=_MOST)
        return {self.unit: torch.stack(scores)}

    def _some(self, state: State, rows: FeatureRows) -> Tensor:
        assert rows.inputs is not None
        assert rows.run is not None
        stepped = rows.inputs - state["step"].to(rows.inputs) * self._slope(rows).sign()
        logits = rows.run(stepped).double() / self.temperature
        return FeatureRows(rows.view, logits).doubt.amin(1)

    def _slope(self, rows: FeatureRows) -> Tensor:
        """Return the gradient of the cross-entropy of the predicted class towards normalised pixels."""
        assert rows.inputs is not None
        assert rows.run is not None
        with gradients_on():
            pixels = rows.inputs.detach().clone().requires_grad_()
            logits = rows.run(pixels) / self.temperature
            loss = F.cross_entropy(logits, logits.detach().argmax(1), reduction="sum")
            return gradient(loss, pixels, "the image")
