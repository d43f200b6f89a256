"""xai.toml: strict, with near names, the same from pyproject.toml, all checked before any work."""

from pathlib import Path

import pytest

from xai.audits.config import parse_config, read_config
from xai.errors import DataError, InputError, NameLookupError

START = '[model]\nsource = "example:fashion"\n[data]\nsource = "example:fashion-test"\n'
CHECK = '[[check]]\nmetric = "accuracy"\n'


def read(tmp_path: Path, text: str, name: str = "xai.toml") -> object:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return read_config(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[modle]\nsource = "x"\n', r"no setting of xai.toml 'modle'. Near: model"),
        (START + "[audit]\nsed = 1\n", r"no setting of \[audit\] 'sed'. Near: seed"),
        (START + '[train]\nsorce = "x"\n', r"no setting of \[train\] 'sorce'. Near: source"),
        (START + CHECK + "at_leest = 0.9\n", r"no setting of the check 'accuracy' 'at_leest'. Near: at_least"),
        (START + '[[check]]\nmetric = "acuracy"\n', r"no check 'acuracy'. Near: accuracy"),
        (START + '[[check]]\nmetric = "robust_accuracy"\nattack = "pdg"\n', r"no attack 'pdg'. Near: pgd"),
        (
            START + '[[check]]\nmetric = "robust_accuracy"\nsettings = {resarts = 2}\n',
            "no setting of apgd-ce 'resarts'",
        ),
        (START + '[[check]]\nmetric = "stability"\nmethod = "grdcam"\n', "'grdcam'. Near: gradcam"),
        (START + '[[check]]\nmetric = "shortcuts"\nprobes = ["bordr"]\n', "'bordr'. Near: border"),
        (START + '[[check]]\nmetric = "corruption_accuracy"\ncorruptions = ["fogg"]\n', "'fogg'. Near: fog"),
        (START + '[[check]]\nmetric = "ood_detection"\nmethod = "kn"\n', "Near: knn"),
        (START + '[report]\nformts = ["html"]\n', "Near: formats"),
    ],
)
def test_wrong_names_suggest_near_ones(tmp_path, text, message):
    with pytest.raises(NameLookupError, match=message):
        read(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[model]\n", r"Expected a table \[data\]"),
        ("[data]\n[model]\n", r"Expected \[model\] with `source"),
        ('[data]\n[model]\nsource = "x"\n', r"Expected \[data\] with `source"),
        (START + CHECK + 'at_least = "much"\n', 'Expected `at_least` as a number, or as "8/255"'),
        (START + CHECK + CHECK, "Two checks are called 'accuracy'"),
        (
            START + '[[check]]\nmetric = "calibration"\nworst_class_at_least = 0.5\n',
            "cannot be judged by worst_class_at_le",
        ),
        (START + '[[check]]\nmetric = "robust_accuracy"\neps = -1\n', "Expected `eps`"),
        (START + '[[check]]\nmetric = "robust_accuracy"\nnorm = "l1"\nattack = "fab-t"\ntrust = -1\n', "trust|norm"),
        (START + CHECK + "images = 0\n", "at least 1"),
        (START + "[audit]\nlevel = 95\n", "95 % is 0.95"),
        (START + '[audit]\nbudget = "soon"\n', '"8m", "90s"'),
        (START + "[audit]\nshard = 0\n", "at least 1"),
        (START + '[audit]\nseed = "one"\n', "Expected `seed`"),
        ("check = []\n" + START, "at least one"),
        ("[model\n", "no TOML"),
    ],
)
def test_wrong_values_are_one_line(tmp_path, text, message):
    with pytest.raises(InputError, match=message) as caught:
        read(tmp_path, text)
    assert "\n" not in str(caught.value)


def test_values_are_read_as_people_write_them(tmp_path):
    text = START + '[audit]\nbudget = "1h30m"\n[[check]]\nmetric = "robust_accuracy"\neps = "8/255"\nat_least = 0.5\n'
    config = read(tmp_path, text)
    assert config.budget == 5400
    assert config.checks[0].check.eps == 8 / 255
    assert config.checks[0].conditions[0].threshold == 0.5


def test_pyproject_has_the_same_table(tmp_path):
    body = START + CHECK + "at_least = 0.9\n"
    nested = body.replace("[[", "[[tool.xai.").replace("[model", "[tool.xai.model").replace("[data", "[tool.xai.data")
    one, two = read(tmp_path, body), read(tmp_path, nested, "pyproject.toml")
    assert one.to_dict() == two.to_dict()
    with pytest.raises(DataError, match=r"no table \[tool.xai\]"):
        read(tmp_path, "[project]\n", "pyproject.toml")


def test_findings_are_gated_by_themselves():
    config = parse_config({"model": "example:fashion", "data": "x", "check": ["shortcuts", "accuracy"]})
    assert [(c.name, c.threshold) for c in config.checks[0].conditions] == [("at_most", 0)]
    assert config.checks[1].conditions == ()


def test_the_digest_of_thresholds_changes_with_them_alone():
    base = {"model": "example:fashion", "data": "x"}
    one = parse_config({**base, "check": [{"metric": "accuracy", "at_least": 0.9}]})
    two = parse_config({**base, "check": [{"metric": "accuracy", "at_least": 0.8}]})
    three = parse_config({**base, "audit": {"title": "t"}, "check": [{"metric": "accuracy", "at_least": 0.9}]})
    assert one.thresholds_sha256 == three.thresholds_sha256 != two.thresholds_sha256


def test_no_check_means_all():
    assert len(parse_config({"model": "example:fashion", "data": "x"}).checks) >= 15
