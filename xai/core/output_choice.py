"""Which of several outputs holds the class scores: of what a model returned, or of what a file says that it returns."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from xai.core.heads import Key

_PLACES = ("first", "second", "third", "fourth", "fifth", "sixth")
_NAMED = ({"logits"}, {"logit"}, {"out"}, {"output"}, {"outputs"})  # whole names of class scores, by rank
_TELLING = (  # words in names of class scores, by rank
    {"logit", "logits"},
    {"prob", "probs", "proba", "probas", "probability", "probabilities", "softmax"},
    {"score", "scores"},
    {"class", "classes", "classifier", "classification"},
    {"pred", "preds", "predicted", "prediction", "predictions"},
)
_OTHERWISE = frozenset(  # words in names of what goes along with class scores
    {
        *("aux", "auxiliary", "token", "tokens", "feature", "features", "feat", "feats", "map", "maps", "loss"),
        *("embedding", "embeddings", "embed", "hidden", "state", "states", "mask", "masks", "box", "boxes", "losses"),
        *("attention", "attentions", "weight", "weights"),
    }
)
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_OR_CHOOSE = "; or choose by output_key"
_SHOWN = 6


def choose(raw: Any, rows: int, names: int | None, *, ordered: bool = False) -> tuple[Key | None, list[str]]:
    """Return name or place of the class scores in what a model returned for `rows` images, and notes.

    A tensor, `.logits` and ["logits"] need no choice. Of a tuple or dict, the only item with one column per class name
    is taken, else the first with a name such as "scores", else the first that is a table (N, K), which a dict must have
    no other of, as its order says nothing.

    Args:
        raw: what the model returned; tensors on the meta device will do, as no value is looked at.
        rows: number of images.
        names: number of class names, None where there are none.
        ordered: the order of a dict does say something.

    Returns:
        None where there is nothing to choose, or no telling in a dict, so that `output_tensor` follows its rule.
    """
    if getattr(raw, "logits", None) is not None:
        return None, []
    parts = _parts(raw)
    if len(parts) < 2:
        return None, []
    if isinstance(raw, dict) and "logits" in raw:
        return None, ["the model returns a dict: 'logits' is read"]
    tables = [key for key, item in parts.items() if _is_table(item, rows)]
    fitting = _fitting({key: parts[key] for key in tables}, names)
    if fitting is not None:
        return fitting, _said(fitting, raw, parts, ", as it has one column per class name")
    key = _telling(tables, raw)
    if key is None and isinstance(raw, dict) and not ordered and len(tables) != 1:
        return None, []
    key = tables[0] if key is None and tables else key
    return key, _said(0 if key is None else key, raw, parts, _OR_CHOOSE)


def _parts(raw: Any) -> Mapping[Key, Any]:
    """Return what may be chosen, by name in a dict and by place in a tuple."""
    if isinstance(raw, dict):
        return {name if isinstance(name, str) else k: item for k, (name, item) in enumerate(raw.items())}
    return dict(enumerate(raw)) if isinstance(raw, tuple | list) else {}


def _is_table(item: Any, rows: int) -> bool:
    if not isinstance(item, Tensor) or not item.is_floating_point() or item.ndim < 1 or len(item) != rows:
        return False
    return item.ndim <= 2 or item.shape[2:].numel() == 1


def _width(item: Tensor) -> int:
    return int(item.shape[1]) if item.ndim > 1 else 1


def _fitting(tables: Mapping[Key, Tensor], names: int | None) -> Key | None:
    """Return the only table with one column per class name, or with one column for two classes."""
    for width in (names, 1 if names in {1, 2} else None):
        found = [key for key, item in tables.items() if width is not None and _width(item) == width]
        if found:
            return found[0] if len(found) == 1 else None
    return None


def _telling(tables: Sequence[Key], raw: Any) -> Key | None:
    """Return the first table whose name says that it holds class scores."""
    words = {key: {word.lower() for word in _WORD.findall(_name(key, raw))} for key in tables}
    for name in _NAMED:
        found = [key for key, said in words.items() if said == name]
        if len(found) == 1:
            return found[0]
    for telling in _TELLING:
        found = [key for key, said in words.items() if said & telling and not said & _OTHERWISE]
        if found:
            return found[0]
    return None


def _name(key: Key, raw: Any) -> str:
    """Return the name of a part, "" where it has none; those of a named tuple are reached by place as well."""
    if isinstance(key, str):
        return key
    fields = getattr(raw, "_fields", ())
    return str(fields[key]) if key < len(fields) else ""


def _called(key: Key, raw: Any) -> str:
    name = _name(key, raw)
    if name:
        return repr(name)
    place = int(key)
    return f"the {_PLACES[place] if place < len(_PLACES) else f'{place + 1}th'}"


def _said(key: Key, raw: Any, parts: Mapping[Key, Any], why: str) -> list[str]:
    names = [_name(part, raw) for part in parts]
    many = ", ".join([*map(repr, names[:_SHOWN]), *(["..."] if len(names) > _SHOWN else [])])
    many = many if all(names) else f"{len(names)} things"
    return [f"the model returns {many}: {_called(key, raw)} is read as the class scores{why}"]
