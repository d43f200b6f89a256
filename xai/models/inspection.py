"""The inputs and outputs of a model, found with probe images. They include the pixel scale and the class scores."""

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils._python_dispatch import TorchDispatchMode

from xai.core.model.classifier import Classifier
from xai.core.model.fingerprint import parts_of
from xai.core.model.forward import lacking_inputs
from xai.core.model.hooks import borrowed, gradients_on
from xai.core.model.predictions import DeclaredTask, output_tensor
from xai.core.results.message import Message, joined
from xai.core.runtime.batching import is_out_of_memory
from xai.core.task.evidence import Flatness, flatness, probe_images, refuse_other_kinds
from xai.core.task.output_choice import choose
from xai.core.task.outputs import CLOSE, DEPENDS, RANDOM, refuse_batch_statistics
from xai.errors import NonFiniteError, UnsupportedModelError, XaiError

_BRIGHT = 1 / 64  # a slope below this expects pixels from 0 to 255
_DIM = 1 / 16  # a slope below this may do so
_DARKEST, _LIGHTEST = 2.0, 260.0  # of a mean that lies between 0 and 255, and not between 0 and 1
_LEVELS = (0.0, 0.5, 1.0)
_STRAIGHT = 1e-3
_INPUT = {"convolution": 0, "_convolution": 0, "linear": 0, "mm": 0, "bmm": 0, "addmm": 1, "baddbmm": 1}
_BYTES = 1 / 255
NO_SCALE = "the file says nothing of mean and std: give those of the training, unless the model does it itself"
SCALED = "its first operations expect it: it gets pixels from 0 to 255"


