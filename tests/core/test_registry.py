"""Names and the things behind them."""

import sys
from types import ModuleType
from typing import Any

import pytest

from xai.core.registry import Registry
from xai.errors import ContractError, NameLookupError, near_names


@pytest.fixture
def fruits() -> Registry[int]:
    found: Registry[int] = Registry("fruit")
    for k, name in enumerate(["pear", "apple", "apricot", "plum"]):
        assert found.register(name)(k) == k
    return found


def test_sorted_names(fruits: Registry[int]) -> None:
    assert fruits.names() == list(fruits) == ["apple", "apricot", "pear", "plum"]
    assert fruits["pear"] == 0
    assert "plum" in fruits
    assert "fig" not in fruits


def test_a_second_registration_is_an_error_and_changes_nothing(fruits: Registry[int]) -> None:
    with pytest.raises(ContractError, match="The fruit 'pear' is registered twice"):
        fruits.register("pear")(9)
    assert fruits["pear"] == 0


@pytest.mark.parametrize("name", ["appel", "APPLE", "aple"])
def test_near_names_are_suggested(fruits: Registry[int], name: str) -> None:
    with pytest.raises(NameLookupError, match=rf"There is no fruit '{name}'\. (Near|Known): .*apple"):
        _ = fruits[name]


@pytest.mark.parametrize("name", ["xyz", 5, None, [], {}])
def test_anything_else_lists_what_there_is(fruits: Registry[int], name: Any) -> None:
    with pytest.raises(NameLookupError, match=r"There is no fruit .* Known: apple, apricot, pear, plum"):
        _ = fruits[name]


def test_a_name_lookup_error_is_a_lookup_error(fruits: Registry[int]) -> None:
    with pytest.raises(LookupError, match="no fruit"):
        _ = fruits["fig"]


def test_near_names() -> None:
    assert near_names("a", []) == "None is known here."
    assert near_names("zzz", [f"name{k}" for k in range(20)]).endswith("name11, ....")
    assert len(near_names("path", ["t" + 200 * "\0"])) < 60  # a name from a file, written out
    assert near_names("resnet81", ["resnet18", "vgg11"]) == "Near: resnet18."


def test_a_module_is_imported_when_its_name_is_first_used(tmp_path, monkeypatch) -> None:
    (tmp_path / "orchard").mkdir()
    (tmp_path / "orchard" / "__init__.py").write_text("")
    (tmp_path / "orchard" / "quinces.py").write_text(
        "from registry_of_fruits import FRUITS\nFRUITS.register('quince')(7)\n"
    )
    module = ModuleType("registry_of_fruits")
    module.FRUITS = Registry("fruit", "orchard", {"quince": "quinces"})
    monkeypatch.setitem(sys.modules, "registry_of_fruits", module)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert module.FRUITS.names() == ["quince"]
    assert "quince" in module.FRUITS
    assert "orchard.quinces" not in sys.modules
    assert module.FRUITS["quince"] == 7
    with pytest.raises(NameLookupError, match="There is no fruit 'pear'"):
        _ = module.FRUITS["pear"]
