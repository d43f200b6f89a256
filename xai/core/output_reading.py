"""The one place where a classifier finds out how to read what its module returns."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn

from xai.core.declared import refuse_other_kinds
from xai.core.endings import watched
from xai.core.fixed_batch import batch_notes
from xai.core.flatness import flatness
from xai.core.forward_state import Snapshot, may_write
from xai.core.heads import output_tensor, score_table, to_logits
from xai.core.hooks import borrowed, parts_of
from xai.core.meaning import Asked, Meaning, names_of, read_meaning
from xai.core.probe_images import probe_images
from xai.core.rows import is_out_of_memory
from xai.core.steadiness import DEPENDS, known_notes, unsteadiness
from xai.errors import UnsupportedModelError

_PROBE_SIZE = (224, 224)
_ROWS = 2  # images that are looked at
_AGAIN = 4  # of the user's images, looked at where probe images showed nothing


class _NotRunError(UnsupportedModelError):
    """The module fails on the images it is looked at with."""


class ReadsOutputs(ABC):
    """What a classifier does about the meaning of its outputs, once for every way in and every verb."""

    module: nn.Module
    name: str
    channels: int
    input_size: tuple[int, int] | None
    one_by_one: bool
    _asked: Asked
    _meaning: Meaning | None
    _notes: tuple[str, ...]
    _unsure: tuple[str, ...] = ()
    _depends_on_batch: bool = False
    _labels: tuple[str, ...] | None
    _num_classes: int | None

    @abstractmethod
    def normalise(self, images: Tensor) -> Tensor:
        """Return what goes into the module for images in [0, 1]."""

    @abstractmethod
    def _run(self, normalised: Tensor) -> Any:
        """Return what the module returns."""

    @property
    def task(self) -> str:
        """What the outputs are for: "multiclass", "binary" or "multilabel"."""
        return self.read_outputs().task

    @property
    def output(self) -> str:
        """What the module returns: "logits" or "probabilities"."""
        return self.read_outputs().output

    @property
    def head(self) -> str:
        """What makes probabilities of logits: "softmax" over the classes, or the "sigmoid" of each."""
        return self.read_outputs().head

    @property
    def notes(self) -> tuple[str, ...]:
        """What is to be known of the model, in words, with what was found of its outputs so far."""
        found = () if self._meaning is None else self._meaning.notes
        return tuple(dict.fromkeys([*self._notes, *batch_notes(self.module), *found, *self._unsure]))

    def read_outputs(self, images: Tensor | None = None) -> Meaning:
        """Return how the outputs are read, which is found once, at the first images.

        Args:
            images: (n, C, h, w) in [0, 1]; None looks at probe images of the input size. A module that cannot run on
                them is read as the caller said, and looked at again at the next images.

        Raises:
            UnsupportedModelError: it cannot be told, or contradicts what the caller said.
        """
        if self._meaning is not None:
            return self._meaning
        pixels = probe_images(self.channels, self.input_size or _PROBE_SIZE) if images is None else images.detach()
        if not len(pixels):
            return self.known_meaning
        try:
            with borrowed(self.module), torch.inference_mode(False), torch.no_grad():
                rows = pixels[:_ROWS].clone()
                refuse_other_kinds(self.module, self.name)
                before = None if self._is_known() else Snapshot(parts_of(self.module))
                seen = watched(lambda: self._look(rows))
                self.settle(read_meaning(self.module, self.name, rows, seen, self._look, self._asked))
                self._ask_again(rows, seen[0], before)
        except _NotRunError:
            pass
        return self.known_meaning

    def _ask_again(self, rows: Tensor, raw: Any, before: Snapshot | None) -> None:
        """Note an answer that is random or depends on its batch, and run images alone from now on where it does.

        Args:
            rows: images (n, C, h, w) in [0, 1].
            raw: what the module returned for them.
            before: the module before it was asked at all, where it was not looked at yet.
        """
        several = len(rows) > 1 and not self.one_by_one
        together = score_table(output_tensor(raw, self.known_meaning.key), len(rows)) if several else None
        alone = self.one_by_one
        said = unsteadiness(self.module, self.name, self.scores, rows, together, before, one_by_one=alone)
        self._depends_on_batch = self._depends_on_batch or any(DEPENDS in note for note in said)
        self._notes = (*self._notes, *(note for note in said if note not in self._notes))

    def _is_known(self) -> bool:
        return known_notes(self.module, one_by_one=self.one_by_one) is not None

    def find_state(self) -> None:
        """Find what the module writes while it answers, where its code may write anything and this is not known yet.

        Cost: nothing for most models; else the forwards of the first look, of probe images.
        """
        if self._is_known() or not may_write(parts_of(self.module)):
            return
        if self._meaning is None:
            self.read_outputs()
            return
        rows = probe_images(self.channels, self.input_size or _PROBE_SIZE)[:_ROWS].clone()
        with suppress(_NotRunError), borrowed(self.module), torch.inference_mode(False), torch.no_grad():
            before = Snapshot(parts_of(self.module))
            self._ask_again(rows, self._look(rows[:1] if self.one_by_one else rows), before)

    @property
    def known_meaning(self) -> Meaning:
        """How outputs are read as far as it is known, which runs nothing: as found, or as the caller said."""
        if self._meaning is not None:
            return self._meaning
        return Meaning(self._asked.task or "multiclass", self._asked.output or "logits", self._asked.key)

    def first_logits(self, images: Tensor) -> Tensor:
        """Return logits (N, K) of images in [0, 1], and settle how outputs are read by the same forward.

        For callers that watch the module, which runs once and no more. What one number per image means is not settled
        by it, as that takes further images.
        """
        if self.one_by_one and len(images) > 1:
            return torch.cat([self.first_logits(image) for image in images[:, None]])
        refuse_other_kinds(self.module, self.name)
        raw, ending = watched(lambda: self._run(self.normalise(images)))
        with torch.inference_mode(False), torch.no_grad():
            found = read_meaning(self.module, self.name, images.detach(), (raw, ending), None, self._asked)
        if self._meaning is None and not found.single:
            self.settle(found)
        return to_logits(output_tensor(raw, found.key), len(images), head=found.head, output=found.output)

    def settle(self, meaning: Meaning) -> None:
        """Take over how the outputs are read."""
        self._meaning = meaning
        if self._labels is not None:
            self._labels = names_of(self._labels, meaning)
            self._num_classes = len(self._labels)

    def take_notes(self, notes: Sequence[str], unsure: Sequence[str] = ()) -> None:
        """Take over what is to be known of the model, and what the first images that are given may refute."""
        self._notes, self._unsure = tuple(notes), tuple(unsure)

    def look_again(self, images: Tensor) -> None:
        """Settle what only images near the data can tell: whether the model is flat.

        Args:
            images: (n, C, h, w) in [0, 1], of the user.
        """
        if not self._unsure or not len(images):
            return
        try:
            with borrowed(self.module):
                found = flatness(self.scores, images[:_AGAIN].clone())
        except _NotRunError:
            return
        self._notes, self._unsure = (*self._notes, *found.notes(probes=False)), ()

    def scores(self, images: Tensor) -> Tensor:
        """Return the class scores as the module gives them (N, K) for images (N, C, H, W) in [0, 1], with gradients."""
        return score_table(output_tensor(self._look(images), self.read_outputs(images).key), len(images))

    def as_logits(self, raw: Any, rows: int) -> Tensor:
        """Return logits (N, K) of what the module, or a copy of it, returned for `rows` images.

        Raises:
            UnsupportedModelError: it holds no class scores, or not one row for each image.
        """
        meaning = self.read_outputs()
        return to_logits(output_tensor(raw, meaning.key), rows, head=meaning.head, output=meaning.output)

    def _look(self, images: Tensor) -> Any:
        try:
            return self._run(self.normalise(images))
        except Exception as error:  # the user's own code, which may raise anything; its next run says so
            if is_out_of_memory(error):
                raise
            first = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise _NotRunError(
                f"The model {self.name!r} fails on the images that it is looked at with: {first}"
            ) from error