class _UntilWeights(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Ends a forward at its first convolution or matrix product, and keeps what goes into that."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.entering: Tensor | None = None

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        place = _INPUT.get(function.overloadpacket.__name__)
        if self.entering is None and place is not None:
            self.entering = args[place].detach().double()
        if self.entering is not None:
            raise RuntimeError("the first layer with weights is reached")
        return function(*args, **(kwargs or {}))


def scale_settings(network: nn.Module, sizes: Sequence[int], notes: list[str]) -> dict[str, Any]:
    """Return the `std` of a classifier that gives a model the pixels that it expects, and note what was found.

    Pixels of one value go through the model up to its first layer with weights, for three values. Where the answers lie
    on a line, its slope and the value that it takes to 0 tell the scale: a division by 255, means near 100.

    Args:
        network: takes images (N, C, H, W).
        sizes: (1, C, H, W) that it runs on.
        notes: to which is added.

    Cost: three forwards of one image, each up to the first layer with weights.
    """
    line = _line(network, sizes)
    if line is None or line == (1.0, 0.0):
        notes.append(NO_SCALE)
        return {}
    slope, zero = line
    if abs(slope) < _BRIGHT or _DARKEST < zero < _LIGHTEST:
        notes.append(SCALED)
        return {"std": (_BYTES,) * sizes[1]}
    if abs(slope) < _DIM:
        template = (
            "its first operations divide pixels by {divisor:.3g}: if it was trained on pixels from 0 to 255, pass "
            "std={std}"
        )
        std = str([round(_BYTES, 6)] * sizes[1])
        notes.append(Message(template, divisor=1 / abs(slope), std=std))
    return {}


def _line(network: nn.Module, sizes: Sequence[int]) -> tuple[float, float] | None:
    """Return the slope and the zero of what goes into the first weights, by the pixels; None where it is no line."""
    values = [_entering(network, torch.full(tuple(sizes), level)) for level in _LEVELS]
    low, middle, high = (math.nan if value is None else value for value in values)
    slope = high - low
    if not math.isfinite(slope) or slope == 0 or abs(middle - (low + high) / 2) > _STRAIGHT * abs(slope):
        return None
    return (1.0, 0.0) if abs(slope - 1) < _STRAIGHT and abs(low) < _STRAIGHT else (slope, -low / slope)


def _entering(network: nn.Module, images: Tensor) -> float | None:
    """Return the median of what goes into the first layer with weights; None where none is reached."""
    until = _UntilWeights()
    with suppress(Exception), torch.no_grad(), until:  # Keras wraps errors; others are told by the model's first look
        network(images)
    return None if until.entering is None else float(until.entering.median())


_TASKS = {"softmax": "multiclass", "sigmoid": "multilabel"}


def chosen_output(
    outputs: Sequence[Mapping[str, Any]], declared: DeclaredTask, class_names: Sequence[str] | None, rows: int
) -> tuple[int, list[str]]:
    """Return the place of the class scores among the outputs of a file, and notes.

    The rule is that of `xai.core.task.output_choice`, by stand-ins without values, so that a file is read as a module
    that returns the same things.

    Args:
        outputs: of each the "name", the "shape" for `rows` images (0 where unknown), and whether it is "floating".
        declared: what the caller says: `key` chooses, the number of class names comes before that of the file.
        class_names: in the file.
        rows: number of images in the shapes.

    Raises:
        UnsupportedModelError: no such output, or none that can be class scores; the message names them.
    """
    standing = _standing_in(outputs, rows)
    if len(outputs) == 1 and declared.key is None:
        return 0, []
    names = declared.names if declared.names is not None else len(class_names) if class_names else None
    key, notes = (declared.key, []) if declared.key is not None else choose(standing, rows, names, ordered=True)
    tensor = output_tensor(standing, key)
    return next(k for k, item in enumerate(standing.values()) if item is tensor), notes


def _standing_in(outputs: Sequence[Mapping[str, Any]], rows: int) -> dict[str, torch.Tensor]:
    tensors: dict[str, torch.Tensor] = {}
    for k, output in enumerate(outputs):
        first, *rest = output["shape"] or (0, 0, 0)  # of a sequence, which is no table either
        name = output["name"] if output["name"] not in tensors else f"{output['name']}_{k}"
        kind = torch.float32 if output["floating"] else torch.int64
        tensors[name] = torch.empty(first or rows, *rest, dtype=kind, device="meta")
    return tensors


def head_settings(kind: str, declared: DeclaredTask, notes: list[str]) -> dict[str, Any]:
    """Return how the outputs are read once a softmax or sigmoid at their end is taken off, and note it.

    Args:
        kind: of what is at the end.
        declared: what the caller says; where that does not go with the head, it stays on.
        notes: to which is added.

    Returns:
        Settings of a classifier; nothing where the head stays on, or is none.
    """
    task = _TASKS.get(kind)
    if task is None or declared.output is not None or declared.task not in {None, "binary", task}:
        return {}
    notes.append(Message("ends in a {kind}, which is taken off: what goes into it is the logits", kind=kind))
    return {"task": task, "output": "logits"}


_SIZES = (224, 32, 28, 64, 16, 8, 96, 128, 256, 299, 384, 448, 512)  # tried in this order when none is given
_LEAK = 1e-5  # of the largest slope towards an image's own pixels
_FIRST = 3  # images that are looked at first: the others only where these show nothing


def examine(module: nn.Module, settings: dict[str, Any]) -> Classifier:
    """Return a classifier, its settings completed by what the module shows; its `notes` say what was found.

    Args:
        module: the model; it comes back as it was.
        settings: of `Classifier`, those that are known. `channels`, `input_size` and what the outputs mean are found
            where they are missing; `one_by_one` is set where the answer to an image depends on the rest of its batch.

    Raises:
        UnsupportedModelError: weights that are not there, a forward that fails or needs more than images, outputs that
            are no class scores, statistics of the batch, or answering changes the model.
        NonFiniteError: NaN or infinity in the weights or in an output.
    Cost: about eight forwards and three backwards of one image.
    """
    settings = dict(settings)
    network = Classifier(module).module
    refuse_other_kinds(network, str(settings.get("name", type(network).__name__)))
    notes = [*settings.pop("notes", ()), *_weights_noted(module, network)]
    if "channels" not in settings:
        settings["channels"], further = _channels(network)
        notes += further
    with borrowed(network), gradients_on():
        settings["input_size"], images, further = _size(network, settings)
        classifier = Classifier(network, **settings)
        classifier.read_outputs(images[:_FIRST])
        classifier.raw_logits(images[:_FIRST])
        flat = _flatness(classifier, images)
        leaking = [] if flat.blocked else _leak_noted(classifier, images[:_FIRST].clone())
        classifier.one_by_one |= bool(leaking)
    notes += [*further, *classifier.notes, *(note for note in flat.notes(probes=True) if not flat.may_differ), *leaking]
    classifier.take_notes(notes, flat.notes(probes=True) if flat.may_differ else [])
    return classifier


def _flatness(classifier: Classifier, images: Tensor) -> Flatness:
    """Look at the first images, and at all of them where these show nothing."""
    first = flatness(classifier.scores, images[:_FIRST])
    return flatness(classifier.scores, images) if first.may_differ else first


def _weights_noted(module: nn.Module, network: nn.Module) -> list[str]:
    """Refuse weights that are not there; say what is unusual of those that are."""
    tensors = [*network.named_parameters(), *network.named_buffers()]
    for name, tensor in tensors:
        if is_lazy(tensor) or tensor.device.type == "meta":
            raise UnsupportedModelError(f"The weights {name!r} have no values yet. Load the weights into the network.")
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()) and isinstance(tensor, nn.Parameter):
            raise NonFiniteError(f"The weights {name!r} hold NaN or infinity. Take those from before training failed.")
    places = sorted({str(tensor.device) for _, tensor in tensors})
    if len(places) > 1:
        raise UnsupportedModelError(f"The weights lie on {' and '.join(places)}. Move the network to one device.")
    narrow = sorted({str(t.dtype).removeprefix("torch.") for _, t in tensors if t.dtype in CLOSE})
    notes = list[str]()
    if narrow:
        types = joined(narrow, " and ")
        notes.append(Message("the model computes in {types}: maps are no finer than that", types=types))
    if network is not module:
        notes.append(Message("the model behind {wrapper} is used", wrapper=type(module).__name__))
    if any(getattr(part, "training", False) for part in parts_of(network)):
        notes.append("the model came in training mode: it is used in evaluation mode and given back as it was")
    return notes


