"""What a whole model in a file returns as class scores: which of its outputs, and whether its head is taken off."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from xai.core.heads import output_tensor
from xai.core.meaning import Asked
from xai.core.output_choice import choose

_TASKS = {"softmax": "multiclass", "sigmoid": "multilabel"}


def chosen_output(
    outputs: Sequence[Mapping[str, Any]], asked: Asked, labels: Sequence[str] | None, rows: int
) -> tuple[int, list[str]]:
    """Return the place of the class scores among the outputs of a file, and notes.

    The rule is that of `xai.core.output_choice`, by stand-ins without values, so that a file is read as a module that
    returns the same things.

    Args:
        outputs: of each the "name", the "shape" for `rows` images (0 where unknown), and whether it is "floating".
        asked: what the caller says: `key` chooses, the number of class names comes before that of the file.
        labels: class names in the file.
        rows: number of images in the shapes.

    Raises:
        UnsupportedModelError: no such output, or none that can be class scores; the message names them.
    """
    standing = _standing_in(outputs, rows)
    if len(outputs) == 1 and asked.key is None:
        return 0, []
    names = asked.names if asked.names is not None else len(labels) if labels else None
    key, notes = (asked.key, []) if asked.key is not None else choose(standing, rows, names, ordered=True)
    found = output_tensor(standing, key)
    return next(k for k, item in enumerate(standing.values()) if item is found), notes


def _standing_in(outputs: Sequence[Mapping[str, Any]], rows: int) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = {}
    for k, output in enumerate(outputs):
        first, *rest = output["shape"] or (0, 0, 0)  # of a sequence, which is no table either
        name = output["name"] if output["name"] not in found else f"{output['name']}_{k}"
        kind = torch.float32 if output["floating"] else torch.int64
        found[name] = torch.empty(first or rows, *rest, dtype=kind, device="meta")
    return found


def head_settings(kind: str, asked: Asked, notes: list[str]) -> dict[str, Any]:
    """Return how the outputs are read once a softmax or sigmoid at their end is taken off, and note it.

    Args:
        kind: of what is at the end.
        asked: what the caller says; where that does not go with the head, it stays on.
        notes: to which is added.

    Returns:
        Settings of a classifier; nothing where the head stays on, or is none.
    """
    task = _TASKS.get(kind)
    if task is None or asked.output is not None or asked.task not in {None, "binary", task}:
        return {}
    notes.append(f"ends in a {kind}, which is taken off: what goes into it is the logits")
    return {"task": task, "output": "logits"}
