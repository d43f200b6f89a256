"""The objectives of a dream: a layer, a channel or a class score. When no layer is named, one is chosen."""

from abc import ABC, abstractmethod
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from xai.core.images.geometry import plan_geometry
from xai.core.layers.layouts import possible_layouts
from xai.core.model.classifier import Classifier
from xai.core.model.hooks import add_hook, gradient, hooked
from xai.core.model.objective import Objective
from xai.core.model.predictions import to_probabilities
from xai.core.results.message import Message
from xai.core.runtime.batching import first_tensor, is_out_of_memory
from xai.errors import NameLookupError, NonFiniteError, RangeError, UnsupportedModelError
from xai.explanations.dream.deep_dream import Size


class _Reached(BaseException):
    """The forward has come to the layer; no model can mistake this for an error of its own."""


class Goal(ABC):
    """A number that an image has; larger is more of what is dreamt of.

    Attributes:
        title: what is raised, in words.
    """

    title: str

    @abstractmethod
    def value(self, images: Tensor) -> Tensor:
        """Return the number, 0-d and differentiable, of images (N, C, h, w) in [0, 1]."""

    def takes(self, size: Size, channels: int, like: Tensor) -> bool:
        """Return whether the network can look at images of this size."""
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
        return Message("class {name}", name=self.classifier.class_names[self.index])

    def value(self, images: Tensor) -> Tensor:
        """Return the mean logit."""
        return self.classifier.raw_logits(images)[:, self.index].mean()


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
        if self.channel is None:
            return Message("layer {layer}", layer=self.layer)
        return Message("layer {layer}, channel {channel}", layer=self.layer, channel=self.channel)

    def value(self, images: Tensor) -> Tensor:
        """Return the energy of the layer or the mean of its channel.

        Raises:
            RangeError: no such channel.
            NonFiniteError: the layer returned NaN or infinity.
        """
        output = self._output(images)
        output = output if output.dtype == torch.float64 else output.float()
        if self.channel is None:
            activity = output.square().mean()
        else:
            activity = self._channels(output, images)[:, self._checked(output, images)].mean()
        if not bool(torch.isfinite(activity.detach())):
            raise NonFiniteError(
                f"The layer {self.layer!r} of {self.classifier.name!r} returned NaN or infinity. Check its weights."
            )
        return activity

    def _output(self, images: Tensor) -> Tensor:
        """Return what the layer answers; the forward ends there."""
        outputs: list[Tensor | None] = []

        def stop(_module: nn.Module, _inputs: Any, output: Any) -> None:
            outputs.append(first_tensor(output))
            raise _Reached

        with hooked(self.classifier.module.get_submodule(self.layer), stop), suppress(_Reached):
            self.classifier.raw_logits(images)
        if not outputs:
            raise UnsupportedModelError(f"The layer {self.layer!r} does not run in a forward. Name another `layer`.")
        if outputs[0] is None:
            raise UnsupportedModelError(f"The layer {self.layer!r} returns no tensor. Name another `layer`.")
        return outputs[0]

    def _channels(self, output: Tensor, images: Tensor) -> Tensor:
        """Return the output with its channels second: maps, tokens and plain features."""
        size = (int(images.shape[2]), int(images.shape[3]))
        layouts = possible_layouts(output.shape, len(images), size)
        if layouts:
            return layouts[0].to_maps(output)
        return output.movedim(-1, 1) if output.ndim == 3 else output

    def _checked(self, output: Tensor, images: Tensor) -> int:
        shape = self._channels(output, images).shape
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


_APART = 20  # pixels between two places of a layer with strides of 16, padded or not
_LEVELLING = (nn.LayerNorm, nn.GroupNorm, nn.InstanceNorm2d)  # what they answer has one energy for every image


@dataclass(frozen=True)
class _Map:
    """A layer whose output is a map of the image.

    Attributes:
        name: as in `module.named_modules()`.
        fine: it has a place for every 16 pixels.
        block: layers with weights are in it.
    """

    name: str
    fine: bool
    block: bool


def choose_layer(classifier: Classifier, size: Size) -> str:
    """Return the last block with a place for every 16 pixels; where there is none, the last map.

    Blocks go before single layers, because what follows a block's sum is the same image in more detail. What ends in
    a norm is left out: its energy cannot rise.

    Raises:
        UnsupportedModelError: no layer is a map of the image.
    """
    maps = _maps(classifier, size)
    if not maps:
        raise UnsupportedModelError(
            f"No layer of {classifier.name!r} is a map of the image. Name a `layer` or a `target`."
        )
    maps = [candidate for candidate in maps if candidate.fine] or maps
    return ([candidate for candidate in maps if candidate.block] or maps)[-1].name


def _maps(classifier: Classifier, size: Size) -> list[_Map]:
    """Return the layers that are maps of the image, in the order in which they finish."""
    maps: dict[str, _Map] = {}
    handles, last = [], nn.Module()

    def look(name: str, module: nn.Module, output: Any) -> None:
        nonlocal last
        last = last if any(True for _ in module.children()) else module
        tensor = first_tensor(output)
        layouts = [] if tensor is None else possible_layouts(tensor.shape, 1, size)
        if name and layouts and not isinstance(last, _LEVELLING):
            block = any(True for child in module.children() for _ in child.parameters())
            maps[name] = _Map(name, layouts[0].grid[0] * _APART >= size[0], block)

    try:
        for name, module in classifier.module.named_modules():
            handles.append(add_hook(module, lambda m, _, output, name=name: look(name, m, output)))
        with torch.no_grad():
            classifier.raw_logits(torch.full((1, classifier.channels, *size), 0.5))
    finally:
        for handle in handles:
            handle.remove()
    return list(maps.values())


class ClassJudge:
    """Classifies the image as it will be saved, in 8 bits and at its size, the way `Classifier.predict` does."""

    def __init__(self, goal: ClassGoal, size: Size) -> None:
        self.classifier, self.index = goal.classifier, goal.index
        self.geometry = plan_geometry(
            size, self.classifier.input_size, self.classifier.resize, self.classifier.crop_ratio
        )

    def logits(self, image: Tensor) -> Tensor:
        """Return logits (1, K) of an image (1, C, H, W)."""
        fill = self.classifier.mean if any(self.classifier.mean) else (0.5,) * self.classifier.channels
        return self.classifier.raw_logits(self.geometry.apply(image[0], image.new_tensor(fill).view(-1, 1, 1))[None])

    def probabilities(self, image: Tensor) -> Tensor:
        """Return the probabilities of all classes (K,)."""
        with torch.no_grad():
            return to_probabilities(self.logits(quantised(image)), self.classifier.head)[0]

    def look(self, image: Tensor) -> tuple[float, Tensor]:
        """Return the probability of the class, and the gradient of its margin over the best other one."""
        leaf = quantised(image).requires_grad_()
        logits = self.logits(leaf)
        meaning = self.classifier.read_outputs()
        margin = Objective("margin" if meaning.head == "softmax" else "logit", meaning)
        score = margin.row_scores(logits, torch.tensor([self.index], device=logits.device)).sum()
        share = to_probabilities(logits.detach(), meaning.head)[0, self.index]
        return float(share), gradient(score, leaf, "the image")


def quantised(image: Tensor) -> Tensor:
    """Return the image as a file of 8 bits holds it."""
    return (image.detach().clamp(0, 1) * 255).round() / 255
