"""What is installed here, and whether it works: versions, devices, optional parts, known figures."""

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import torch
from torch import nn

from xai.core.extras import EXTRAS, broken_extras, is_installed
from xai.core.model.classifier import Classifier, as_classifier
from xai.core.model.usage_checks import DataFit, data_fit, model_lines
from xai.core.results.codec import plain
from xai.core.runtime.batching import Progress, ShouldStop, free_memory
from xai.datasets.loading import describe, load_data
from xai.models.sources import catalogue
from xai.ood.digits import DigitsTest, digits_test

_PACKAGES = ("xai-toolkit", "torch", "numpy", "scipy", "scikit-learn", "scikit-image", "pandas", "pillow", "captum")


@dataclass(frozen=True)
class Diagnosis:
    """The state of an installation.

    Attributes:
        python: version.
        system: operating system and machine.
        packages: versions of what results depend on; "missing" where a package is not installed.
        devices: what models can run on, with free memory in GiB.
        extras: of each optional part, whether it is installed and works; `pip install 'xai-toolkit[NAME]'` installs it.
        broken: of each optional package that is installed and does not work, why: the error of its import, and
            versions that do not go together.
        models: of each model with a name, whether its weights are there.
        self_test: known figures made again; None when not asked for.
        model: what a given model takes and predicts, in lines; empty where none was given.
        data: what given data holds, in lines.
        fit: accuracy of the model on the data, ways of resizing, and what looks mistaken; None without both.

    Example:
        >>> import xai
        >>> xai.diagnose(imports=False).python.startswith("3.")
        True
    """

    python: str
    system: str
    packages: Mapping[str, str]
    devices: Mapping[str, float]
    extras: Mapping[str, bool]
    models: Mapping[str, bool]
    broken: Mapping[str, str]
    self_test: DigitsTest | None = None
    model: tuple[str, ...] = ()
    data: tuple[str, ...] = ()
    fit: DataFit | None = None

    @property
    def ok(self) -> bool:
        """Nothing that is needed is missing, and the self-test, if any, passed."""
        return "missing" not in self.packages.values() and (self.self_test is None or self.self_test.passed)

    def __str__(self) -> str:
        """Everything in lines."""
        lines = [f"Python {self.python}, {self.system}"]
        lines += [f"  {name} {version}" for name, version in self.packages.items()]
        lines += [f"device {name}: {free:.1f} GiB free" for name, free in self.devices.items()]
        lines += [f"model {name}: {'there' if there else 'not installed'}" for name, there in self.models.items()]
        for name, works in self.extras.items():
            faults = [self.broken[package] for package in EXTRAS[name] if package in self.broken]
            state = "installed" if works else f"pip install xai-toolkit[{name}]"
            lines.append(f"optional {name}: {'installed, does not work: ' + '; '.join(faults) if faults else state}")
        lines += [] if self.self_test is None else str(self.self_test).splitlines()
        fit = () if self.fit is None else self.fit.lines
        for title, own in {"model": self.model, "data": self.data, "model on the data": fit}.items():
            lines += [f"{title}: {line}" for line in own]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Return everything, JSON-ready."""
        names = ("python", "system", "packages", "devices", "extras", "broken", "models", "ok", "model", "data")
        fields_by_name = {name: plain(getattr(self, name)) for name in names}
        parts = {"self_test": self.self_test, "fit": self.fit}
        return fields_by_name | {name: None if part is None else part.to_dict() for name, part in parts.items()}


def diagnose(
    model: Classifier | nn.Module | None = None,
    data: Any = None,
    *,
    self_test: bool = False,
    imports: bool = True,
    progress: bool | Progress | None = None,
    should_stop: ShouldStop | None = None,
) -> Diagnosis:
    """Check the installation, and how a model and data fit together.

    It says what is installed and whether it gives the figures it should.

    Args:
        model: a classifier, to say what it takes; with `data`, which way of resizing fits it, on at most 400 images.
        data: a data set, or what `xai.load_data` takes.
        self_test: train small networks on handwritten digits and compare all detectors with reference figures.
        imports: import every optional package, in a process of its own, to see whether it works; False only looks
            whether it is there.
        progress: of the self-test: None, True for a bar, or a callable `(done, total)`.
        should_stop: asked between its steps; True ends the work with `xai.errors.Stopped`.

    Returns:
        Diagnosis; `.packages`, `.models`, and with `self_test` whether the figures are right.

    Raises:
        InputError: data that is not there, or whose labels are no classes of the model.
        Stopped: `should_stop()` was true.

    Cost: seconds, the first time, for imports of all optional packages in a process of their own; with the self-test
        half a minute more on one core; with a model and data about ten seconds more.

    Example:
        >>> import xai
        >>> sorted(xai.diagnose(imports=False).packages)[0].islower()
        True
    """
    broken = broken_extras() if imports else {}
    classifier = None if model is None else as_classifier(model)
    given = None if data is None else load_data(data)
    fit = None
    if classifier is not None and given is not None and given.labels is not None:
        fit = data_fit(classifier, given, should_stop=should_stop)
    return Diagnosis(
        platform.python_version(),
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads",
        {name: _version(name) for name in _PACKAGES},
        _devices(),
        {name: all(is_installed(p) and p not in broken for p in needed) for name, needed in EXTRAS.items()},
        {known.name: known.available for known in catalogue()},
        broken,
        digits_test(progress=progress, should_stop=should_stop) if self_test else None,
        () if classifier is None else model_lines(classifier),
        () if given is None else describe(given).lines,
        fit,
    )


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "missing"


def _devices() -> dict[str, float]:
    memory = {"cpu": free_memory(torch.device("cpu"))}
    for number in range(torch.cuda.device_count()):
        name = torch.cuda.get_device_name(number)
        memory[f"cuda:{number} ({name})"] = free_memory(torch.device("cuda", number))
    if torch.backends.mps.is_available():
        memory["mps"] = free_memory(torch.device("cpu"))  # shared with the processor
    return {name: free / (1 << 30) for name, free in memory.items()}