def _channels(network: nn.Module) -> tuple[int, list[str]]:
    """Return what the first convolution takes, 3 without any."""
    for part in network.modules():
        if isinstance(part, nn.Conv2d):
            channels = part.in_channels
            note = Message("channels={channels}, as the first convolution takes", channels=channels)
            return channels, [] if channels == 3 else [note]
    return 3, []


def _size(network: nn.Module, settings: dict[str, Any]) -> tuple[tuple[int, int] | None, Tensor, list[str]]:
    """Return the input size given, or the first common one that the model runs on; probe images of it; notes.

    Raises:
        UnsupportedModelError: it fails on each.
    """
    given = settings.get("input_size")
    faults = []
    for size in [given] if given else [(side, side) for side in _SIZES]:
        classifier = Classifier(network, **{**settings, "input_size": size})
        images = probe_images(classifier.channels, size).to(classifier.device)
        try:
            classifier._run(classifier.normalise(images[:_FIRST]))
        except Exception as error:  # the user's own code, which may raise anything
            if is_out_of_memory(error) or isinstance(error, XaiError):
                raise
            faults.append((size, error))
        else:
            input_size = size if given or size[0] != _SIZES[0] else None
            note = Message("input_size=({height}, {width}), found by trying", height=size[0], width=size[1])
            return input_size, images, [] if given or input_size is None else [note]
    raise _fault(network, settings["channels"], *faults[0], tried=len(faults))


def _fault(
    network: nn.Module, channels: int, size: tuple[int, int], error: Exception, tried: int
) -> UnsupportedModelError:
    if tried == 1 and _takes_one(network, channels, size):
        return UnsupportedModelError(
            f"{type(network).__name__} takes one image at a time, and fails on three. Make its forward work on "
            "batches (N, C, H, W)."
        )
    lacking = lacking_inputs(network, error)
    if lacking is not None:
        return lacking
    first = next(iter(str(error).strip().splitlines()), "")
    return UnsupportedModelError(
        f"{type(network).__name__} cannot run on images ({channels}, {size[0]}, {size[1]})"
        f"{'' if tried == 1 else f' nor on {tried - 1} other sizes'}: {type(error).__name__}: {first[:160]}. "
        "Give `channels` and `input_size`, or wrap it in a module that takes normalised images (N, C, H, W)."
    )


def _takes_one(network: nn.Module, channels: int, size: tuple[int, int]) -> bool:
    classifier = Classifier(network, channels=channels)
    try:
        network(classifier.normalise(probe_images(channels, size)[:1].to(classifier.device)))
    except Exception:  # noqa: BLE001 (the user's own code)
        return False
    return True


def _leak_noted(classifier: Classifier, pixels: Tensor) -> list[str]:
    """Say that an answer depends on other images of its batch where only its gradient shows it.

    Raises:
        UnsupportedModelError: batch norms without running statistics.
    """
    if classifier.one_by_one or RANDOM in classifier.notes:
        return []
    leak = _leak(classifier.scores(pixels.requires_grad_()), pixels)
    if leak <= _LEAK:
        return []
    refuse_batch_statistics(classifier.module, classifier.name, leak)
    return [f"the output for one image {DEPENDS} (by its gradient): images run one at a time"]


def _leak(scores: Tensor, pixels: Tensor) -> float:
    """Return the largest slope of the first row's scores towards pixels of other rows, as a share of its own."""
    if not (scores.requires_grad and scores.is_floating_point()) or scores.ndim < 1 or len(scores) != len(pixels):
        return 0.0
    weights = torch.rand(scores[0].shape, generator=torch.Generator().manual_seed(2)).to(scores)
    (slope,) = torch.autograd.grad((scores[0] * weights).sum(), pixels, retain_graph=True, allow_unused=True)
    if slope is None or not bool(slope[1:].any()):
        return 0.0
    return float(slope[1:].abs().max() / slope[0].abs().max().clamp_min(1e-30))
