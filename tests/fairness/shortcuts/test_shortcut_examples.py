"""The planted shortcut of the example network is named, and the networks without one are left alone."""

import pytest

import xai


def test_the_planted_mark_is_found_with_its_class_and_corner() -> None:
    found = xai.shortcuts(xai.load("example:fashion-shortcut"), xai.load_data("example:fashion-test"), seed=0)
    assert len(found.findings) > 0
    assert all("Shirt" in str(finding) and "top left corner" in str(finding) for finding in found.findings)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["example:fashion", "example:fashion-robust"])
def test_networks_without_a_shortcut_are_left_alone(name: str) -> None:
    assert len(xai.shortcuts(xai.load(name), xai.load_data("example:fashion-test"), seed=0).findings) == 0
