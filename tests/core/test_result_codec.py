"""Results on disk: what the codec takes apart it puts together again, messages and arrays within parts included."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from xai.core.results.codec import decode, encode
from xai.core.results.message import Message, joined
from xai.core.results.result import Provenance, Result
from xai.errors import RecordError


@dataclass(frozen=True)
class Part:
    reason: str
    size: tuple[int, int]


@dataclass(frozen=True, eq=False)
class Whole(Result):
    _kind: ClassVar[str] = "whole"
    _derived: ClassVar[tuple[str, ...]] = ("shares",)

    parts: tuple[Part, ...]
    details: tuple[Mapping[str, Tensor], ...]

    @property
    def shares(self) -> dict[str, np.ndarray]:
        return {"first": np.array([0.25, 0.75])}


def whole() -> Whole:
    reason = Message("{count} images", count=3)
    details = ({"map": torch.arange(4).view(2, 2)}, {})
    return Whole((Part(reason, (2, 3)),), details, provenance=Provenance({"name": "a"}, {"steps": 5}, 7))


def test_arrays_in_mappings_come_back() -> None:
    made = whole()
    again = decode(Whole, *encode(made))
    assert torch.equal(again.details[0]["map"], made.details[0]["map"])
    assert again.details[1] == {}
    assert again.parts == made.parts


def test_messages_of_parts_keep_their_templates(tmp_path: Path) -> None:
    again = Whole.load(whole().save(tmp_path / "a"))
    reason = again.parts[0].reason
    assert isinstance(reason, Message)
    assert (reason.key, dict(reason.values)) == ("{count} images", {"count": 3})
    assert again.seed == 7


def test_derived_arrays_are_listed() -> None:
    assert whole().to_dict()["shares"] == {"first": [0.25, 0.75]}


@pytest.mark.parametrize("size", ["23", [2], [2, 3, 4], None])
def test_a_pair_of_another_length_is_refused(tmp_path: Path, size: object) -> None:
    made = whole()
    record, arrays = encode(made)
    record["parts"][0]["size"] = size
    if size is None:
        assert decode(Whole, record, arrays).parts[0].size is None
        return
    with pytest.raises(ValueError, match="right length"):
        decode(Whole, record, arrays)


def test_another_kind_is_refused(tmp_path: Path) -> None:
    folder = whole().save(tmp_path / "a")
    (folder / "values.npz").write_bytes(b"no")
    with pytest.raises(RecordError):
        Whole.load(folder)


def test_a_template_of_punctuation_needs_no_translation() -> None:
    spanish = {"one": "uno", "two": "dos"}.get
    assert joined([Message("one"), Message("two")]).told(spanish) == "uno; dos"
    assert Message("{value:.0f} %", value=12.4).told(spanish) == "12 %"
    assert joined([Message("one"), Message("three")]).told(spanish) is None


@pytest.mark.parametrize(
    "template", ["{a.zzz}", "{a.__class__.__mro__}", "{a[0]}", "{a:>60000000}", "{a:>9999999999}", "{a!r:>99999999}"]
)
def test_a_template_of_a_file_reads_no_attributes_and_makes_no_long_text(template):
    assert Message.restored("x", template, {"a": 1}).told({}.get) is None


def test_a_template_without_words_is_filled_in_every_language():
    inner = Message("{count:,}", count=1000)
    assert (
        Message("{inner}; {share:.1%} {name!r}", inner=inner, share=0.25, name="a").told({}.get) == "1,000; 25.0% 'a'"
    )
