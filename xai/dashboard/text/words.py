"""Words of the pages. Here are the language, text that is safe to show, and sentences made from data.

What checks and verdicts are called, and what the library says, is looked up in the catalogue of the reports, so that
both say the same.
"""

import json
import re
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import scipy
import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

import xai

LANGUAGES: Mapping[str, str] = {"en": "English", "es": "Español"}
_PARAMETER, _STATE_KEY = "lang", "language"
_FOLDER = Path(__file__).parents[1] / "locale"
_SPOKEN: ContextVar[str] = ContextVar("spoken", default="en")


def t(text: str, /, **values: Any) -> str:
    """Return an English text in the language of the page, its places filled.

    Args:
        text: a constant, so that a test can find it and compare it with the catalogue.
        values: for its {places}; what comes from a file or a model goes through `safe` first.
    """
    translated = in_language(text, language())
    return xai.translate(translated, language(), sentence=True, **values) if values else translated


def in_language(text: str, chosen: str) -> str:
    """Return a constant text in a language; as it is where no catalogue has it."""
    return text if chosen == "en" else _catalogue(chosen).get(text) or xai.translate(text, chosen, sentence=True)


def written(template: str, value: float) -> str:
    """Return a number as the language of the page writes it, such as "4.652.008" by "{value:,}"."""
    return xai.translate(template, language(), sentence=True, value=value).replace("-", "\N{MINUS SIGN}")


def m(text: str, /) -> str:
    """Mark a text that `t` will be given later; return it as it is."""
    return text


def told(text: str) -> str:
    """Return what the library says (a note, a reason, a title) in the language of the page."""
    return _told(text, language())


def report_word(key: str, /, **values: Any) -> str:
    """Return a message of the reports, such as "verdict.fail", in the language of the page."""
    return xai.translate(key, language(), **values)


def language() -> str:
    """Return the language of the page: that of the link, the one chosen before, or the browser's."""
    if get_script_run_ctx(suppress_warning=True) is None:
        return _SPOKEN.get()
    if (requested := st.query_params.get(_PARAMETER)) in LANGUAGES:
        st.session_state[_STATE_KEY] = requested
    chosen: str | None = st.session_state.get(_STATE_KEY)
    return chosen or ("es" if (st.context.locale or "").lower().startswith("es") else "en")


def set_language(name: str) -> None:
    """Show this page, and those after it, in a language."""
    st.session_state[_STATE_KEY] = st.query_params[_PARAMETER] = name


def speak() -> None:
    """Let what begins from here, in whatever thread, speak the language of the page."""
    _SPOKEN.set(language())


def keep_language() -> None:
    """Put the language into the address: a link names choices in it, and must not depend on who opens it."""
    if _PARAMETER not in st.query_params:
        st.query_params[_PARAMETER] = language()


@lru_cache(maxsize=4096, typed=True)  # the page runs again at each choice; a message is more than its text
def _told(text: str, chosen: str) -> str:
    return xai.translate(text, chosen, sentence=True)


@cache
def _catalogue(language: str) -> Mapping[str, str]:
    result: dict[str, str] = json.loads((_FOLDER / f"{language}.json").read_text(encoding="utf-8"))
    return result


_ESCAPES = {ord(c): f"\\{c}" for c in r"\`*_{}[]()<>#|~$:&!"}
_LINK = re.compile(r"(https?:|www|@)(?=\S)", re.IGNORECASE)
UPLOAD_PREFIX = "xai-dashboard-"  # what folders of uploads begin with
_UPLOAD_PATH = re.compile(rf"[^\s'\"]*{UPLOAD_PREFIX}[^/\s]*/(?:images-)?[0-9a-f]{{16,}}/?")
NORMS = {"linf": "l-inf", "l2": "l2", "l1": "l1"}
ABOUT_NORMS = m(
    "How the size of a perturbation is measured: l-inf is the largest change of a pixel, l2 the square root of the sum "
    "of squares, l1 the sum of all changes. Pixels lie between 0 and 1."
)
_SIZES = {
    "linf": m("no pixel changes by more than {}"),
    "l2": m("the l2 norm of the perturbation is {}"),
    "l1": m("all changes sum to {}"),
}
_INSTANT, _SECONDS = 8, 1000  # rows through the model
_ROWS, _COLUMNS = (m("upper"), m("middle"), m("lower")), (m("left"), m("centre"), m("right"))


