"""The tensors in what a module returns, whatever object carries them."""

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn

from xai.errors import UnsupportedModelError

_DEEPEST = 6  # objects in objects


def tensors_in(output: Any) -> list[Tensor]:
    """Return the tensors in a module's output: a tensor, tuple, list, dict or object with fields, in their order."""
    return list(_walk(output, 0))


def first_tensor(output: Any) -> Tensor | None:
    """Return the first tensor in a module's output, or None."""
    return next(_walk(output, 0), None)


def with_tensor(output: Any, old: Tensor, new: Tensor) -> Any:
    """Return `output` with a tensor replaced wherever it stands; containers on the way are copied, not changed.

    Raises:
        UnsupportedModelError: a container that cannot be copied.
    """
    return _replaced(output, old, new, 0)


def _walk(output: Any, depth: int) -> Iterator[Tensor]:
    if isinstance(output, Tensor):
        yield output
    elif depth <= _DEEPEST:
        for _, item in _items(output):
            yield from _walk(item, depth + 1)


def _items(output: Any) -> list[tuple[Any, Any]]:
    """Return what a container holds as (key, value): fields of an object, values of a mapping, items of a sequence."""
    if isinstance(output, Mapping):
        return list(output.items())
    if isinstance(output, tuple | list):
        return list(enumerate(output))
    if isinstance(output, type | nn.Module) or callable(output):
        return []
    slots = [name for kind in type(output).__mro__ for name in getattr(kind, "__slots__", ()) if hasattr(output, name)]
    names = [*slots, *getattr(output, "__dict__", ())]
    return [(name, getattr(output, name)) for name in names]


def _replaced(output: Any, old: Tensor, new: Tensor, depth: int) -> Any:
    if output is old:
        return new
    if isinstance(output, Tensor) or depth > _DEEPEST:
        return output
    items = [(key, value, _replaced(value, old, new, depth + 1)) for key, value in _items(output)]
    changed = {key: after for key, before, after in items if after is not before}
    if not changed:
        return output
    if isinstance(output, tuple):
        values = [after for _, _, after in items]
        return type(output)(*values) if hasattr(output, "_fields") else type(output)(values)
    try:
        return _with(copy.copy(output), changed)
    except (TypeError, copy.Error) as error:
        raise UnsupportedModelError(
            f"What a layer returns, {type(output).__name__}, cannot be copied to replace a tensor in it. Name another "
            "`layer`."
        ) from error


def _with(container: Any, changed: dict[Any, Any]) -> Any:
    """Set the changed items of a container that is ours."""
    for key, value in changed.items():
        if isinstance(container, Mapping | list):
            container[key] = value  # type: ignore[index]
        else:
            object.__setattr__(container, key, value)  # frozen dataclasses too
    return container
