"""Words of the dashboard: text that is safe to show, sentences made from data, the code that repeats a result."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import scipy

from xai.dashboard.language import m, t, told

_ESCAPES = {ord(c): f"\\{c}" for c in r"\`*_{}[]()<>#|~$:&!"}
_LINK = re.compile(r"(https?:|www|@)(?=\S)", re.IGNORECASE)
SHELF = "xai-dashboard-"  # what folders of uploads begin with
_SHELVED = re.compile(rf"[^\s'\"]*{SHELF}[^/\s]*/(?:pictures-)?[0-9a-f]{{16,}}/?")
NORMS = {"linf": "l-inf", "l2": "l2", "l1": "l1"}
ABOUT_NORMS = m(
    "How the size of a change is measured: l-inf is the largest change of a pixel, l2 "
    "the square root of the sum of squares, l1 the sum of all changes. Pixels lie "
    "between 0 and 1."
)
_SIZES = {
    "linf": m("no pixel changes by more than {}"),
    "l2": m("the l2 length of the change is {}"),
    "l1": m("all changes sum to {}"),
}
_ROWS, _COLUMNS = (m("upper"), m("middle"), m("lower")), (m("left"), m("centre"), m("right"))


def safe(text: object, most: int = 400) -> str:
    """Return text that Streamlit shows literally: no Markdown, no links, no control characters, not too long.

    Class names and file names come from anywhere; as Markdown they could fetch pictures from the network. What would
    become a link by itself is broken by a word joiner, which cannot be seen. Where uploads are kept is left out.
    """
    kept = _SHELVED.sub("", "".join(c if c.isprintable() else " " for c in str(text)))
    kept = kept if len(kept) <= most else kept[: most - 1] + "…"
    return _LINK.sub("\\1\u2060", kept).translate(_ESCAPES)


def sentence(text: str) -> str:
    """Return what the library says in the language of the page, with a capital in front and a full stop at the end."""
    text = told(text.strip())
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")


def percent(share: float) -> str:
    """Return a share as a percentage that never rounds to a certainty: "<0.1 %", "95 %", ">99.9 %"."""
    if share <= 0 or share >= 1:
        return f"{share:.0%}".replace("%", " %")
    if share < 0.001:
        return "<0.1 %"
    if share > 0.999:
        return ">99.9 %"
    return f"{100 * share:.1f} %" if share < 0.1 or share > 0.99 else f"{100 * share:.0f} %"


def correlation(value: float) -> str:
    """Return a correlation with a true minus sign."""
    return f"{value:.2f}".replace("-", "\N{MINUS SIGN}")


def figure(value: float) -> str:
    """Return a number to three digits with a true minus sign; large ones without an exponent."""
    return (f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}").replace("-", "\N{MINUS SIGN}")


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
        "Grad-CAM for espresso: half of the map's mass lies in 18 % of the picture, centre upper left."
    """
    mass = np.abs(values).astype(np.float64)
    total = float(mass.sum())
    if total == 0:
        return t("{title} for {label}: the map is 0 everywhere.", title=title, label=label)
    ranked = np.sort(mass, axis=None)[::-1].cumsum()
    share = (int(np.searchsorted(ranked, total / 2)) + 1) / mass.size
    text = t(
        "{title} for {label}: half of the map's mass lies in {share} of the picture, centre {place}",
        title=title,
        label=label,
        share=percent(share),
        place=_place(mass),
    )
    against = float(mass[values < 0].sum()) / total
    return (
        t("{text}; {against} of the mass speaks against the class.", text=text, against=percent(against))
        if against
        else f"{text}."
    )


def _place(mass: np.ndarray) -> str:
    """Return the third of the picture, down and across, that the centre of mass falls into."""
    down = float(mass.sum(1) @ (np.arange(mass.shape[0]) + 0.5)) / float(mass.sum()) / mass.shape[0]
    across = float(mass.sum(0) @ (np.arange(mass.shape[1]) + 0.5)) / float(mass.sum()) / mass.shape[1]
    row, column = _ROWS[min(2, int(3 * down))], _COLUMNS[min(2, int(3 * across))]
    return t("in the middle") if (row, column) == ("middle", "centre") else f"{t(row)} {t(column)}"


