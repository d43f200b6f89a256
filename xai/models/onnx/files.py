"""ONNX models as torch modules, so that gradients work. Where that cannot be, they run in onnxruntime, with a note."""

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor, nn

from xai.core.extras import missing_extra
from xai.core.model.predictions import DeclaredTask
from xai.core.results.message import Message
from xai.errors import CheckpointError
from xai.models.inspection import chosen_output, head_settings, scale_settings
from xai.models.onnx.graph import as_torch
from xai.models.onnx.trial import image_input, import_onnxruntime, trial_image
from xai.models.sandbox import client as cache
from xai.models.sandbox.client import ask, can_limit
from xai.models.sandbox.weights import opened
from xai.models.sources import Built

_CLOSE = 1e-3  # of the largest answer
_ROOM = 3 << 30
_ROWS = 2
_NAME_KEYS = ("labels", "names", "classes", "id2label")
_PASSING = {"Identity", "Flatten", "Reshape", "Squeeze", "Cast", "Dropout"}


def open_onnx(path: Path, declared: DeclaredTask) -> Built:
    """Return the network of an ONNX file and how to use it.

    Of several outputs one is taken, as `declared` says or by the rule of `xai.core.task.output_choice`, and the rest of
    the graph is left out.

    Operators 9 to 24, as far as they have a torch form (`operators`, `graph`); where onnxruntime is installed, the
    limited process asks it for one answer, and the torch form has to give the same. A softmax at the end is taken
    off, so that the answers are logits; images with channels last are turned inside; a batch that the export fixed is
    opened where that gives the same answers.

    Raises:
        MissingExtraError: onnx is not installed, or onnxruntime where it is needed.
        CheckpointError: what the trial refuses (see `trial`), or nothing here can run it.
        UnsupportedModelError: no such output as the one asked for, or none that can be class scores.
    """
    try:
        import onnx  # noqa: F401
    except Exception as error:  # one that does not work raises anything
        raise missing_extra("An ONNX model", "onnx", error, "onnx") from error
    with opened(path) as (file, _):
        facts = _tried(path, file, declared)
        file.seek(0)
        content = file.read()
    model = _parsed(content)
    notes: list[str] = [Message("ONNX, opset {opset}", opset=facts["opset"])]
    class_names = _class_names(facts["metadata"])
    place, output_notes = chosen_output(facts["outputs"], declared, class_names, facts["standing"][0])
    notes += output_notes
    _cut_to(model, place)
    settings = _head_off(model, declared, notes)
    sizes = facts["input"][1]
    last = sizes[3] in {1, 3} and sizes[1] not in {1, 3}
    channels, size = (sizes[3], sizes[1:3]) if last else (sizes[1], sizes[2:4])
    facts["trial_output"] = facts["outputs"][place]["trial_output"]
    network = _network(path, model, content, facts, settings, notes)
    if last:
        notes.append("its images are (N, H, W, C): they are turned inside")
        network = _ChannelsLast(network)
    if channels:
        settings["channels"] = channels
    if all(size):
        settings["input_size"] = tuple(size)
    if class_names:
        settings["class_names"] = class_names
        notes.append(Message("{count} class names from the file's metadata", count=len(class_names)))
    sides = [facts["standing"][k] for k in ((3, 1, 2) if last else (1, 2, 3))]
    settings |= scale_settings(network.eval(), (facts["standing"][0], *sides), notes)
    return network, {**settings, "name": path.stem, "notes": notes}


def _tried(path: Path, file: IO[bytes], declared: DeclaredTask) -> dict[str, Any]:
    size = list(declared.input_size or (None, None))
    if can_limit():
        with cache.fresh() as target:
            memory = _ROOM + 8 * os.fstat(file.fileno()).st_size
            return ask("onnx", path, file, target, memory=memory, input_size=size)
    from xai.models.onnx.trial import try_onnx

    return try_onnx(file.fileno(), file.fileno(), {"name": str(path), "input_size": size})


def _parsed(content: bytes) -> Any:
    import onnx

    return onnx.load_model_from_string(content)


