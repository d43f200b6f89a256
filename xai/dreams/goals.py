"""What a dream raises: the energy of a layer, the mean of one of its channels, or the score of a class."""

from abc import ABC, abstractmethod
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from xai.core.classifier import Classifier
from xai.core.containers import first_tensor
from xai.core.hooks import hooked
from xai.core.layouts import possible_layouts
from xai.core.rows import is_out_of_memory
from xai.dreams.pyramid import Size
from xai.errors import NameLookupError, NonFiniteError, RangeError, UnsupportedModelError


class _Reached(BaseException):
    """The forward has come to the layer; no model can mistake this for an error of its own."""


class Goal(ABC):
    """A number that a picture has; larger is more of what is dreamt of.

    Attributes:
        title: what is raised, in words.
    """

    title: str

    @abstractmethod
    def value(self, pictures: Tensor) -> Tensor:
        """Return the number, 0-d and differentiable, of pictures (N, C, h, w) in [0, 1]."""

    def takes(self, size: Size, channels: int, like: Tensor) -> bool:
        """Return whether the network can look at pictures of this size."""
        try:
            with torch.no_grad():
                self.value(torch.full((1, channels, *size), 0.5).to(like))
        except (RuntimeError, ValueError, AssertionError) as error:
            if is_out_of_memory(error):
                raise
            return False
        return True


@dataclass(frozen=True, eq=False)
class ClassGoal(Goal):
    """The logit of a class."""

    classifier: Classifier
    index: int

    @property
    def title(self) -> str:  # type: ignore[override]  # read-only here
        """Name of the class."""
        return f"class {self.classifier.labels[self.index]}"

    def value(self, pictures: Tensor) -> Tensor:
        """Return the mean logit."""
        return self.classifier.raw_logits(pictures)[:, self.index].mean()


@dataclass(frozen=True, eq=False)
class LayerGoal(Goal):
    """The mean square of a layer's output, or the mean of one channel of it; nothing behind the layer runs.

    A layer that the network calls several times is looked at in its first call.
    """

    classifier: Classifier
    layer: str
    channel: int | None = None

    @property
    def title(self) -> str:  # type: ignore[override]  # read-only here
        """Name of the layer, and number of the channel."""
        return f"layer {self.layer}" + ("" if self.channel is None else f", channel {self.channel}")

    def value(self, pictures: Tensor) -> Tensor:
        """Return the energy of the layer or the mean of its channel.

        Raises:
            RangeError: no such channel.
            NonFiniteError: the layer answered NaN or infinity.
        """
        output = self._output(pictures)
        output = output if output.dtype == torch.float64 else output.float()
        if self.channel is None:
            found = output.square().mean()
        else:
            found = self._channels(output, pictures)[:, self._checked(output, pictures)].mean()
        if not bool(torch.isfinite(found.detach())):
            raise NonFiniteError(
                f"The layer {self.layer!r} of {self.classifier.name!r} answered NaN or infinity. Check its weights."
            )
        return found

    def _output(self, pictures: Tensor) -> Tensor:
        """Return what the layer answers; the forward ends there."""
        held: list[Tensor | None] = []

        def stop(_module: nn.Module, _inputs: Any, output: Any) -> None:
            held.append(first_tensor(output))
            raise _Reached

        with hooked(self.classifier.module.get_submodule(self.layer), stop), suppress(_Reached):
            self.classifier.raw_logits(pictures)
        if not held:
            raise UnsupportedModelError(f"The layer {self.layer!r} does not run in a forward. Name another `layer`.")
        if held[0] is None:
            raise UnsupportedModelError(f"The layer {self.layer!r} returns no tensor. Name another `layer`.")
        return held[0]

    def _channels(self, output: Tensor, pictures: Tensor) -> Tensor:
        """Return the output with its channels second: maps, tokens and plain features."""
        size = (int(pictures.shape[2]), int(pictures.shape[3]))
        layouts = possible_layouts(output.shape, len(pictures), size)
        if layouts:
            return layouts[0].to_maps(output)
        return output.movedim(-1, 1) if output.ndim == 3 else output

    def _checked(self, output: Tensor, pictures: Tensor) -> int:
        shape = self._channels(output, pictures).shape
        count = int(shape[1]) if len(shape) > 1 else 0
        if self.channel is None or not 0 <= self.channel < count:
            raise RangeError(
                f"Expected `channel` from 0 to {count - 1} for layer {self.layer!r}, but got {self.channel!r}."
            )
        return self.channel


def check_layer(classifier: Classifier, name: str) -> str:
    """Return the name of a layer.

    Raises:
        NameLookupError: no layer of that name; near ones are suggested.
    """
    names = [known for known, _ in classifier.module.named_modules() if known]
    if name not in names:
        raise NameLookupError("layer", name, names)
    return name
