"""Shortcuts that were planted without knowledge of the search: the examiner itself, and what the search says."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fairness.shortcuts.worlds import KINDS, World, build, plan, score, search, table
from fairness.shortcuts.worlds_plants import PROBES, eight_bits, smooth
from fairness.shortcuts.worlds_sets import SETS

import xai

SILENT, FOUND = 19 / 20, 9 / 10


def images(channels: int = 3, count: int = 6) -> torch.Tensor:
    """Return smooth images that are not square."""
    source = torch.Generator().manual_seed(1)
    return smooth(torch.rand(count, channels, 30, 41, generator=source), 1.2)


@pytest.mark.parametrize("probe", PROBES)
@pytest.mark.parametrize("channels", [1, 3])
def test_controls_are_as_large_as_the_probe_and_differ_from_it(probe: str, channels: int):
    if probe == "tint" and channels == 1:
        return
    for seed in range(3):
        clean, plant = images(channels), PROBES[probe](images(channels), np.random.default_rng(seed), 1.0)
        made = plant.apply(clean, np.random.default_rng(0))
        assert made.shape == clean.shape
        assert float((made - clean).abs().amax((1, 2, 3)).min()) > 1 / 255
        size = (eight_bits(made) - clean).norm()
        for control in plant.controls(clean, np.random.default_rng(0)):
            assert 0.5 * size < (control - clean).norm() < 1.6 * size
            assert (control - made).norm() > 0.5 * size


def world(kind: str, flips: float) -> World:
    """Return a world of which nothing but the plant and the names matters."""
    plant = PROBES["corner"](images(), np.random.default_rng(0), 1.0)
    empty = torch.zeros(0)
    model = xai.Classifier(torch.nn.Flatten(), channels=3)
    return World("a-corner-x-0", kind, plant, 1, ("cat", "dog"), model, *[empty] * 4, 1.0, flips, 0.1)


def finding(label: str, words: str, place: str) -> SimpleNamespace:
    return SimpleNamespace(label=label, probe="corner_mark", words=words, place=place)


def test_what_is_scored_as_right():
    place = world("planted", 0.9).plant.place
    right, wrong = finding("dog", "mark", place), finding("dog", "mark", "bottom middle")
    other = finding("cat", "mark", place)

    def verdict(of: World, *findings: SimpleNamespace) -> tuple[bool | None, int]:
        found = score(of, SimpleNamespace(findings=findings))
        return found.right, found.false

    learnt, between, unlearnt = (world("planted", flips) for flips in (0.31, 0.29, 0.14))
    assert (learnt.learnt, between.learnt, unlearnt.learnt) == (True, False, False)
    assert verdict(between)[0] is verdict(between, right)[0] is None
    assert verdict(learnt, right) == (True, 0)
    assert verdict(learnt, wrong) == (False, 0)
    assert verdict(learnt, right, other) == (True, 1)
    assert verdict(learnt) == (False, 0)
    assert verdict(unlearnt) == (True, 0)
    assert verdict(unlearnt, right)[0] is False
    assert verdict(world("clean", 0.0), other)[0] is False
    assert verdict(world("unlearnt", 0.9), right)[0] is None
    assert "a         corner" in table([score(learnt, SimpleNamespace(findings=[right]))])


def test_the_plan_leaves_out_what_cannot_be_planted():
    made = plan(["digits"], ["tint", "blur"], KINDS, range(2))
    assert made[:4] == [("digits", None, "clean", 0), *(("digits", "blur", kind, 0) for kind in KINDS[:3])]
    assert len(made) == 8


@pytest.mark.slow
@pytest.mark.parametrize("name", ["digits", "fashion"])
@pytest.mark.parametrize("probe", PROBES)
def test_what_a_model_learnt_is_found_and_named(name: str, probe: str):
    if not SETS[name].takes(probe):
        name = "photos"
    worlds = [build(name, probe, "planted", seed) for seed in range(10)]
    found = [search(each, train=True) for each in worlds if each.learnt]
    missed = [f"{each.world.tag}: {each.world.plant.told}: {each.told}" for each in found if not each.named]
    assert len(missed) <= (1 - FOUND) * len(found), missed


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS[1:])
@pytest.mark.parametrize("name", SETS)
def test_nothing_is_found_where_nothing_was_learnt(name: str, kind: str):
    probes = [probe for probe in PROBES if SETS[name].takes(probe)]
    drawn = [(None if kind == "clean" else probes[seed % len(probes)], seed) for seed in range(20)]
    found = [search(build(name, probe, kind, seed), train=True) for probe, seed in drawn]
    counted = [each for each in found if each.right is not None]
    loud = [f"{each.world.tag}: {each.told}" for each in counted if not each.right]
    assert len(loud) <= (1 - SILENT) * len(counted), loud