def describe_preprocessing(preprocessing: dict[str, Any]) -> str:
    """Say in words what happens to a picture before the network sees it."""
    size, channels = preprocessing["input_size"], preprocessing["channels"]
    colour = t("grey") if channels == 1 else t("colour") if channels == 3 else t("{n} channels", n=channels)
    if size is None:
        first = t("Pictures keep their size ({colour})", colour=colour)
    else:
        ways = {
            "crop": t(
                "resized, and {share:.3g} of the shorter side cut out of the middle",
                share=preprocessing["crop_ratio"],
            ),
            "squash": t("resized, whatever the ratio of their sides"),
            "pad": t("the longer side fitted and the rest filled"),
        }
        first = t(
            "Pictures become {height} x {width} pixels ({colour}): {ways}",
            height=size[0],
            width=size[1],
            colour=colour,
            ways=ways[preprocessing["resize"]],
        )
    mean, std = (", ".join(f"{v:.4g}" for v in preprocessing[name]) for name in ("mean", "std"))
    return t(
        "{first}. Then, on pixels in [0, 1]: (pixel - mean) / std with mean {mean} and std {std}.",
        first=first,
        mean=mean,
        std=std,
    )


def cost(method: Any) -> str:
    """Say how many rows a method sends through the network and back: "1 forward, 1 back"."""
    forward = t("{n} forward", n=method.forward)
    return t("{forward}, {n} back", forward=forward, n=method.backward) if method.backward else forward


def describe_method(method: Any) -> dict[str, str]:
    """Return a line of the table of methods, as text that Streamlit shows literally."""
    return {
        t("Method"): safe(f"{told(method.title)} · {told(method.family)} · {cost(method)}"),
        t("Advised"): f":material/check_circle: {t('yes')}" if method.advised else f":material/cancel: {t('no')}",
        t("Why"): safe(sentence(method.why)),
    }


def figures(values: Mapping[str, float]) -> str:
    """Return figures with their names: "gap 0.42, p 0.15"."""
    return ", ".join(f"{told(name)} {value:.3g}".replace("-", "\N{MINUS SIGN}") for name, value in values.items())


def call_for(
    method: str,
    target: str | int | list[str | int] | None,
    seed: int,
    extras: Mapping[str, Any],
    verb: str = "explain",
    *more: str,
) -> str:
    """Return the call of `xai.explain`, or of another verb like it, that explains `image` with `clf`.

    Args:
        method: registered name.
        target: class name or index, several of them, or None for the predicted one.
        seed: fixes everything random.
        extras: other arguments by name, those that are not the default.
        verb: of xai.
        more: arguments of that verb, as text.
    """
    arguments = [f"method={method!r}", *more]
    arguments += [] if target is None else [f"target={target!r}"]
    arguments += [] if seed == 0 else [f"seed={seed}"]
    arguments += [f"{name}={value!r}" for name, value in extras.items()]
    return f"xai.{verb}(clf, image, {', '.join(arguments)})"


def code_for(model: str, picture: str, calls: Sequence[str]) -> str:
    """Return the lines of Python that make the same picture.

    Args:
        model: an expression that loads it, such as `xai.load('example:fashion')`.
        picture: an expression for the picture, such as `'photo.jpg'`.
        calls: of `call_for`, one or more.
    """
    if len(calls) == 1:
        last = [f"e = {calls[0]}", "e.save('explanation.png')"]
    else:
        inner = [f"    {call}," for call in calls]
        last = ["explanations = [", *inner, "]", "together = xai.agreement(explanations)", "print(together.table)"]
        last += ["together.save('side_by_side.png')"]
    return script(model, f"image = {picture}", *last)


def script(model: str, *lines: str) -> str:
    """Return a script that loads a model as `clf` and goes on with `lines`."""
    return "\n".join(["import xai", "", f"clf = {model}", *lines, ""])


def file_stem(*parts: str) -> str:
    """Return a short file name made of safe characters only."""
    stems = (re.sub(r"[^A-Za-z0-9]+", "-", part.replace("+", "plus")).strip("-").lower()[:40] for part in parts)
    return "_".join(stem for stem in stems if stem) or "explanation"
