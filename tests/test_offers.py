"""What the package offers by name: checks of an audit, networks without weights, words of reports."""

import pytest
import torch
from torchvision_cpu import import_torchvision

import xai
from xai.audits.checks.base import CHECKS


def test_every_check_is_offered_with_its_own_settings_and_conditions():
    found = {info.name: info for info in xai.Audit.available_checks()}
    assert list(found) == list(CHECKS)
    robust = found["robust_accuracy"]
    assert robust.settings["attack"] == "apgd-ce"
    assert "settings" in robust.settings
    assert "worst_class_at_least" in robust.conditions
    assert found["group_gap"].usual == {"at_most": 0}
    assert found["stability"].images == 32
    assert found["speed"].to_dict()["settings"] == {"batch": 1, "repeats": 20}


def test_networks_of_torchvision_and_timm_are_built_with_the_classes_asked_for():
    import_torchvision()
    names = xai.known_networks()
    assert {"example:fashion", "torchvision:resnet18", "timm:resnet18"} <= set(names)
    for name, channels in (("torchvision:resnet18", 3), ("timm:resnet18", 1)):
        network = xai.untrained(name, 5, channels).eval()
        with torch.no_grad():
            assert network(torch.zeros(1, channels, 64, 64)).shape == (1, 5)


@pytest.mark.parametrize("name", ["os:system", "torchvision:resnet19", "example:fashin", "subprocess:run"])
def test_only_names_of_the_list_are_built(name):
    with pytest.raises(xai.XaiError, match="There is no network"):
        xai.untrained(name)


def test_words_of_reports_are_offered_in_both_languages():
    assert xai.translate("verdict.fail", "es") == "no superado"
    assert xai.translate("Speed", "es") == "Velocidad"
    assert xai.translate("no such sentence", "es") == "no such sentence"
    assert xai.translate("needed", "en", n=7) == xai.translate("needed", "en", n="7")
    with pytest.raises(xai.XaiError, match="language"):
        xai.translate("Speed", "xx")
