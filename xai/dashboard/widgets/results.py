"""What every page shows of a result: charts, tables, notes, code and downloads."""

import io
import json
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
import streamlit as st
from PIL import Image

import xai
from xai.dashboard.session import DataSample, ExplanationRequest, SharedModel, SourceImage
from xai.dashboard.text import call_for, code_for, file_stem, safe, script, sentence, t, told

_MOMENT = (1980, 1, 1, 0, 0, 0)  # the same result gives the same bytes
_MIME = {
    "csv": "text/csv",
    "gif": "image/gif",
    "html": "text/html",
    "md": "text/markdown",
    "npy": "application/octet-stream",
    "pdf": "application/pdf",
    "png": "image/png",
    "xml": "application/xml",
    "zip": "application/zip",
}
_SPOKEN = frozenset(  # columns in which the library speaks
    [
        "verdict", "reason", "words", "within", "effect", "measure", "metric", "kind", "turn", "title", "headline",
        "why", "condition", "rule", "note",
    ]
)  # fmt: skip


class Saveable(Protocol):
    """A result that is saved as a folder."""

    def save(self, path: Path, /) -> Any:
        """Write it; return the folder."""


@dataclass(frozen=True)
class Download:
    """A file of a result.

    Attributes:
        label: without the suffix.
        suffix: of the file.
        make: returns its bytes.
        tip: what is in it.
    """

    label: str
    suffix: str
    make: Callable[[], bytes]
    tip: str


def offer_download(
    label: str, make: Callable[[], bytes], name: str, key: str, tip: str, *, disabled: bool = False
) -> None:
    """Offer a file that is made when it is asked for."""
    suffix = name.rpartition(".")[2]
    st.download_button(
        f"{label} (.{suffix})",
        make,
        name,
        _MIME[suffix],
        key=key,
        help=tip,
        disabled=disabled,
        on_click="ignore",
        icon=":material/download:",
    )


def show_downloads(result: Saveable, key: str, stem: str, *files: Download) -> None:
    """Offer files of a result, and all of it as a folder that its class loads."""
    with st.container(horizontal=True):
        for file in (*files, everything(result)):
            offer_download(file.label, file.make, f"{stem}.{file.suffix}", f"{key}_{file.suffix}", file.tip)


def everything(result: Saveable) -> Download:
    """Return the download of a whole result."""
    tip = t("A folder that {name}.load reads back", name=f"xai.{type(result).__name__}")
    return Download(t("Everything"), "zip", partial(result_zip, result), tip)


def csv_file(table: pd.DataFrame, label: str, tip: str) -> Download:
    """Return the download of a table."""
    return Download(label, "csv", lambda: table.to_csv(index=False).encode(), tip)


def image_png(explanation: xai.Explanation) -> bytes:
    """Return image, map and overlay as a PNG."""
    return saved(explanation, "explanation.png")


def saved(result: Saveable, name: str) -> bytes:
    """Return one file that a result saves under a name; its suffix says in which form."""
    with tempfile.TemporaryDirectory() as folder:
        result.save(Path(folder) / name)
        return (Path(folder) / name).read_bytes()


def map_npy(explanation: xai.Explanation) -> bytes:
    """Return the raw signed map (H, W) float32 as a NumPy file; (N, H, W) for N classes."""
    stream = io.BytesIO()
    maps = np.stack(explanation.heatmaps)
    np.save(stream, maps[0] if len(maps) == 1 else maps, allow_pickle=False)
    return stream.getvalue()


def result_zip(result: Saveable) -> bytes:
    """Return the folder that `load` of the result's class reads, as a zip."""
    with zipped() as (stream, archive, folder):
        add_folder(archive, result.save(folder / "result"))
    return stream.getvalue()


def agreement_zip(agreement: xai.results.Agreement) -> bytes:
    """Return all compared explanations as a zip: an image and a folder each, and all images side by side."""
    with zipped() as (stream, archive, folder):
        agreement.save(folder / "side_by_side.png")
        for explanation in agreement.explanations:
            explanation.save(folder / f"{explanation.method}.png")
            explanation.save(folder / explanation.method)
        add_folder(archive, folder)
    return stream.getvalue()


def images_zip(images: Mapping[str, tuple[np.ndarray, str]]) -> bytes:
    """Return images with what they show as a zip: a PNG each, pixel by pixel, and `captions.json`.

    Args:
        images: pixels (h, w, 3) uint8 and words, by number or place.
    """
    captions: dict[str, str] = {}
    with zipped() as (stream, archive, _):
        for place, (pixels, words) in images.items():
            name = f"{file_stem(place, words)}.png"
            captions[name] = words
            _add_file(archive, name, png(pixels))
        _add_file(archive, "captions.json", json.dumps(captions, ensure_ascii=False, indent=1).encode())
    return stream.getvalue()


@contextmanager
def zipped() -> Iterator[tuple[io.BytesIO, zipfile.ZipFile, Path]]:
    """Give a stream, the zip that is written to it, and a folder that goes afterwards."""
    stream = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        yield stream, archive, Path(folder)


