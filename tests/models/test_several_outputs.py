"""Models with several outputs, in whatever way they come: what is read is said, and `output_key` chooses."""

import io
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from small_models import randomise
from torch import Tensor, nn

import xai
from xai.errors import UnsupportedModelError
from xai.models.loading import load

os.environ.setdefault("KERAS_BACKEND", "torch")
IMAGES = torch.rand(5, 3, 11, 14, generator=torch.Generator().manual_seed(0))
CHOOSE = "is read as the class scores; or choose by output_key"
FITS = "is read as the class scores, as it has one column per class name"


class Conv(nn.Module):
    """Returns features, the scores of an auxiliary head, and probabilities."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.AvgPool2d(3), nn.Flatten())
        self.aux, self.head = nn.Linear(72, 5), nn.Linear(72, 4)
        randomise(self)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        features = self.body(images)
        return features, self.aux(features), self.head(features).softmax(1)


class Dense(nn.Module):
    """Returns a number and class scores."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.age, self.head = nn.Linear(462, 9), nn.Linear(9, 1), nn.Linear(9, 3)
        randomise(self, scale=0.3)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.first(images.flatten(1)).tanh()
        return self.age(hidden), self.head(hidden)


class Named(NamedTuple):
    age: Tensor
    scores: Tensor


class AsDict(Dense):
    def forward(self, images: Tensor) -> dict[str, Tensor]:  # type: ignore[override]
        hidden = self.first(images.flatten(1)).tanh()
        return {"age": self.age(hidden), "scores": self.head(hidden)}


class AsNamed(Dense):
    def forward(self, images: Tensor) -> Named:
        hidden = self.first(images.flatten(1)).tanh()
        return Named(self.age(hidden), self.head(hidden))


def exported(tmp_path: Path, net: nn.Module, names: Sequence[str], batch: int | None = None) -> Path:
    """Write an ONNX file; without `batch` it is open."""
    buffer = io.BytesIO()
    axes = {} if batch else {"dynamic_axes": {"images": {0: "n"}}}
    settings: dict[str, Any] = {"input_names": ["images"], "output_names": list(names), "dynamo": False, **axes}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(net.eval(), (IMAGES[: batch or 2],), buffer, **settings)
    path = tmp_path / f"{'_'.join(names)}.onnx"
    path.write_bytes(buffer.getvalue())
    return path


def by_runtime(path: Path, name: str) -> Tensor:
    """Return what onnxruntime answers, image by image."""
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    return torch.from_numpy(np.concatenate([session.run([name], {"images": row[None].numpy()})[0] for row in IMAGES]))


