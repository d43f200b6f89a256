"""How dreams end, what is kept of them, what is refused, and the command line."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from model_state import assert_same, lived_in, snapshot
from PIL import Image
from small_models import (
    SIZE,
    DetachModel,
    GapCnn,
    LinearModel,
    NaNModel,
    PlantedCnn,
    pictures,
)
from torch import Tensor, nn

import xai
from xai.cli import main

QUICK = {"octaves": 2, "steps": 3, "size": SIZE, "octave_scale": 1.5, "least_confidence": 0.0}


# the ways to end, and what is kept


def test_patience_ends_an_octave() -> None:
    found = xai.deep_dream(PlantedCnn(), target=1, **(QUICK | {"steps": 200, "patience": 3, "jitter": 0}))
    assert len(found.objective) < 400
    assert any("ended early" in note for note in found.notes)


def test_until_ends_a_class_picture() -> None:
    classifier = xai.load("example:fashion")
    found = xai.deep_dream(classifier, target="Bag", until=0.8, fourier=False)
    assert found.probability is not None
    assert found.probability >= 0.8
    assert len(found.objective) < 100


def test_progress_counts_steps() -> None:
    told: list[tuple[int, int]] = []
    xai.deep_dream(GapCnn(), layer="conv1", progress=lambda done, total: told.append((done, total)), **QUICK)
    assert told == [(k, 6) for k in range(1, 7)]


@pytest.mark.parametrize(("every", "count"), [(None, 2), (1, 6), (2, 3), (4, 2)])
def test_frames(every: int | None, count: int) -> None:
    found = xai.deep_dream(GapCnn(), layer="conv1", frames_every=every, **QUICK)
    assert len(found.frames) == count
    assert {frame.shape for frame in found.frames} == {(SIZE, SIZE, 3)}
    np.testing.assert_array_equal(found.frames[-1], found.image)
    assert min(frame.min() for frame in found.frames) >= 0
    assert max(frame.max() for frame in found.frames) <= 1


def test_what_sleeps_is_told() -> None:
    net = GapCnn()
    with torch.no_grad():
        net.conv1.bias.fill_(-100.0)
    found = xai.deep_dream(net, layer="relu1", channel=0, **QUICK)
    assert np.isfinite(found.image).all()
    assert any("had no gradient" in note for note in found.notes)


# the record


def test_save_and_load(tmp_path: Path) -> None:
    found = xai.deep_dream(GapCnn(), target=1, **QUICK)
    assert found.save(tmp_path / "out") == tmp_path / "out"
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"dream.png", "values.npz", "manifest.json"}
    loaded = xai.results.DeepDream.load(tmp_path / "out")
    assert loaded.to_dict() == found.to_dict()
    for name in ("image", "objective", "octave"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(found, name))
    assert len(loaded.frames) == len(found.frames)
    with Image.open(tmp_path / "out" / "dream.png") as saved:
        np.testing.assert_array_equal(np.asarray(saved), found.pixels)
    json.dumps(found.to_dict())


def test_pictures_and_films(tmp_path: Path) -> None:
    found = xai.deep_dream(GapCnn(), layer="conv1", frames_every=1, **QUICK)
    with Image.open(found.save(tmp_path / "dream.png")) as saved:
        np.testing.assert_array_equal(np.asarray(saved), found.pixels)
    with Image.open(found.save(tmp_path / "dream.jpg")) as saved:
        assert saved.size == (SIZE, SIZE)
    with Image.open(found.save(tmp_path / "dream.gif")) as saved:
        assert saved.n_frames == 6


def test_a_damaged_record_is_refused(tmp_path: Path) -> None:
    found = xai.deep_dream(GapCnn(), layer="conv1", **QUICK)
    found.save(tmp_path)
    manifest = tmp_path / "manifest.json"
    fields = json.loads(manifest.read_text())
    del fields["result"]["goal"]
    manifest.write_text(json.dumps(fields))
    with pytest.raises(xai.InputError, match="damaged or incomplete"):
        xai.results.DeepDream.load(tmp_path)
    with pytest.raises(xai.InputError, match="no saved dream here"):
        xai.results.DeepDream.load(tmp_path / "nothing")


def test_plot() -> None:
    from matplotlib import pyplot as plt

    figure = xai.deep_dream(GapCnn(), layer="conv1", **QUICK).plot()
    assert len(figure.axes) == 2
    np.testing.assert_array_equal(len(figure.axes[1].lines[-1].get_xdata()), 6)
    plt.close(figure)


# bad input


BAD: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "class and channel": ({"target": 1, "channel": 2}, xai.InputError, "`target`, or `layer` and `channel`"),
    "class and layer": ({"target": 1, "layer": "conv1"}, xai.InputError, "`target` or `layer` out"),
    "layer": ({"layer": "conv3"}, LookupError, "no layer 'conv3'. Near: conv"),
    "channel": ({"layer": "conv1", "channel": 5}, ValueError, "from 0 to 4 for layer 'conv1', but got 5"),
    "channel below": ({"layer": "conv1", "channel": -1}, ValueError, "from 0 to 4"),
    "channel word": ({"layer": "conv1", "channel": "a"}, ValueError, "`channel` as a whole number"),
    "class": ({"target": 9}, ValueError, "0 to 3"),
    "setting": ({"layer": "conv1", "jiter": 2}, LookupError, "Near: jitter"),
    "octaves": ({"layer": "conv1", "octaves": 0}, ValueError, "`octaves` as a whole number of at least 1"),
    "steps": ({"layer": "conv1", "steps": 2.5}, ValueError, "`steps` as a whole number"),
    "scale": ({"layer": "conv1", "octave_scale": 1.0}, ValueError, "`octave_scale` above 1"),
    "step size": ({"layer": "conv1", "step_size": float("nan")}, ValueError, "`step_size` above 0"),
    "tv": ({"layer": "conv1", "tv": -1}, ValueError, "`tv` from 0 to 100"),
    "flag": ({"layer": "conv1", "fourier": "yes"}, ValueError, "`fourier` as True or False"),
    "size": ({"layer": "conv1", "size": (3, 40)}, ValueError, "`size` as"),
    "seed": ({"layer": "conv1", "seed": 0.5}, ValueError, "`seed`"),
    "two images": ({"layer": "conv1", "image": pictures(2)}, ValueError, "one image to start from, but got 2"),
    "until": ({"layer": "conv1", "until": 0.5}, ValueError, "`until` with a `target`"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case: str) -> None:
    asked, error, message = BAD[case]
    net = lived_in(GapCnn())
    before = snapshot(net)
    with pytest.raises(error, match=message):
        xai.deep_dream(net, **({"size": SIZE} | asked))
    assert_same(before, snapshot(net))


def test_models_that_cannot_dream() -> None:
    with pytest.raises(xai.XaiError, match="returned NaN or infinity"):
        xai.deep_dream(NaNModel(), layer="net.relu1", **QUICK)
    with pytest.raises(xai.XaiError, match="No gradient reaches the image"):
        xai.deep_dream(DetachModel(), target=1, **QUICK)
    with pytest.raises(xai.XaiError, match="No layer of 'LinearModel' is a map"):
        xai.deep_dream(LinearModel(), **QUICK)
    with pytest.raises(xai.XaiError, match="4 channels"):
        xai.deep_dream(xai.Classifier(nn.Conv2d(4, 2, 3), channels=4), layer="0", **QUICK)
    with pytest.raises(xai.XaiError, match="does not run in a forward"):
        xai.deep_dream(Idle(), layer="idle", **QUICK)


class Idle(nn.Module):
    """Has a layer that it never calls."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.idle = GapCnn(), nn.ReLU()

    def forward(self, images: Tensor) -> Tensor:
        return self.net(images)


