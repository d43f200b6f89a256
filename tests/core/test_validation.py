"""Validators: what they return, what they refuse, and the words of the error."""

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from small_models import GapCnn, pictures

from xai.core.model.classifier import Classifier
from xai.core.validation import (
    check_alpha,
    check_choice,
    check_choices,
    check_flag,
    check_length,
    check_level,
    check_number,
    check_progress,
    check_seed,
    check_whole,
)
from xai.errors import InputError, NameLookupError, RangeError, ShapeError, XaiError

NORMS = ("linf", "l2", "l1")


@pytest.mark.parametrize("value", [1, np.int64(3), np.uint8(7), torch.tensor(2), np.array(4)])
def test_whole_numbers_come_back_as_int(value: Any) -> None:
    checked = check_whole("steps", value)
    assert type(checked) is int
    assert checked == int(value)


@pytest.mark.parametrize("value", [0, -1, 1.0, True, "2", None, np.float64(2), [2], torch.tensor([1, 2]), math.nan])
def test_what_is_no_whole_number_from_1_is_refused(value: Any) -> None:
    with pytest.raises(RangeError, match=r"^Expected `steps` as a whole number of at least 1, but got "):
        check_whole("steps", value)


def test_whole_numbers_have_both_ends() -> None:
    assert [check_whole("bits", value, 8, 16) for value in (8, 16)] == [8, 16]
    for value in (7, 17):
        with pytest.raises(RangeError, match=rf"from 8 to 16, but got {value}\. 12 is usual\.$"):
            check_whole("bits", value, 8, 16, cure="12 is usual.")


INSIDE = [
    ("[0, 1]", [0, 1, 0.5, np.float32(0.25), torch.tensor(1.0), Fraction(1, 3)]),
    ("(0, 1)", [5e-324, 1 - 2**-53]),
    ("(0, 1]", [5e-324, 1]),
    ("[0.5, 1)", [0.5, np.nextafter(1.0, 0.0)]),
    ("[0, inf)", [0, 1e308]),
    ("(0, inf)", [5e-324, 3]),
]
OUTSIDE = [
    ("[0, 1]", [-1e-9, 1 + 1e-9], "from 0 to 1"),
    ("(0, 1)", [0, 1], "above 0 and below 1"),
    ("(0, 1]", [0, 1.5], "above 0 and at most 1"),
    ("[0.5, 1)", [0.49, 1], "from 0.5 to below 1"),
    ("[0, inf)", [-1, math.inf], "of at least 0"),
    ("(0, inf)", [0, math.inf], "above 0"),
]


@pytest.mark.parametrize(("interval", "values"), INSIDE)
def test_numbers_inside_come_back_as_float(interval: str, values: list[Any]) -> None:
    for value in values:
        checked = check_number("share", value, interval)
        assert type(checked) is float
        assert checked == float(value)


@pytest.mark.parametrize(("interval", "values", "words"), OUTSIDE)
def test_numbers_outside_are_refused(interval: str, values: list[Any], words: str) -> None:
    for value in [*values, math.nan, -math.inf, True, np.True_, "0.5", b"1", None, [0.5], np.array([0.5]), {}]:
        with pytest.raises(RangeError, match=f"^Expected `share` {words}, but got "):
            check_number("share", value, interval)


@pytest.mark.parametrize(
    "check",
    [
        lambda value: check_whole("a", value, optional=True),
        lambda value: check_number("a", value, "[0, 1]", optional=True),
        lambda value: check_choice("norm", value, NORMS, optional=True),
        lambda value: check_flag("a", value, optional=True),
    ],
)
def test_none_is_allowed_where_it_is_optional(check: Callable[[Any], Any]) -> None:
    assert check(None) is None
    with pytest.raises(XaiError):
        check("none")


def test_levels_of_confidence_and_of_significance() -> None:
    assert (check_level(0.95), check_level(0.5), check_alpha(0.05), check_alpha(0.999)) == (0.95, 0.5, 0.05, 0.999)
    with pytest.raises(RangeError, match=r"`level` from 0\.5 to below 1, but got 95\. 95 % is 0\.95\."):
        check_level(95)
    with pytest.raises(RangeError, match=r"`fdr` above 0 and below 1, but got 5\. 5 % is 0\.05\."):
        check_alpha(5, "fdr")


@pytest.mark.parametrize("value", ["l3", "", None, 2, np.array(["l2", "l1"]), ["l2"], torch.zeros(2)])
def test_names_that_are_not_known_are_refused(value: Any) -> None:
    with pytest.raises(NameLookupError, match=r"^There is no norm .*(Known|Near): .*l2"):
        check_choice("norm", value, NORMS)


def test_names_may_stand_in_any_collection() -> None:
    for known in (NORMS, dict.fromkeys(NORMS), set(NORMS), iter(NORMS)):
        assert check_choice("norm", "l2", known) == "l2"
    assert check_choices("norm", iter(["l1", "l2"]), iter(NORMS)) == ("l1", "l2")
    with pytest.raises(NameLookupError, match=r"no setting of pgd 'stpes'\. Near: steps"):
        check_choices("setting of pgd", {"eps": 1, "stpes": 2}, ("eps", "steps"))
    with pytest.raises(NameLookupError, match="None is known here"):
        check_choice("part", "test", ())


def test_flags_are_true_or_false() -> None:
    assert (check_flag("fast", True), check_flag("fast", False)) == (True, False)
    for value in (1, 0, None, "yes"):
        with pytest.raises(RangeError, match=r"^Expected `fast` as True or False, but got "):
            check_flag("fast", value)


def test_one_value_for_each() -> None:
    check_length("labels", torch.zeros(3), 3)
    with pytest.raises(ShapeError, match=r"^Expected `names` for 3 explanations, one each, but got 2"):
        check_length("names", ["a", "b"], 3, "explanations")


def test_progress_is_none_a_flag_or_a_callable() -> None:
    assert [check_progress(value) for value in (None, True, False, print)] == [None, True, False, print]
    classifier = Classifier(GapCnn())
    for value in (1, "bar", [print]):
        with pytest.raises(InputError, match=r"^Expected `progress` as None, True for a bar, or a callable"):
            classifier.predict(pictures(1), progress=value)  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", [0, -5, np.int64(7), torch.tensor(3), 2**62, -(2**63), 2**63 - 1])
def test_good_seeds(seed: Any) -> None:
    checked = check_seed(seed)
    assert type(checked) is int
    assert checked == int(seed)


@pytest.mark.parametrize("seed", [1.5, "1", None, True, 2**63, -(2**63) - 1, [1]])
def test_bad_seeds(seed: Any) -> None:
    with pytest.raises(RangeError, match=r"^Expected `seed` as a whole number of at most 64 bits, but got"):
        check_seed(seed)
