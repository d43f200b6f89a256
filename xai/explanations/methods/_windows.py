"""Windows over an image, and maps from their scores. Windows are hidden by pixels or by dropping tokens."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from xai.core.layers.selection import find_layer
from xai.core.model.classifier import Classifier
from xai.core.model.hooks import add_hook
from xai.core.runtime.batching import first_tensor
from xai.core.validation import check_choice
from xai.errors import RangeError, UnsupportedModelError

Length = int | float | tuple[int, int] | tuple[float, float]
BORDERS = ("clip", "inside")
_BANDS = 4


@dataclass(frozen=True, eq=False)
class WindowAxis:
    """Windows along one axis: where each begins and how long it is, on the CPU."""

    begin: Tensor
    length: Tensor
    size: int

    def covers(self) -> Tensor:
        """Return (windows, size): 1 where a window covers a pixel."""
        places = torch.arange(self.size)
        inside = (places >= self.begin[:, None]) & (places < (self.begin + self.length)[:, None])
        return inside.double()


def pixels(length: Length, size: tuple[int, int], name: str) -> tuple[int, int]:
    """Return a length in pixels, given in pixels (int) or as a share of the side (float in (0, 1]).

    Raises:
        RangeError: not above 0, or longer than the image.
    """
    values = tuple(length) if isinstance(length, tuple | list) else (length, length)
    if len(values) != 2:
        raise RangeError(f"Expected `{name}` as one length or (height, width), but got {length!r}.")
    sides = [_pixels(value, side, name) for value, side in zip(values, size, strict=True)]
    return sides[0], sides[1]


def _pixels(value: int | float, side: int, name: str) -> int:
    share = isinstance(value, float)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= (1 if share else side):
        raise RangeError(
            f"Expected `{name}` as 1 to {side} pixels or as a share of the side above 0 and up to 1.0, "
            f"but got {value!r}."
        )
    return max(1, round(value * side)) if share else int(value)


def plan_axis(size: int, window: int, stride: int, border: str) -> WindowAxis:
    """Return windows of a length every `stride` pixels; the last one is cut at the border or moved inside.

    Raises:
        NameLookupError: no such border.
        RangeError: a stride longer than the window, which would leave pixels uncovered.
    """
    check_choice("border", border, BORDERS)
    if stride > window:
        raise RangeError(
            f"Expected `stride` up to the window's {window} pixels, but got {stride}: pixels would be left out."
        )
    begin = torch.arange(-(-(size - window) // stride) + 1) * stride
    if border == "inside":
        begin = begin.clamp_max(size - window)
    return WindowAxis(begin, (size - begin).clamp_max(window), size)


def averaged(values: Tensor, rows: WindowAxis, columns: WindowAxis) -> Tensor:
    """Return maps (n, h, w): at each pixel the mean of the windows (n, down, across) that cover it.

    Two matrix products, however many windows there are.
    """
    down, across = (axis.covers().to(values.device) for axis in (rows, columns))
    total = torch.einsum("yh,nyx,xw->nhw", down, values.double(), across)
    count = down.sum(0)[:, None] * across.sum(0)
    return (total / count).to(values.dtype)


def groups(rows: WindowAxis, columns: WindowAxis) -> list[tuple[tuple[int, int], Tensor]]:
    """Return windows of the same size together: [((height, width), numbers of the windows)].

    Those as far from the border stand together: changes near it reach fewer places, so their pieces are smaller.
    """
    heights = rows.length[:, None].expand(-1, len(columns.length)).flatten()
    widths = columns.length.repeat(len(rows.length))
    members: dict[tuple[int, int], list[int]] = {}
    down, across = (_bands(len(axis.begin)) for axis in (rows, columns))
    order = sorted(range(len(heights)), key=lambda k: (down[k // len(across)], across[k % len(across)]))
    for k in order:
        members.setdefault((int(heights[k]), int(widths[k])), []).append(k)
    return [(size, torch.tensor(which)) for size, which in members.items()]


def _bands(count: int) -> list[int]:
    """Return for each of `count` windows in a line the number of its band, 0 at both ends, `_BANDS` in all."""
    wide = max(1, -(-count // (2 * _BANDS)))
    return [min(k, count - 1 - k) // wide for k in range(count)]


class TokenDropper:
    """Answers of a transformer that sees only some tokens of an image; they keep their positions.

    Args:
        classifier: borrowed.
        image: (1, C, h, w).

    Attributes:
        grid: tokens down and across.
        clean: (1, K) logits with all tokens.
        name: the block before which tokens leave.

    Raises:
        UnsupportedModelError: no transformer whose blocks take any number of tokens.

    Cost: two forwards.
    """

    def __init__(self, classifier: Classifier, image: Tensor) -> None:
        self.classifier, self.image = classifier, image
        layout = find_layer(classifier, image).layout
        if layout.kind != "tokens":
            raise _refusal(classifier, "no layer of it is a sequence of tokens")
        self.grid, self.places = layout.grid, layout.places()
        self.length = len(self.places) + layout.extra
        self.name = self._first_block()
        every = torch.arange(self.length)
        with torch.no_grad():
            self.clean = classifier.raw_logits(image)
            if not torch.equal(self._run(every[None]), self.clean):
                raise _refusal(classifier, f"it does not return the same when no token leaves before {self.name!r}")

    def logits(self, top: Tensor, left: Tensor, size: tuple[int, int]) -> Tensor:
        """Return logits (N, K) without the tokens in windows (N,) of size (height, width), in tokens."""
        rows, columns = torch.arange(self.grid[0]), torch.arange(self.grid[1])
        down = (rows >= top[:, None]) & (rows < top[:, None] + size[0])
        across = (columns >= left[:, None]) & (columns < left[:, None] + size[1])
        hidden = torch.zeros(len(top), self.length, dtype=torch.bool)
        hidden[:, self.places] = (down[:, :, None] & across[:, None, :]).flatten(1)
        with torch.no_grad():
            return self._run((~hidden).nonzero()[:, 1].view(len(top), -1))

    def _run(self, keep: Tensor) -> Tensor:
        """Return logits of copies of the image that keep the given tokens (N, kept)."""

        def drop(_block: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
            tokens = inputs[0]
            index = keep.to(tokens.device)[:, :, None].expand(-1, -1, tokens.shape[2])
            return (tokens.gather(1, index), *inputs[1:])

        handle = self.classifier.module.get_submodule(self.name).register_forward_pre_hook(drop)
        try:
            return self.classifier.raw_logits(self.image.expand(len(keep), -1, -1, -1))
        except RuntimeError as error:
            raise _refusal(
                self.classifier, f"it cannot run with fewer tokens ({str(error).splitlines()[0]})"
            ) from error
        finally:
            handle.remove()

    def _first_block(self) -> str:
        """Return the name of the first of several like blocks that take the tokens, with their positions."""
        seen = list[nn.Module]()
        names: dict[nn.Module, str] = {part: name for name, part in self.classifier.module.named_modules()}

        def keep(part: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            given, made = first_tensor(inputs), first_tensor(output)
            if (
                given is not None
                and made is not None
                and given.shape == made.shape
                and given.shape[1:2] == (self.length,)
            ):
                seen.append(part)

        handles = [add_hook(part, keep) for part in names]
        try:
            with torch.no_grad():
                self.classifier.raw_logits(self.image)
        finally:
            for handle in handles:
                handle.remove()
        blocks = _alike(self.classifier.module)
        candidates: list[str] = [names[part] for part in seen if part in blocks]
        if not candidates:
            raise _refusal(self.classifier, "no row of like blocks takes its tokens")
        return candidates[0]


def _alike(module: nn.Module) -> set[nn.Module]:
    """Return the members of lists and sequences of two or more modules of one class."""
    alike: set[nn.Module] = set()
    for part in module.modules():
        members = list(part.children())
        if isinstance(part, nn.Sequential | nn.ModuleList) and len(members) > 1 and len(set(map(type, members))) == 1:
            alike.update(members)
    return alike


def _refusal(classifier: Classifier, why: str) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"Tokens of {classifier.name!r} cannot be dropped: {why}. Use another `baseline`, such as 'mean'."
    )