def add_folder(archive: zipfile.ZipFile, folder: Path) -> None:
    """Add all files below a folder, named from there."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        _add_file(archive, path.relative_to(folder).as_posix(), path.read_bytes())


def _add_file(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    """Add a file with a fixed time: the same content gives the same archive."""
    archive.writestr(zipfile.ZipInfo(name, _MOMENT), content, zipfile.ZIP_DEFLATED)


def png(pixels: np.ndarray) -> bytes:
    """Return an image (h, w, 3) uint8 as a PNG."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def show_notes(notes: Sequence[str], *, together: bool = False) -> None:
    """Show what the library notes, in small letters; a paragraph each, or all in one."""
    told_notes = [safe(sentence(note)) for note in notes]
    for text in [" ".join(told_notes)] if together else told_notes:
        st.caption(text)


def show_table(title: str, frame: pd.DataFrame, alt: str, *, icon: str = "table", **settings: Any) -> None:
    """Show a table that is folded away at first; `settings` are those of `show_frame`."""
    with st.expander(title, icon=f":material/{icon}:"):
        show_frame(frame, alt, **settings)


def show_frame(
    frame: pd.DataFrame,
    alt: str,
    words: Sequence[str] = (),
    config: Mapping[str, Any] | None = None,
    *,
    hide_index: bool = True,
) -> None:
    """Show a table.

    Args:
        frame: of a result; its columns keep their names, for whoever downloads it.
        alt: a sentence for those who cannot see it.
        words: columns in which the library speaks, besides those that always are; names of classes, groups and files
            are in the others.
        config: of columns, by name.
        hide_index: whether the rows have no names of their own.
    """
    named = [str(name) for name in frame.columns if name in _SPOKEN or name in words]
    spoken = {name: [told(text) if isinstance(text, str) else text for text in frame[name]] for name in named}
    settings = {str(name): _headed(str(name), (config or {}).get(str(name))) for name in frame.columns}
    st.dataframe(frame.assign(**spoken), hide_index=hide_index, column_config=settings, alt=alt)


def _headed(name: str, settings: Any) -> Any:
    """Return the settings of a column with its heading, unless they have one."""
    result = dict(settings or {})
    return {**result, "label": result.get("label") or told(name)}


def show_lines(lines: Sequence[Mapping[str, str]], alt: str) -> None:
    """Show a short table of Markdown, a line per row."""
    st.table([dict(line) for line in lines], border="horizontal", hide_index=True, alt=alt)


def show_chart(chart: Any, key: str, alt: str, on_pick: Callable[[Mapping[str, Any]], None] | None = None) -> None:
    """Show an Altair chart; `on_pick` gets the fields of what was clicked, before the page runs again."""
    if on_pick is None:
        st.altair_chart(chart, key=key, alt=alt)
        return

    def picked() -> None:
        selection = st.session_state[key]["selection"]
        chosen = [mark for result in selection.values() for mark in result]
        if chosen:
            on_pick(chosen[0])

    st.altair_chart(chart, key=key, alt=alt, on_select=picked)


def offer_chart_rows(rows: Sequence[Mapping[str, Any]], stem: str, key: str) -> None:
    """Offer what a chart shows as a table."""
    file = csv_file(pd.DataFrame(rows), t("Table"), t("What the chart shows, a line per point"))
    offer_download(file.label, file.make, f"{stem}.csv", key, file.tip)


def show_code(model: SharedModel, image: SourceImage, questions: Sequence[ExplanationRequest]) -> None:
    """Show the lines of Python that make the same image, with a button that copies them."""
    show_text(code_for(model.code, image.code, [call_of(model, question) for question in questions]))


def show_script(model: SharedModel, *lines: str) -> None:
    """Show the lines of Python that give the same result with the model as `clf`."""
    show_text(script(model.code, *lines))


def show_verb_code(
    model: SharedModel, verb: str, samples: Mapping[str, DataSample], shown: str, more: str = ""
) -> None:
    """Show the lines of Python that call a verb of xai, `shown` being printed of its result.

    Args:
        model: asked about.
        verb: "bias", "drift", ...
        samples: data sets by the names of their variables.
        shown: attributes of the result with commas between them; "" for itself.
        more: arguments of the verb before its seed.
    """
    lines = [f"{name} = {sample.code}" for name, sample in samples.items()]
    seed = next(iter(samples.values())).seed
    call = f"result = xai.{verb}(clf, {', '.join(samples)}, {more}seed={seed})"
    parts = ", ".join(f"result.{name}" if name else "result" for name in shown.split(","))
    show_script(model, *lines, call, f"print({parts})", "result.plot()")


def show_text(*codes: str, language: str = "python") -> None:
    """Show lines of code, with a button that copies them."""
    with st.expander(t("Copy the code"), icon=":material/code:"):
        for code in codes:
            st.code(code, language=language, wrap_lines=True)


def call_of(model: SharedModel, question: ExplanationRequest, verb: str = "explain", *more: str) -> str:
    """Return the call of xai that asks a question; `more` arguments go with another verb."""
    named = [model.class_name(k) for k in question.targets]
    target = named if len(named) > 1 else next(iter(named), None)
    extras = dict(question.extras)
    if question.versus is not None:
        extras["versus"] = model.class_name(question.versus)
    return call_for(question.method.name, target, question.seed, extras, verb, *more)
