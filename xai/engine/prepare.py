"""A frozen copy of a model for black-box methods: folded, channels last, checked against the original."""

import copy
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from threading import Lock
from typing import Any

import torch.fx
from torch import Tensor, nn

from xai.core.classifier import Classifier
from xai.core.fingerprint import fingerprint_module
from xai.core.fixed_batch import batch_size
from xai.core.hooks import borrowed, copied, parts_of
from xai.core.rows import row_limit
from xai.engine.fold import fold_batch_norm
from xai.engine.join import can_join, join_convolutions

SAME = 1e-4  # largest difference of a prepared copy, as a share of the spread of the logits
_KEPT = 2
_lock = Lock()
_cache: "OrderedDict[tuple[Any, ...], Prepared]" = OrderedDict()


@dataclass(frozen=True, eq=False)
class Prepared:
    """A classifier that answers as the original does, faster, without gradients.

    Attributes:
        classifier: on a frozen copy of the module.
        precision: "fp32", "bf16" or "fp16": what it computes in.
        notes: what was done, with the figure of each check.
        plain: the copy of ordinary layers, which gradients pass; None means `classifier`.
    """

    classifier: Classifier
    precision: str
    notes: tuple[str, ...]
    plain: Classifier | None = None

    def logits(self, inputs: Tensor) -> Tensor:
        """Return logits (N, K) of inputs (N, C, h, w) in [0, 1], without gradients, in float32 or float64."""
        with torch.inference_mode():
            images = inputs.to(device=self.classifier.device, memory_format=torch.channels_last)
            return full_precision(self.classifier.raw_logits(images))

    def row_limit(self, sample: Tensor, *, most: int, cached: bool = True) -> int:
        """Return how many rows shaped like `sample` (N, C, h, w) fit into memory and cache; see `rows.row_limit`."""
        images = sample.to(device=self.classifier.device, dtype=self.classifier.dtype)
        return row_limit(self.classifier.module, images, most=most, run=self.classifier._run, cached=cached)


def full_precision(logits: Tensor) -> Tensor:
    """Return logits that came in low precision in float32, others as they are."""
    return logits.float() if logits.dtype in {torch.bfloat16, torch.float16} else logits


def prepare(classifier: Classifier, images: Tensor) -> Prepared:
    """Return a prepared copy of a classifier, remembered by fingerprint.

    Batch norm is folded where the forward can be traced, weights are laid out channels last, parameters are frozen. The
    copy is compared with the original on `images` (at most 8 of them); one that differs by more than 1e-4 of the spread
    of the logits is not used. A model that takes a fixed number of images at a time is used as it is.

    Args:
        classifier: stays untouched.
        images: (N, C, h, w) in [0, 1], the ones that will be looked at.

    Cost: a copy of the weights and a digest of them; two forwards of at most 8 rows for each check.
    """
    if batch_size(classifier.module) is not None:
        return Prepared(classifier, "fp32", ("used as it is",))
    sample = images[:8]
    key = (
        classifier.fingerprint,
        fingerprint_module(classifier.module, fresh=True),
        _code(classifier.module),
        str(classifier.device),
        tuple(images.shape[1:]),
    )
    with _lock:
        full = _cache.get(key) or _full(classifier, sample)
        _cache[key] = full
        _cache.move_to_end(key)
        while len(_cache) > _KEPT:
            _cache.popitem(last=False)
    return full


def _code(module: nn.Module) -> tuple[Any, ...]:
    """Return what the fingerprint does not see: the classes (one written anew is another one) and functions held."""
    parts = parts_of(module)
    held = [(k, name, v) for k, part in enumerate(parts) for name, v in part.__dict__.items() if _is_code(v)]
    return tuple(map(type, parts)), tuple(held)


def _is_code(value: Any) -> bool:
    return callable(value) and isinstance(value, Hashable) and not isinstance(value, nn.Module | Tensor)


def _full(classifier: Classifier, sample: Tensor) -> Prepared:
    """Return the fastest copy that answers the same in full precision."""
    plain = _frozen(copied(classifier.module).eval())
    notes = []
    try:
        folded, count = fold_batch_norm(copied(plain))
    except Exception as error:  # noqa: BLE001  (torch.fx raises anything on code it cannot trace)
        notes.append(f"batch norm not folded: the forward cannot be traced ({type(error).__name__})")
    else:
        ready = around(classifier, _laid_out(_frozen(folded), torch.channels_last))
        gap = _gap(classifier, ready, sample)
        if gap <= SAME:
            return _joined(
                classifier,
                Prepared(
                    ready, "fp32", (f"prepared: {count} batch norm(s) folded, channels last; differs by {gap:.1e}",)
                ),
                sample,
            )
        notes.append(f"batch norm not folded: the folded copy differs by {gap:.1e} of the spread of the logits")
    ready = around(classifier, _laid_out(plain, torch.channels_last))
    gap = _gap(classifier, ready, sample)
    if gap <= SAME:
        return Prepared(ready, "fp32", (*notes, f"prepared: channels last; differs by {gap:.1e}"))
    return Prepared(around(classifier, _laid_out(plain, torch.contiguous_format)), "fp32", (*notes, "used as it is"))


def _joined(classifier: Classifier, folded: Prepared, sample: Tensor) -> Prepared:
    """Return the copy with convolutions, paddings and activations joined, where that can be and answers the same."""
    if not can_join(classifier.device, classifier.dtype):
        return folded
    module = copied(folded.classifier.module)
    if not isinstance(module, torch.fx.GraphModule):
        return folded
    with torch.no_grad():
        count = join_convolutions(module, _channels_last(classifier.normalise(sample[:1])))
    ready = around(classifier, module)
    gap = _gap(classifier, ready, sample) if count else float("inf")
    if gap > SAME:
        return folded
    note = f"{count} convolution(s) joined with padding and activation; differs by {gap:.1e}"
    return Prepared(ready, "fp32", (*folded.notes, note), folded.classifier)


def _channels_last(images: Tensor) -> Tensor:
    return images.contiguous(memory_format=torch.channels_last)


def _gap(original: Classifier, other: Classifier, sample: Tensor) -> float:
    """Return the largest difference of logits as a share of their spread; infinite when an answer changes."""
    with torch.inference_mode(), borrowed(original.module):
        images = sample.to(original.device)
        wanted = original.raw_logits(images).double()
        found = other.raw_logits(images.contiguous(memory_format=torch.channels_last)).double()
    if not torch.equal(wanted.argmax(1), found.argmax(1)):
        return float("inf")
    spread = float((wanted - wanted.mean(1, keepdim=True)).square().mean().sqrt())
    return float((wanted - found).abs().max()) / max(spread, 1e-12)


def _frozen(module: nn.Module) -> nn.Module:
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    return module


def _laid_out(module: nn.Module, layout: torch.memory_format) -> nn.Module:
    return module.to(memory_format=layout)  # type: ignore[call-overload, no-any-return]  # missing in torch's stubs


def around(classifier: Classifier, module: nn.Module) -> Classifier:
    """Return the same classifier around another module, in evaluation mode."""
    for part in parts_of(module):
        if hasattr(part, "training"):  # frozen scripts have no mode
            part.training = False
    other = copy.copy(classifier)
    other.module = module
    return other
