"""Shared parts of the gradient methods.

Here are gradients towards pixels, sums over many rows, completeness, and replaced ReLUs.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from xai.core.model.hooks import checkpointed, gradient
from xai.core.results.message import Message, joined
from xai.errors import UnsupportedModelError
from xai.explanations.methods.base import MethodInput
from xai.explanations.methods.fills import Fill, fill_image

_BOUNDED = {
    "Hardtanh": "_saved_min_val",
    "ClampMin": "_saved_min",
    "Clamp": "_saved_min",
    "Threshold": "_saved_threshold",
}
_OTHERS = {
    "Gelu": "GELU",
    "Silu": "SiLU",
    "Mish": "Mish",
    "Elu": "ELU",
    "LeakyRelu": "leaky ReLU",
    "PreluKernel": "PReLU",
    "Hardswish": "hard swish",
    "Hardsigmoid": "hard sigmoid",
    "Sigmoid": "sigmoid",
    "Tanh": "tanh",
    "Softplus": "softplus",
    "Softmax": "softmax",
    "Maximum": "maximum",
    "torch::autograd::CopySlices": "an operation in place on a part of a tensor",
}


def guide(scores: Tensor) -> list[Message]:
    """Let gradients pass every ReLU behind `scores` only where they are positive, from now on; say what was found.

    The rule is tied to this graph and goes with it: nothing is left on the model.

    Returns:
        Notes: how many ReLUs, and which other functions stay as they are.
    """
    kinds: Counter[str] = Counter()
    for node in _graph(scores):
        kind = _kind(node)
        if _is_relu(node, kind):
            node.register_hook(_keep_positive)
            kinds["ReLU"] += 1
        elif kind in _OTHERS:
            kinds[_OTHERS[kind]] += 1
    return _notes(kinds)


def _notes(kinds: Counter[str]) -> list[Message]:
    count, others = kinds.pop("ReLU", 0), ", ".join(sorted(kinds))
    if not count and others:
        template = "no ReLU in this model ({others}): this is the plain gradient, nothing is guided"
        return [Message(template, others=others)]
    if not count:
        return [Message("no ReLU in this model: this is the plain gradient, nothing is guided")]
    notes = [Message("{count} ReLU(s) guided, counted per call", count=count)]
    unguided = Message("not guided, because the rule is for ReLU alone: {others}", others=others)
    return [*notes, unguided] if others else notes


def _graph(scores: Tensor) -> list[Any]:
    """Return every node of the graph behind a tensor once."""
    seen: dict[Any, None] = {}
    waiting: list[Any] = [scores.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen[node] = None
            waiting.extend(before for before, _ in node.next_functions)
    return list(seen)


def _kind(node: Any) -> str:
    """Return "Relu" for "ReluBackward0"."""
    return str(node.name()).partition("Backward")[0]


def _is_relu(node: Any, kind: str) -> bool:
    """Whether a node is a ReLU, or one with an upper bound as ReLU6: flat below 0, with slope 1 above."""
    return kind == "Relu" or (kind in _BOUNDED and _zero(getattr(node, _BOUNDED[kind], None)))


def _zero(bound: Any) -> bool:
    return isinstance(bound, int | float) and bound == 0


def _keep_positive(towards_input: Sequence[Tensor | None], _from_output: Sequence[Tensor | None]) -> Any:
    """Return the gradients that go on; where the ReLU let nothing through they are 0 already."""
    return tuple(None if slopes is None else slopes.clamp_min(0) for slopes in towards_input)


IMAGE = "the image"
BASELINES = ("black", "mean", "blur", "noise")
MOST_ROWS = 64  # in one forward of a method that makes many rows of one image
_CPU_VALUES = 16 * 3 * 224 * 224  # on a CPU fewer: graphs of larger batches leave the caches and take twice as long
_FLAT = 1e-6  # a smaller difference of scores is none: gaps are measured against this then
_NO_PATH = ("does not require grad", "not have been used in the graph")


def through_captum(work: MethodInput, method: str, **settings: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Run a method of captum on one row per result.

    Args:
        work: the rows.
        method: name of a class in captum.attr that takes any function and one gradient per row.
        settings: of its `attribute`.

    Returns:
        Attribution (n, C, h, w), targets (n,) and logits (n, K).

    Raises:
        UnsupportedModelError: the model blocks gradients.
    """
    from captum import attr  # loads matplotlib's pyplot: only when asked for

    seen: list[Tensor] = []

    def score(rows: Tensor) -> Tensor:
        logits = work.classifier.raw_logits(rows)
        seen.append(logits.detach())
        return work.score(logits, work.targets(logits))

    pixels = work.inputs.detach().clone().requires_grad_()
    try:
        attribution = getattr(attr, method)(score).attribute(pixels, **settings)
    except RuntimeError as error:
        if not any(text in str(error) for text in _NO_PATH):
            raise checkpointed(error) or error from None
        raise UnsupportedModelError(
            f"No gradient reaches {IMAGE}: the model detaches or ignores it. Name another `layer`, or use occlusion."
        ) from error
    return attribution.detach(), work.targets(seen[0]), seen[0]


def row_slopes(work: MethodInput, scores: Tensor, pixels: Tensor, *, keep: bool = False) -> Tensor:
    """Return the gradient (n, C, h, w) of each row's score (n,) at its image in `pixels` (u, C, h, w)."""
    if not work.shared:
        return gradient(scores.sum(), pixels, IMAGE, keep=keep)
    return torch.cat([gradient(score, pixels, IMAGE, keep=True) for score in scores])


