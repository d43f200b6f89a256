"""The check of an ONNX file before it is built. The limited process reads it and says whether it may be run."""

import math
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from types import ModuleType
from typing import Any

from xai.errors import CheckpointError

OPSETS = (9, 24)
_DOMAINS = {"", "ai.onnx"}
_SILENCE = "ORT_DISABLE_TELEMETRY"
_MOST_NODES = 20_000
_MOST_NUMBERS = 1 << 28  # in one tensor, an image at a time
_ALL_NUMBERS = 1 << 32
_GROWING = {"Expand", "Tile", "ConstantOfShape", "Range", "Resize", "Upsample", "Pad", "EyeLike", "OneHot"}
_MOST_SHOWN = 1000
_FLOATING = {1, 10, 11, 16}  # kinds of numbers in onnx: float32, float16, float64, bfloat16
_SIDE = 224  # stands in for a side that the file leaves open


def import_onnx() -> None:
    """Import what is installed of onnx and onnxruntime."""
    with suppress(Exception):  # one that does not work raises anything, and is told of where it is needed
        import_module("onnx")
    with suppress(Exception):
        import_onnxruntime()


def import_onnxruntime() -> ModuleType:
    """Return onnxruntime; it would report its use to its makers from the import on, unless told not to.

    Raises:
        ImportError: it is not installed.
    """
    silence = os.environ.get(_SILENCE)
    os.environ[_SILENCE] = "1"
    try:
        return import_module("onnxruntime")
    finally:
        if silence is None:
            del os.environ[_SILENCE]
        else:
            os.environ[_SILENCE] = silence


def try_onnx(source: int, _: int, request: dict[str, Any]) -> dict[str, Any]:
    """Return what is to be known of the model in an open file.

    Nothing is run: sizes come from onnx's shape inference, with one image.

    Returns:
        "input" (name, list of sizes, None where open), "standing" (the sizes it was run with), "outputs" (of each the
        name, the shape with 0 for an unknown size, whether it holds floating numbers, and the first of them that
        onnxruntime answers, None without it), "opset", "operators", "metadata".

    Raises:
        CheckpointError: damaged, weights in other files, operators of others, control flow, or tensors beyond all use.
    """
    import onnx

    name = request["name"]
    with os.fdopen(os.dup(source), "rb") as file:
        file.seek(0)
        content = file.read()
    model = onnx.load_model_from_string(content)
    fault = next(_faults(model), None)
    if fault:
        raise CheckpointError(f"{name}: {fault}")
    given = image_input(model)
    sizes = [dim.dim_value or None for dim in given.type.tensor_type.shape.dim]
    standing = _standing(sizes, request["input_size"])
    for dim, side in zip(given.type.tensor_type.shape.dim, standing, strict=True):
        dim.dim_value = side
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    fault = _size_fault(inferred)
    if fault:
        raise CheckpointError(f"{name}: {fault}")
    onnx.checker.check_model(_with_shapes(model, inferred), full_check=False)
    return {
        "standing": standing,
        "input": [given.name, sizes],
        "outputs": _run_once(content, name, given.name, standing) or _outputs_inferred(inferred.graph),
        "opset": opset_of(model),
        "operators": sorted(Counter(node.op_type for node in model.graph.node)),
        "metadata": {entry.key[:80]: entry.value[:20_000] for entry in model.metadata_props[:20]},
    }


def _with_shapes(model: Any, inferred: Any) -> Any:
    """Return the model with a shape for each output: the checker asks for one, onnxruntime does not."""
    for output, inferred_output in zip(model.graph.output, inferred.graph.output, strict=True):
        kind = output.type.tensor_type
        if output.type.HasField("tensor_type") and not kind.HasField("shape"):
            kind.shape.CopyFrom(inferred_output.type.tensor_type.shape)
    return model


def opset_of(model: Any) -> int:
    """Return the version of the operators."""
    return int(max((entry.version for entry in model.opset_import if entry.domain in _DOMAINS), default=0))


def image_input(model: Any) -> Any:
    """Return the one input that is no weight."""
    weights = {tensor.name for tensor in model.graph.initializer}
    return next(entry for entry in model.graph.input if entry.name not in weights)


def _faults(model: Any) -> Iterator[str]:
    graph = model.graph
    unknown = {node.domain for node in graph.node} - _DOMAINS
    if unknown:
        first = sorted(unknown)[0][:40]
        yield f"it needs operators of {first!r}, and only those of ONNX itself are read. Export it anew."
    if len(model.functions):
        yield "it defines functions. Inline them: `onnx.inliner.inline_local_functions(model)`."
    if not OPSETS[0] <= opset_of(model) <= OPSETS[1]:
        yield f"opset {opset_of(model)}, and {OPSETS[0]} to {OPSETS[1]} are read. Export it with opset_version=18."
    if len(graph.node) > _MOST_NODES:
        yield f"{len(graph.node)} nodes, more than the {_MOST_NODES} allowed."
    if any(_is_outside(tensor) for tensor in _tensors(graph)):
        yield "its weights are in other files. Write it as one file: `onnx.save(onnx.load(FILE), NEW_FILE)`."
    if any(_is_graph(attribute) for node in graph.node for attribute in node.attribute):
        yield "it has control flow (If, Loop, Scan), which is not read. Export it without."
    yield from _input_faults(graph)
    if not graph.output:
        yield "it has no output."


