"""Which of several outputs holds the class scores."""

from typing import Any

from torch import Tensor

from xai.core.heads import Key

_PLACES = ("first", "second", "third")


def choose(raw: Any, rows: int, names: int | None) -> tuple[Key | None, list[str]]:
    """Return name or place of the class scores in what a model returned for `rows` images, and notes.

    A tensor, `.logits` and ["logits"] need no choice. Of a tuple, the only item with one column per class name is
    taken, else the first that is a table (N, K).

    Args:
        raw: what the model returned.
        rows: number of images.
        names: number of class names, None where there are none.

    Returns:
        None where there is nothing to choose, so that `output_tensor` follows its rule.
    """
    if getattr(raw, "logits", None) is not None:
        return None, []
    if isinstance(raw, dict):
        return None, ["the model returns a dict: 'logits' is read"] if len(raw) > 1 and "logits" in raw else []
    if not isinstance(raw, tuple | list) or len(raw) < 2:
        return None, []
    tables = [k for k, item in enumerate(raw) if _is_table(item, rows)]
    fitting = [k for k in tables if names is not None and raw[k].shape[-1] == names]
    many = f"the model returns {len(raw)} things"
    if len(fitting) == 1:
        place = _place(fitting[0])
        return fitting[0], [f"{many}: the {place} is read as the class scores, as it has one column per class name"]
    place = _place(tables[0]) if tables else _PLACES[0]
    return tables[0] if tables else None, [f"{many}: the {place} is read as the class scores; or choose by output_key"]


def _is_table(item: Any, rows: int) -> bool:
    return isinstance(item, Tensor) and item.is_floating_point() and item.ndim in {1, 2} and len(item) == rows


def _place(k: int) -> str:
    return _PLACES[k] if k < len(_PLACES) else f"{k + 1}th"
