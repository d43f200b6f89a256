"""The truth, as a caller gives it."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xai.core.images.border import classes_of, open_data
from xai.core.model.classifier import Classifier
from xai.core.model.objective import refuse_table
from xai.core.results.message import Message, joined
from xai.errors import InputError, ShapeError, TargetError, near_names

_SHOWN, _LETTERS = 3, 40
_BY_NAME = "labels were matched to the model's classes by name"


def check_labels(classifier: Classifier, labels: Any, count: int) -> Tensor:
    """Return the truth (N,) int64: indices or names of classes, one per image.

    Raises:
        ShapeError: another number of labels than of images.
        TargetError: no such class, or one-hot or multi-hot rows.
    """
    listed = labels.tolist() if hasattr(labels, "tolist") else labels
    listed = (
        [listed]
        if isinstance(listed, int | str)
        else [getattr(label, "tolist", lambda label=label: label)() for label in listed]
    )
    refuse_table(listed, "labels")
    if len(listed) != count:
        raise ShapeError(f"Expected one label per image, {count}, but got {len(listed)}. Give (N,) labels.")
    numbers = [label for label in listed if isinstance(label, int)]
    if len(set(numbers)) > 1 and min(numbers) >= 1 and max(numbers) == classifier.num_classes:
        raise TargetError(
            f"Expected class numbers from 0 to {max(numbers) - 1}, but got {min(numbers)} to {max(numbers)}. "
            "Subtract 1 if they start at 1."
        )
    return torch.tensor([classifier.find_target(label) for label in listed], dtype=torch.int64)


def labels_of(classifier: Classifier, data: Any, labels: Any, count: int) -> tuple[Tensor, tuple[str, ...]]:
    """Return the truth (N,) int64 of a data set, and what was done about it.

    The data's labels go by the names of its classes where the model has these (without regard to case, spaces and
    separators), and by number where the data or the model has no names, or none is known.

    Args:
        classifier: whose classes are meant.
        data: a data set, or anything else.
        labels: the truth, indices or names; None takes the data's.
        count: N.

    Raises:
        InputError: there is none.
        ShapeError: another number of labels than of images.
        TargetError: no such class, or a data set of which some class names are the model's and others are not.
    """
    if labels is not None:
        return check_labels(classifier, labels, count), ()
    data = data if hasattr(data, "labels") else open_data(data)
    own, classes = getattr(data, "labels", None), classes_of(data)
    if own is None:
        column = "; of a table their column: load_data(..., label_column=NAME)" if hasattr(data, "source") else ""
        raise InputError(
            f"Expected `labels`, the ground truth of each image, but got None. Pass one class per image{column}."
        )
    places, notes = _places(classifier, data, own, classes)
    if places is None:
        _check_numbers(classifier, data, own, classes)
        return check_labels(classifier, own, count), notes
    return check_labels(classifier, [places.get(int(label), -1) for label in own], count), notes


def numbered(count: int) -> tuple[str, ...]:
    """Return the names of classes that have none: "0", "1", ..."""
    return tuple(map(str, range(count)))


def match_names(names: Iterable[str], known: Sequence[str]) -> dict[str, int]:
    """Return the place in `known` of each name that is there once: as it is, in another case, or with other separators.

    Args:
        names: to be found.
        known: names of a model's classes.

    Returns:
        dict: without the names that are not found, or are found several times.
    """
    matches: dict[str, int] = {}
    for form in (str, _trimmed, _letters):
        places: dict[str, list[int]] = {}
        for place, name in enumerate(known):
            places.setdefault(form(name), []).append(place)
        for name in names:
            if name not in matches and len(places.get(form(name), ())) == 1:
                matches[name] = places[form(name)][0]
    return matches


def _trimmed(name: str) -> str:
    return name.strip().casefold()


def _letters(name: str) -> str:
    """Return a name with a space for what no folder name can hold, and for what is often put in its place."""
    return re.sub(r"(?<=\w)[\s_/\\:-]+(?=[^\W_])", " ", name).strip().casefold()


def _places(
    classifier: Classifier, data: Any, own: Any, classes: tuple[str, ...]
) -> tuple[dict[int, int] | None, tuple[str, ...]]:
    """Return the model's class of each class of the data, None where they have the same numbers, and notes."""
    known = classifier.class_names
    if not classes or classes == known:
        return None, ()
    used = _used(data, own, len(classes))
    matched = match_names([classes[k] for k in used], known)
    unnamed = numbered(len(known)) == known
    complete = match_names(classes, known) if unnamed else matched
    if all(classes[k] in complete for k in (range(len(classes)) if unnamed else used)):
        places = {k: complete[classes[k]] for k in used}
        return (None if all(k == place for k, place in places.items()) else places), _told(classes, places, known)
    if classes == numbered(len(classes)):
        return None, ()
    if unnamed:
        return None, _of_unnamed(classes[used[0]], known[used[0]]) if used and used[0] < len(known) else ()
    if matched:
        raise TargetError(_partly(data, [classes[k] for k in used if classes[k] not in matched], known))
    first = used[0]
    return None, _by_position(classes[first], known[first]) if first < len(known) else ()