def safe(text: object, most: int = 400) -> str:
    """Return text that Streamlit shows literally: no Markdown, no links, no control characters, not too long.

    Class names and file names come from anywhere; as Markdown they could fetch images from the internet. What would
    become a link by itself is broken by a word joiner, which cannot be seen. Where uploads are kept is left out.
    """
    printable = _UPLOAD_PATH.sub("", "".join(c if c.isprintable() else " " for c in str(text)))
    printable = printable if len(printable) <= most else printable[: most - 1] + "…"
    return _LINK.sub("\\1\u2060", printable).translate(_ESCAPES)


def sentence(text: str) -> str:
    """Return what the library says in the language of the page, with a capital in front and a full stop at the end."""
    bare = text.strip()
    text = told(text if text == bare else bare)  # a message of the library would lose its template
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")


def bullets(lines: Iterable[str], most: int = 400) -> str:
    """Return what the library says as a Markdown list of sentences, each of at most so many characters."""
    return "\n".join(f"- {safe(sentence(line), most)}" for line in lines)


def percent(share: float) -> str:
    """Return a share as a percentage that never rounds to a certainty: "<0.1 %", "95 %", ">99.9 %"."""
    if share <= 0 or share >= 1:
        return written("{value:.0f} %", 100 * share)
    if share < 0.001:
        return written("<{value} %", 0.1)
    if share > 0.999:
        return written(">{value} %", 99.9)
    return written("{value:.1f} %" if share < 0.1 or share > 0.99 else "{value:.0f} %", 100 * share)


def correlation(value: float) -> str:
    """Return a correlation with a true minus sign."""
    return written("{value:.2f}", value)


_LONG = 90  # seconds above which minutes are told


def duration(seconds: float) -> str:
    """Return a length of time in seconds or minutes."""
    if seconds < 1:
        return "< 1 s"
    return f"{seconds:.0f} s" if seconds < _LONG else f"{seconds / 60:.0f} min"


def number_text(value: float) -> str:
    """Return a number to three digits with a true minus sign; large ones without an exponent."""
    return written("{value:.0f}" if abs(value) >= 100 else "{value:.3g}", value)


def interval(share: float, low: float, high: float) -> str:
    """Return a share with its interval: "84 % (72\N{EN DASH}92 %)"."""
    return f"{percent(share)} ({100 * low:.0f}\N{EN DASH}{100 * high:.0f} %)"


def counted(hits: int, total: int) -> str:
    """Return a count as a share with its 95 % Wilson interval: "30 of 500, 6.0 % (4\N{EN DASH}8 %)"."""
    span = scipy.stats.binomtest(hits, total).proportion_ci(method="wilson")
    share = interval(hits / total, float(span.low), float(span.high))
    return t("{hits} of {total}, {share}", hits=hits, total=total, share=share)


def radius(eps: float, norm: str) -> str:
    """Return a radius as people write it: "8/255" for l-inf, else "0.5"."""
    return f"{255 * eps:.3g}/255" if norm == "linf" else f"{eps:.3g}"


def size_of_change(distance: float, norm: str) -> str:
    """Say how large a change is: "no pixel changes by more than 8/255"."""
    return t(_SIZES[norm]).format(radius(distance, norm))


