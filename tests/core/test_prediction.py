"""What a classifier answered."""

import json
from dataclasses import FrozenInstanceError

import pytest
import torch

from xai.core.model.predictions import Prediction

LOGITS = torch.tensor([[0.0, 2.0, 1.0], [3.0, -1.0, 0.0]])


def prediction(rows: slice = slice(None), *, single: bool = False) -> Prediction:
    return Prediction(("cat", "dog", "owl"), LOGITS[rows], LOGITS[rows].softmax(1), single, ("a note",))


def test_many() -> None:
    found = prediction()
    assert len(found) == 2
    assert found.label == ["dog", "cat"]
    assert found.index.tolist() == [1, 0]
    assert found.index.dtype == torch.int64
    torch.testing.assert_close(found.probability, LOGITS.softmax(1).amax(1))
    assert [[name for name, _ in row] for row in found.top(2)] == [["dog", "owl"], ["cat", "owl"]]


def test_one() -> None:
    found = prediction(slice(0, 1), single=True)
    assert (found.label, found.index) == ("dog", 1)
    assert found.probability == pytest.approx(0.6652, abs=1e-4)
    assert [name for name, _ in found.top(2)] == ["dog", "owl"]
    assert len(found.top(99)) == 3
    assert sum(chance for _, chance in found.top()) == pytest.approx(1)


def test_one_of_many() -> None:
    found = prediction()
    assert [one.label for one in found] == ["dog", "cat"]
    assert found[1].label == found[-1].label == "cat"
    assert found[1].notes == ("a note",)
    for k in (2, -3):
        with pytest.raises(IndexError, match=f"below 2, but got {k}"):
            _ = found[k]


def test_json() -> None:
    found = json.loads(json.dumps(prediction().to_dict(), allow_nan=False))
    assert [image["label"] for image in found["images"]] == ["dog", "cat"]
    assert found["images"][0]["top"][0][0] == "dog"
    assert found["notes"] == ["a note"]


def test_frozen() -> None:
    with pytest.raises(FrozenInstanceError, match="cannot assign"):
        prediction().logits = LOGITS  # type: ignore[misc]
