"""The libraries that the attacks are compared with, each used as its manual says; those not installed are left out.

None of them is among the requirements: some pin old packages that they do not need. Enough for the benchmark is

    pip install --no-deps foolbox eagerpy gitpython gitdb smmap adversarial-robustness-toolbox six torchattacks \
        adv-lib pyautoattack

pyautoattack is the official code of AutoAttack (Croce and Hein), packed for PyPI.
"""

import copy
import importlib
import importlib.util
import sys
import types
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import xai

BATCH = 200
NORMS = {"linf": float("inf"), "l2": 2, "l1": 1}
FOOLBOX_NORMS = {"linf": "Linf", "l2": "L2", "l1": "L1"}
Run = Callable[[], Tensor]


class Plain(nn.Module):
    """A classifier as the other libraries want it: a module from pixels to logits, trainable as when it was made."""

    def __init__(self, classifier: xai.Classifier) -> None:
        super().__init__()
        self.module = copy.deepcopy(classifier.module).requires_grad_(True)
        self.register_buffer("mean", torch.tensor(classifier.mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(classifier.std).view(-1, 1, 1))
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Normalise and go on."""
        return self.module((images - self.mean) / self.std)


@contextmanager
def quiet() -> Iterator[None]:
    """Let the other libraries' warnings pass: they come from what they import."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def library(name: str) -> Any:
    """Return a package, or None where it is not installed."""
    if importlib.util.find_spec(name.partition(".")[0]) is None:
        return None
    with quiet():
        return importlib.import_module(name)


def adv_lib() -> Any:
    """Return adv-lib's attacks; visdom, which it imports for its images only, cannot always be installed."""
    if importlib.util.find_spec("adv_lib") is None:
        return None
    if "visdom" not in sys.modules and importlib.util.find_spec("visdom") is None:
        stand_in = types.ModuleType("visdom")
        vars(stand_in)["Visdom"] = object
        sys.modules["visdom"] = stand_in
    return library("adv_lib.attacks")


def in_parts(run: Callable[[Tensor, Tensor], Tensor], images: Tensor, labels: Tensor) -> Tensor:
    """Run an attack on one batch after the other."""
    parts = zip(images.split(BATCH), labels.split(BATCH), strict=True)
    with quiet():
        return torch.cat([run(x, y).detach() for x, y in parts])


def foolbox_pgd(net: Plain, images: Tensor, labels: Tensor, eps: float, steps: int, step: float) -> Run | None:
    """Return a run of foolbox's LinfPGD."""
    foolbox = library("foolbox")
    if foolbox is None:
        return None
    model = foolbox.PyTorchModel(net, bounds=(0, 1), device="cpu")
    attack = foolbox.attacks.LinfPGD(abs_stepsize=step, steps=steps, random_start=True)
    return lambda: in_parts(lambda x, y: attack(model, x, y, epsilons=eps)[1], images, labels)


def torchattacks_pgd(net: Plain, images: Tensor, labels: Tensor, eps: float, steps: int, step: float) -> Run | None:
    """Return a run of torchattacks' PGD."""
    package = library("torchattacks")
    if package is None:
        return None
    attack = package.PGD(net, eps=eps, alpha=step, steps=steps, random_start=True)
    return lambda: in_parts(attack, images, labels)


def art_pgd(net: Plain, images: Tensor, labels: Tensor, eps: float, steps: int, step: float) -> Run | None:
    """Return a run of ART's ProjectedGradientDescent on its PyTorchClassifier."""
    evasion, estimators = library("art.attacks.evasion"), library("art.estimators.classification")
    if evasion is None:
        return None
    estimator = estimators.PyTorchClassifier(
        net, nn.CrossEntropyLoss(), tuple(images.shape[1:]), 10, clip_values=(0, 1), device_type="cpu"
    )
    attack = evasion.ProjectedGradientDescent(
        estimator,
        norm=np.inf,
        eps=eps,
        eps_step=step,
        max_iter=steps,
        num_random_init=1,
        batch_size=BATCH,
        verbose=False,
    )

    def run() -> Tensor:
        with quiet():
            return torch.from_numpy(attack.generate(images.numpy(), labels.numpy()))

    return run


PGD = {"foolbox LinfPGD": foolbox_pgd, "ART": art_pgd, "torchattacks PGD": torchattacks_pgd}


def adv_lib_minimal(name: str, norm: str, net: Plain) -> Callable[[Tensor, Tensor], Tensor] | None:
    """Return adv-lib's attack of a name, at the steps of ours."""
    attacks, order = adv_lib(), NORMS[norm]
    if attacks is None:
        return None
    runs = {
        "deepfool": lambda x, y: attacks.df(net, x, y, norm=order),
        "cw": lambda x, y: attacks.carlini_wagner_l2(net, x, y, max_iterations=1000),
        "ddn": lambda x, y: attacks.ddn(net, x, y, levels=None),
        "fmn": lambda x, y: attacks.fmn(net, x, y, order, steps=100),
        "fab-t": lambda x, y: attacks.fab(net, x, y, order, targeted_restarts=True),
    }
    return runs[name]


def foolbox_minimal(name: str, norm: str, net: Plain) -> Callable[[Tensor, Tensor], Tensor] | None:
    """Return foolbox's attack of a name, at the steps of ours; it has no FAB."""
    foolbox = library("foolbox")
    if foolbox is None or name == "fab-t":
        return None
    form, found = FOOLBOX_NORMS[norm], foolbox.attacks
    makers = {
        "deepfool": lambda: getattr(found, f"{form}DeepFoolAttack")(),
        "cw": lambda: found.L2CarliniWagnerAttack(steps=1000),
        "ddn": lambda: found.DDNAttack(),
        "fmn": lambda: getattr(found, {"Linf": "LInf"}.get(form, form) + "FMNAttack")(),
    }
    attack, model = makers[name](), foolbox.PyTorchModel(net, bounds=(0, 1), device="cpu")
    return lambda x, y: attack(model, x, y, epsilons=None)[1]


MINIMAL = {"adv-lib": adv_lib_minimal, "foolbox": foolbox_minimal}


def official_autoattack(net: Plain, images: Tensor, labels: Tensor, eps: float) -> Run | None:
    """Return a run of the official standard AutoAttack in the l-inf ball."""
    package = library("pyautoattack")
    if package is None:
        return None
    attack = package.AutoAttack(net, norm="Linf", eps=eps, seed=0, version="standard", device="cpu")

    def run() -> Tensor:
        with quiet():
            return attack.run_standard_evaluation(images, labels, batch_size=BATCH)[0]

    return run