def close(found: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(found.detach(), wanted.detach(), atol=1e-5, rtol=1e-4)


def choices(made: Any) -> list[str]:
    return [note for note in made.notes if "is read as the class scores" in note]


CONV = ["embedding", "aux_logits", "probabilities"]


@pytest.mark.parametrize(("key", "batch"), [("probabilities", None), (2, None), (-1, 1)])
def test_an_output_of_an_onnx_file_is_chosen_by_name_and_by_place(tmp_path: Path, key: Any, batch: int | None) -> None:
    path = exported(tmp_path, Conv(), CONV, batch)
    found = load(path, output_key=key)
    close(found.predict(IMAGES).probabilities, by_runtime(path, "probabilities"))
    assert any("ends in a softmax, which is taken off" in note for note in found.notes)
    assert choices(found) == []
    other = load(path, output_key="aux_logits")
    close(other.logits_of(IMAGES), by_runtime(path, "aux_logits"))
    assert other.fingerprint != found.fingerprint
    wanted = xai.explain(nn.Sequential(Conv().body, Conv().head), IMAGES[:1], "saliency", 1)
    close(xai.explain(found, IMAGES[:1], "saliency", 1).attribution, wanted.attribution)


def test_what_nobody_chose_is_said_for_an_onnx_file(tmp_path: Path) -> None:
    path = exported(tmp_path, Conv(), CONV)
    found, wide = load(path), load(path, class_names=list("abcde"))
    many = "the model returns 'embedding', 'aux_logits', 'probabilities'"
    assert choices(found) == [f"{many}: 'probabilities' {CHOOSE}"]
    assert choices(xai.explain(found, IMAGES[0], "saliency")) == choices(found)
    close(found.predict(IMAGES).probabilities, by_runtime(path, "probabilities"))
    assert choices(wide) == [f"{many}: 'aux_logits' {FITS}"]
    close(wide.logits_of(IMAGES), by_runtime(path, "aux_logits"))
    blind = load(exported(tmp_path, Conv(), ["a", "b", "c"]))
    assert choices(blind) == [f"the model returns 'a', 'b', 'c': 'a' {CHOOSE}"]
    assert blind.num_classes == 72


def test_an_output_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = exported(tmp_path, Dense(), ["age", "scores"])
    for key in ("logits", 2, -3):
        with pytest.raises(UnsupportedModelError, match=r"output_key=.*\['age', 'scores'\]. Choose one") as said:
            load(path, output_key=key)
        assert "\n" not in str(said.value)
    close(load(path, output_key=1).logits_of(IMAGES), by_runtime(path, "scores"))
    alone = exported(tmp_path, nn.Sequential(nn.Flatten(), nn.Linear(462, 3)), ["scores"])
    assert load(alone, output_key="scores").num_classes == load(alone, output_key=0).num_classes == 3
    with pytest.raises(UnsupportedModelError, match=r"output_key='age'.*\['scores'\]"):
        load(alone, output_key="age")


def graph(path: Path, change: Any) -> Path:
    """Change a file's graph."""
    onnx = pytest.importorskip("onnx")
    model = onnx.load(path)
    change(onnx, model.graph)
    onnx.save(model, path)
    return path


def test_class_numbers_and_what_has_no_torch_form_are_no_class_scores(tmp_path: Path) -> None:
    """The first output is the predicted class, the last one comes from an operator that torch has not here."""

    def change(onnx: Any, made: Any) -> None:
        made.node.append(onnx.helper.make_node("ArgMax", ["z"], ["label"], axis=1, keepdims=0))
        made.node.append(onnx.helper.make_node("Det", ["square"], ["far"]))
        made.node.append(onnx.helper.make_node("Einsum", ["z", "z"], ["square"], equation="ni,nj->nij"))
        made.node.insert(len(made.node) - 2, made.node.pop())
        values = [onnx.helper.make_tensor_value_info(n, kind, ["n"]) for n, kind in (("label", 7), ("far", 1))]
        old = made.output.pop()
        made.output.extend([values[0], old, values[1]])

    path = graph(exported(tmp_path, nn.Sequential(nn.Flatten(), nn.Linear(462, 3)), ["z"]), change)
    found = load(path)
    close(found.logits_of(IMAGES), by_runtime(path, "z"))
    assert choices(found) == [f"the model returns 'label', 'z', 'far': 'z' {CHOOSE}"]
    assert not any("without gradients" in note for note in found.notes)


def test_without_onnxruntime_the_choice_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = exported(tmp_path, Conv(), CONV)
    wanted = [load(path), load(path, class_names=list("abcde"))]

    def missing() -> None:
        raise ImportError("onnxruntime")

    monkeypatch.setattr("xai.models.onnx.files.can_limit", lambda: False)
    monkeypatch.setattr("xai.models.onnx.trial.import_onnxruntime", missing)
    for old, labels in zip(wanted, (None, list("abcde")), strict=True):
        found = load(path, class_names=labels)
        assert choices(found) == choices(old)
        assert found.fingerprint == old.fingerprint


@pytest.mark.parametrize(
    ("said", "output"),
    [({"task": "multilabel"}, "probabilities"), ({"output": "probabilities"}, "probabilities"), ({}, "logits")],
)
def test_a_head_that_the_caller_names_otherwise_stays_on(tmp_path: Path, said: dict[str, Any], output: str) -> None:
    """So that a file is read as the module that it was exported from."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(462, 3), nn.Softmax(1))
    found, twin = load(exported(tmp_path, net, ["p"]), **said), xai.Classifier(net, **said)
    close(found.predict(IMAGES).probabilities, twin.predict(IMAGES).probabilities)
    assert (found.task, found.output) == (twin.task, output)


def keras_model(form: str) -> Any:
    keras = pytest.importorskip("keras")
    layers = keras.layers
    keras.utils.set_random_seed(1)
    given = keras.Input((11, 14, 3))
    x = layers.Conv2D(6, 3, activation="relu")(given)
    x = layers.GlobalAveragePooling2D(name="features")(x)
    z = layers.Dense(4, activation="softmax", name="scores")(x)
    late = layers.Dense(2, name="late")(layers.Dense(5, activation="sigmoid", name="more")(x))
    outputs = {"list": [x, z, late], "dict": {"embedding": x, "probabilities": z, "late": late}}[form]
    return keras.Model(given, outputs)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize(
    ("form", "names"), [("list", ["features", "scores", "late"]), ("dict", ["embedding", "probabilities", "late"])]
)
def test_a_keras_archive(tmp_path: Path, form: str, names: list[str]) -> None:
    model = keras_model(form)
    model.save(tmp_path / "m.keras")
    answers = model(IMAGES.permute(0, 2, 3, 1).numpy())
    wanted, late = (answers[name] for name in names[1:]) if form == "dict" else answers[1:]
    many = f"the model returns {', '.join(map(repr, names))}"
    found = load(tmp_path / "m.keras")
    assert choices(found) == [f"{many}: {names[1]!r} {CHOOSE}"]
    for key in (names[1], 1, -2):
        made = load(tmp_path / "m.keras", output_key=key)
        close(made.predict(IMAGES).probabilities, wanted)
        assert choices(made) == []
    close(load(tmp_path / "m.keras", class_names=["a", "b"]).logits_of(IMAGES), late)
    with pytest.raises(UnsupportedModelError, match=f"output_key='nothing'.*{names[2]}"):
        load(tmp_path / "m.keras", output_key="nothing")


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_an_operation_behind_the_last_layer_of_keras_is_kept(tmp_path: Path) -> None:
    keras = pytest.importorskip("keras")
    keras.utils.set_random_seed(1)
    given = keras.Input((11, 14, 3))
    x = keras.layers.Dense(4, activation="softmax")(keras.layers.Flatten()(given))
    model = keras.Model(given, keras.ops.sqrt(x))
    model.save(tmp_path / "m.keras")
    close(load(tmp_path / "m.keras").logits_of(IMAGES), model(IMAGES.permute(0, 2, 3, 1).numpy()))


PROGRAMS = {"tuple": Dense, "dict": AsDict, "named tuple": AsNamed}


@pytest.mark.filterwarnings("ignore:`torch.jit")
@pytest.mark.parametrize(
    ("kind", "form"),
    [("TorchScript", form) for form in PROGRAMS] + [("torch.export", "tuple"), ("torch.export", "dict")],
)
def test_programs(tmp_path: Path, kind: str, form: str) -> None:
    net = PROGRAMS[form]().eval()
    wanted, path = Dense()(IMAGES)[1], tmp_path / "program.pt"
    if kind == "TorchScript":
        torch.jit.save(torch.jit.script(net), path)
    else:
        path = path.with_suffix(".pt2")
        batch = torch.export.Dim("batch", min=1, max=64)
        torch.export.save(torch.export.export(net, (IMAGES,), dynamic_shapes=({0: batch},)), path)
    for key in (1, -1, *([] if form == "tuple" else ["scores"])):
        made = load(path, trust=True, input_size=(11, 14), output_key=key)
        close(made.logits_of(IMAGES), wanted)
        assert choices(made) == []
        assert xai.explain(made, IMAGES[0], "saliency").attribution.abs().max() > 0
    made = load(path, trust=True, input_size=(11, 14), class_names=list("abc"))
    close(made.logits_of(IMAGES), wanted)
    assert choices(made)[0].endswith(FITS)
    if form != "tuple":
        made = load(path, trust=True, input_size=(11, 14))
        assert choices(made) == [f"the model returns 'age', 'scores': 'scores' {CHOOSE}"]
        close(made.logits_of(IMAGES), wanted)


@pytest.mark.parametrize("form", PROGRAMS)
def test_a_choice_by_name_or_by_class_names_is_the_same_for_a_module(form: str) -> None:
    net = PROGRAMS[form]().eval()
    for made in (xai.Classifier(net, class_names=list("abc")), xai.Classifier(net, output_key=1)):
        close(made.logits(IMAGES), Dense()(IMAGES)[1])
    if form != "tuple":
        made = xai.Classifier(net)
        close(made.logits(IMAGES), Dense()(IMAGES)[1])
        assert choices(made) == [f"the model returns 'age', 'scores': 'scores' {CHOOSE}"]


def test_a_dict_says_nothing_by_its_order() -> None:
    net = Dense().eval()

    class Blind(nn.Module):
        def forward(self, images: Tensor) -> dict[str, Tensor]:
            age, scores = net(images)
            return {"a": age, "b": scores}

    with pytest.raises(UnsupportedModelError, match=r"dict with \['a', 'b'\]. Choose one by `output_key=`"):
        xai.Classifier(Blind()).logits(IMAGES)
    close(xai.Classifier(Blind(), class_names=list("abc")).logits(IMAGES), net(IMAGES)[1])


class Pair(nn.Module):
    """Returns the value of each image, (N,), and two scores."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        means = images.mean((2, 3))
        return means[:, 0], means[:, 1:] - 0.5


def test_a_row_of_numbers_has_one_column_however_many_images_there_are() -> None:
    made = xai.Classifier(Pair(), class_names=["a", "b"])
    close(made.logits(IMAGES[:2]), IMAGES[:2].mean((2, 3))[:, 1:] - 0.5)  # two images and two names


class Features(nn.Module):
    """Returns maps, tokens and features."""

    def __init__(self) -> None:
        super().__init__()
        self.body = Conv().body

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        features = self.body(images)
        return {"tokens": features.reshape(len(images), 12, 6)[:, 0], "features": features, "twin": features * 0.5}


def test_an_estimator_takes_the_features_it_was_fitted_on() -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    net = Features().eval()
    rows = {name: value.detach().numpy() for name, value in net(IMAGES).items()}
    for name, key in (("tokens", None), ("features", "features"), ("features", 1), ("twin", -1)):
        fitted = linear_model.LogisticRegression().fit(rows[name], [0, 1, 2, 0, 1])
        found = load(net, estimator=fitted, input_size=(11, 14), output_key=key)
        close(found.logits_of(IMAGES), torch.from_numpy(fitted.decision_function(rows[name])).float())
    with pytest.raises(
        UnsupportedModelError, match=r"one tensor of features with 72 numbers.*Choose one by `output_key`"
    ):
        load(net, estimator=linear_model.LogisticRegression().fit(rows["twin"], [0, 1, 2, 0, 1]), input_size=(11, 14))
