"""Every public call leaves the model and this process as they were, also when something raises in its middle."""

import importlib
import inspect
import logging
import os
import random
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
import sympy  # noqa: F401 (torch imports it late, and it sets a filter for its own warnings)
import torch
from model_state import assert_same, lived_in, snapshot, surroundings
from small_models import GapCnn, InjectedError, leaves, pictures, with_raiser
from torch import nn
from torchvision_cpu import import_torchvision

import xai
from xai import lazy

PACKAGE = Path(xai.__file__).parent
LOG = logging.getLogger(__name__)  # figures are shown by `--log-cli-level=info`
Call = Callable[[xai.Classifier, "Material"], Any]


class Material:
    """Images, labels and results that calls take; made before anything is compared."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.net = GapCnn()
        self.clf = xai.Classifier(GapCnn(), input_size=(16, 16), name="kept")
        self.images = pictures(90)
        self.labels = self.clf.logits_of(self.images).argmax(1)
        self.labels[::4] = (self.labels[::4] + 1) % 4
        sites = np.array(["north", "south"])[np.arange(90) % 2]
        shown = (self.images.permute(0, 2, 3, 1).numpy() * 255).round().astype(np.uint8)
        np.savez(folder / "data.npz", images=shown, labels=self.labels.numpy(), site=sites)
        self.data = xai.load_data(folder / "data.npz", class_names=list("abcd"))
        half = np.arange(90) < 45
        self.first, self.second = self.data.take(np.flatnonzero(half)), self.data.take(np.flatnonzero(~half))
        self.explanations = [xai.explain(self.clf, self.images[0], name, 1) for name in ("saliency", "gradcam")]
        self.audits = [self.audit(self.clf, f"kept{k}") for k in range(2)]
        self.several = iter(range(10**9))

    def audit(self, clf: xai.Classifier, name: str, **more: Any) -> xai.Audit:
        return xai.audit(model=clf, data=self.data, checks=CHECKS, out=self.folder / name, **more)

    def fresh(self) -> Path:
        """Return a folder that is not there yet."""
        return self.folder / f"new{next(self.several)}"


CHECKS: list[Any] = [{"metric": "accuracy", "at_least": 0.1}, {"metric": "calibration", "at_most": 0.9}]
WITH_MODEL: dict[str, Call] = {
    "explain": lambda clf, m: [xai.explain(clf, m.images[:2], name, 1) for name in ("gradcam", "saliency")],
    "attack": lambda clf, m: xai.attack(clf, m.images[:4], m.labels[:4], "pgd", steps=3),
    "audit": lambda clf, m: m.audit(clf, m.fresh().name),
    "bias": lambda clf, m: xai.bias(clf, m.data, "site"),
    "calibration": lambda clf, m: xai.calibration(clf, m.second, fit_data=m.first),
    "certify": lambda clf, m: xai.certify(clf, m.images[:2], m.labels[:2], method="ibp"),
    "compare_baselines": lambda clf, m: xai.compare_baselines(clf, m.images[0], "occlusion", ("mean", "zero")),
    "compare_ood": lambda clf, m: xai.compare_ood(
        clf, m.first, m.second, m.images[:9] * 0.9, m.images[:9] * 0.2, ["msp", "knn"]
    ),
    "corruption_robustness": lambda clf, m: xai.corruption_robustness(
        clf, m.images[:8], m.labels[:8], ["brightness", "gaussian_noise"], [1]
    ),
    "data_faults": lambda clf, m: xai.data_faults(clf, m.data),
    "deep_dream": lambda clf, m: xai.deep_dream(clf, image=m.images[0], target=1, octaves=1, steps=2),
    "drift": lambda clf, m: xai.drift(clf, m.first, m.second, draws=99),
    "fit_conformal": lambda clf, m: xai.fit_conformal(clf, m.data),
    "fit_ood": lambda clf, m: xai.fit_ood(clf, m.first, m.second, "knn").judge(m.images[:4]),
    "fit_probe": lambda clf, m: xai.fit_probe(clf, m.first),
    "compare_resizing": lambda clf, m: xai.compare_resizing(clf, m.first),
    "layers": lambda clf, m: xai.layers(clf),
    "load": lambda clf, m: xai.load(clf.module, input_size=(16, 16)),
    "methods": lambda clf, m: xai.methods(clf),
    "output_bounds": lambda clf, m: xai.output_bounds(clf, m.images[:2] * 0.9, m.images[:2], "ibp"),
    "positive_control": lambda clf, m: xai.Audit.positive_control(model=clf, data=m.data, checks=CHECKS, out=m.fresh()),
    "rate_explanation": lambda clf, m: xai.rate_explanation(clf, m.images[0], m.explanations[0]),
    "robustness": lambda clf, m: xai.robustness(clf, m.images[:4], m.labels[:4], eps=[0.001, 0.1]),
    "share_audit": lambda clf, m: xai.Audit.share(None, 0, 1, out=m.fresh(), model=clf, data=m.data, checks=CHECKS),
    "shortcuts": lambda clf, m: xai.shortcuts(clf, m.data, probes=["border", "blur"]),
    "slices": lambda clf, m: xai.slices(clf, m.data),
    "broken_copy": lambda clf, m: xai.Audit.broken_copy(clf).predict(m.images[:2]),
    "Classifier": lambda clf, m: (clf.predict(m.images[:3]), clf.outputs(m.first), clf.fingerprint),
    "treatment": lambda clf, m: xai.treatment(clf, m.first),
}
WITHOUT: dict[str, Call] = {
    "agreement": lambda clf, m: (xai.agreement(m.explanations).plot(), plt.close("all")),
    "bias_of_predictions": lambda clf, m: xai.bias_of_predictions(
        m.labels.numpy(), m.labels.numpy(), {"site": np.arange(90) % 2}
    ),
    "audit_checks": lambda clf, m: xai.Audit.available_checks(),
    "known_networks": lambda clf, m: xai.known_networks(),
    "to_rgb": lambda clf, m: xai.to_rgb(m.images[0].permute(1, 2, 0).numpy()),
    "translate": lambda clf, m: xai.translate("Accuracy", "es"),
    "untrained": lambda clf, m: xai.untrained("example:fashion", channels=1),
    "catalogue": lambda clf, m: xai.catalogue(),
    "compare": lambda clf, m: xai.compare(*m.audits),
    "corrupt": lambda clf, m: xai.corrupt(m.images[:2], "frost"),
    "diagnose": lambda clf, m: xai.diagnose(imports=False),
    "init_audit": lambda clf, m: xai.Audit.init(m.fresh()),
    "judge_again": lambda clf, m: m.audits[0].rejudge(
        {"model": {"source": "a"}, "data": {"source": "b"}, "check": CHECKS}
    ),
    "load_data": lambda clf, m: xai.load_data(m.folder / "data.npz").images[3],
    "mce": lambda clf, m: xai.mce({"brightness": [0.1] * 5}, partial=True),
    "plan_audit": lambda clf, m: xai.Audit.plan(out=m.fresh(), model=clf, data=m.data, checks=CHECKS),
    "sample_photos": lambda clf, m: xai.sample_photos(),
    "report": lambda clf, m: xai.report(m.explanations[0], m.fresh() / "why.html"),
    "write_tests": lambda clf, m: m.audits[0].write_tests(m.fresh(), model=m.clf),
    "Explanation": lambda clf, m: xai.Explanation.load(m.explanations[1].save(m.fresh())).save(m.folder / "a.png"),
    "Audit": lambda clf, m: [m.audits[0].report(m.fresh().with_suffix(f".{kind}")) for kind in ("html", "md", "xml")],
}
CALLS = WITH_MODEL | WITHOUT
QUICK = [name for name in CALLS if name not in {"rate_explanation", "shortcuts", "treatment", "methods", "robustness"}]


@pytest.fixture(scope="module")
def material(tmp_path_factory: Any) -> Material:
    return Material(tmp_path_factory.mktemp("effects"))


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_an_import_that_draws_numbers_leaves_the_random_state(monkeypatch: pytest.MonkeyPatch) -> None:
    def drawing(name: str) -> Any:
        random.random()
        return importlib.import_module(name)

    monkeypatch.setattr(lazy, "import_module", drawing)
    monkeypatch.delitem(vars(xai), "explain", raising=False)
    before = random.getstate()
    assert callable(xai.explain)
    assert random.getstate() == before


@pytest.mark.slow
def test_the_imports_of_a_first_use_leave_the_random_states() -> None:
    """In a process of its own: scikit-learn imports rich, which draws numbers while it is imported."""
    script = (
        "import random, sys, numpy, torch, xai\n"
        "for seed in (random.seed, numpy.random.seed, torch.manual_seed):\n    seed(3)\n"
        "def drawn():\n    return random.random(), numpy.random.rand(), float(torch.rand(1))\n"
        "wanted = drawn()\nrandom.seed(3), numpy.random.seed(3), torch.manual_seed(3)\nxai.explain\n"
        "print(drawn() == wanted, 'xai.explanations.explain' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=PACKAGE.parent)
    assert ran.stdout.strip() == "True True"


def test_every_public_function_is_here() -> None:
    functions = {name for name in xai.__all__ if inspect.isfunction(getattr(xai, name))}
    assert functions - CALLS.keys() == set()


def classifier(net: nn.Module, name: str = "small") -> xai.Classifier:
    return xai.Classifier(net, class_names=list("abcd"), input_size=(16, 16), name=name)


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in CALLS]
)
def test_nothing_changes(material: Material, name: str) -> None:
    clf = classifier(lived_in(GapCnn()))
    torch.manual_seed(7)
    before = snapshot(clf.module) | surroundings()
    CALLS[name](clf, material)
    assert_same(before, snapshot(clf.module) | surroundings())


def calls_of(material: Material, name: str, layer: str) -> int:
    """Return how often a call runs a layer."""
    broken, raiser = with_raiser(GapCnn(seed=1), layer, after=10**9)
    WITH_MODEL[name](classifier(broken), material)
    return raiser.counter.calls


def inject(material: Material, name: str, layer: str, share: float, calls: int) -> bool:
    """Let a layer raise after a share of its calls; whether the call ended by that."""
    after = min(calls - 1, int(share * calls))
    broken, raiser = with_raiser(GapCnn(seed=1), layer, after=after)
    broken.register_buffer("other_model", torch.tensor(share))  # not the model of a prepared copy
    lived_in(broken)
    before = snapshot(broken) | surroundings()
    ended = False
    try:
        WITH_MODEL[name](classifier(broken, f"broken {layer} {share}"), material)
    except (InjectedError, xai.XaiError):  # some say in a line of their own that the network cannot be run
        ended = True
    assert raiser.counter.calls > after
    assert_same(before, snapshot(broken) | surroundings())
    return ended


@pytest.mark.parametrize("name", ["explain", "attack", "calibration", "deep_dream", "bias", "positive_control"])
def test_nothing_changes_when_a_layer_raises(material: Material, name: str) -> None:
    ended = inject(material, name, "relu1", 0.5, calls_of(material, name, "relu1"))
    assert ended == (name != "positive_control")  # in which a check that breaks is a verdict, and the others go on


@pytest.mark.slow
def test_nothing_changes_whatever_raises_and_when(material: Material) -> None:
    """Every call, every layer, from the first time it runs to the last."""
    injected, ended = 0, 0
    for name in WITH_MODEL:
        for layer in leaves(GapCnn()):
            calls = calls_of(material, name, layer)
            for share in (0.0, 0.2, 0.5, 0.8, 1.0)[: max(1, calls)] if calls else ():
                injected += 1
                ended += inject(material, name, layer, share, calls)
    LOG.info(f"{injected} exceptions raised inside {len(WITH_MODEL)} calls, {ended} of which ended by them")
    assert injected >= 500


PROGRESS = ("attack", "bias", "calibration", "drift", "fit_ood", "slices", "data_faults", "positive_control")


@pytest.mark.parametrize("name", PROGRESS)
def test_nothing_changes_when_progress_raises(material: Material, name: str) -> None:
    def asked(done: int, total: int) -> None:
        raise InjectedError("injected")

    clf = classifier(lived_in(GapCnn()))
    given = {
        "attack": lambda: xai.attack(clf, material.images[:4], material.labels[:4], steps=3, progress=asked),
        "bias": lambda: xai.bias(clf, material.data, "site", progress=asked),
        "calibration": lambda: xai.calibration(clf, material.data, progress=asked),
        "drift": lambda: xai.drift(clf, material.first, material.second, draws=99, progress=asked),
        "fit_ood": lambda: xai.fit_ood(clf, material.first, material.second, "knn", progress=asked),
        "slices": lambda: xai.slices(clf, material.data, progress=asked),
        "data_faults": lambda: xai.data_faults(clf, material.data, progress=asked),
        "positive_control": lambda: xai.Audit.positive_control(
            model=clf, data=material.data, checks=CHECKS, out=material.fresh(), progress=asked
        ),
    }[name]
    before = snapshot(clf.module) | surroundings()
    with pytest.raises(InjectedError):
        given()
    assert_same(before, snapshot(clf.module) | surroundings())


def draws_of(network: str, monkeypatch: pytest.MonkeyPatch, end: int) -> int:
    """Build an untrained network of which one draw of weights raises; return how many there were."""
    draws, draw = 0, nn.init.kaiming_uniform_

    def raising(tensor: torch.Tensor, *given: Any, **more: Any) -> torch.Tensor:
        nonlocal draws
        drawn = draw(tensor, *given, **more)  # the random state has moved
        draws += 1
        if draws == end:
            raise InjectedError("injected")
        return drawn

    with monkeypatch.context() as patch:
        patch.setattr(nn.init, "kaiming_uniform_", raising)
        xai.untrained(network)
    return draws


@pytest.mark.parametrize("network", ["example:fashion", "torchvision:resnet18"])
def test_nothing_changes_when_the_making_of_a_network_raises(network: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import_torchvision()
    total = draws_of(network, monkeypatch, end=0)
    assert total >= 2
    for end in (1, total // 2, total):
        before = surroundings()
        with pytest.raises(InjectedError):
            draws_of(network, monkeypatch, end)
        assert_same(before, surroundings())


CHANGES: dict[str, Callable[[], Any]] = {
    "numpy random state": lambda: np.random.rand(),  # noqa: NPY002
    "environment": lambda: os.environ.update(XAI_TEST="1"),
    "open figures": plt.figure,
    "numpy errors": lambda: np.seterr(over="ignore"),
    "signal handlers": lambda: signal.signal(signal.SIGUSR1, signal.SIG_IGN),
    "warnings": lambda: warnings.simplefilter("ignore"),
    "matplotlib": lambda: plt.rcParams.update({"font.size": 3}),
    "working folder": lambda: os.chdir("/"),
    "deterministic": lambda: torch.use_deterministic_algorithms(mode=True),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_would_be_seen(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before, handler, errors = surroundings(), signal.getsignal(signal.SIGUSR1), np.geterr()
    monkeypatch.delenv("XAI_TEST", raising=False)
    try:
        with warnings.catch_warnings(), plt.rc_context():
            CHANGES[name]()
            with pytest.raises(AssertionError, match=name):
                assert_same(before, surroundings())
    finally:
        torch.use_deterministic_algorithms(mode=False)
        signal.signal(signal.SIGUSR1, handler)
        np.seterr(**errors)
        plt.close("all")
        os.environ.pop("XAI_TEST", None)