def test_no_decorrelated_colours_in_grey() -> None:
    with pytest.raises(xai.InputError, match="three colours"):
        xai.deep_dream(xai.load("example:fashion"), target=1, decorrelated=True)


# the command line


def test_the_command_writes_a_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["dream", "--model", "example:fashion", "--target", "Bag", "--octaves", "2", "--steps", "8"]
    assert main([*arguments, "--out", str(tmp_path / "out"), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)["dream"]
    loaded = xai.results.DeepDream.load(tmp_path / "out")
    assert printed == loaded.to_dict() | {"saved": str(tmp_path / "out")}
    assert (loaded.target_name, len(loaded.objective)) == ("Bag", 16)
    assert main([*arguments, "--seed", "5", "--set", "frames_every=4", "--out", str(tmp_path / "dream.gif")]) == 0
    assert "class Bag" in capsys.readouterr().out
    assert (tmp_path / "dream.gif").is_file()


@pytest.mark.parametrize(
    ("arguments", "cure"),
    [
        (("--target", "Bagg"), "Near: Bag"),
        (("--target", "1", "--channel", "2"), "`target` or `channel` out"),
        (("--layer", "features.99"), "Near: features.9"),
        (("--set", "steps=3"), "'steps' is none"),
        (("--set", "tv=true"), "`tv` from 0 to 100"),
        (("--image", "missing.png"), "missing.png"),
    ],
)
def test_the_command_refuses_in_one_line(
    arguments: tuple[str, ...], cure: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["dream", "--model", "example:fashion", *arguments, "--out", str(out)]) == 2
    printed = capsys.readouterr().err
    assert cure in printed
    assert printed.count("\n") == 1
    assert not out.exists()
