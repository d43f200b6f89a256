"""Opening one's own data for a model: the columns of a table, and classes in the order of the model's outputs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xai.core.classifier import Classifier
from xai.core.labels import match_names, numbered
from xai.datasets import Dataset, load_data
from xai.datasets.columns import find_columns, find_table
from xai.datasets.headers import TABLES
from xai.errors import InputError

_SHOWN = 3


def opened(given: Mapping[str, Any], classifier: Classifier) -> tuple[Dataset, dict[str, Any]]:
    """Return data, and the settings by which it was opened, the source and what was found out among them.

    Args:
        given: source and settings of `xai.load_data`.
        classifier: whose classes are meant.

    Raises:
        InputError: no such data, no labels, or classes that are not those of the model.
    """
    table = {name: value for name, value in given.items() if value is not None}
    table["source"] = _source(str(table["source"]))
    table |= _columns(Path(table["source"]), table, classifier)
    data = _loaded(table)
    if data.labels is None:
        raise InputError(
            f"{data.name}: it has no labels, and every check compares predictions with them. Add a column."
        )
    known, own = classifier.labels, data.classes
    if (
        set(own) < set(known) and own != known[: len(own)]
    ):  # the data lacks some classes: theirs are the model's numbers
        table["classes"] = list(known)
        return _loaded(table), table
    if len(match_names(own, known)) == len(own):  # in another case, as folders are called: labels go by name
        return data, table
    first = own == known[: len(own)] or own == numbered(len(own))
    if len(own) != len(known) and not (first and len(own) < len(known)):
        raise InputError(
            f"{data.name}: expected the {len(known)} classes of {classifier.name} ({_few(known)}), but got {len(own)} "
            f"({_few(own)}). Give the names of the model's outputs in their order: --class-names."
        )
    return data, table


def _source(source: str) -> str:
    """Return the one table in a folder that has no folders of classes, else the source itself."""
    path = Path(source)
    if not path.is_dir() or sum(entry.is_dir() for entry in path.iterdir()) > 1:
        return source
    table = find_table(path)
    return source if table is None else str(table)


def _columns(path: Path, table: Mapping[str, Any], classifier: Classifier) -> dict[str, str]:
    """Return the columns of paths and labels where they have other names than usual and none were given."""
    if path.suffix.lower() not in TABLES or not path.is_file():
        return {}
    if {"path_column", "label_column"} <= table.keys():
        return {}
    named = () if classifier.labels == numbered(classifier.num_classes) else classifier.labels
    given = {name: table.get(f"{name}_column") for name in ("path", "label")}
    found = find_columns(path, named, classifier.num_classes, **given)
    columns = {"path_column": found.path, "label_column": found.label}
    return {name: column for name, column in columns.items() if column != name.partition("_")[0]}


def _loaded(table: Mapping[str, Any]) -> Dataset:
    """Return all parts of the data."""
    settings = {name: value for name, value in table.items() if name not in {"source", "n", "part"}}
    return load_data(str(table["source"]), **settings)


def _few(names: tuple[str, ...]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
