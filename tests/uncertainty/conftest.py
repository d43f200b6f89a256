"""Example networks and their answers."""

import pytest

import xai


@pytest.fixture(scope="session")
def data():
    return xai.load_data("example:fashion-test").subset(1200, seed=1)


@pytest.fixture(scope="session", params=["example:fashion", "example:fashion-robust"])
def pair(request, data):
    """Return a classifier and what it answers on `data`."""
    classifier = xai.load(request.param)
    return classifier, classifier.outputs(data)


@pytest.fixture(scope="session")
def robust():
    return xai.load("example:fashion-robust")
