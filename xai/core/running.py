"""How a classifier runs its module, and the errors that a caller can do something about."""

import copy
import re
from typing import Any, Self

import torch
from torch import Tensor, nn

from xai.core.containers import tensors_in
from xai.core.fixed_batch import batch_size, find_batch_size, has_rows, in_pieces, may_be_fixed, note_answer
from xai.core.forward_state import writes_itself
from xai.core.further_inputs import WithInputs, lacking_inputs, with_inputs
from xai.core.hooks import parts_of
from xai.core.images import ImageLike
from xai.core.rows import is_out_of_memory
from xai.errors import ShapeError, UnsupportedModelError


class RunsModule:
    """The part of a classifier that runs its module."""

    module: nn.Module
    name: str
    input_size: tuple[int, int] | None

    def with_inputs(self, **inputs: Any) -> Self:
        """Return the same classifier with other further inputs, of one image for instance.

        Args:
            **inputs: tensors (1, ...) by the names that the module takes.

        Raises:
            InputError: no such input.
            ShapeError: a tensor that does not begin with a dimension of 1.

        Example:
            >>> import torch, xai
            >>> class Net(torch.nn.Module):
            ...     def forward(self, images, age):
            ...         return torch.cat([images.mean((1, 2, 3))[:, None], age], 1)
            >>> clf = xai.Classifier(Net(), inputs={"age": torch.tensor([[0.3]])})
            >>> clf.with_inputs(age=torch.tensor([[0.9]])).logits(torch.zeros(1, 3, 8, 8))
            tensor([[0.0000, 0.9000]])
        """
        other = copy.copy(self)
        inner = self.module.module if isinstance(self.module, WithInputs) else self.module
        other.module = with_inputs(inner, inputs)
        return other

    def features(self, images: ImageLike) -> Tensor:
        """Return the inputs of the last linear layer for images in any form, or for a data set.

        Returns:
            Features (N, D) in float32 or float64, on the CPU.

        Raises:
            UnsupportedModelError: the logits are not the output of a linear layer.
            InputError: an image that cannot be read or does not fit.

        Example:
            >>> import xai
            >>> clf = xai.load("example:fashion")
            >>> clf.features(xai.load_data("example:fashion-test").images[:4]).shape
            torch.Size([4, 4704])
        """
        source = images if hasattr(images, "images") else self.prepare(images).inputs  # type: ignore[attr-defined]
        outputs = self.outputs(source)  # type: ignore[attr-defined]  # of the classifier
        if outputs.features is None:
            why = next(note for note in outputs.notes if note.startswith("no features"))
            raise UnsupportedModelError(f"{self.name!r} has {why}. Give a model that ends in a linear layer.")
        found: Tensor = outputs.features
        return found

    def _run(self, normalised: Tensor) -> Any:
        size = batch_size(self.module)
        try:
            if size is not None:
                return in_pieces(self._run_at_all, normalised, size)
            found = self._run_at_all(normalised)
        except (RuntimeError, ValueError, AssertionError, TypeError) as error:
            self._explain_lack(error)
            self._explain_channels(normalised, error)
            if self._takes_others(normalised, error):
                return self._run(normalised)
            self._explain_size(normalised, error)
            raise
        if has_rows(found, len(normalised)):
            note_answer(self.module, len(normalised))
            return found
        shapes = [tuple(tensor.shape) for tensor in tensors_in(found)]
        return self._run(normalised) if self._takes_others(normalised, shapes) else found

    def _explain_lack(self, error: Exception) -> None:
        """Raise what the caller can do about a failure that has nothing to do with the images."""
        lacking = lacking_inputs(self.module, error)
        if lacking is not None:
            raise lacking from error
        if is_out_of_memory(error):
            raise error
        if "Inference tensors" in str(error):
            raise UnsupportedModelError(
                f"The weights of {self.name!r} were made inside torch.inference_mode(), which rules out gradients. "
                "Make or load the model outside of it."
            ) from error

    def _explain_channels(self, normalised: Tensor, error: Exception) -> None:
        """Raise the cure where the first convolution takes other channels than the images have."""
        found = _CHANNELS.search(str(error))
        if found is None or int(found[2]) != normalised.shape[1]:
            return
        raise UnsupportedModelError(
            f"The model {self.name!r} cannot run on pictures {tuple(normalised.shape[1:])}: it takes {found[1]} "
            f"channel(s). Give channels={found[1]}, as in xai.Classifier(model, channels={found[1]})."
        ) from error

    def _explain_size(self, normalised: Tensor, error: Exception) -> None:
        """Raise what the caller can do about a failure that looks like one of the images' size."""
        if self.input_size is not None or not _about_size(error):
            return
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ShapeError(
            f"The model {self.name!r} cannot take images of {tuple(normalised.shape[1:])}: {first} "
            "Set `input_size=(H, W)` of the classifier."
        ) from error

    def _takes_others(self, normalised: Tensor, fault: object) -> bool:
        """Find whether the module takes another number of images, one that its batch is fixed to."""
        if not len(normalised) or not may_be_fixed(self.module, len(normalised)):
            return False
        with torch.no_grad():
            return find_batch_size(parts_of(self.module), self._run_at_all, normalised, fault) is not None

    def _run_at_all(self, normalised: Tensor) -> Any:
        """Run the module; TorchScript that was run with gradients once would keep them in inference mode, too.

        What a module keeps for its next forward must not be a tensor of inference mode, which allows no gradient.
        """
        inference = torch.is_inference_mode_enabled()
        try:
            if not (inference and writes_itself(self.module)):
                return self.module(normalised)
        except RuntimeError as error:
            if "Inference tensors" not in str(error) or not inference:
                raise
        with torch.inference_mode(False), torch.no_grad():
            return self.module(normalised.clone())


_CHANNELS = re.compile(r"to have (\d+) channels, but got (\d+) channels")  # a convolution's own words


def _about_size(error: Exception) -> bool:
    """Whether a network refused its input's size; those that check it themselves assert it."""
    words = ("size", "shape", "height", "width", "dimension")
    return isinstance(error, AssertionError) or any(word in str(error).lower() for word in words)
