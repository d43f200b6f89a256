"""Every public name says what it takes, gives and raises, and has an example that runs (as a doctest of its module)."""

import dataclasses
import inspect
import re

import pytest

import xai
from xai import errors
from xai.audits.operations import AuditOperations

REFUSE_NOTHING = {"available_checks", "broken_copy", "catalogue", "known_networks"}
OPERATIONS = vars(AuditOperations)
PUBLIC = {name: getattr(place, name) for place in (xai.results, xai) for name in place.__all__}
PUBLIC |= {name: getattr(xai.Audit, name) for name in OPERATIONS if not name.startswith("_")}
FUNCTIONS = [name for name, value in PUBLIC.items() if inspect.isfunction(value)]
CLASSES = [name for name, value in PUBLIC.items() if inspect.isclass(value)]


def section(text, title):
    """Return the names that a section such as Args explains."""
    found = re.search(rf"^{title}:\n((?:    .*\n|\n)+)", text + "\n", re.MULTILINE)
    return set(re.findall(r"^    (\w+):", found[1], re.MULTILINE)) if found else set()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_explains_every_argument_and_what_it_returns(name):
    function = PUBLIC[name]
    text = inspect.getdoc(function)
    assert section(text, "Args") == set(inspect.signature(function).parameters) - {"self"}
    assert "\nReturns:\n" in text or text.startswith("Return ")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_says_what_it_raises(name):
    raised = section(inspect.getdoc(PUBLIC[name]), "Raises")
    assert bool(raised) != (name in REFUSE_NOTHING)
    assert all(issubclass(getattr(errors, error), errors.XaiError) for error in raised)


@pytest.mark.parametrize("name", CLASSES)
def test_a_class_explains_what_it_holds(name):
    kind = PUBLIC[name]
    if dataclasses.is_dataclass(kind):
        held = {field.name for field in dataclasses.fields(kind) if not field.name.startswith("_")}
        text = inspect.getdoc(kind)
        assert held <= section(text, "Attributes") | section(text, "Args")


@pytest.mark.parametrize("name", [*FUNCTIONS, *CLASSES])
def test_there_is_an_example_that_runs(name):
    """Doctests of the modules run all of them; here: there is one, and it uses the name or what returns it."""
    text = inspect.getdoc(PUBLIC[name])
    assert "\nExample:\n    >>> " in text
    assert "xai." in text.partition("\nExample:\n")[2]


def test_what_is_missing_would_be_found():
    text = "Do it.\n\nArgs:\n    one: this.\n        More of it.\n    two: that.\n\nReturns:\n    it.\n"
    assert section(text, "Args") == {"one", "two"}
    assert section(text, "Raises") == set()
