"""Images and charts of an audit as parts of a file."""

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from xai.audits.record import Audit
from xai.errors import RecordError
from xai.reports.messages import SHARES, Words

WIDTH, LEFT, TOP, SIDE = 300, 44, 10, 200
_POSITIVE = ("share", "auroc", "iou")


def interval(check: Mapping[str, Any], outcome: Mapping[str, Any] | None, words: Words) -> dict[str, Any] | None:
    """Return a figure on its line with its interval and threshold; None where there is no interval.

    Args:
        check: of the document.
        outcome: one of its conditions; None shows the figure alone.
        words: of the report.
    """
    measured = check["measured"] or {}
    unit = measured.get("unit")
    low, high = (measured.get("low"), measured.get("high")) if outcome is None else outcome["interval"]
    value = measured.get("value") if outcome is None else outcome["value"]
    if value is None or low is None or high is None:
        return None
    threshold = None if outcome is None else outcome["threshold"]
    bottom, top = _range([low, high, value, *([] if threshold is None else [threshold])], unit)
    place = {name: _place(number, bottom, top) for name, number in (("low", low), ("high", high), ("value", value))}
    chart = {**place, "bottom": words.value(bottom, unit), "top": words.value(top, unit)}
    chart["threshold"] = None if threshold is None else _place(threshold, bottom, top)
    texts = {"title": words.sentence(check["title"]), "value": words.value(value, unit)}
    texts["span"] = words.span(low, high, unit)
    if outcome is None:
        return chart | {"alt": words("chart.plain", **texts), "verdict": check["verdict"]}
    chart["alt"] = words("chart.interval", **texts, asked=condition_text(outcome, unit, words))
    return chart | {"verdict": outcome["verdict"]}


def condition_text(outcome: Mapping[str, Any], unit: str | None, words: Words) -> str:
    """Return a condition in words."""
    drop = outcome["condition"] == "max_drop_vs_baseline" and unit in SHARES
    return words(f"condition.{outcome['condition']}", t=words.value(outcome["threshold"], "points" if drop else unit))


def bars(shares: Sequence[Mapping[str, Any]], words: Words, most: int = 30) -> list[dict[str, Any]]:
    """Return the shares of classes or groups, worst first."""
    worst = sorted((share for share in shares if share["n"]), key=lambda share: share["hits"] / share["n"])
    return [
        {
            "name": share["name"] if not share["column"] else f"{share['column']}: {share['name']}",
            "share": round(100 * share["hits"] / share["n"], 2),
            "value": words.percent(share["hits"] / share["n"]),
            "n": words.number(share["n"]),
        }
        for share in worst[:most]
    ]


def curve(name: str, columns: Mapping[str, Sequence[Any]], words: Words) -> dict[str, Any] | None:
    """Return a curve in the unit square; None where nothing is known of it."""
    if name == "reliability":
        line = _line(columns, "confidence", "accuracy", 1.0)
        axes = ("axis.confidence", "axis.accuracy")
    elif name == "risk_coverage":
        line = _line(columns, "coverage", "risk", max(0.05, *[v for v in columns["high"] if v is not None]))
        axes = ("axis.coverage", "axis.risk")
    else:
        return None
    x, y = (words(axis) for axis in axes)
    return {**line, "alt": words(f"curve.{name}"), "x": x, "y": y, "diagonal": name == "reliability"}


def _line(columns: Mapping[str, Sequence[Any]], x: str, y: str, top: float) -> dict[str, Any]:
    rows = [row for row in zip(*(columns[k] for k in (x, y, "low", "high")), strict=True) if None not in row]
    points = [(LEFT + SIDE * a, TOP + SIDE * (1 - b / top)) for a, b, _, _ in rows]
    band = [(LEFT + SIDE * a, TOP + SIDE * (1 - high / top)) for a, _, _, high in rows]
    band += [(LEFT + SIDE * a, TOP + SIDE * (1 - low / top)) for a, _, low, _ in reversed(rows)]
    return {"points": _points(points), "band": _points(band), "top": f"{top:.2g}", "dots": _rounded(points)}