def _used(data: Any, own: Any, count: int) -> list[int]:
    """Return the classes that have images in the whole data set, so that a part of it is read as the whole is."""
    whole = getattr(getattr(data, "source", None), "labels", None)
    return [int(k) for k in np.unique(np.asarray(own if whole is None else whole)) if 0 <= int(k) < count]


def _told(classes: Sequence[str], places: Mapping[int, int], known: Sequence[str]) -> tuple[str, ...]:
    other = [(classes[k], known[place]) for k, place in places.items() if classes[k] != known[place]]
    if other:
        pairs = joined([Message("{own!r} is {name!r}", own=own, name=name) for own, name in other[:_SHOWN]], ", ")
        template = "class names were compared without regard to case, spaces and separators: {pairs}"
        return (_BY_NAME, Message(template, pairs=pairs))
    return () if all(k == place for k, place in places.items()) else (_BY_NAME,)


def _of_unnamed(own: str, name: str) -> tuple[str, ...]:
    template = "the model's classes have no names: labels were matched by position, {own!r} as {name!r}"
    return (Message(template, own=own, name=name),)


def _by_position(own: str, name: str) -> tuple[str, ...]:
    template = "none of the data's class names is the model's: labels were matched by position, {own!r} as {name!r}"
    return (Message(template, own=own, name=name),)


def _partly(data: Any, unknown: Sequence[str], known: Sequence[str]) -> str:
    shown = ", ".join(f"{name[:_LETTERS]!r}" for name in unknown[:_SHOWN]) + (", ..." if len(unknown) > _SHOWN else "")
    name, verb = getattr(data, "name", "the data"), "is" if len(unknown) == 1 else "are"
    return (
        f"Expected the class names of {name} to be the model's, but {shown} {verb} not, while others are. "
        f"{near_names(unknown[0], list(known))} Rename or leave out these classes, or pass `labels`, the model's class "
        "number of each image."
    )


def _check_numbers(classifier: Classifier, data: Any, own: Any, classes: tuple[str, ...]) -> None:
    """Raise where a data set has class numbers that the model has not, and say the cure for a data set."""
    used = _used(data, own, len(classes)) if classes == numbered(len(classes)) else []
    if used and used[-1] >= classifier.num_classes:
        shown = ", ".join(repr(str(k)) for k in used[:_SHOWN]) + (", ..." if len(used) > _SHOWN else "")
        name, most = getattr(data, "name", "the data"), classifier.num_classes - 1
        raise TargetError(
            f"Expected class numbers from 0 to {most}, but {name} has {used[0]} to {used[-1]}. Subtract 1 if they "
            f"start at 1, or name them in the order of the outputs: load_data(..., class_names=[{shown}])."
        )
