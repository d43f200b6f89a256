"""Virtual-logit matching."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai.core.results.message import Message
from xai.core.validation import check_choice, check_whole
from xai.ood.detectors.base import DETECTORS, Detector, Learned, Parts, State
from xai.ood.detectors.reference import FeatureRows, Reference

_NOTHING = 1e-10  # of the largest eigenvalue: below it lies rounding
_WHOLE = Message("the subspace is the whole space: the score is the energy alone")
_STEPS = ((2048, 1000), (768, 512))  # of the paper: dimension of the subspace by number of features


@DETECTORS.register("vim")
@dataclass(frozen=True)
class ViM(Detector):
    """How much of the features lies outside the subspace of in-distribution ones, as one more logit, minus the energy.

    Args:
        dim: dimension of the principal subspace; None takes 1,000 of 2,048 features and more, 512 of 768 and more, else
            half of them, as the paper does. Fit images that span no more dimensions, or are fewer than two for each,
            leave no residual to measure by: the dimension is then half of what they span, and a note says so.
        origin: where features are measured from: "bias" (the point that the head sends to 0, as in the paper) or "mean"
            of the fit images; None takes "bias" where the head reads the features as they are.

    Source: Wang et al. 2022 (arXiv 2203.10807), eq. (3) to (6).
    """

    name: ClassVar[str] = "vim"
    title: ClassVar[str] = "Virtual-logit matching"
    family: ClassVar[str] = "distance"
    needs: ClassVar[tuple[str, ...]] = ("features", "head")
    reads: ClassVar[frozenset[str]] = frozenset({"moments", "bank"})
    unit: ClassVar[str] = "logit"

    dim: int | None = None
    origin: str | None = None

    def __post_init__(self) -> None:
        """Check the settings."""
        check_whole("dim", self.dim, optional=True)
        check_choice("origin", self.origin or "bias", ("bias", "mean"))

    def _fit(self, reference: Reference) -> Learned:
        moments, bank = reference.moments, reference.bank
        assert moments is not None
        assert bank is not None
        origin, word = self._origin(reference)
        values, vectors = torch.linalg.eigh(moments.about(origin))  # ascending
        width = len(origin)
        requested = min(self.dim or usual_dim(width), width)
        dim, note = _supported(requested, values, moments.total, requested == width and self.dim is not None)
        state = {"origin": origin, "residual": vectors[:, : width - dim].contiguous()}
        outside = _outside(state, bank.features).mean()
        alpha = bank.peaks.mean() / outside.clamp_min(1e-12) if dim < width else outside.new_zeros(())
        notes = () if not note else (note,)
        return Learned({**state, "alpha": alpha}, {"dim": dim, "origin": word, "alpha": float(alpha)}, notes)

    def _origin(self, reference: Reference) -> tuple[Tensor, str]:
        moments, head = reference.moments, reference.view.head
        assert moments is not None
        assert head is not None
        word = self.origin or ("bias" if reference.view.pool == 1 else "mean")
        if word == "mean":
            return moments.mean, word
        weight, bias = head.weight.double().cpu(), head.bias.double().cpu()
        point = -torch.linalg.lstsq(weight, bias[:, None], driver="gelsy").solution[:, 0]  # -pinv(W) b, far cheaper
        return point.view(-1, reference.view.pool).mean(1).to(moments.origin), word

    def _parts(self, state: State, rows: FeatureRows) -> Parts:
        virtual = state["alpha"] * _outside(state, rows.pooled)
        return {"residual": virtual, "energy": -torch.logsumexp(rows.logits, 1)}


def _supported(requested: int, values: Tensor, count: int, whole: bool) -> tuple[int, str]:
    """Return the dimension that the fit images support, all of them where no residual can be measured, and a note.

    Args:
        requested: dimension asked for.
        values: (D,) eigenvalues of the fit images about the origin, ascending.
        count: fit images.
        whole: whether the whole space was asked for.
    """
    width = len(values)
    spanned = int((values > _NOTHING * values[-1].clamp_min(1e-300)).sum())
    if whole or (width == 1 and requested == 1):
        return width, _WHOLE
    if spanned > requested and count >= 2 * requested:
        return requested, ""
    dim = min(requested, spanned // 2, count // 2)
    if dim < 1:
        template = (
            "{count} fit images span {spanned} of {width} dimensions, too few for a residual: the score is the energy "
            "alone"
        )
        return width, Message(template, count=count, spanned=spanned, width=width)
    template = "{count} fit images span {spanned} of {width} dimensions: the principal subspace has {dim}, not {wanted}"
    return dim, Message(template, count=count, spanned=spanned, width=width, dim=dim, wanted=requested)


def usual_dim(width: int) -> int:
    """Return the dimension of the principal subspace of `width` features."""
    return next((dim for least, dim in _STEPS if width >= least), max(1, width // 2))


def _outside(state: State, features: Tensor) -> Tensor:
    """Return the norm of what lies outside the principal subspace (n,)."""
    outside: Tensor = torch.linalg.vector_norm((features.double() - state["origin"]) @ state["residual"], dim=1)
    return outside
