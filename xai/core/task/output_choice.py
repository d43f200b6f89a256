"""The choice of the output that holds the class scores. The values of the outputs tell their scale."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from xai.core.model.predictions import Key
from xai.core.results.message import Message, constant

_SAME = 1e-3  # how far sums that are the same may differ, as a share of them
_LARGER = 50  # how many times more the scores must vary than their sums
_ROUNDING = 1e-6
_PERCENT = 100.0
_BASES = {2: "2", 10: "10"}
_OVERRIDE = 'if they are logits all the same, pass output="logits"'


def inside_unit(values: Tensor) -> bool:
    """Return whether all values lie in [0, 1], up to rounding."""
    return bool((values >= -_ROUNDING).all()) and bool((values <= 1 + _ROUNDING).all())


def varies(values: Tensor) -> bool:
    """Return whether not all values are the same, up to rounding."""
    return float(values.max() - values.min()) > _ROUNDING * float(values.abs().max())


def like_percentages(values: Tensor) -> bool:
    """Return whether all values lie in [0, 100], and not all in [0, 1]."""
    return bool((values >= 0).all()) and 1 < float(values.max()) <= _PERCENT


def other_scale(scores: Tensor) -> str:
    """Return what scores (N, K) are that are neither logits nor probabilities, and the cure; "" where nothing tells.

    Args:
        scores: of several images that differ.
    """
    values = scores.double()
    if bool((values >= 0).all()) and _sums_to_one(-values):
        return f"costs, the negative logarithms of probabilities. Return their negative; {_OVERRIDE}"
    for base, name in _BASES.items():
        if bool((values <= 0).all()) and _sums_to_one(values * math.log(base)):
            return (
                f"logarithms of probabilities to the base {name}. Multiply them by {math.log(base):.4f}, as logits are "
                f"natural logarithms; {_OVERRIDE}"
            )
    whole = _common_sum(values)
    if whole is None or abs(whole - 1) < _SAME:
        return ""
    if abs(whole - _PERCENT) < _SAME * _PERCENT:
        return f"percentages, which sum to 100 for every image. Divide them by 100; {_OVERRIDE}"
    return f"numbers that sum to {whole:.4g} for every image. Scale them to probabilities, which sum to 1; {_OVERRIDE}"


def may_have_other_scale(scores: Tensor) -> bool:
    """Return whether scores (N, K) may have another scale, so that further images should be looked at."""
    values = scores.double()
    if other_scale(values):
        return True
    total = values[0].sum()
    return bool((values[0] >= 0).all()) and abs(float(total) - _PERCENT) < _SAME * _PERCENT and not _rows_differ(values)


def _rows_differ(values: Tensor) -> bool:
    return len(values) > 1 and float((values - values[0]).abs().max()) > _ROUNDING * float(values.abs().max())


def _sums_to_one(logarithms: Tensor) -> bool:
    return bool(logarithms.logsumexp(1).abs().max() < _SAME)


def _common_sum(values: Tensor) -> float | None:
    """Return what shares, or probabilities with a minus, of every image sum to; None where the sums differ."""
    sums = values.sum(1)
    whole = float(sums.mean())
    shares = bool((values >= 0).all()) or (bool((values <= 0).all()) and abs(whole + 1) < _SAME)
    if not shares or whole == 0:
        return None
    spread, differ = float((sums - whole).abs().max()), float((values - values.mean(0)).abs().max())
    same = spread < _SAME * abs(whole) and differ > max(_LARGER * spread, _SAME * abs(whole) / 10)
    return whole if same else None


def side_of_zero(values: Tensor) -> str:
    """Return "below" or "above" where no value is on that side of 0, else ""."""
    if not torch.isfinite(values).all():
        return ""
    return "below" if bool((values >= 0).all()) else "above" if bool((values <= 0).all()) else ""


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
_BY_COLUMNS = "the model returns {outputs}: {chosen} is read as the class scores, as it has one column per class name"
_OR_CHOOSE = "the model returns {outputs}: {chosen} is read as the class scores; or choose by output_key"
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
        return fitting, _choice_noted(fitting, raw, parts, _BY_COLUMNS)
    key = _telling(tables, raw)
    if key is None and isinstance(raw, dict) and not ordered and len(tables) != 1:
        return None, []
    key = tables[0] if key is None and tables else key
    return key, _choice_noted(0 if key is None else key, raw, parts, _OR_CHOOSE)


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
        keys = [key for key, item in tables.items() if width is not None and _width(item) == width]
        if keys:
            return keys[0] if len(keys) == 1 else None
    return None


def _telling(tables: Sequence[Key], raw: Any) -> Key | None:
    """Return the first table whose name says that it holds class scores."""
    words = {key: {word.lower() for word in _WORD.findall(_name(key, raw))} for key in tables}
    for name in _NAMED:
        keys = [key for key, name_words in words.items() if name_words == name]
        if len(keys) == 1:
            return keys[0]
    for telling in _TELLING:
        keys = [key for key, name_words in words.items() if name_words & telling and not name_words & _OTHERWISE]
        if keys:
            return keys[0]
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
    if place < len(_PLACES):
        return Message("the {place}", place=constant(_PLACES[place]))
    return Message("the {number}th", number=place + 1)


def _choice_noted(key: Key, raw: Any, parts: Mapping[Key, Any], template: str) -> list[str]:
    names = [_name(part, raw) for part in parts]
    outputs = ", ".join([*map(repr, names[:_SHOWN]), *(["..."] if len(names) > _SHOWN else [])])
    outputs = outputs if all(names) else Message("{count} things", count=len(names))
    return [Message(template, outputs=outputs, chosen=_called(key, raw))]