def _input_faults(graph: Any) -> Iterator[str]:
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [entry for entry in graph.input if entry.name not in weights]
    if len(inputs) != 1:
        yield f"expected one input, the images, but it has {len(inputs)}. Export it with fixed other inputs."
    elif len(inputs[0].type.tensor_type.shape.dim) != 4 or inputs[0].type.tensor_type.elem_type not in {1, 10, 11}:
        yield "expected an input of floating numbers (N, C, H, W) or (N, H, W, C). Export it so."


def _tensors(graph: Any) -> Iterator[Any]:
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors


def _is_outside(tensor: Any) -> bool:
    return bool(tensor.data_location == 1 or len(tensor.external_data))


def _is_graph(attribute: Any) -> bool:
    return bool(attribute.HasField("g") or len(attribute.graphs))


def _standing(sizes: list[int | None], input_size: list[int | None]) -> list[int]:
    """Return sizes with one image, three channels and the size asked for, or a common side, where they are open."""
    last = sizes[3] in {1, 3} and sizes[1] not in {1, 3}
    height, width = (side or _SIDE for side in input_size)
    usual = [1, height, width, 3] if last else [1, 3, height, width]
    return [size or standing for size, standing in zip(sizes, usual, strict=True)]


def _size_fault(model: Any) -> str:
    """Say which tensor is beyond all use, or whose size nothing bounds, or nothing."""
    numbers = _numbers(model.graph)
    large = max(numbers, key=lambda name: numbers[name] or 0, default="")
    if (numbers.get(large) or 0) > _MOST_NUMBERS:
        return f"the tensor {large[:60]!r} has {numbers[large]:,} numbers for one image, beyond all use."
    if sum(count or 0 for count in numbers.values()) > _ALL_NUMBERS:
        return f"its tensors have more than {_ALL_NUMBERS:,} numbers for one image, beyond all use."
    made = {output: node for node in model.graph.node for output in node.output}
    image = image_input(model).name
    for node in model.graph.node:
        size_inputs = node.input if node.op_type in {"ConstantOfShape", "Range"} else node.input[1:]
        untold = node.op_type in _GROWING and any(numbers.get(output) is None for output in node.output)
        if untold and any(_depends(name, made, image) for name in size_inputs):
            return f"what {node.op_type} {node.name[:40]!r} makes has a size that pixels decide, so it is refused."
    return ""


def _numbers(graph: Any) -> dict[str, int | None]:
    """Return how many numbers each tensor has; None where shape inference cannot tell."""
    counts: dict[str, int | None] = {}
    for value in [*graph.value_info, *graph.input, *graph.output]:
        kind = value.type.tensor_type
        known = kind.HasField("shape") and all(dim.HasField("dim_value") for dim in kind.shape.dim)
        counts[value.name] = math.prod(dim.dim_value for dim in kind.shape.dim) if known else None
    return counts


def _depends(name: str, made: dict[str, Any], image: str) -> bool:
    """Whether a tensor's values follow from pixels, and not only from the sizes of tensors."""
    waiting, seen = [name], set()
    while waiting:
        name = waiting.pop()
        if name == image:
            return True
        node = made.get(name)
        if name not in seen and node is not None and node.op_type not in {"Shape", "Size"}:
            waiting.extend(node.input)
        seen.add(name)
    return False


def trial_image(sizes: list[int]) -> Any:
    """Return the image of the trial, float32: no two pixels the same."""
    import numpy as np

    count = math.prod(sizes)
    return np.random.default_rng(0).random(count, dtype=np.float32).reshape(sizes)


def _outputs_inferred(graph: Any) -> list[dict[str, Any]]:
    kinds = [(output.name, output.type.tensor_type) for output in graph.output]
    return [
        {
            "name": name,
            "shape": [dim.dim_value for dim in kind.shape.dim] if kind.HasField("shape") else [0, 0],
            "floating": kind.elem_type in _FLOATING,
            "trial_output": None,
        }
        for name, kind in kinds
    ]


def _run_once(content: bytes, name: str, given: str, sizes: list[int]) -> list[dict[str, Any]]:
    """Run it on one image in onnxruntime where that is installed: more memory or time than it may ends this process.

    Returns:
        What each output is and its first numbers; nothing without onnxruntime.

    Raises:
        CheckpointError: it fails.
    """
    try:
        onnxruntime = import_onnxruntime()
    except Exception:  # noqa: BLE001 (not installed, or does not work)
        return []
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        kind = {"tensor(float16)": "float16", "tensor(double)": "float64"}.get(session.get_inputs()[0].type, "float32")
        outputs = session.run(None, {given: trial_image(sizes).astype(kind)})
        return [_output(entry.name, output) for entry, output in zip(session.get_outputs(), outputs, strict=True)]
    except Exception as error:
        first = " ".join(str(error).split())[:160]
        raise CheckpointError(
            f"{name}: it cannot run on an image {tuple(sizes)} ({first}). Where the file leaves the size open, give "
            "input_size=(H, W); else export it anew."
        ) from error


def _output(name: str, output: Any) -> dict[str, Any]:
    """Say what one output is; sequences and maps have no shape."""
    floating = getattr(getattr(output, "dtype", None), "kind", "") == "f"
    first = [float(value) for value in output.reshape(-1)[:_MOST_SHOWN]] if floating else None
    return {"name": name, "shape": list(getattr(output, "shape", ())), "floating": floating, "trial_output": first}
