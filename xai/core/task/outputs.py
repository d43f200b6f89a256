"""Detection of the form of a module's output. Also checked: whether outputs repeat, alone and in a batch."""

import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn

from xai.core.model.fingerprint import Place, leave_out, may_write, parts_of, state_of
from xai.core.model.forward_state import Snapshot, find_caches, written_always
from xai.core.model.hooks import borrowed
from xai.core.model.predictions import DeclaredTask, OutputMeaning, output_tensor, score_table, to_logits
from xai.core.results.message import Message
from xai.core.runtime.batching import batch_notes, is_out_of_memory
from xai.core.task.evidence import flatness, probe_images, refuse_other_kinds, watched
from xai.core.task.meaning import names_of, read_meaning
from xai.errors import UnsupportedModelError

DEPENDS = "depends on the others in its batch"
RANDOM = "two outputs for the same image differ in evaluation mode: maps are as random as the model"
_WRITTEN_ALWAYS = (
    "the model writes {names} while it predicts; no prediction was seen to depend on it: it is not in the fingerprint"
)
_WRITTEN_ONCE = (
    "the model writes {names} when it first predicts, as other first images may set otherwise: the fingerprint is of "
    "what it wrote"
)
CLOSE = {torch.float16: 0.02, torch.bfloat16: 0.1}
_CLOSE = 1e-3  # of the largest score: more is no rounding
_NAMED_IMAGES = 3  # names in a note
_TIMES = 8  # what is random may answer the same twice, and is no fault of the batch

Forward = Callable[[Tensor], Tensor]
_known: "weakref.WeakKeyDictionary[nn.Module, dict[bool, tuple[object, tuple[str, ...]]]]" = weakref.WeakKeyDictionary()


def known_notes(module: nn.Module, *, one_by_one: bool = False) -> tuple[str, ...] | None:
    """Return what `unsteadiness` found of a module that has not changed since, else None."""
    known = _known.get(module, {}).get(one_by_one)
    return known[1] if known is not None and known[0] == state_of(module) else None


def unsteadiness(
    module: nn.Module,
    name: str,
    forward: Forward,
    rows: Tensor,
    together: Tensor | None,
    before: Snapshot | None,
    *,
    one_by_one: bool = False,
) -> tuple[str, ...]:
    """Return in words how the answer to the first image changes although the image does not, and what the model writes.

    Remembered per module until it changes: a bare module is given anew to every verb. What a forward writes without
    any effect on its answers is left out of the module's fingerprint from then on.

    Args:
        module: borrowed.
        name: of the model.
        forward: scores (n, K) of images (n, C, H, W), without gradients.
        rows: images (n, C, H, W) in [0, 1]; where it is one, its negative stands beside it.
        together: their scores in one batch, where there are several.
        before: the module before its first forward; None compares with what it is now.
        one_by_one: images run alone anyway, so that batches are not looked at.

    Raises:
        UnsupportedModelError: batch norms without running statistics, or answers change with what the module writes
            into its buffers.
    Cost: three forwards of one image and one of all (two with a single row), more where the answers differ, and twelve
        more where the module changes by a forward.
    """
    known = known_notes(module, one_by_one=one_by_one)
    if known is not None:
        return known
    before = before or Snapshot(parts_of(module))
    if len(rows) == 1:
        rows, together = torch.cat([rows[:1], 1 - rows[:1]]), None
    if one_by_one:
        forward(rows[:1])
        fault = ""
    else:
        fault = _unsteadiness(module, name, forward, rows, forward(rows) if together is None else together)
    written = _written_notes(module, name, forward, rows, before, by_batch=DEPENDS in fault)
    notes = (*([fault] if fault else []), *written)
    _known.setdefault(module, {})[one_by_one] = state_of(module), notes
    return notes


def _unsteadiness(module: nn.Module, name: str, forward: Forward, images: Tensor, together: Tensor) -> str:
    alone = torch.cat([forward(images[k : k + 1]) for k in (0, -1 % len(images))])
    close = float(together.abs().max()) * CLOSE.get(together.dtype, _CLOSE) + 1e-6
    turned = forward(images.flip(0)).flip(0)
    gap = max(float((alone - some[[0, -1]]).abs().max()) for some in (together, turned))
    again = (forward(images[:1]) for _ in range(_TIMES if gap > close else 1))
    if any(float((alone[:1] - other).abs().max()) > close for other in again):
        return RANDOM
    if gap <= close:
        return ""
    refuse_batch_statistics(module, name, gap)
    return Message(f"the output for one image {DEPENDS} (by {{gap:.2g}}): images run one at a time", gap=gap)


