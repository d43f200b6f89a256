"""Every type that verbs return gives a JSON-ready record of itself."""

import inspect
import json

import pytest

import xai


def _finding():
    data = xai.load_data("example:fashion-test").subset(60)
    return xai.audit(model="example:fashion", data=data, checks=[{"metric": "accuracy", "at_least": 0.999}]).findings[0]


def _map_check():
    classifier, image = xai.load("example:fashion"), xai.load_data("example:fashion-test").images[0]
    return xai.rate_explanation(classifier, image, xai.explain(classifier, image)).checks[0][0]


def _output_bounds():
    images = xai.load_data("example:fashion-test").subset(2).images[:]
    return xai.output_bounds(xai.load("example:fashion"), images, images, method="ibp")


RECORDS = {
    "Finding": (_finding, {"id", "verdict", "value", "interval", "evidence", "reproduce"}),
    "MapCheck": (_map_check, {"name", "verdict", "reason", "values"}),
    "OutputBounds": (_output_bounds, {"lower", "upper", "notes"}),
    "Probe": (
        lambda: xai.fit_probe("example:fashion", xai.load_data("example:fashion-train").subset(200)),
        {"name", "fingerprint", "class_names", "fit"},
    ),
    "ResizeComparison": (
        lambda: xai.compare_resizing(xai.load("example:fashion"), xai.load_data("example:fashion-test").subset(20)),
        {"current", "best", "accuracy", "verdict", "reason"},
    ),
    "Treatment": (
        lambda: xai.treatment(
            xai.load("example:fashion"), xai.load_data("example:fashion-test").subset(6), attack="fgsm"
        ),
        {"values", "notes"},
    ),
}


@pytest.mark.parametrize("name", [name for name in dir(xai.results) if inspect.isclass(getattr(xai.results, name))])
def test_every_type_that_verbs_return_has_to_dict(name):
    assert callable(getattr(getattr(xai.results, name), "to_dict", None))


@pytest.mark.parametrize("name", RECORDS)
def test_the_record_of_an_instance_is_strict_json(name):
    make, expected = RECORDS[name]
    result = make()
    assert isinstance(result, getattr(xai.results, name))
    record = result.to_dict()
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert expected <= set(record)