def _points(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _rounded(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    return [(round(x, 1), round(y, 1)) for x, y in points] if len(points) <= 30 else []


def _range(values: Sequence[float], unit: str | None) -> tuple[float, float]:
    if unit in _POSITIVE:
        return 0.0, 1.0
    low, high = min(0.0, *values), max(values)
    return low, high + 0.15 * max(high - low, 1e-9)


def _place(value: float, bottom: float, top: float) -> float:
    return round(100 * min(1.0, max(0.0, (value - bottom) / (top - bottom))), 2)


MAPS = ("heatmap", "control")
BUDGET = 3_500_000  # bytes of images in one file, as base64
_SIDE = 128  # pixels of a map that are kept: more would be shown smaller anyway
_SIDE_OF_IMAGE = 320
_LARGE = 1 << 22  # bytes of a file that is opened


class ReportImages:
    """Hands out images until their number or their bytes are used up.

    Args:
        audit: whose evidence is shown.
        words: of the report.
        most: exhibits to show.
    """

    def __init__(self, audit: Audit, words: Words, most: int) -> None:
        self._files, self._words, self._left, self._bytes = audit.files, words, most, BUDGET
        self.left_out = 0

    def show(self, exhibit: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return one exhibit for a template; None where the limits are reached."""
        if self._left <= 0:
            self.left_out += 1
            return None
        shown = self._shown(exhibit)
        size = _size(shown)
        if size > self._bytes:
            self.left_out += 1
            return None
        self._left, self._bytes = self._left - 1, self._bytes - size
        return shown

    def _shown(self, exhibit: Mapping[str, Any]) -> dict[str, Any]:
        caption, alt, translated = captions_of(exhibit, self._words)
        language = self._words.language if translated else "en"
        base = {"title": title_of(exhibit, self._words), "caption": caption, "alt": alt, "language": language}
        first = next((image for image in exhibit["images"] if image["role"] not in MAPS), None)
        maps = [image for image in exhibit["images"] if image["role"] in MAPS]
        ground = None if first is None else self._pixels(first)
        tiles = [self._tile(image, ground) for image in exhibit["images"]]
        return {**base, "tiles": tiles, "viewer": self._viewer(ground, maps, alt)}

    def _tile(self, image: Mapping[str, Any], ground: np.ndarray | None) -> dict[str, Any]:
        pixels = self._mapped(image, ground) if image["role"] in MAPS else self._pixels(image)
        return tile(role_of(image["role"], self._words), pixels)

    def _mapped(self, image: Mapping[str, Any], ground: np.ndarray | None) -> np.ndarray | None:
        from xai.plots.explanations import overlay, scale

        values = self._values(image)
        if values is None:
            return None
        under = np.full((*values.shape, 3), 0.5) if ground is None else _fitted(ground, values.shape)
        return np.asarray(np.rint(overlay(under, values, *scale(values)) * 255), dtype=np.uint8)

    def _viewer(self, ground: np.ndarray | None, maps: list[Mapping[str, Any]], alt: str) -> dict[str, Any] | None:
        read = [(image, self._values(image)) for image in maps]
        readable = [(image, values) for image, values in read if values is not None]
        if ground is None or not readable:
            return None
        shape = readable[0][1].shape
        texts = {"unit": self._words("map.unit"), "alt": alt}
        layers = [
            ({"title": role_of(image["role"], self._words), **texts}, v) for image, v in readable if v.shape == shape
        ]
        return packed(ground, layers, _SIDE, (0.0, 0.0, float(shape[0]), float(shape[1])))

    def _pixels(self, image: Mapping[str, Any]) -> np.ndarray | None:
        content = self._content(image)
        try:
            with Image.open(io.BytesIO(content or b""), formats=["PNG"]) as opened:
                if max(opened.size) > 1 << 13:
                    return None
                opened.thumbnail((_SIDE_OF_IMAGE, _SIDE_OF_IMAGE))
                return np.asarray(opened.convert("RGB"))
        except (OSError, ValueError, Image.DecompressionBombError):
            return None

    def _values(self, image: Mapping[str, Any]) -> np.ndarray | None:
        content = self._content(image)
        try:
            values = np.load(io.BytesIO(content or b""), allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None
        usable = isinstance(values, np.ndarray) and values.ndim == 2 and values.size > 0 and values.dtype.kind == "f"
        return np.asarray(np.nan_to_num(values)) if usable else None

    def _content(self, image: Mapping[str, Any]) -> bytes | None:
        try:
            content = self._files[str(image["file"]).removeprefix("evidence/")]
        except (KeyError, RecordError):
            return None
        return content if len(content) <= _LARGE else None


def tile(role: str, pixels: np.ndarray | None) -> dict[str, Any]:
    """Return an image (H, W, 3) uint8 for a template, no larger than a page shows it; None says that it is missing."""
    if pixels is None:
        return {"role": role, "src": None}
    image = Image.fromarray(pixels)
    image.thumbnail((_SIDE_OF_IMAGE, _SIDE_OF_IMAGE))
    return {"role": role, "src": _uri(np.asarray(image)), "width": image.width, "height": image.height}


def packed(
    ground: np.ndarray,
    maps: Sequence[tuple[Mapping[str, str], np.ndarray]],
    side: int,
    seen: tuple[float, float, float, float],
) -> dict[str, Any]:
    """Return what the viewer needs, JSON-ready: an image (H, W, 3) uint8 and maps of one shape with their texts.

    Args:
        ground: below the maps; fitted to them.
        maps: title, unit and alt of each, and its values (H, W).
        side: pixels that are kept along the longer side, unchanged.
        seen: top, left, bottom, right of what the model sees, in pixels of the maps.
    """
    shape = maps[0][1].shape
    rows, columns = (_every(length, max(1, round(side * length / max(shape)))) for length in shape)
    fitted = np.rint(_fitted(ground, (len(rows), len(columns))) * 255).astype(np.uint8)
    image = {"src": _uri(fitted), "width": len(columns), "height": len(rows), "columns": shape[1], "rows": shape[0]}
    return {"image": image, "seen": list(seen), "panels": [_panel(*layer, rows, columns) for layer in maps]}


def _panel(texts: Mapping[str, str], values: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> dict[str, Any]:
    sent = np.ascontiguousarray(values[np.ix_(rows, columns)].astype("<f4"))
    return {
        **texts,
        "low": float(values.min()),
        "high": float(values.max()),
        "values": _base64(sent.tobytes()),
    }


def role_of(role: str, words: Words) -> str:
    """Return what an image of an exhibit shows."""
    return words.messages.get(f"role.{role}", words("role.other"))


def title_of(exhibit: Mapping[str, Any], words: Words) -> str:
    """Return the title of an exhibit in the language of the report, where its facts allow."""
    facts, title = exhibit["facts"], words.told(exhibit["title"])
    if title.language == words.language or not {"label", "predicted"} <= facts.keys():
        return title.text
    return words("taken", label=facts["label"], predicted=facts["predicted"])


def captions_of(exhibit: Mapping[str, Any], words: Words) -> tuple[str, str, bool]:
    """Return caption, alternative text, and whether they are in the language of the report."""
    facts = exhibit["facts"]
    texts = words.told(exhibit["caption"]), words.told(exhibit["alt"])
    if all(text.language == words.language for text in texts):
        return texts[0].text, texts[1].text, True
    if not {"label", "predicted"} <= facts.keys():
        return str(exhibit["caption"]), str(exhibit["alt"]), False
    about = {"name": exhibit["image"], "label": facts["label"], "predicted": facts["predicted"]}
    confidence = facts.get("confidence")
    key = "caption" if confidence is None else "caption.confidence"
    caption = words(key, **about, p=words.number(confidence, 3))
    roles = ", ".join(role_of(image["role"], words) for image in exhibit["images"])
    return caption, words("alt", name=caption.removesuffix("."), roles=roles), True


def _fitted(pixels: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Return an image (H, W, 3) uint8 at a size, in [0, 1]."""
    image = Image.fromarray(pixels)
    if image.size != (size[1], size[0]):
        image = image.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return np.asarray(image, dtype=np.float64) / 255


def _every(side: int, most: int) -> np.ndarray:
    count = min(side, most)
    return ((np.arange(count) + 0.5) * side / count).astype(np.int64)


def _uri(pixels: np.ndarray) -> str:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", optimize=True)
    png = stream.getvalue()
    if len(png) < 40_000:
        return f"data:image/png;base64,{_base64(png)}"
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=88)
    return f"data:image/jpeg;base64,{_base64(stream.getvalue())}"


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


def _size(shown: Mapping[str, Any]) -> int:
    tiles = sum(len(tile["src"] or "") for tile in shown["tiles"])
    viewer = shown["viewer"]
    if viewer is None:
        return tiles
    return tiles + len(viewer["image"]["src"]) + sum(len(panel["values"]) for panel in viewer["panels"])
