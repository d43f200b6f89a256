"""Tokens of a vision transformer dropped from the sequence, instead of pixels painted over."""

from typing import Any

import torch
from torch import Tensor, nn

from xai.core.classifier import Classifier
from xai.core.containers import first_tensor
from xai.core.hooks import add_hook
from xai.core.layers import find_layer
from xai.errors import UnsupportedModelError


class TokenDropper:
    """Answers of a transformer that sees only some tokens of a picture; they keep their positions.

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
                raise _refusal(classifier, f"it does not answer the same when no token leaves before {self.name!r}")

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
        """Return logits of copies of the picture that keep the given tokens (N, kept)."""

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
        found: list[str] = [names[part] for part in seen if part in blocks]
        if not found:
            raise _refusal(self.classifier, "no row of like blocks takes its tokens")
        return found[0]


def _alike(module: nn.Module) -> set[nn.Module]:
    """Return the members of lists and sequences of two or more modules of one class."""
    found: set[nn.Module] = set()
    for part in module.modules():
        members = list(part.children())
        if isinstance(part, nn.Sequential | nn.ModuleList) and len(members) > 1 and len(set(map(type, members))) == 1:
            found.update(members)
    return found


def _refusal(classifier: Classifier, why: str) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"Tokens of {classifier.name!r} cannot be dropped: {why}. Use another `baseline`, such as 'mean'."
    )
