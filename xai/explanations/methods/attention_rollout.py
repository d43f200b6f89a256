"""Attention rollout."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from xai.core.layers.layouts import TOKEN_KINDS, Layout
from xai.core.layers.selection import find_layer
from xai.core.results.message import Message, constant
from xai.core.validation import check_number
from xai.errors import UnsupportedModelError
from xai.explanations.methods._cam import enlarge
from xai.explanations.methods.base import EXPLAINERS, Cost, Explainer, MethodInput, MethodOutput

Seen = Callable[[Tensor], None]


class Attention(TorchFunctionMode):
    """Tells `seen` the weights (n, heads, T, T) of every attention that runs while inside, in order.

    Covers nn.MultiheadAttention, F.scaled_dot_product_attention, and softmax over the last axis of a square.

    Args:
        seen: called with each attention's weights.
        cut: makes what the last attention returns a leaf of the autograd graph, see `leaf`.

    Attributes:
        leaf: with `cut`, the last attention's output, and which of its axes counts the tokens; the rest of the forward
            goes on from a copy of it.
    """

    def __init__(self, seen: Seen, *, cut: bool = False) -> None:
        super().__init__()
        self._seen, self._cut = seen, cut
        self.leaf: tuple[Tensor, int] | None = None

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run a function of torch, and look at it when it is an attention."""
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if func is F.multi_head_attention_forward:
            return self._module(args, kwargs)
        result = func(*args, **kwargs)
        if name == "scaled_dot_product_attention":
            self._seen(_weights(*args, **kwargs))
            return self._passed_on(result, -2)
        if name == "softmax" and _is_attention(result, args, kwargs):
            self._seen(result.detach())
            return self._passed_on(result, -2)
        return result

    def _module(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Tensor, Tensor | None]:
        """Run nn.MultiheadAttention's function with its weights, which it otherwise does not show."""
        need_weights, averaged = kwargs.get("need_weights", True), kwargs.get("average_attn_weights", True)
        shown = {**kwargs, "need_weights": True, "average_attn_weights": False}
        results: tuple[Tensor, Tensor] = F.multi_head_attention_forward(*args, **shown)  # type: ignore[assignment]
        result, weights = results  # never None when asked for
        self._seen(weights.detach())
        given = weights.mean(1) if averaged else weights
        return self._passed_on(result, 0), given if need_weights else None

    def _passed_on(self, result: Tensor, axis: int) -> Tensor:
        if not self._cut:
            return result
        leaf = result.detach().requires_grad_()
        self.leaf = leaf, axis
        return leaf.clone()