def sum_of_slopes(
    work: MethodInput,
    targets: Tensor,
    total: int,
    rows: Callable[[int, int], Tensor],
    fold: Callable[[Tensor, int, int], Tensor],
) -> Tensor:
    """Add up what `fold` makes of the gradients at many rows, a bounded number of rows at a time.

    Args:
        work: of one image, with n classes.
        targets: (n,) classes; one forward serves them all.
        total: number of rows.
        rows: gives the rows number start..stop as (r, C, h, w).
        fold: makes a summand of the gradients (r, C, h, w) of one class at rows start..stop.

    Returns:
        (n, ...) sums in float64.
    """
    sums: list[Tensor] = []

    def run(start: int, stop: int) -> None:
        pixels = rows(start, stop).detach().requires_grad_()
        scores = work.scores(work.classifier.raw_logits(pixels), targets).sum(0)
        last = len(scores) - 1
        parts = [
            fold(gradient(score, pixels, IMAGE, keep=k < last).double(), start, stop) for k, score in enumerate(scores)
        ]
        sums[:] = [torch.stack(parts) + (sums[0] if sums else 0)]

    work.run_rows(run, total, _row_limit(work, total))
    return sums[0]


def _row_limit(work: MethodInput, total: int) -> int:
    """Return how many rows to send at once, so that chunks are of equal length."""
    most = MOST_ROWS
    if work.images.device.type == "cpu":
        most = max(1, min(most, _CPU_VALUES // work.images[0].numel()))
    limit = min(most, work.classifier.row_limit(work.images.expand(min(most, total), -1, -1, -1)))
    return -(-total // -(-total // limit))


def clean_scores(work: MethodInput) -> tuple[Tensor, Tensor, Tensor]:
    """Return logits of each image (u, K), targets (n,) and the scores of all classes (u, n), without gradients."""
    with torch.no_grad():
        logits = work.classifier.raw_logits(work.images)
        targets = work.targets(logits)
        return logits, targets, work.scores(logits, targets)


def scores_without_gradient(work: MethodInput, rows: Tensor, targets: Tensor) -> Tensor:
    """Return the scores (r, n) of rows (r, C, h, w) for all classes."""
    with torch.no_grad():
        return work.scores(work.classifier.raw_logits(rows), targets)


def baseline_images(work: MethodInput, baseline: Fill) -> Tensor:
    """Return where paths begin, one for each of `work.images` (u, C, h, w): a fill, or "black"."""
    fill = "zero" if isinstance(baseline, str) and baseline == "black" else baseline
    pairs = zip(work.images, work.keys, strict=False)  # when shared: one image, a key per row
    return torch.cat([fill_image(image[None], fill, key=key, seed=work.seed) for image, key in pairs])


def completeness(attribution: Tensor, difference: Tensor) -> list[dict[str, Tensor]]:
    """Return an attribution's expected sum (n,) and how far it is from that.

    The attribution is (n, C, h, w), one per row.
    """
    gaps = difference - attribution.double().flatten(1).sum(1).to(difference.dtype)
    return [{"difference": whole, "gap": gap} for whole, gap in zip(difference, gaps, strict=True)]


def completeness_note(details: list[dict[str, Tensor]], what: str, cure: Message) -> Message:
    """Return a note of the largest gap as a share of the difference, with a cure where it is more than 5 %."""
    shares = [float(d["gap"].abs() / d["difference"].abs().clamp_min(_FLAT)) for d in details]
    gap = Message("completeness gap: {share} of {difference}", share=percent(max(shares)), difference=what)
    return joined([gap, cure], " - ") if max(shares) > 0.05 else gap


def percent(share: float) -> Message:
    """Return a share in per cent, with one digit where it is small."""
    if share < 0.001:
        return Message("below 0.1 %")
    return Message("{value:.1g} %" if share < 0.095 else "{value:.0f} %", value=100 * share)


def moments(values: Tensor, *_: int) -> Tensor:
    """Return the sums of values (r, ...) and of their squares (2, ...)."""
    return torch.stack([values.sum(0), values.square().sum(0)])


def mean_and_error(sums: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return mean and its standard error from moments (n, 2, ...); of a single sample the error is 0."""
    mean = sums[:, 0] / count
    variance = (sums[:, 1] / count - mean.square()).clamp_min(0)
    return mean, (variance / max(1, count - 1)).sqrt()


def error_note(mean: Tensor, error: Tensor) -> Message:
    """Return a note of how large the standard error is beside the values, both as root mean squares over pixels."""
    sizes = [float(v.square().mean().sqrt()) for v in (error, mean)]
    share = sizes[0] / max(sizes[1], 1e-300)
    note = Message("standard error: {share} of the values", share=percent(share))
    return joined([note, Message("raise `samples`")], " - ") if share > 1 else note


def guided_slopes(work: MethodInput) -> tuple[Tensor, Tensor, Tensor, list[Message]]:
    """Return guided gradients (n, C, h, w), targets (n,), logits (n, K) and notes; see guided_backprop."""
    pixels = work.images.detach().clone().requires_grad_()
    logits = work.classifier.raw_logits(pixels)
    targets, lines = work.targets(logits), work.spread(logits)
    scores = work.score(lines, targets)
    notes = guide(scores)
    return row_slopes(work, scores, pixels), targets, lines.detach(), notes