def _cut_to(model: Any, place: int) -> None:
    """Leave one output, and the nodes that it needs."""
    output = model.graph.output[place]
    made = {name: k for k, node in enumerate(model.graph.node) for name in node.output}
    waiting, needed = [output.name], set()
    while waiting:
        k = made.get(waiting.pop())
        if k is not None and k not in needed:
            needed.add(k)
            waiting.extend(model.graph.node[k].input)
    for k in reversed(range(len(model.graph.node))):
        if k not in needed:
            del model.graph.node[k]
    del model.graph.output[place + 1 :], model.graph.output[:place]


def _head_off(model: Any, declared: DeclaredTask, notes: list[str]) -> dict[str, Any]:
    """Take a softmax or sigmoid off the end; return the settings of the head."""
    made = {output: node for node in model.graph.node for output in node.output}
    name = model.graph.output[0].name
    node = made.get(name)
    while node is not None and node.op_type in _PASSING:
        node = made.get(node.input[0])
    settings = {} if node is None else head_settings(node.op_type.lower(), declared, notes)
    if node is None or not settings:
        return {}
    source = node.input[0]
    model.graph.node.remove(node)
    for other in model.graph.node:
        for k, taken in enumerate(other.input):
            if taken == node.output[0]:
                other.input[k] = source
    if name == node.output[0]:
        model.graph.output[0].name = source
    return settings


def _network(
    path: Path, model: Any, content: bytes, facts: dict[str, Any], settings: dict[str, Any], notes: list[str]
) -> nn.Module:
    """Return the torch form of a model, or its onnxruntime form where there is none.

    Raises:
        MissingExtraError: there is no torch form, and onnxruntime is not installed.
        CheckpointError: nor can onnxruntime run it.
    """
    why = Message("there is no torch form of it")
    try:
        network: nn.Module = as_torch(model)
        if (gap := _gap(network, facts, settings)) < _CLOSE:
            return _any_batch(network, model, facts["input"][1], notes)
        why = Message("its torch form differs from onnxruntime by {gap:.1e}", gap=gap)
    except NotImplementedError as error:
        why = Message("there is no torch form of it ({error})", error=str(error))
    except Exception as error:  # noqa: BLE001 (torch raises anything on shapes that do not fit)
        why = Message("there is no torch form of it ({error})", error=type(error).__name__)
    try:
        import_onnxruntime()
    except Exception as error:  # one that does not work raises anything
        raise missing_extra(f"{path}: {why}, and the other way", "onnx", error, "onnxruntime") from error
    try:
        runtime: nn.Module = _Runtime(model.SerializeToString(), content)
    except Exception as error:  # onnxruntime raises its own kinds
        first = next(iter(str(error).splitlines()), "")
        raise CheckpointError(
            f"{path}: {why}, and onnxruntime cannot run it ({first[:120]}). Export it anew."
        ) from error
    template = "{reason}: it runs in onnxruntime, without gradients; use occlusion, lime, kernelshap or rise"
    notes.append(Message(template, reason=why))
    rows = facts["input"][1][0]
    return _OneByOne(runtime, rows) if rows else runtime


def _gap(network: nn.Module, facts: dict[str, Any], settings: dict[str, Any]) -> float:
    """Return how far a network is from what onnxruntime answered in the trial; 0 where that is not installed."""
    expected = facts["trial_output"]
    if expected is None:
        return 0.0
    sizes = facts["standing"]
    with torch.no_grad():
        output = network(torch.from_numpy(trial_image(sizes))).double()
    if settings:  # the head was taken off
        output = output.softmax(-1) if settings["task"] == "multiclass" else output.sigmoid()
    output, known = output.reshape(-1)[: len(expected)], torch.tensor(expected, dtype=torch.float64)
    return float((output - known).abs().max() / known.abs().max().clamp_min(1e-6))


def _any_batch(network: nn.Module, model: Any, sizes: Sequence[int | None], notes: list[str]) -> nn.Module:
    """Return a network for batches of any length; the export may have fixed it in the shapes of the graph."""
    if not all(sizes[1:]):
        return network
    rows = sizes[0] or 1
    images = torch.rand(_ROWS * rows, *sizes[1:], generator=torch.Generator().manual_seed(0))  # type: ignore[arg-type]
    with torch.no_grad():
        expected = torch.cat([network(part) for part in torch.split(images, rows)])
        if _same(network, images, expected):
            return network
        opened_up = as_torch(_with_open_shapes(model, rows))
        if _same(opened_up, images, expected):
            return opened_up
    template = (
        "the export fixed the batch at {rows}: images run {rows} at a time, and methods that look at a layer cannot be "
        "used; export it with an open batch"
    )
    notes.append(Message(template, rows=rows))
    return _OneByOne(network, rows)


