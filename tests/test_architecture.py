"""The architecture as a test: who may import whom, what is public, how long things may be, what is never called."""

import re
import subprocess
import sys
from collections import Counter
from importlib import import_module
from operator import attrgetter
from pathlib import Path

import pytest
from house_rules import (
    NO_METHODS,
    READS_WEIGHTS,
    banned_faults,
    dashboard_faults,
    import_faults,
    method_faults,
    outside_faults,
    public_names,
    size_faults,
    sources,
)

import xai

PACKAGE = Path(xai.__file__).parent
METHOD_ROOMS = {
    "explanations/methods": ("base", "EXPLAINERS"),
    "robust/attacks": ("base", "ATTACKS"),
    "ood/detectors": ("base", "DETECTORS"),
    "fairness/shortcuts/probes": ("base", "PROBES"),
    "audits/checks": ("base", "CHECKS"),
}
HEAVY = ("torch", "numpy", "matplotlib", "streamlit", "pandas", "PIL", "captum")


def faults_of(check, **settings):
    """Apply a check to every file of the package."""
    found = list(sources(PACKAGE))
    assert len(found) > 20
    return [fault for place, text in found for fault in check(place, text, **settings)]


def test_everyone_imports_only_whom_they_may():
    assert faults_of(import_faults, public=xai.__all__) == []


def test_the_dashboard_is_in_layers_and_pages_never_import_pages():
    assert faults_of(dashboard_faults) == []


def test_other_packages_stay_in_their_rooms():
    assert faults_of(outside_faults) == []


def test_files_and_functions_are_short():
    assert faults_of(size_faults) == []


def test_nothing_can_run_code_from_a_file():
    assert faults_of(banned_faults) == []


def test_the_one_file_that_calls_torch_load_does_so():
    text = (PACKAGE / READS_WEIGHTS).read_text(encoding="utf-8")
    assert any("torch.load" in fault for fault in banned_faults("elsewhere.py", text))


@pytest.mark.parametrize("room", METHOD_ROOMS)
def test_every_method_file_registers_one_method(room):
    module, registry_name = METHOD_ROOMS[room]
    registry = getattr(import_module(f"xai.{room.replace('/', '.')}.{module}"), registry_name)
    public = [path for path in (PACKAGE / room).glob("*.py") if not path.stem.startswith("_")]
    files = [path.stem for path in public if f"{room}/{path.name}" not in NO_METHODS]
    made = [getattr(registry[name], "forms", registry[name]) for name in registry]  # a probe holds its function
    registered = [one.__module__.rpartition(".")[2] for one in made]
    assert len(files) > 0
    assert method_faults(files, registered) == []


def test_files_without_methods_are_real():
    assert [place for place in NO_METHODS if not (PACKAGE / place).is_file()] == []


def test_public_names_are_sorted_and_real():
    assert xai.__all__ == sorted(set(xai.__all__))
    for place, file in ((xai, "__init__.py"), (xai.results, "results.py")):
        assert sorted(public_names((PACKAGE / file).read_text(encoding="utf-8"))) == place.__all__
        assert sorted(set(dir(place)) - {"__version__"}) == place.__all__
        assert [name for name in place.__all__ if getattr(place, name, None) is None] == []


def test_names_in_files_that_users_get_are_public():
    for file in PACKAGE.rglob("*.txt"):
        for dotted in re.findall(r"\bxai\.((?!toml)\w+(?:\.[a-z]\w*)*)\(", file.read_text(encoding="utf-8")):
            assert callable(attrgetter(dotted)(xai)), f"{file.name}: xai.{dotted}"


def test_no_public_name_but_results_is_also_a_module():
    modules = {path.stem for path in PACKAGE.glob("*.py")} | {path.name for path in PACKAGE.iterdir() if path.is_dir()}
    assert sorted(modules & set(xai.__all__)) == ["results"]


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'xai' has no attribute 'explian'"):
        _ = xai.explian


def test_the_package_says_that_it_is_typed():
    assert (PACKAGE / "py.typed").is_file()


@pytest.mark.parametrize("module", ["xai", "xai.errors", "xai.cli"])
def test_import_loads_nothing_heavy(module):
    script = f"import sys, {module}; print([name for name in {HEAVY} if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=PACKAGE.parent)
    assert ran.stdout.strip() == "[]"


def test_what_few_verbs_need_is_imported_when_it_is_first_used():
    late = ("pandas", "sklearn", "captum", "scipy.stats", "skimage.segmentation", "matplotlib")
    script = f"import sys, xai; xai.explain; print([name for name in {late} if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=PACKAGE.parent)
    assert ran.stdout.strip() == "[]"


def test_test_files_have_different_names():
    names = Counter(path.name for path in Path(__file__).parent.rglob("*.py") if path.name != "conftest.py")
    assert [name for name, times in names.items() if times > 1] == []
