"""Every result that can be saved is read back as it was; a damaged one is refused in one line, whatever is wrong."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_models import GapCnn, pictures

import xai
from xai.errors import RecordError

SIZE, COUNT, CLASSES = (16, 16), 120, ("red", "green", "blue")
WRONG: tuple[Any, ...] = (None, 3, "x", [], {}, [1, "a"])


class Things:
    """A small network, its images and a data set of them."""

    def __init__(self, folder: Path) -> None:
        self.model = xai.Classifier(GapCnn(classes=3).eval(), class_names=CLASSES, input_size=SIZE)
        self.images = pictures(COUNT, size=SIZE)
        self.labels = self.model.logits(self.images).argmax(1).detach()
        self.labels[::4] = (self.labels[::4] + 1) % 3
        shown = (self.images.permute(0, 2, 3, 1).numpy() * 255).round().astype(np.uint8)
        site = np.array(["north", "south"])[np.arange(COUNT) % 2]
        np.savez(folder / "d.npz", images=shown, labels=self.labels.numpy(), classes=np.array(CLASSES), site=site)
        self.data = xai.load_data(folder / "d.npz")

    def detector(self) -> Any:
        return xai.fit_ood(self.model, self.part(0), self.part(1), method="msp")

    def part(self, number: int) -> Any:
        """Return every third image."""
        return self.data.take(range(number, COUNT, 3))


MAKERS: dict[str, Callable[[Things], Any]] = {
    "AttackResult": lambda t: xai.attack(t.model, t.images[:4], t.labels[:4], steps=2),
    "Certificate": lambda t: xai.certify(t.model, t.images[:3], t.labels[:3], eps=1 / 255, method="ibp"),
    "RobustnessCurve": lambda t: xai.robustness(t.model, t.images[:6], t.labels[:6], eps=[1 / 255]),
    "Explanation": lambda t: xai.explain(t.model, t.images[:2], "saliency"),
    "Rating": lambda t: xai.rate_explanation(t.model, t.images[:1], xai.explain(t.model, t.images[:1], "saliency")),
    "Agreement": lambda t: xai.agreement([xai.explain(t.model, t.images[:1], m) for m in ("saliency", "gradcam")]),
    "DeepDream": lambda t: xai.deep_dream(t.model, target=0, steps=1, octaves=1),
    "CorruptionResult": lambda t: xai.corruption_robustness(t.model, t.data, names=["brightness"], severities=[1]),
    "Calibration": lambda t: xai.calibration(t.model, t.data),
    "ConformalPredictor": lambda t: xai.fit_conformal(t.model, t.data),
    "PredictionSets": lambda t: xai.fit_conformal(t.model, t.data).sets(t.data),
    "Drift": lambda t: xai.drift(t.model, t.data.subset(30), t.data.subset(30, seed=1)),
    "BiasResult": lambda t: xai.bias(t.model, t.data, groups=["site"], replicates=100),
    "SliceResult": lambda t: xai.slices(t.model, t.data),
    "DataFaults": lambda t: xai.data_faults(t.model, t.data),
    "ShortcutResult": lambda t: xai.shortcuts(t.model, t.data, probes=["corner_mark"]),
    "OODDetector": lambda t: t.detector(),
    "Judgement": lambda t: t.detector().judge(t.images[:3]),
    "OODComparison": lambda t: xai.compare_ood(
        t.model, *map(t.part, range(3)), {"noise": t.images.flip(2)}, methods=["msp"]
    ),
    "OODAttack": lambda t: t.detector().attack(t.images[:3], t.labels[:3], eps=1 / 255, steps=1),
    "Audit": lambda t: xai.audit(model=t.model, data=t.data, checks=["accuracy"]),
}


@pytest.fixture(scope="module")
def things(tmp_path_factory: pytest.TempPathFactory) -> Things:
    torch.manual_seed(0)
    return Things(tmp_path_factory.mktemp("things"))


@pytest.fixture(scope="module", params=MAKERS)
def saved(request: pytest.FixtureRequest, things: Things, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    made = MAKERS[request.param](things)
    assert type(made).__name__ == request.param
    folder = tmp_path_factory.mktemp(request.param)
    return made, made.save(folder)


def test_every_result_that_is_saved_is_here() -> None:
    every = {name: getattr(place, name) for place in (xai, xai.results) for name in place.__all__}
    kinds = {name for name, kind in every.items() if hasattr(kind, "save") and hasattr(kind, "load")}
    assert kinds == set(MAKERS)


def test_it_is_read_back_as_it_was(saved: tuple[Any, Path]) -> None:
    made, folder = saved
    again = type(made).load(folder)
    assert json.dumps(again.to_dict(), sort_keys=True) == json.dumps(made.to_dict(), sort_keys=True)


def damages(held: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the same without each of its fields, and with each of them wrong; one level down, too."""
    for key, value in held.items():
        yield {name: item for name, item in held.items() if name != key}
        for wrong in WRONG:
            yield held | {key: wrong}
        if isinstance(value, dict):
            for inner in damages(value) if key == "result" else ():
                yield held | {key: inner}


def test_whatever_is_wrong_in_it_is_one_line(saved: tuple[Any, Path], tmp_path: Path) -> None:
    made, folder = saved
    for file in folder.rglob("*"):
        target = tmp_path / file.relative_to(folder)
        target.parent.mkdir(exist_ok=True, parents=True)
        if file.is_file():
            target.write_bytes(file.read_bytes())
    place = tmp_path / ("audit.json" if (tmp_path / "audit.json").exists() else "manifest.json")
    held = json.loads(place.read_text())
    told = []
    for damaged in damages(held):
        place.write_text(json.dumps(damaged))
        try:
            type(made).load(tmp_path)
        except RecordError as error:
            told.append(str(error))
    assert len(told) > len(held)
    assert [text for text in told if "\n" in text] == []