def _same(network: nn.Module, images: Tensor, expected: Tensor) -> bool:
    try:
        output = network(images)
    except Exception:  # noqa: BLE001 (a shape that does not fit raises anything)
        return False
    return output.shape == expected.shape and bool(torch.allclose(output, expected, rtol=1e-3, atol=1e-4))


def _with_open_shapes(model: Any, rows: int) -> Any:
    """Return a copy in which each Reshape that fixes the batch takes it from its input."""
    from onnx import ModelProto, numpy_helper

    copy = ModelProto()
    copy.CopyFrom(model)
    reshapes = [node for node in copy.graph.node if node.op_type == "Reshape"]
    shapes = {node.input[1] for node in reshapes}
    constants = [tensor for tensor in copy.graph.initializer if tensor.name in shapes]
    constants += [
        attribute.t
        for node in copy.graph.node
        if node.op_type == "Constant" and node.output[0] in shapes
        for attribute in node.attribute
    ]
    for tensor in constants:
        values = numpy_helper.to_array(tensor).copy()
        if values.ndim == 1 and len(values) and values[0] == rows:
            values[0] = 0
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    for node in reshapes:  # with `allowzero` a 0 would be a size, and there is no tensor of that size here
        attributes = [attribute for attribute in node.attribute if attribute.name != "allowzero"]
        del node.attribute[:]
        node.attribute.extend(attributes)
    image_input(copy).type.tensor_type.shape.dim[0].dim_param = "batch"
    del copy.graph.value_info[:]
    return copy


def _class_names(metadata: dict[str, str]) -> list[str] | None:
    """Return class names that the exporter wrote into the file as JSON: a list, or a table by number."""
    for key in _NAME_KEYS:
        try:
            names = json.loads(metadata.get(key, ""))
        except ValueError:
            continue
        if isinstance(names, dict) and sorted(names) == sorted(map(str, range(len(names)))):
            names = [names[str(k)] for k in range(len(names))]
        if isinstance(names, list) and names and all(isinstance(name, str) for name in names):
            return names
    return None


class _ChannelsLast(nn.Module):
    """Takes images (N, C, H, W) to a network that wants (N, H, W, C)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Any:
        return self.network(images.permute(0, 2, 3, 1).contiguous())


class _OneByOne(nn.Module):
    """Runs a network whose batch is fixed on batches of any length."""

    def __init__(self, network: nn.Module, rows: int) -> None:
        super().__init__()
        self.network, self.rows = network, rows

    def forward(self, images: Tensor) -> Tensor:
        missing = -len(images) % self.rows
        padded = torch.cat([images, images[-1:].expand(missing, *images.shape[1:])]) if missing else images
        outputs = torch.cat([self.network(part) for part in torch.split(padded, self.rows)])
        return outputs[: len(images)]


class _Runtime(nn.Module):
    """A model in onnxruntime: answers only, no gradients."""

    def __init__(self, model: bytes, content: bytes) -> None:
        super().__init__()
        onnxruntime = import_onnxruntime()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 4
        self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        digest = hashlib.sha256(content).digest()
        self.register_buffer("digest", torch.tensor(list(digest), dtype=torch.uint8))  # tells two models apart

    def forward(self, images: Tensor) -> Tensor:
        if not isinstance(images, Tensor):
            raise TypeError("a model in onnxruntime cannot be traced")  # onnxruntime itself would crash
        entry = self.session.get_inputs()[0]
        values = images.detach().cpu().contiguous().float().numpy()
        return torch.from_numpy(self.session.run(None, {entry.name: values})[0]).to(images.device)

    def __deepcopy__(self, memo: dict[int, Any]) -> "_Runtime":
        """Return this one: a session cannot be copied, and nothing in it changes."""
        return self