def _written_notes(
    module: nn.Module, name: str, forward: Forward, images: Tensor, before: Snapshot, *, by_batch: bool
) -> tuple[str, ...]:
    """Say what the model writes while it answers, and leave it out of what the model is where no answer depends on it.

    Raises:
        UnsupportedModelError: answers change with what it writes into its buffers.
    """
    logs = [place for place in before.changes() if before.logged(place)]
    leave_out(logs)
    places = [place for place in before.changes() if place not in logs]
    if not places:
        return ()
    names = ", ".join(repr(each) for each in dict.fromkeys(attribute for _, attribute in places[:_NAMED_IMAGES]))
    parts = parts_of(module)
    buffers = [attribute for part, attribute in places if attribute in part._buffers]
    learns = buffers and (by_batch or any(_learns(part) for part, _ in places))
    always = (
        None
        if learns
        else written_always(lambda: forward(images[:1]), lambda: [forward(image[None]) for image in images], parts)
    )
    if always is not None:
        leave_out(always)
        return tuple(_harmless(places, [*always, *find_caches(before, places)]))
    if buffers:
        raise UnsupportedModelError(
            f"{name!r} changes its own buffers while it predicts in evaluation mode, and its predictions with them: "
            f"{buffers[0]!r}. Use running statistics, and keep what is counted or cached out of the output."
        )
    return (Message("the model writes {names} while it predicts, and its predictions change with it", names=names),)


def _harmless(places: list[Place], always: list[Place]) -> Iterator[str]:
    """Say what is written at every answer, which the fingerprint leaves out, and what once, which it does not."""
    once = [place for place in places if place not in always]
    for template, some in ((_WRITTEN_ALWAYS, always), (_WRITTEN_ONCE, once)):
        if some:
            names = ", ".join(repr(name) for name in dict.fromkeys(attribute for _, attribute in some[:_NAMED_IMAGES]))
            yield Message(template, names=names)


def refuse_batch_statistics(module: nn.Module, name: str, gap: float) -> None:
    """Raise UnsupportedModelError where a layer normalises by the statistics of whatever batch comes."""
    if any(_by_batch(part) for part in parts_of(module)):
        raise UnsupportedModelError(
            f"The output of {name!r} for one image {DEPENDS} (by {gap:.2g}), as its batch norms keep no "
            "running statistics: alone it would be normalised otherwise than in training. Use running statistics."
        )


def _learns(part: nn.Module) -> bool:
    return isinstance(part, nn.modules.batchnorm._BatchNorm)


def _by_batch(part: nn.Module) -> bool:
    return isinstance(part, nn.modules.batchnorm._BatchNorm) and part.running_mean is None


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
    _asked: DeclaredTask
    _meaning: OutputMeaning | None
    _notes: tuple[str, ...]
    _unsure: tuple[str, ...] = ()
    _depends_on_batch: bool = False
    _class_names: tuple[str, ...] | None
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
        meaning_notes = () if self._meaning is None else self._meaning.notes
        return tuple(dict.fromkeys([*self._notes, *batch_notes(self.module), *meaning_notes, *self._unsure]))

    def read_outputs(self, images: Tensor | None = None) -> OutputMeaning:
        """Return how the outputs are read, which is found once, at the first images.

        Args:
            images: (n, C, h, w) in [0, 1]; None looks at probe images of the input size. A module that cannot run on
                them is read as the caller said, and looked at again at the next images.

        Raises:
            UnsupportedModelError: it is ambiguous, or contradicts what the caller said.
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
        faults = unsteadiness(self.module, self.name, self.scores, rows, together, before, one_by_one=alone)
        self._depends_on_batch = self._depends_on_batch or any(DEPENDS in note for note in faults)
        self._notes = (*self._notes, *(note for note in faults if note not in self._notes))

    def _is_known(self) -> bool:
        return known_notes(self.module, one_by_one=self.one_by_one) is not None

    def find_state(self) -> None:
        """Find what the module writes while it answers, where its code may write anything and this is not known yet.

        Cost: nothing for most models; else the forwards of the first look, of probe images.
        """
        if not may_write(parts_of(self.module)) or self._is_known():
            return
        if self._meaning is None:
            self.read_outputs()
            return
        rows = probe_images(self.channels, self.input_size or _PROBE_SIZE)[:_ROWS].clone()
        with suppress(_NotRunError), borrowed(self.module), torch.inference_mode(False), torch.no_grad():
            before = Snapshot(parts_of(self.module))
            self._ask_again(rows, self._look(rows[:1] if self.one_by_one else rows), before)

    @property
    def known_meaning(self) -> OutputMeaning:
        """How outputs are read as far as it is known, which runs nothing: as found, or as the caller said."""
        if self._meaning is not None:
            return self._meaning
        return OutputMeaning(self._asked.task or "multiclass", self._asked.output or "logits", self._asked.key)

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
            meaning = read_meaning(self.module, self.name, images.detach(), (raw, ending), None, self._asked)
        if self._meaning is None and not meaning.single:
            self.settle(meaning)
        return to_logits(output_tensor(raw, meaning.key), len(images), head=meaning.head, output=meaning.output)

    def settle(self, meaning: OutputMeaning) -> None:
        """Take over how the outputs are read."""
        self._meaning = meaning
        if self._class_names is not None:
            self._class_names = names_of(self._class_names, meaning)
            self._num_classes = len(self._class_names)

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
                flat = flatness(self.scores, images[:_AGAIN].clone())
        except _NotRunError:
            return
        self._notes, self._unsure = (*self._notes, *flat.notes(probes=False)), ()

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
