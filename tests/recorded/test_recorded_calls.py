"""Results stay equal while the inside of the package is moved: one recorded call per verb and method."""

import inspect
from collections.abc import Iterator

import pytest
import torch

import xai
from tests.recorded.calls import CALLS, LEFT_OUT, METHODS, found_by, recorded, verb_of
from tests.recorded.digest import differences, digest, least_scale


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Compute with one thread, and give back what was set before."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", CALLS)
def test_a_call_returns_what_was_recorded(name: str) -> None:
    assert list(differences(recorded()[name], found_by(name), least=least_scale(name))) == []


def test_nothing_is_recorded_without_its_call() -> None:
    assert recorded().keys() == CALLS.keys()


def test_every_public_verb_is_recorded_or_left_out_for_a_reason() -> None:
    verbs = {name for name in xai.__all__ if inspect.isfunction(getattr(xai, name))}
    made = {verb_of(name) for name in CALLS}
    assert sorted(verbs - made - LEFT_OUT.keys()) == []
    assert sorted(made & LEFT_OUT.keys()) == []
    assert sorted({*made, *map(verb_of, LEFT_OUT)} - {*xai.__all__} - METHODS.keys()) == []
    assert all(hasattr(xai.Audit, name) for name in METHODS.values())


@pytest.mark.parametrize("kind", ["explanation", "attack", "corruption", "detector"])
def test_every_method_is_recorded(kind: str) -> None:
    verb = {"explanation": "explain", "attack": "attack", "corruption": "corrupt", "detector": "fit_ood"}[kind]
    missing = {f"{verb} {method.name}" for method in xai.methods(kind=kind)} - CALLS.keys()
    assert sorted(missing) == []


def test_every_audit_check_is_recorded() -> None:
    assert (
        sorted({f"audit {check.name}" for check in xai.Audit.available_checks()} - CALLS.keys() - LEFT_OUT.keys()) == []
    )


def test_a_small_difference_is_seen_and_rounding_is_not() -> None:
    values = torch.rand(50, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    other = values.clone()
    other[17] += 1e-4
    assert list(differences(digest(values), digest(other), "map"))
    assert list(differences(digest(values), digest(values * (1 + 1e-4)), "map"))
    assert not list(differences(digest(values), digest(values.float()), "map"))
    assert list(differences(digest(torch.tensor([3, 4])), digest(torch.tensor([4, 3])), "classes"))
    assert list(differences({"p": 0.5}, {"p": 0.50001}))
    assert list(differences({"verdict": "trust"}, {"verdict": "doubt"}))
    assert list(differences({"a": 1.0}, {"b": 1.0}))
    assert not list(differences({"p": 0.5}, {"p": 0.5 + 1e-9}))
    assert list(differences({"p": 0.004}, {"p": 0.004 + 9e-9}))
    assert not list(differences({"p": 0.004}, {"p": 0.004 + 9e-9}, least=least_scale("drift none")))
    assert list(differences({"p": 0.004}, {"p": 0.004 + 2e-8}, least=least_scale("drift none")))
