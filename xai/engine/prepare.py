"""Frozen copies of a model for black-box methods.

They are folded, checked against the original, and in low precision on request.
"""

import copy
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from threading import Lock
from typing import Any

import torch
import torch.fx
from torch import Tensor, nn
from torch.nn.utils import fusion

from xai.core.model.classifier import Classifier
from xai.core.model.fingerprint import fingerprint_module, parts_of
from xai.core.model.hooks import borrowed, copied
from xai.core.results.message import Message
from xai.core.runtime.batching import batch_size, row_limit
from xai.engine.graph import can_join, join_convolutions

_BEFORE = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class _Tracer(torch.fx.Tracer):
    """Keeps convolutions of the user's own classes whole, such as those that pad inside."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, (*_BEFORE, *_NORMS, nn.Linear)) or super().is_leaf_module(m, module_qualified_name)


def fold_batch_norm(module: nn.Module) -> tuple[nn.Module, int]:
    """Return a module in evaluation mode with batch norms folded, and how many; the given one is changed.

    Pairs are found in the traced graph; a convolution or norm that runs in several places stays as it is.

    Raises:
        Exception: whatever torch.fx raises for a forward that it cannot trace.
    """
    graph = torch.fx.GraphModule(module, _Tracer().trace(module))
    modules = dict(graph.named_modules())
    pairs = [(node.args[0], node) for node in graph.graph.nodes if _foldable(node, modules)]
    for before, norm in pairs:
        fused = _fuse(modules[before.target], modules[norm.target])
        parent, _, leaf = before.target.rpartition(".")
        setattr(graph.get_submodule(parent), leaf, fused)
        norm.replace_all_uses_with(before)
        graph.graph.erase_node(norm)
    graph.delete_all_unused_submodules()
    graph.recompile()
    return graph, len(pairs)


def _fuse(before: nn.Module, norm: nn.Module) -> nn.Module:
    if isinstance(before, nn.Linear):
        return fusion.fuse_linear_bn_eval(before, norm)  # type: ignore[arg-type]
    return fusion.fuse_conv_bn_eval(before, norm)  # type: ignore[type-var, arg-type]


def _foldable(node: torch.fx.Node, modules: dict[str, nn.Module]) -> bool:
    """Return True for a norm right behind a layer when both run exactly once and nobody else reads between them."""
    if node.op != "call_module" or not isinstance(modules.get(str(node.target)), _NORMS):
        return False
    before = node.args[0] if node.args else None
    if not isinstance(before, torch.fx.Node) or before.op != "call_module" or len(before.users) != 1:
        return False
    if not isinstance(modules[str(before.target)], (*_BEFORE, nn.Linear)):
        return False
    norm = modules[str(node.target)]
    once = all(sum(n.target == end.target for n in node.graph.nodes) == 1 for end in (before, node))
    return once and bool(norm.track_running_stats) and norm.running_var is not None


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
    functions = [(k, name, v) for k, part in enumerate(parts) for name, v in part.__dict__.items() if _is_code(v)]
    return tuple(map(type, parts)), tuple(functions)


def _is_code(value: Any) -> bool:
    return callable(value) and isinstance(value, Hashable) and not isinstance(value, nn.Module | Tensor)


def _full(classifier: Classifier, sample: Tensor) -> Prepared:
    """Return the fastest copy that answers the same in full precision."""
    plain = _frozen(copied(classifier.module).eval())
    notes = list[Message]()
    try:
        folded, count = fold_batch_norm(copied(plain))
    except Exception as error:  # noqa: BLE001  (torch.fx raises anything on code it cannot trace)
        template = "batch norm not folded: the forward cannot be traced ({error})"
        notes.append(Message(template, error=type(error).__name__))
    else:
        ready = around(classifier, _laid_out(_frozen(folded), torch.channels_last))
        gap = _gap(classifier, ready, sample)
        if gap <= SAME:
            template = "prepared: {count} batch norm(s) folded, channels last; differs by {gap:.1e}"
            prepared = Prepared(ready, "fp32", (Message(template, count=count, gap=gap),))
            return _joined(classifier, prepared, sample)
        template = "batch norm not folded: the folded copy differs by {gap:.1e} of the spread of the logits"
        notes.append(Message(template, gap=gap))
    ready = around(classifier, _laid_out(plain, torch.channels_last))
    gap = _gap(classifier, ready, sample)
    if gap <= SAME:
        note = Message("prepared: channels last; differs by {gap:.1e}", gap=gap)
        return Prepared(ready, "fp32", (*notes, note))
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
    template = "{count} convolution(s) joined with padding and activation; differs by {gap:.1e}"
    note = Message(template, count=count, gap=gap)
    return Prepared(ready, "fp32", (*folded.notes, note), folded.classifier)


def _channels_last(images: Tensor) -> Tensor:
    return images.contiguous(memory_format=torch.channels_last)


def _gap(original: Classifier, other: Classifier, sample: Tensor) -> float:
    """Return the largest difference of logits as a share of their spread; infinite when an answer changes."""
    with torch.inference_mode(), borrowed(original.module):
        images = sample.to(original.device)
        exact = original.raw_logits(images).double()
        logits = other.raw_logits(images.contiguous(memory_format=torch.channels_last)).double()
    if not torch.equal(exact.argmax(1), logits.argmax(1)):
        return float("inf")
    spread = float((exact - exact.mean(1, keepdim=True)).square().mean().sqrt())
    return float((exact - logits).abs().max()) / max(spread, 1e-12)


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


SAMPLE = 24  # images that a method tries
ALIKE = 0.98  # least correlation with the exact answers
OFF = (
    2 * (1 - ALIKE**2)
) ** 0.5  # root mean square of differences, as a share of the answers': what such a correlation
# leaves, once for each image and once for the clean one, whose rounding is in every fall
_NAMES = {torch.bfloat16: "bf16", torch.float16: "fp16"}


def in_low_precision(full: Prepared, values: Callable[[Prepared], Tensor]) -> tuple[Prepared, str]:
    """Return a low-precision copy when its answers are as good as exact on a sample, or the full one; and a note.

    What is compared is what the method uses, such as the fall of a score for some of its own images: logits of a
    thousand other classes may move, and a shift that all images share is none. An untrained network, whose answers
    are smaller than the rounding, fails.

    Args:
        full: of `xai.engine.prepare`, in float32 or float64.
        values: (S, n) what the method finds for S images, as a fall from the clean one, with a prepared model; more
            than S from the low-precision copy tell better how far answers spread.

    Cost: a copy of the weights, and the sample twice.
    """
    kind = quick_type(full.classifier.device)
    if kind is None:
        return full, "fast: this processor is no quicker in low precision, which is not used"
    name = _NAMES[kind]
    module = copied(full.classifier.module).to(kind)
    low = Prepared(around(full.classifier, module), name, full.notes)
    try:
        close, figure = compared(values(low), values(full))
    except RuntimeError as error:
        first = str(error).strip().splitlines()[0][:80]
        template = "fast: {precision} not used, the model cannot compute in it ({error})"
        return full, Message(template, precision=name, error=first)
    if close:
        return low, Message("fast: {precision} used, {figure}", precision=name, figure=figure)
    return full, Message("fast: {precision} not used, {figure}", precision=name, figure=figure)


def quick_type(device: torch.device) -> torch.dtype | None:
    """Return the low precision in which a device is quicker than in float32, or None."""
    if device.type == "cpu":
        quick = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        return torch.bfloat16 if quick else None
    if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.bfloat16
    return torch.float16


def compared(values: Tensor, exact: Tensor) -> tuple[bool, str]:
    """Say whether answers are as good as the exact ones for each of the n classes, and by how much.

    Args:
        values: (S or more, n); the first S are those asked for, more of them only tell how far answers spread.
        exact: (S, n) the exact ones.
    """
    values, exact = values.double(), exact.double()
    error = values[: len(exact)] - exact
    left = error.var(0, correction=0) / values.var(0, correction=0).clamp_min(1e-30)
    alike = float((1 - left).clamp_min(0).sqrt().min())
    off = float((error.square().mean(0) / values.square().mean(0).clamp_min(1e-30)).sqrt().max())
    template = "by a sample it correlates {correlation:.3f} with the exact outputs, differences are {share:.1%} of them"
    figure = Message(template, correlation=alike, share=off)
    return alike >= ALIKE and off <= OFF, figure