def _weights(
    query: Tensor,
    key: Tensor,
    value: Tensor,  # noqa: ARG001  (the signature is torch's)
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,  # noqa: ARG001  (0 in evaluation mode)
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Return the weights that F.scaled_dot_product_attention multiplies the values with."""
    with torch.no_grad():
        if enable_gqa:
            key = key.repeat_interleave(query.shape[-3] // key.shape[-3], -3)
        scores = query @ key.transpose(-2, -1) * (query.shape[-1] ** -0.5 if scale is None else scale)
        if is_causal:
            scores = scores.masked_fill(~torch.ones_like(scores, dtype=torch.bool).tril(), -torch.inf)
        if attn_mask is not None and attn_mask.dtype == torch.bool:
            scores = scores.masked_fill(~attn_mask, -torch.inf)
        elif attn_mask is not None:
            scores = scores + attn_mask
        return scores.softmax(-1)


def _is_attention(result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether a softmax has the shape of attention: (n, heads, T, T) or (n heads, T, T), over the last axis."""
    if not isinstance(result, Tensor) or result.ndim not in {3, 4} or result.shape[-1] != result.shape[-2]:
        return False
    axis = args[1] if len(args) > 1 else kwargs.get("dim")
    return axis in {-1, result.ndim - 1}


_MOST_ROWS = 16  # the weights of all heads of a layer are held for as many images at once


@EXPLAINERS.register("attention_rollout")
@dataclass(frozen=True)
class AttentionRollout(Explainer):
    """Follows the attention of a vision transformer through all its layers, back to the patches.

    rollout = product over layers, last to first, of (1 - r) A + r I, with A the attention averaged over heads and r the
    share that the skip connection is taken to carry. The map is the row of the tokens that the head reads (the class
    token, or the mean of all), which is found by a gradient; class and register tokens are left out of it. The values
    are shares of 1.

    Misleads when taken for an explanation of a class: it is the same for every class. It knows nothing of the values
    that attention moves nor of the layers between, so a token that is looked at need not count.

    Args:
        residual: r, the share of the skip connections, 0.5 in the paper.

    Cost: one forward; and, for each chunk of images, one row forward and back to see which tokens the head reads.
    Source: Abnar and Zuidema 2020, section 3 (arXiv 2005.00928). Differs: read at the tokens that the head reads, not
    always the first.
    """

    name: ClassVar[str] = "attention_rollout"
    title: ClassVar[str] = "Attention rollout"
    caution: ClassVar[str] = "it is the same for every class: it shows where attention flows, not why this class"
    family: ClassVar[str] = "attention"
    unit: ClassVar[str] = "share of attention"
    needs: ClassVar[tuple[str, ...]] = ("tokens", "attention")

    residual: float = 0.5

    def __post_init__(self) -> None:
        """Check the settings."""
        check_number("residual", self.residual, "[0, 1)")

    @property
    def cost(self) -> Cost:
        """One row forward."""
        return Cost(forward=1, backward=0)

    def _attribute(self, work: MethodInput) -> MethodOutput:
        chunks: dict[int, tuple[Tensor, Tensor]] = {}

        def run(start: int, stop: int) -> None:
            chunks[start] = self._rolled(work, work.images[start:stop])

        work.run_rows(run, len(work.images), _MOST_ROWS)
        rolled, logits = (torch.cat([chunks[start][k] for start in sorted(chunks)]) for k in (0, 1))
        layout = _layout(work, rolled.shape[2])
        read = _tokens_read(work, rolled.shape[1], layout)
        row = torch.einsum("t,ntk->nk", read.to(rolled) / read.sum(), rolled)
        coarse = work.spread(layout.to_maps(row[:, :, None])[:, 0])
        note = Message("read at {tokens}; {layout}", tokens=_in_words(read), layout=layout.describe())
        notes = [note, Message("attention_rollout shows where attention flows; it is the same for every class")]
        full = enlarge(coarse, work.inputs.shape[2:])
        return MethodOutput(full, work.targets(logits), work.spread(logits), coarse, None, notes)

    def _rolled(self, work: MethodInput, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the product of all layers (n, T or 1, T) and the logits (n, K)."""
        product: list[Tensor] = []

        heads: set[int] = set()

        def multiply(weights: Tensor) -> None:
            if weights.ndim == 3 and len(weights) % len(images) == 0:  # heads counted as images
                weights = weights.view(len(images), -1, *weights.shape[1:])
                heads.add(weights.shape[1])
            if weights.ndim != 4 or len(weights) != len(images) or len(heads) > 1:
                raise _refusal(work, "its attention does not run once per image, but in windows")
            mean = weights.mean(1).to(images.dtype)
            if mean.shape[1] == mean.shape[2]:
                share = torch.eye(mean.shape[1], dtype=mean.dtype, device=mean.device)
                mean = (1 - self.residual) * mean + self.residual * share
            if product and mean.shape[2] != product[0].shape[1]:
                raise _refusal(work, "the number of its tokens changes between layers")
            product[:] = [mean @ product[0] if product else mean]

        with torch.no_grad(), Attention(multiply):
            logits = work.classifier.raw_logits(images)
        if not product:
            raise _refusal(work, "no attention was seen in its forward")
        return product[0], logits


def _layout(work: MethodInput, tokens: int) -> Layout:
    """Return where the places are among the tokens.

    Raises:
        UnsupportedModelError: the network's last map is no sequence of so many tokens, as in Swin.
    """
    layout = find_layer(work.classifier, work.inputs).layout
    if layout.kind not in TOKEN_KINDS or tokens != layout.grid[0] * layout.grid[1] + layout.extra:
        raise _refusal(
            work,
            Message(
                "its attention spans {count} tokens at a time, but its last map is {layout} (windows?)",
                count=tokens,
                layout=layout.describe(),
            ),
        )
    return replace(layout, kind="tokens")


def _tokens_read(work: MethodInput, rows: int, layout: Layout) -> Tensor:
    """Return which of the last attention's tokens the answer to the first image has a gradient at (rows,) bool.

    Where no gradient passes, as with a head that is still zero: the first token that is no place, or all.
    """
    watch = Attention(lambda _weights: None, cut=True)
    with watch:
        logits = work.classifier.raw_logits(work.images[:1])
    read = torch.zeros(rows, dtype=torch.bool, device=logits.device)
    if watch.leaf is not None and logits.requires_grad:
        leaf, axis = watch.leaf
        (slopes,) = torch.autograd.grad(logits.amax(), leaf, allow_unused=True)
        if slopes is not None:
            read = slopes.abs().movedim(axis, 0).flatten(1).sum(1) > 0
    if not bool(read.any()):
        read[_class_token(layout) if layout.extra and rows > 1 else slice(None)] = True
    return read


def _class_token(layout: Layout) -> int:
    return 0 if layout.first else layout.grid[0] * layout.grid[1]


def _in_words(read: Tensor) -> Message:
    if len(read) == 1:
        return Message("the attention that pools the tokens")
    places = read.nonzero()[:, 0].tolist()
    if len(places) < 4:
        return Message("token {places}", places=", ".join(map(str, places)))
    return Message("the mean of {count} tokens", count=len(places))


def _refusal(work: MethodInput, why: str) -> UnsupportedModelError:
    template = "Attention rollout cannot be read from {model!r}: {reason}. Use occlusion, or gradcam."
    return UnsupportedModelError(Message(template, model=work.classifier.name, reason=constant(why)))
