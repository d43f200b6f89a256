"""ONNX models: the same answers and maps as the network that was exported, and files that are refused."""

import io
import json
import os
import sys
import warnings
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoint_bytes import check_line
from small_models import BatchNormNet, GapCnn, pictures, randomise
from torch import nn

import xai
from xai.errors import CheckpointError, MissingExtraError, UnsupportedModelError
from xai.models.loading import load
from xai.models.onnx.trial import import_onnxruntime

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
helper, numpy_helper = onnx.helper, onnx.numpy_helper
FLOAT = onnx.TensorProto.FLOAT


class TinyViT(nn.Module):
    """A transformer with a class token, as exporters meet them."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, 16, 4, stride=4)
        self.token = nn.Parameter(torch.zeros(1, 1, 16))
        self.place = nn.Parameter(torch.zeros(1, 17, 16))
        layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, activation="gelu", batch_first=True, norm_first=True)
        self.blocks = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(16, 5)
        randomise(self, scale=1.5)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        tokens = self.embed(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(images.shape[0], -1, -1), tokens], 1) + self.place
        return self.head(self.blocks(tokens)[:, 0])


NETWORKS = {"cnn": BatchNormNet, "vit": TinyViT}


def export(net: nn.Module, *, batch: str | int = "n", **settings) -> bytes:
    """Return the bytes of an export; a named batch is open."""
    buffer = io.BytesIO()
    rows = pictures(2 if isinstance(batch, str) else batch)
    axes = {"dynamic_axes": {"images": {0: batch}}} if isinstance(batch, str) else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(net, (rows,), buffer, input_names=["images"], dynamo=False, **axes, **settings)
    return buffer.getvalue()


def written(tmp_path, content: bytes):
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    return path


def same(found: xai.Classifier, net: nn.Module, method: str = "gradcam", tolerance: float = 1e-3) -> None:
    """Compare logits to 1e-4 and maps to 1e-3 of their largest value."""
    images, twin = pictures(3), xai.Classifier(net)
    wanted = twin.logits_of(images)
    torch.testing.assert_close(found.logits_of(images), wanted, atol=1e-4, rtol=1e-4)
    mine, other = (xai.explain(model, images, method, 1).attribution for model in (found, twin))
    assert float((mine - other).abs().max()) <= tolerance * float(other.abs().max())
    assert float(other.abs().max()) > 0


@pytest.mark.parametrize(
    ("name", "opset"),
    [*(("cnn", opset) for opset in (11, 13, 17, 18, 20)), *(("vit", opset) for opset in (14, 17, 18, 20))],
)
def test_the_same_answers_and_maps_at_every_opset(tmp_path, name, opset):
    net = NETWORKS[name]().eval()
    found = load(written(tmp_path, export(net, opset_version=opset)))
    same(found, net, "saliency")
    if name == "cnn" or opset >= 17:  # before, a layer norm is in pieces, and another layer is the last map
        same(found, net)
    assert found.name == "model"
    assert f"ONNX, opset {opset}" in found.notes
    assert any("nothing of mean and std" in note for note in found.notes)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_fixed_batch_is_opened(tmp_path, name):
    net = NETWORKS[name]().eval()
    found = load(written(tmp_path, export(net, batch=1)))
    torch.testing.assert_close(
        found.logits_of(pictures(5)), xai.Classifier(net).logits_of(pictures(5)), atol=1e-4, rtol=1e-4
    )
    if not any("fixed the batch" in note for note in found.notes):
        same(found, net)


def test_a_batch_that_cannot_be_opened_runs_in_parts_and_says_so(tmp_path):
    net = TinyViT().eval()
    found = load(written(tmp_path, export(net, batch=2)))
    images = pictures(5)
    torch.testing.assert_close(found.logits_of(images), xai.Classifier(net).logits_of(images), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("head", "kind"), [(nn.Softmax(1), "softmax"), (nn.Sigmoid(), "sigmoid")])
def test_a_head_is_taken_off(tmp_path, head, kind):
    net = GapCnn()
    found = load(written(tmp_path, export(nn.Sequential(net, head).eval())))
    same(found, net)
    assert found.head == kind
    assert any(f"ends in a {kind}, which is taken off" in note for note in found.notes)
    wanted = net(pictures(2)).softmax(1) if kind == "softmax" else net(pictures(2)).sigmoid()
    assert np.allclose(found.predict(pictures(2)).probability, wanted.detach().max(1).values, atol=1e-5)


class ChannelsLast(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.net(images.permute(0, 3, 1, 2))


def test_channels_last_are_turned(tmp_path):
    net = GapCnn()
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            ChannelsLast(net).eval(),
            (pictures(2).permute(0, 2, 3, 1),),
            buffer,
            input_names=["images"],
            dynamo=False,
            dynamic_axes={"images": {0: "n"}},
        )
    found = load(written(tmp_path, buffer.getvalue()))
    same(found, net)
    assert (found.channels, found.input_size) == (3, (16, 16))
    assert any("they are turned inside" in note for note in found.notes)


@pytest.mark.parametrize("names", [["ant", "bee", "cat", "dog"], {"0": "ant", "1": "bee", "2": "cat", "3": "dog"}])
def test_labels_come_from_the_metadata(tmp_path, names):
    model = onnx.load_model_from_string(export(GapCnn()))
    entry = model.metadata_props.add()
    entry.key, entry.value = "labels", json.dumps(names)
    found = load(written(tmp_path, model.SerializeToString()))
    assert found.class_names == ("ant", "bee", "cat", "dog")
    assert "4 class names from the file's metadata" in found.notes


def node_model(*nodes, inputs=None, outputs=("y",), initializers=(), opset=17, domain="", functions=()):
    """Return a small model of these nodes; its input x is (1, 3, 8, 8)."""
    inputs = inputs or [helper.make_tensor_value_info("x", FLOAT, [1, 3, 8, 8])]
    graph = helper.make_graph(
        list(nodes),
        "g",
        inputs,
        [helper.make_tensor_value_info(name, FLOAT, None) for name in outputs],
        list(initializers),
    )
    sets = [helper.make_opsetid("", opset), *([helper.make_opsetid(domain, 1)] if domain else [])]
    model = helper.make_model(graph, opset_imports=sets, functions=functions)
    model.ir_version = 8
    return model.SerializeToString()


def constant(name, values):
    return numpy_helper.from_array(np.array(values), name)


def outside():
    tensor = constant("w", np.ones(3, "float32"))
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../../../etc/passwd"
    return node_model(helper.make_node("Add", ["x", "w"], ["y"]), initializers=[tensor])


def loop(levels):
    """Ifs in Ifs in Ifs."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["z"])], "b", [], [helper.make_tensor_value_info("z", FLOAT, None)]
    )
    for _ in range(levels):
        inner = helper.make_node("If", ["c"], ["z"], then_branch=body, else_branch=body)
        body = helper.make_graph([inner], "b", [], [helper.make_tensor_value_info("z", FLOAT, None)])
    return node_model(
        helper.make_node("If", ["c"], ["y"], then_branch=body, else_branch=body), initializers=[constant("c", True)]
    )