def describe_map(title: str, label: str, values: np.ndarray) -> str:
    """Say in a sentence where a map lies, for those who cannot see it.

    Args:
        title: of the method.
        label: of the explained class.
        values: (H, W) raw signed map.

    Returns:
        "Grad-CAM for espresso: half of the attribution lies in 18 % of the image, centre upper left."
    """
    attribution = np.abs(values).astype(np.float64)
    total = float(attribution.sum())
    if total == 0:
        return t("{title} for {label}: the map is 0 everywhere.", title=title, label=label)
    ranked = np.sort(attribution, axis=None)[::-1].cumsum()
    share = (int(np.searchsorted(ranked, total / 2)) + 1) / attribution.size
    text = t(
        "{title} for {label}: half of the attribution lies in {share} of the image, centre {place}",
        title=title,
        label=label,
        share=percent(share),
        place=_place(attribution),
    )
    against = float(attribution[values < 0].sum()) / total
    return (
        t("{text}; {against} of it is evidence against the class.", text=text, against=percent(against))
        if against
        else f"{text}."
    )


def _place(attribution: np.ndarray) -> str:
    """Return the third of the image, down and across, that the centre of mass falls into."""
    height, width, total = *attribution.shape, float(attribution.sum())
    down = float(attribution.sum(1) @ (np.arange(height) + 0.5)) / total / height
    across = float(attribution.sum(0) @ (np.arange(width) + 0.5)) / total / width
    row, column = _ROWS[min(2, int(3 * down))], _COLUMNS[min(2, int(3 * across))]
    return t("in the middle") if (row, column) == ("middle", "centre") else f"{t(row)} {t(column)}"


def describe_preprocessing(preprocessing: dict[str, Any]) -> str:
    """Say in words what happens to an image before the model sees it."""
    size, channels = preprocessing["input_size"], preprocessing["channels"]
    colour = t("grey") if channels == 1 else t("colour") if channels == 3 else t("{n} channels", n=channels)
    if size is None:
        first = t("Images keep their size ({colour})", colour=colour)
    else:
        ways = {
            "crop": t("resized and centre-cropped ({share:.3g} %)", share=100 * preprocessing["crop_ratio"]),
            "squash": t("resized without keeping the aspect ratio"),
            "pad": t("resized to fit and padded"),
        }
        first = t(
            "Images become {height} x {width} pixels ({colour}): {ways}",
            height=size[0],
            width=size[1],
            colour=colour,
            ways=ways[preprocessing["resize"]],
        )
    mean, std = (", ".join(written("{value:.4g}", v) for v in preprocessing[name]) for name in ("mean", "std"))
    return t(
        "{first}. Then, on pixels in [0, 1]: (pixel - mean) / std with mean {mean} and std {std}.",
        first=first,
        mean=mean,
        std=std,
    )


def cost(method: Any) -> str:
    """Say how many rows a method sends through the model and back: "1 forward, 1 back"."""
    forward = t("{n} forward", n=method.forward)
    return t("{forward}, {n} backward", forward=forward, n=method.backward) if method.backward else forward


def method_label(method: Any) -> str:
    """Return a method's title and how long it takes, in a word."""
    title, rows = told(method.title), method.forward + method.backward
    if rows <= _INSTANT:
        return t("{title} (instant)", title=title)
    return t("{title} (seconds)", title=title) if rows <= _SECONDS else t("{title} (slow)", title=title)


def describe_method(method: Any) -> dict[str, str]:
    """Return a line of the table of methods, as text that Streamlit shows literally."""
    return {
        t("Method"): safe(f"{told(method.title)} · {told(method.family)} · {cost(method)}"),
        t("Advised"): f":material/check_circle: {t('yes')}" if method.advised else f":material/cancel: {t('no')}",
        t("Why"): safe(sentence(method.why)),
    }


def number_list(values: Mapping[str, float]) -> str:
    """Return figures with their names: "gap 0.42, p 0.15"."""
    return ", ".join(f"{told(name)} {written('{value:.3g}', value)}" for name, value in values.items())
