"""The page "Start": cases, networks and images that users bring, hostile ones too."""

import io
import stat
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from streamlit.testing.v1 import AppTest

import xai
from xai.dashboard.pages.start.page import CASES
from xai.dashboard.session import uploads as zips
from xai.dashboard.session.uploads import add_data_folder, add_data_zip, add_model, unpack
from xai.dashboard.widgets.background import page_file

APP = Path(__file__).parents[2] / "app.py"
WEIGHTS = Path(__file__).parents[2] / "data" / "models" / "fashion" / "weights.safetensors"
SETTINGS = {"input_size": (28, 28), "channels": 1, "mean": [0.286], "std": [0.353], "resize": "squash"}
LABELS = [f"class {k}" for k in range(10)]


def started(open_boxes=(), **parameters):
    app = AppTest.from_file(str(APP), default_timeout=60)
    for name, value in parameters.items():
        app.query_params[name] = value
    for name in open_boxes:
        app.session_state[name] = True
    app.run()
    assert not app.exception
    return app


def words(app):
    return "\n".join(str(one.value) for one in (*app.markdown, *app.caption, *app.error, *app.info, *app.success))


def png(value, side=8):
    stream = io.BytesIO()
    Image.fromarray(np.full((side, side, 3), value, np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def zipped(members):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return stream.getvalue()


GOOD = [(f"val/{name}/{k}.png", png(40 * k + 9)) for name in ("cats", "dogs") for k in range(3)]


def test_it_says_what_it_understood():
    app = started(model="example:fashion", data="example:fashion-test")
    said = words(app)
    assert "**example\\:fashion** predicts one of **10** classes" in said
    assert "Images become 28 x 28 pixels" in said
    assert "**10,000** images of **10** classes." in said
    assert "The model knows all of these classes." in said
    assert xai.load("example:fashion").fingerprint in [code.value for code in app.code]
    assert len(app.get("image")) == len(CASES) + 1 + 8  # the photo under its map, and some of the data
    assert all(image.alt for shown in app.get("image") for image in shown.proto.imgs)


def test_other_classes_are_said_to_be_unknown():
    said = words(started(model="example:fashion", data="example:digits"))
    assert "These classes are unknown to this model" in said


def test_cases_lead_to_pages_that_understand_them():
    app = started()
    first, *links = [link.proto.query_string for link in app.get("page_link")]
    assert first == "lang=en&model=efficientnet_lite0" or "photo=coffee" in first
    assert len(links) == len(CASES) == 3
    for case, link in zip(CASES, links, strict=True):
        assert all(f"{key}=" in link for key in case.query)
        page = AppTest.from_file(str(APP), default_timeout=60)
        for key, value in case.query.items():
            page.query_params[key] = value
        page.run()
        page.switch_page(str(page_file(case.page))).run()
        assert not page.exception
        assert not page.error
        assert page.selectbox(key="model").value == case.query["model"]


def test_a_model_is_unloaded_and_loaded_again():
    app = started(model="example:fashion")
    app.button(key="unload").click().run()
    assert "The model is unloaded." in words(app)
    assert not app.code
    app.button(key="load_again").click().run()
    assert app.code
    assert not app.exception


def test_the_installation_is_looked_at(monkeypatch):
    monkeypatch.setattr("xai.diagnosis.broken_extras", lambda: {})  # imports of all optional packages take seconds
    app = started(["doctor"], model="example:fashion")
    assert any(code.value.startswith("Python 3.") for code in app.code)


def test_weights_and_images_are_brought_and_used(tmp_path):
    app = started(["add_model", "add_images"], model="example:fashion")
    app.text_area(key="class_names").input("\n".join(LABELS))
    app.number_input(key="side").set_value(28)
    app.get("segmented_control")
    app.button_group(key="channels").set_value(1).run()
    app.selectbox(key="resize").select("squash")
    app.selectbox(key="expects_1").select("my own numbers").run()
    app.text_input(key="mean_1").input("0.286")
    app.text_input(key="std_1").input("0.353")
    app.file_uploader(key="model_file_0").upload("my weights.safetensors", WEIGHTS.read_bytes()).run()
    app.selectbox(key="architecture").select("example:fashion").run()
    app.button(key="use_model").click().run()
    assert not app.exception
    assert not app.error
    name = app.selectbox(key="model").value
    assert name.startswith("upload:my-weights-")
    app.file_uploader(key="zip_file_0").upload("some pets.zip", zipped([*GOOD, ("val/readme.txt", b"hello")])).run()
    assert not app.error
    assert app.selectbox(key="data").value.startswith("upload:some-pets-")
    assert "**6** images of **2** classes." in words(app)
    assert "1 files of the archive are not images" in words(app)
    app.switch_page("xai/dashboard/pages/explain/page.py").run()
    assert app.selectbox(key="model").value == name
    assert "xai.untrained('example:fashion', 10, channels=1)" in app.code[0].value
    other = started(model=name)  # a link finds it, whoever opens it
    assert other.selectbox(key="model").value == name
    assert not any(option.startswith("upload:") for option in started().selectbox(key="model").options)


def test_the_same_answers_come_from_the_brought_weights():
    found = add_model("w.safetensors", WEIGHTS.read_bytes(), "example:fashion", {**SETTINGS, "class_names": LABELS})
    image = xai.load_data("example:fashion-test").images[0]
    mine, known = found.load().predict(image), xai.load("example:fashion").predict(image)
    assert mine.probability == pytest.approx(known.probability, abs=1e-6)
    assert found.code.startswith("xai.load('w.safetensors', arch=xai.untrained('example:fashion', 10, channels=1)")


@pytest.mark.filterwarnings("ignore")  # of the old exporter
def test_onnx_brings_its_own_model(tmp_path):
    network = torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(144, 3)
    )
    path = tmp_path / "small.onnx"
    torch.onnx.export(network.eval(), (torch.zeros(1, 1, 8, 8),), path, dynamo=False)
    assert onnx.load(path).graph.node
    settings = {"input_size": (8, 8), "channels": 1, "class_names": ["a", "b", "c"]}
    found = add_model("small.onnx", path.read_bytes(), None, settings)
    assert found.load().class_names == ("a", "b", "c")


def hostile_networks():
    stream = io.BytesIO()
    torch.save(torch.nn.Linear(2, 2), stream)
    odd = io.BytesIO()
    torch.save({"x": torch.zeros(2)}, odd)
    return {
        "words.safetensors": b"no weights at all",
        "empty.safetensors": b"",
        "whole.pt": stream.getvalue(),
        "odd.pt": odd.getvalue(),
        "half.safetensors": WEIGHTS.read_bytes()[:1000],
        "graph.onnx": b"\x08\x07\x12\x03abc" * 50,
        "layers.keras": zipped([("config.json", b"{}")]),
        "../../etc/passwd.safetensors": b"nothing",
    }


@pytest.mark.parametrize("name", hostile_networks())
def test_hostile_models_give_a_sentence(name):
    with pytest.raises(xai.XaiError) as caught:
        add_model(name, hostile_networks()[name], "example:fashion", SETTINGS)
    said = str(caught.value)
    assert "\n" not in said
    assert Path(name).name in said
    assert "xai-dashboard-" not in said  # no place of this process


def test_an_architecture_must_be_on_the_list(monkeypatch):
    with pytest.raises(xai.XaiError, match="no network 'os:system'"):
        add_model("w.safetensors", WEIGHTS.read_bytes(), "os:system", SETTINGS)
    with pytest.raises(xai.InputError, match="needs an architecture"):
        add_model("w.safetensors", WEIGHTS.read_bytes(), None, SETTINGS)
    monkeypatch.setenv("XAI_DASHBOARD_ARCH", ",".join(["xai.models.networks:SmallNet", "other:thing"]))
    with pytest.raises(xai.XaiError, match="not the weights of SmallNet"):  # it is built: the operator named it
        add_model("w.safetensors", WEIGHTS.read_bytes(), "xai.models.networks:SmallNet", SETTINGS)


def test_known_models_are_built_by_name_alone():
    save = io.BytesIO()
    torch.save(xai.untrained("example:fashion").state_dict(), save)
    assert save.getvalue()
    with pytest.raises(xai.XaiError, match="example:fashion"):
        xai.untrained("example:fashin")


def link_member():
    member = zipfile.ZipInfo("cats/link.png")
    member.external_attr = (stat.S_IFLNK | 0o777) << 16
    return member


def bomb():
    return zipped([("cats/a.png", b"\0" * 30_000_000), ("dogs/b.png", png(1))])


def lying():
    """A member that says it is small and is not."""
    content = bytearray(zipped([("cats/a.png", b"\0" * 3_000_000), ("dogs/b.png", png(1))]))
    size = (3_000_000).to_bytes(4, "little")
    return bytes(content.replace(size, (10).to_bytes(4, "little")))


HOSTILE_ZIPS = {
    "no zip": (lambda: b"hello", "no zip archive that can be read"),
    "empty": (lambda: zipped([]), "no image in it"),
    "leads out": (lambda: zipped([("../../evil.png", png(1))]), "leads out of the archive"),
    "absolute": (lambda: zipped([("/etc/evil.png", png(1))]), "leads out of the archive"),
    "backslashes": (lambda: zipped([("..\\evil.png", png(1))]), "leads out of the archive"),
    "link": (lambda: zipped([(link_member(), b"/etc/passwd")]), "is a link"),
    "twice": (lambda: zipped([("a/b.png", png(1)), ("A/b.png", png(2))]), "is there twice"),
    "bomb": (bomb, "unpacks to more than 200 times its size"),
    "lying": (lying, "no zip archive that can be read"),
    "cut": (lambda: zipped(GOOD)[:-40], "no zip archive that can be read"),
    "one class": (lambda: zipped([("cats/1.png", png(1)), ("cats/2.png", png(2))]), "only one class folder"),
    "text": (lambda: zipped([("cats/1.txt", b"x")]), "no image in it"),
}


@pytest.mark.parametrize("case", HOSTILE_ZIPS)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_hostile_zips_give_a_sentence(case):
    make, sentence = HOSTILE_ZIPS[case]
    with pytest.raises(xai.XaiError, match=sentence) as caught:
        add_data_zip("pets.zip", make())
    assert "\n" not in str(caught.value)
    assert "xai-dashboard-" not in str(caught.value)


def test_nothing_is_written_outside_nor_beyond_the_budget(tmp_path, monkeypatch):
    place = tmp_path / "inside"
    place.mkdir()
    with pytest.raises(xai.InputError):
        unpack(zipped([("ok/a.png", png(1)), ("../evil.png", png(1))]), "x.zip", place)
    assert [path.name for path in tmp_path.iterdir()] == ["inside"]
    assert not list(place.iterdir())  # refused before the first member is written
    monkeypatch.setattr(zips, "MOST_BYTES", 300)
    with pytest.raises(xai.InputError, match="unpacks to more than"):
        unpack(zipped(GOOD), "x.zip", place)
    monkeypatch.setattr(zips, "MOST_MEMBERS", 2)
    with pytest.raises(xai.InputError, match="at most 2 files"):
        unpack(zipped(GOOD), "x.zip", place)


@pytest.mark.parametrize("text", ["", "  ", "/no/such/place", "a\0b", "/etc/passwd"])
def test_an_impossible_folder_gives_a_sentence(text):
    with pytest.raises(xai.XaiError) as caught:
        add_data_folder(text)
    assert "\n" not in str(caught.value)


def test_errors_are_shown_on_the_page():
    app = started(["add_model", "add_images"], model="example:fashion")
    app.file_uploader(key="zip_file_0").upload("evil.zip", zipped([("../x.png", png(1))])).run()
    assert not app.exception
    assert "leads out of the archive" in app.error[0].value
    app.text_input(key="folder").input("/no/such/place").run()
    app.button(key="take_folder").click().run()
    assert "no such file or folder" in app.error[0].value


def test_weights_of_another_shape_give_a_sentence(tmp_path):
    save_file({"weight": torch.zeros(3, 3)}, tmp_path / "w.safetensors")
    with pytest.raises(xai.XaiError, match=r"^w\.safetensors: "):
        add_model("w.safetensors", (tmp_path / "w.safetensors").read_bytes(), "example:fashion", SETTINGS)
