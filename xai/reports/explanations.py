"""The verb `report`: explanations as one self-contained page or PDF. Notes and ratings are included."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xai.audits.execution.store import publish
from xai.core.images.samples import to_rgb
from xai.errors import InputError
from xai.explanations.explanation import Explanation
from xai.explanations.methods.base import EXPLAINERS
from xai.explanations.rating.rating import MEANINGS, Agreement, Rating
from xai.reports.html import pdf, rendered
from xai.reports.images import packed, tile
from xai.reports.messages import Text, Words, words_of

MOST, MOST_MAPS = 20, 8  # explanations of a page, maps of one of them
MOST_BYTES = 25_000_000
_MOST_TEXT = 4000  # characters of a note
_SIDES = ((8, 320), (24, 256))  # up to so many maps: pixels a side whose values can be hovered
_SIDE_OF_MANY = 176
_TAGS = {"trust": "pass", "doubt": "inconclusive", "reject": "fail"}  # look like those of audits


@dataclass(frozen=True, eq=False)
class _ReportEntry:
    """One explanation with what belongs to it."""

    explanation: Explanation
    note: str
    rating: Rating | None


def report(
    explanations: Explanation | Agreement | Sequence[Explanation],
    path: str | Path,
    *,
    notes: Sequence[str] | None = None,
    ratings: Sequence[Rating | None] | None = None,
    title: str | None = None,
    language: str = "en",
) -> Path:
    """Write explanations as one offline page or as a tagged PDF. The page holds the maps with their values.

    Args:
        explanations: up to 20, of any images, methods and models; of each the first eight maps are shown.
        path: the file; its suffix says which: .html or .pdf.
        notes: a text of yours for each, "" for none. They are shown as text, whatever is in them.
        ratings: of `xai.rate_explanation` for each, None for none.
        title: of the page; None takes one that fits.
        language: "en" or "es".

    Returns:
        The file written.

    Raises:
        InputError: no explanation or more than 20, notes or ratings of another number, another suffix, a page of more
            than 25 MB.
        NameLookupError: an unknown language.
        MissingExtraError: a package that the form needs is not installed.
        RecordError: the place cannot be written.

    Example:
        >>> import tempfile, xai
        >>> clf = xai.load("example:fashion")
        >>> found = xai.explain(clf, xai.load_data("example:fashion-test").images[0])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     page = xai.report([found], folder + "/why.html", notes=["Looks at the sole."]).read_text()
        >>> "Looks at the sole." in page
        True
    """
    path, words = Path(path), words_of(language)
    if path.suffix.lower() not in {".html", ".htm", ".pdf"}:
        raise InputError(f"{path}: expected a name that ends in .html or .pdf; it says which report to write.")
    entries = _entries(explanations, notes, ratings)
    if path.suffix.lower() == ".pdf":
        publish(path, pdf(_page(entries, words, title, live=False)))
    else:
        publish(path, _page(entries, words, title, live=True).encode())
    return path


def _entries(explanations: Any, notes: Any, ratings: Any) -> list[_ReportEntry]:
    every: Any = getattr(explanations, "explanations", explanations)
    every = [every] if isinstance(every, Explanation) else list(every) if isinstance(every, Sequence) else []
    if not 1 <= len(every) <= MOST or not all(isinstance(explanation, Explanation) for explanation in every):
        kinds = ", ".join(sorted({type(explanation).__name__ for explanation in every or [explanations]}))
        raise InputError(f"Expected 1 to {MOST} explanations of `xai.explain`, but got {len(every)} ({kinds}).")
    texts = ["" for _ in every] if notes is None else [str(note)[:_MOST_TEXT] for note in notes]
    rated = [None for _ in every] if ratings is None else list(ratings)
    for name, values in (("notes", texts), ("ratings", rated)):
        if len(values) != len(every):
            raise InputError(f"Expected `{name}` as one for each of {len(every)} explanations, but got {len(values)}.")
    for explanation, rating in zip(every, rated, strict=True):
        if rating is not None and rating.target_names != explanation.target_names:
            raise InputError(
                f"Expected `ratings` in the order of the explanations, but one of {rating.target_names} meets "
                f"{explanation.target_names}. Give None where there is no rating."
            )
    return [_ReportEntry(*parts) for parts in zip(every, texts, rated, strict=True)]


def _page(entries: Sequence[_ReportEntry], words: Words, title: str | None, *, live: bool) -> str:
    maps = sum(min(MOST_MAPS, len(entry.explanation)) for entry in entries)
    side = next((side for most, side in _SIDES if maps <= most), _SIDE_OF_MANY)
    content = {
        "title": title or words("explained.heading"),
        "entries": [_entry_content(entry, words, side) for entry in entries],
        "models": {entry.explanation.model["fingerprint"]: entry.explanation.model for entry in entries},
        "versions": {name: v for entry in entries for name, v in entry.explanation.versions.items()},
    }
    return rendered("explained.html", words, content, live=live, most=MOST_BYTES, cure="Report fewer explanations.")


def _entry_content(entry: _ReportEntry, words: Words, side: int) -> dict[str, Any]:
    """Return an explanation for the template."""
    explanation = entry.explanation
    shown = range(min(MOST_MAPS, len(explanation)))
    name = EXPLAINERS[explanation.method].title if explanation.method in EXPLAINERS.names() else explanation.method
    settings = {key: value for key, value in explanation.settings.items() if value is not None}
    return {
        "title": name,
        "about": [_predicted(explanation, k, words) for k in shown],
        "note": entry.note.strip().split("\n") if entry.note.strip() else [],
        "exhibits": [_exhibit(explanation, k, name, words, side) for k in shown],
        "left_out": len(explanation) - len(shown),
        "ratings": [] if entry.rating is None else [_rated(entry.rating, k, words) for k in shown],
        "notes": [words.told(note) for note in explanation.notes],
        "facts": {
            "method": explanation.method,
            **settings,
            "seed": explanation.seed,
            "model": explanation.model["name"],
        },
        "layer": explanation.layer,
    }


def _predicted(explanation: Explanation, k: int, words: Words) -> str:
    return words(
        "explained.prediction",
        image=explanation.image_names[k],
        label=explanation.target_names[k],
        share=words.percent(float(explanation.probabilities[k])),
        predicted=explanation.predictions[k],
    )


def _exhibit(explanation: Explanation, k: int, name: str, words: Words, side: int) -> dict[str, Any]:
    """Return image and map, as images and as values."""
    values = explanation.heatmaps[k]
    title = words("explained.map", method=name, label=explanation.target_names[k])
    alt = words("explained.alt", map=title, share=words.percent(_half(values)))
    ground = to_rgb(explanation.images[k])
    panel = {"title": title, "unit": explanation.unit, "alt": alt}
    return {
        "title": f"{title} \N{MIDDLE DOT} {explanation.image_names[k]}",
        "caption": alt,
        "alt": alt,
        "language": words.language,
        "tiles": [tile(words("role.image"), ground), tile(words("role.heatmap"), explanation.overlay(k))],
        "viewer": packed(ground, [(panel, values)], side, explanation.geometries[k].seen),
    }


def _half(values: np.ndarray) -> float:
    """Return the share of the image that half of the attribution lies in."""
    attribution = np.sort(np.abs(values), axis=None)[::-1].cumsum(dtype=np.float64)
    return (
        float(np.searchsorted(attribution, attribution[-1] / 2) + 1) / attribution.size if attribution[-1] > 0 else 1.0
    )


def _rated(rating: Rating, k: int, words: Words) -> Mapping[str, Any]:
    verdict = rating.verdicts[k]
    reasons: list[Text] = [words.told(check.reason) for check in rating.checks[k] if check.verdict in _TAGS]
    return {
        "label": rating.target_names[k],
        "tag": _TAGS.get(verdict, "measured"),
        "verdict": words(f"rating.{verdict}") if verdict in _TAGS else verdict,
        "meaning": words.told(MEANINGS[verdict]) if verdict in MEANINGS else None,
        "reasons": reasons,
    }
