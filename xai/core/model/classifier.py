"""The classifier: pixels in [0, 1] in, logits out. The user's network is wrapped, not changed."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from operator import index
from typing import Any

import torch
from torch import Tensor, nn

from xai.core.images.geometry import RESIZES, Batch, prepare_batch
from xai.core.images.inputs import ImageLike, check_unit_range
from xai.core.model.features import Outputs, collect_outputs
from xai.core.model.fingerprint import fingerprint_mapping, fingerprint_module
from xai.core.model.forward import FurtherInputs, RunsModule, first_nonfinite, nonfinite_cure, with_inputs
from xai.core.model.hooks import borrowed, scales_by_batch, unwrapped
from xai.core.model.predictions import DeclaredTask, Key, Prediction, check_reading, to_probabilities
from xai.core.runtime.batching import Progress, ShouldStop, batch_size, in_chunks, reporting, row_limit
from xai.core.runtime.devices import move
from xai.core.task.outputs import ReadsOutputs
from xai.core.validation import (
    check_choice,
    checked_channels,
    checked_class_names,
    checked_crop_ratio,
    checked_per_channel,
    checked_size,
)
from xai.errors import NameLookupError, NonFiniteError, ShapeError, TargetError, UnsupportedModelError

_PROBE_SIZE = (224, 224)
_ALONE = "images run one at a time: its quantised layers scale their inputs by the whole batch"
_BARE = "no preprocessing given: pixels in [0, 1] go into the model as they are; wrap it in xai.Classifier"


class Classifier(RunsModule, ReadsOutputs):
    """An image classifier with everything needed to use it on raw images.

    Args:
        module: any `nn.Module` from normalised images (N, C, H, W) to class scores: a tensor, a tuple or dict with
            one, or an object with `.logits`. One output means two classes.
        class_names: in the order of the outputs; None names them "0", "1", ...
        input_size: (height, width) of the network's input; None takes images as they are.
        channels: 3 for colour, 1 for grey.
        mean: per channel, subtracted from pixels in [0, 1]; None subtracts nothing.
        std: per channel, divides afterwards; None divides by nothing.
        resize: how an image of another size gets to `input_size`: "crop", "squash" or "pad".
        name: shown in reports; None takes the module's class name.
        device: moves the module there; None leaves it where it is.
        task: "multiclass" (one class is right), "binary" (one output stands for two classes, or two outputs) or
            "multilabel" (each class by itself). None finds it at the first image, says it in `notes`, and refuses where
            it is ambiguous, as of one unbounded output.
        output: "logits", or "probabilities" when the module ends in a softmax or sigmoid; None finds it likewise.
        output_key: name or place of the class scores where the module returns a dict, tuple or object with several
            tensors; None takes `.logits`, ["logits"], or what fits the class names, else the first, and says so.
        crop_ratio: side of the crop as a share of the resized image, 224 / 256 by default.
        notes: what is to be known of the model, in words; every result repeats them.
        one_by_one: run each image alone, for models whose answer depends on the rest of the batch; a dynamically
            quantised model always does so, and one that is found to depend on it at the first images.
        inputs: what the module takes beside images: tensors (1, ...) by name, the same for all images, or a function
            from the images, as the module gets them, to tensors (N, ...) by name.

    Raises:
        UnsupportedModelError: `module` is no module. At its first images: outputs that cannot be read, or answering
            changes the module.
        ShapeError: `channels`, `mean`, `std` or `input_size` of another form.
        RangeError: `mean`, `std` or `crop_ratio` outside what is possible.
        InputError: `class_names` that are no list of names, or no such `device`.
        NameLookupError: unknown `resize`, `task` or `output`.

    Example:
        >>> import torch, xai
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 2))
        >>> clf = xai.Classifier(net, class_names=["cat", "dog"], input_size=(8, 8), mean=[0.5] * 3, std=[0.25] * 3)
        >>> clf.logits(torch.rand(4, 3, 8, 8)).shape
        torch.Size([4, 2])
    """

    def __init__(
        self,
        module: nn.Module,
        class_names: Sequence[str] | None = None,
        input_size: tuple[int, int] | None = None,
        channels: int = 3,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        resize: str = "crop",
        task: str | None = None,
        name: str | None = None,
        device: str | torch.device | None = None,
        *,
        output: str | None = None,
        output_key: Key | None = None,
        crop_ratio: float = 0.875,
        notes: Sequence[str] = (),
        one_by_one: bool = False,
        inputs: FurtherInputs | None = None,
    ) -> None:
        check_reading(task, output, output_key)
        check_choice("way to resize", resize, RESIZES)
        self.module = with_inputs(unwrapped(module), inputs)
        self.channels = checked_channels(channels)
        self.mean = checked_per_channel(mean, 0.0, self.channels, "mean")
        self.std = checked_per_channel(std, 1.0, self.channels, "std")
        self.input_size = checked_size(input_size)
        self.resize, self.crop_ratio = resize, checked_crop_ratio(crop_ratio)
        self.name = name or type(self.module if inputs is None else self.module.module).__name__
        quantised = scales_by_batch(self.module)
        self._alone = one_by_one or quantised
        self._notes = (*notes, *([_ALONE] if quantised and _ALONE not in notes else []))
        self._class_names = checked_class_names(class_names)
        self._num_classes = None if self._class_names is None else len(self._class_names)
        self._asked, self._meaning = DeclaredTask(task, output, output_key, self._num_classes), None
        move(self.module, device)
        self._checked_width = False

    @property
    def device(self) -> torch.device:
        """Where the module is."""
        return self._first_tensor().device

    @property
    def dtype(self) -> torch.dtype:
        """The floating type that the module computes in."""
        return self._first_tensor().dtype

    @property
    def one_by_one(self) -> bool:
        """Whether each image runs alone.

        It does if asked for, if outputs depend on the batch, or if the model takes no more.
        """
        return self._alone or self._depends_on_batch or batch_size(self.module) == 1

    @one_by_one.setter
    def one_by_one(self, alone: bool) -> None:
        self._alone = alone

    @property
    def num_classes(self) -> int:
        """Number of classes; found by one forward when no names of classes were given."""
        if self._num_classes is None:
            size = self.input_size or _PROBE_SIZE
            self.count_classes(torch.rand(1, self.channels, *size, generator=torch.Generator().manual_seed(0)))
        return self._num_classes or 0

    def count_classes(self, images: Tensor) -> None:
        """Find the number of classes by one forward pass, unless it is known. The first of `images` is used."""
        if self._num_classes is None:
            with torch.no_grad():
                self.logits(images[:1])

    @property
    def class_names(self) -> tuple[str, ...]:
        """Class names in the order of the outputs."""
        return self._class_names or tuple(str(k) for k in range(self.num_classes))

    @property
    def preprocessing(self) -> dict[str, Any]:
        """Everything between an image and the network, and how its outputs are read, JSON-ready.

        They are settings of a classifier: `xai.Classifier(clf.module, **clf.preprocessing)` answers as `clf` does.
        Before the first images, a forward of probe images tells how outputs are read, as for `task`.
        """
        self.read_outputs()
        return self.settings_so_far

    @property
    def settings_so_far(self) -> dict[str, Any]:
        """The settings without a forward pass.

        They say how outputs are read where that is known, else what the caller declared.
        """
        read = self._asked if self._meaning is None else self._meaning
        reading = {"task": read.task, "output": read.output, "output_key": read.key}
        return {**self._geometry(), **reading, "one_by_one": self._alone}

    def _geometry(self) -> dict[str, Any]:
        return {
            "input_size": list(self.input_size) if self.input_size else None,
            "channels": self.channels,
            "mean": list(self.mean),
            "std": list(self.std),
            "resize": self.resize,
            "crop_ratio": self.crop_ratio,
        }

    @property
    def fingerprint(self) -> str:
        """SHA-256 of weights, wiring, preprocessing and what the caller said of the outputs.

        No forward is run but of models whose code writes into themselves (counters, caches): what a forward writes
        without any effect on the answer is left out, and said in `notes`.
        """
        self.find_state()
        declared = {"task": self._asked.task, "output": self._asked.output, "output_key": self._asked.key}
        alone = {"one_by_one": True} if self._alone else {}
        return fingerprint_mapping({"module": fingerprint_module(self.module), **self._geometry(), **declared, **alone})

    def __repr__(self) -> str:
        """Name and input."""
        return f"Classifier({self.name!r}, input_size={self.input_size}, channels={self.channels})"

    def logits(self, images: Tensor) -> Tensor:
        """Return logits (N, K) of images (N, C, H, W) in [0, 1]. They are differentiable, on the module's device.

        Raises:
            ShapeError: not 4-D, or other channels than the classifier's.
            RangeError: pixels outside [0, 1].
            NonFiniteError: the model returned NaN or infinity.
        """
        self.check_images(images)
        self.read_outputs(images)
        with borrowed(self.module):
            return self.raw_logits(images)

    def raw_logits(self, images: Tensor) -> Tensor:
        """As `logits`, for callers that have borrowed the module and checked the images already."""
        known = self._meaning is not None
        logits = self.logits_of_normalised(self.normalise(images)) if known else self.first_logits(images)
        self.check_width(logits)
        if not bool(torch.isfinite(logits.detach()).all()):
            where = first_nonfinite(self.module, self.normalise(images.detach()))
            cure = nonfinite_cure(logits.detach())
            raise NonFiniteError(f"The model {self.name!r} returned NaN or infinity; first in {where}. {cure}")
        return logits

    def logits_of_normalised(self, rows: Tensor) -> Tensor:
        """As `raw_logits`, of what `normalise` returns."""
        if len(rows) > 1 and self.one_by_one:
            return torch.cat([self.logits_of_normalised(row) for row in rows[:, None]])
        logits = self.as_logits(self._run(rows), len(rows))
        self.check_width(logits)
        return logits

    def normalise(self, images: Tensor) -> Tensor:
        """Return (images - mean) / std on the module's device and in its type. It is computed in float32 at least."""
        images = images.to(device=self.device, dtype=torch.promote_types(self.dtype, torch.float32))
        mean, std = (images.new_tensor(v).view(1, -1, 1, 1) for v in (self.mean, self.std))
        return (images - mean).div_(std).to(self.dtype)

    def prepare(self, images: ImageLike) -> Batch:
        """Return the model's inputs for images in any form. The way back to each original comes along.

        The notes of the batch begin with those of the model, so that every result has them.
        """
        batch = prepare_batch(
            images,
            input_size=self.input_size,
            channels=self.channels,
            resize=self.resize,
            crop_ratio=self.crop_ratio,
            fill=self.mean if any(self.mean) else (0.5,) * self.channels,
        )
        self.read_outputs(batch.inputs)
        self.look_again(batch.inputs)
        return replace(batch, model_notes=self.notes)

    def predict(self, images: ImageLike, *, progress: bool | Progress | None = None) -> Prediction:
        """Classify images in any form.

        Returns:
            Prediction with `.label`, `.index`, `.probability` and `.top(k)`; N long for N images.

        Raises:
            InputError: an image that cannot be read or does not fit.
            NonFiniteError: the model returned NaN or infinity.
        """
        batch = self.prepare(images)
        logits = self.logits_of(batch.inputs, progress=progress)
        chances = to_probabilities(logits, self.head)
        return Prediction(self.class_names, logits, chances, single=batch.single, notes=batch.notes)

    def logits_of(
        self, inputs: Tensor, *, progress: bool | Progress | None = None, should_stop: ShouldStop | None = None
    ) -> Tensor:
        """Return logits (N, K) on the CPU of many inputs, in chunks, without gradients."""
        self.check_images(inputs)
        chunks: dict[int, Tensor] = {}

        def work(start: int, stop: int) -> None:
            chunks[start] = self.raw_logits(inputs[start:stop]).cpu()

        with borrowed(self.module), torch.inference_mode(), reporting(progress, "predict") as report:
            in_chunks(work, len(inputs), limit=self.row_limit(inputs), progress=report, should_stop=should_stop)
        if not chunks:
            return torch.zeros(0, self.num_classes)
        return torch.cat([chunks[start] for start in sorted(chunks)]).clone()

    def outputs(
        self, dataset: Any, *, progress: bool | Progress | None = None, should_stop: ShouldStop | None = None
    ) -> Outputs:
        """Run a whole data set once.

        Args:
            dataset: a data set of `xai.load_data`, or anything with `.images` (and `.labels`), or images.
            progress: None, True for a bar, or a callable `(done, total)`.
            should_stop: asked between chunks.

        Returns:
            Outputs: logits (N, K), penultimate features (N, D) or None with the reason, and labels, on the CPU.
        """
        return collect_outputs(self, dataset, progress=progress, should_stop=should_stop)

    def row_limit(self, inputs: Tensor) -> int:
        """Return how many rows shaped like `inputs` fit into the free memory. The module must be borrowed."""
        if self.one_by_one:  # hooks on layers then see one image per forward
            return 1
        sample = inputs[:SOME].to(device=self.device, dtype=self.dtype)
        return row_limit(self.module, sample, run=lambda rows: self._run(self.normalise(rows))) if len(inputs) else 1

    def check_images(self, images: Tensor) -> None:
        """Raise unless `images` is (N, C, H, W) with values in [0, 1]. The channels must be the classifier's.

        Raises:
            ShapeError: wrong rank, channels or size.
        """
        if not isinstance(images, Tensor) or images.ndim != 4:
            came = f"shape {tuple(images.shape)}" if isinstance(images, Tensor) else type(images).__name__
            raise ShapeError(
                f"Expected a tensor (N, C, H, W), but got {came}. Add a batch dimension with `images[None]`."
            )
        if images.shape[1] != self.channels:
            raise ShapeError(
                f"Expected {self.channels} channels, but got {images.shape[1]}: shape {tuple(images.shape)}. "
                "Convert the images, or set `channels` of the classifier."
            )
        check_unit_range(images, "images")

    def find_target(self, target: int | str) -> int:
        """Return the index of a class given by index or name.

        Raises:
            TargetError: no such class, or a name that several classes share.
        """
        if isinstance(target, str):
            matches = [k for k, label in enumerate(self.class_names) if label == target]
            matches = matches or [k for k, label in enumerate(self.class_names) if label.lower() == target.lower()]
            if len(matches) == 1:
                return matches[0]
            if matches:
                raise TargetError(f"{len(matches)} classes are called {target!r}: {matches}. Give the index.")
            raise TargetError(str(NameLookupError("class", target, self.class_names)))
        if isinstance(target, bool) or not hasattr(target, "__index__") or not 0 <= index(target) < self.num_classes:
            raise TargetError(
                f"Expected a class index from 0 to {self.num_classes - 1}, or a class name, but got {target!r}."
            )
        return index(target)

    def check_width(self, logits: Tensor) -> None:
        """Remember the number of classes, or compare it with the one that is known.

        Raises:
            UnsupportedModelError: another number of logits than of class names.
        """
        if self._num_classes is None:
            self._num_classes = int(logits.shape[1])
        elif not self._checked_width and logits.shape[1] != self._num_classes:
            raise UnsupportedModelError(
                f"The classifier has {self._num_classes} class names, but the model returns {logits.shape[1]} classes. "
                "Give one name for each output."
            )
        self._checked_width = True

    def _first_tensor(self) -> Tensor:
        for tensor in _floating(self.module.parameters()):
            return tensor
        for tensor in _floating(self.module.buffers()):
            return tensor
        return torch.empty(0)


SOME = 9  # more than rows.SAFE_ROWS, so that the limit is measured


def _floating(tensors: Iterable[Tensor]) -> Iterable[Tensor]:
    return (tensor for tensor in tensors if tensor.is_floating_point())


def as_classifier(model: Classifier | nn.Module) -> Classifier:
    """Return `model` itself, or a bare module as a classifier without preprocessing.

    Raises:
        UnsupportedModelError: neither a classifier nor a module.
    """
    return model if isinstance(model, Classifier) else Classifier(model, notes=[_BARE])