def endless():
    """A Loop of very many turns."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["cond"], ["again"]), helper.make_node("Identity", ["v"], ["w"])],
        "b",
        [
            helper.make_tensor_value_info("i", onnx.TensorProto.INT64, []),
            helper.make_tensor_value_info("cond", onnx.TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("again", onnx.TensorProto.BOOL, []),
            helper.make_tensor_value_info("w", FLOAT, None),
        ],
    )
    return node_model(
        helper.make_node("Loop", ["n", "c", "x"], ["y"], body=body),
        initializers=[constant("n", np.int64(10**8)), constant("c", True)],
    )


def recursive():
    made = helper.make_function(
        "own", "F", ["a"], ["b"], [helper.make_node("F", ["a"], ["b"], domain="own")], [helper.make_opsetid("own", 1)]
    )
    return node_model(helper.make_node("F", ["x"], ["y"], domain="own"), domain="own", functions=[made])


def grown(by):
    return node_model(
        helper.make_node("Tile", ["x", "n"], ["y"]), initializers=[constant("n", np.array([1, by, 1, 1]))]
    )


def by_pixels():
    return node_model(
        helper.make_node("ReduceSum", ["x"], ["s"], keepdims=0),
        helper.make_node("Cast", ["s"], ["i"], to=onnx.TensorProto.INT64),
        helper.make_node("Unsqueeze", ["i", "zero"], ["shape"]),
        helper.make_node("Expand", ["flat", "shape"], ["y"]),
        initializers=[constant("zero", np.array([0])), constant("flat", np.ones(1, "float32"))],
    )


def two_inputs():
    both = [helper.make_tensor_value_info(name, FLOAT, [1, 3, 8, 8]) for name in ("x", "z")]
    return node_model(helper.make_node("Add", ["x", "z"], ["y"]), inputs=both)


def many_nodes():
    names = ["x", *(f"v{k}" for k in range(20_001)), "y"]
    return node_model(*(helper.make_node("Relu", [a], [b]) for a, b in pairwise(names)))


HOSTILE = {
    "weights outside": (outside, "its weights are in other files. Write it as one file"),
    "operators of others": (
        lambda: node_model(helper.make_node("Evil", ["x"], ["y"], domain="com.evil"), domain="com.evil"),
        "needs operators of 'com.evil'",
    ),
    "nested control flow": (lambda: loop(12), "control flow"),
    "a long loop": (endless, "control flow"),
    "a function that calls itself": (recursive, "operators of 'own'"),
    "constant of any shape": (
        lambda: node_model(
            helper.make_node("ConstantOfShape", ["n"], ["y"]), initializers=[constant("n", np.array([1, 10**9]))]
        ),
        "beyond all use",
    ),
    "tiles": (lambda: grown(10**7), "beyond all use"),
    "a size that pixels decide": (by_pixels, "has a size that pixels decide"),
    "two inputs": (two_inputs, "expected one input, the images, but it has 2"),
    "no image": (
        lambda: node_model(
            helper.make_node("Relu", ["x"], ["y"]), inputs=[helper.make_tensor_value_info("x", FLOAT, [1, 5])]
        ),
        "expected an input of floating numbers",
    ),
    "an old opset": (
        lambda: node_model(helper.make_node("Relu", ["x"], ["y"]), opset=6),
        "opset 6, and 9 to 24 are read",
    ),
    "many nodes": (many_nodes, "20002 nodes, more than the 20000"),
    "no such operator": (lambda: node_model(helper.make_node("Nothing", ["x"], ["y"])), "damaged|cannot run|No Op"),
    "an unknown tensor": (lambda: node_model(helper.make_node("Add", ["x", "nowhere"], ["y"])), "damaged|cannot run"),
    "truncated": (lambda: export(GapCnn())[:-100], "neither safetensors nor a state dict|damaged"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_refused_in_one_line(tmp_path, case):
    make, words = HOSTILE[case]
    path = written(tmp_path, make())
    with pytest.raises(CheckpointError, match=words) as caught:
        load(path)
    check_line(caught.value)
    assert str(caught.value).startswith(f"{path}: ")


def test_what_has_no_torch_form_runs_without_gradients_and_says_so(tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")

    def missing(model):
        raise NotImplementedError("Attention")

    net = GapCnn()
    monkeypatch.setattr("xai.models.onnx.files.as_torch", missing)
    found = load(written(tmp_path, export(net)))
    torch.testing.assert_close(
        found.logits_of(pictures(3)), xai.Classifier(net).logits_of(pictures(3)), atol=1e-4, rtol=1e-4
    )
    assert any("no torch form of it (Attention)" in note and "without gradients" in note for note in found.notes)
    mine, other = (
        xai.explain(model, pictures(1), "occlusion", 1, window=4, stride=4).attribution for model in (found, net)
    )
    torch.testing.assert_close(mine, other, atol=1e-4, rtol=1e-3)
    with pytest.raises(UnsupportedModelError, match=r"(?i)no gradient|No layer|occlusion"):
        xai.explain(found, pictures(1), "gradcam")
    other = load(written(tmp_path, export(GapCnn(seed=5))))
    assert found.fingerprint != other.fingerprint


def test_onnxruntime_is_told_to_report_nothing(monkeypatch):
    """It reads the environment while it is imported; here an import that looks at it stands in."""
    seen = []
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY", raising=False)
    monkeypatch.setattr(
        "xai.models.onnx.trial.import_module", lambda name: seen.append((name, os.environ["ORT_DISABLE_TELEMETRY"]))
    )
    import_onnxruntime()
    assert seen == [("onnxruntime", "1")]
    assert "ORT_DISABLE_TELEMETRY" not in os.environ
    package = Path(xai.__file__).parent
    assert not [path for path in package.rglob("*.py") if "import onnxruntime\n" in path.read_text()]


def test_arch_is_of_no_use(tmp_path):
    with pytest.raises(CheckpointError, match=r"a whole model and no weights\. Load it without `arch`"):
        load(written(tmp_path, export(GapCnn())), GapCnn)


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    path = written(tmp_path, export(GapCnn()))
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingExtraError, match=r"xai-toolkit\[onnx\]"):
        load(path)


def test_through_the_command_line(tmp_path, capsys):
    from bad_files import photo

    from xai.cli import main

    path = written(tmp_path, export(GapCnn()))
    assert main(["explain", str(photo(tmp_path / "p.png")), "--model", str(path), "--device", "cpu"]) == 0
    capsys.readouterr()
