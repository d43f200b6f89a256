"""The attention of a transformer, seen as its forward computes it, whatever code does so; nothing is hooked."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

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
        asked, averaged = kwargs.get("need_weights", True), kwargs.get("average_attn_weights", True)
        shown = {**kwargs, "need_weights": True, "average_attn_weights": False}
        found: tuple[Tensor, Tensor] = F.multi_head_attention_forward(*args, **shown)  # type: ignore[assignment]
        result, weights = found  # never None when asked for
        self._seen(weights.detach())
        given = weights.mean(1) if averaged else weights
        return self._passed_on(result, 0), given if asked else None

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
