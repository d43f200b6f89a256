"""The results of checks, without verdicts. They can be judged again from the file alone."""

import base64
import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Self

import numpy as np
from PIL import Image
from torch import Tensor

from xai.core.images.samples import to_rgb
from xai.core.results.codec import finite, plain

KEY_BYTES = 8  # of each image's digest, enough to find it again in another audit


@dataclass(frozen=True)
class GroupShare:
    """How many images of one class or group are right.

    Attributes:
        name: of the class, or of the group within its column.
        hits: right ones.
        n: all.
        column: of a group; "" for classes.
    """

    name: str
    hits: int
    n: int
    column: str = ""


@dataclass(frozen=True, eq=False)
class CheckResult:
    """One figure with all that judges need.

    Attributes:
        value: the figure; None where nothing could be measured.
        low: lower end of its interval; None for counts of findings, which have their own inference.
        high: upper end.
        level: of the interval.
        n: images measured.
        unit: "share", "points", "ece", "auroc", "iou", "findings" or "images/s".
        hits: right images, where the figure is a share.
        classes: per class, where the figure is a share.
        groups: per group of each group column.
        rows: (n,) numbers of the images in the data of the audit; None where the figure has no single images.
        outcomes: (n,) bool right or wrong, or float64, one per image of `rows`.
        undecided: of findings: what was too small to tell; "" when everything was decided.
        detectable: of findings: the smallest effect that would have been seen, four times in five.
        needed: of findings: images that would settle what is undecided.
        doubts: what makes the figure itself doubtful; a check with doubts does not pass.
        claim: one sentence with the figure.
        facts: further figures, JSON-ready.
        tables: rows for reports, by name.
        curves: columns of equal length for reports, by name.
        evidence: images for reports, see `Artifacts`.
        notes: what was done and what to beware of.
        trouble: {"type", "message"} of an error, {"why"} of what was not run; {} where it was measured.
        done: images worked on, per stage.
        planned: images to work on, per stage.
        keys: of the finished work.
        shrunk: smallest micro-batch that memory forced; None for the planned one.
        files: of the evidence.
    """

    value: float | None
    low: float | None
    high: float | None
    level: float
    n: int
    unit: str
    hits: int | None = None
    classes: tuple[GroupShare, ...] = ()
    groups: tuple[GroupShare, ...] = ()
    rows: np.ndarray | None = field(default=None, repr=False)
    outcomes: np.ndarray | None = field(default=None, repr=False)
    undecided: str = ""
    detectable: float | None = None
    needed: int | None = None
    doubts: tuple[str, ...] = ()
    claim: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    tables: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    curves: Mapping[str, Mapping[str, Sequence[Any]]] = field(default_factory=dict)
    evidence: tuple[Mapping[str, Any], ...] = ()
    notes: tuple[str, ...] = ()
    trouble: Mapping[str, str] = field(default_factory=dict)
    done: tuple[int, ...] = ()
    planned: tuple[int, ...] = ()
    keys: tuple[str, ...] = ()
    shrunk: int | None = None
    files: Mapping[str, bytes] = field(default_factory=dict)

    @classmethod
    def unmeasured(cls, trouble: Mapping[str, str], level: float, **work: Any) -> Self:
        """Return the result of a check that was not run or broke, with the fields of its work."""
        return cls(None, None, None, level, 0, "", trouble=trouble, **work)

    def to_dict(self) -> dict[str, Any]:
        """Return what was measured, JSON-ready; numbers that are not finite become None, arrays base64 text."""
        content = {
            f.name: finite(plain(getattr(self, f.name))) for f in fields(self) if f.name not in _SPECIAL | _OF_WORK
        }
        content |= {name: [vars(share) for share in getattr(self, name)] for name in ("classes", "groups")}
        return content | {"rows": encode(self.rows, "<i4"), "outcomes": _outcomes(self.outcomes)}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """Return what `to_dict` wrote.

        Raises:
            LookupError, TypeError, ValueError: it did not write this.
        """
        values = {f.name: content[f.name] for f in fields(cls) if f.name not in _OF_WORK}
        values |= {name: tuple(GroupShare(**share) for share in content[name]) for name in ("classes", "groups")}
        values |= {name: tuple(content[name]) for name in ("doubts", "evidence", "notes")}
        values["rows"] = None if content["rows"] is None else decode(content["rows"], "<i4")
        values["outcomes"] = _read_outcomes(content["outcomes"])
        return cls(**values)


_SPECIAL = {"classes", "groups", "rows", "outcomes"}
_OF_WORK = {"trouble", "done", "planned", "keys", "shrunk", "files"}  # no part of what was measured


def encode(values: np.ndarray | None, kind: str) -> str | None:
    """Return numbers of a type as base64 text."""
    return None if values is None else base64.b64encode(np.asarray(values).astype(kind).tobytes()).decode()


def decode(text: str, kind: str) -> np.ndarray:
    """Return the numbers of such a text."""
    return np.frombuffer(base64.b64decode(text, validate=True), dtype=kind).copy()


def _outcomes(values: np.ndarray | None) -> dict[str, Any] | None:
    if values is None:
        return None
    if values.dtype == bool:
        return {"kind": "hits", "n": len(values), "data": encode(np.packbits(values), "u1")}
    return {"kind": "values", "n": len(values), "data": encode(values, "<f8")}


def _read_outcomes(content: Mapping[str, Any] | None) -> np.ndarray | None:
    if content is None:
        return None
    if content["kind"] == "hits":
        return np.unpackbits(decode(content["data"], "u1"), count=int(content["n"])).astype(bool)
    return decode(content["data"], "<f8")


class Artifacts:
    """Collects images and maps of one check; each reference holds the digest that the file is named by."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def image(self, pixels: Tensor | np.ndarray, role: str = "image") -> dict[str, Any]:
        """Keep an image (C, H, W) or (H, W) in [0, 1] as an 8-bit PNG; return its reference.

        Args:
            pixels: of the image; of more than three channels the first three are kept as colours.
            role: "image", "adversarial", "difference", "corrupted", "control", ...
        """
        values = np.asarray(pixels, dtype=np.float64)
        values = values[None] if values.ndim == 2 else values
        eight = np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)
        shown = eight[0] if len(eight) == 1 else to_rgb(np.moveaxis(eight, 0, -1))
        stream = io.BytesIO()
        Image.fromarray(shown).save(stream, "PNG")
        height, width = shown.shape[:2]
        return self._add(stream.getvalue(), "png", role) | {"width": width, "height": height}

    def difference(self, before: Tensor, after: Tensor) -> dict[str, Any]:
        """Keep what was changed, stretched so that its largest change is black or white; grey means unchanged."""
        change = np.asarray(after, dtype=np.float64) - np.asarray(before, dtype=np.float64)
        most = float(np.abs(change).max())
        times = 0.5 / most if most > 0 else 1.0
        return self.image(0.5 + change * times, "difference") | {"times": times}

    def heatmap(self, values: Tensor | np.ndarray, role: str = "heatmap") -> dict[str, Any]:
        """Keep a map (H, W) with its exact values, float32 in a .npy file; return its reference with its range."""
        exact = np.ascontiguousarray(np.asarray(values, dtype="<f4"))
        stream = io.BytesIO()
        np.save(stream, exact, allow_pickle=False)
        height, width = exact.shape
        span = {"low": float(exact.min()), "high": float(exact.max())}
        return self._add(stream.getvalue(), "npy", role) | {"width": width, "height": height} | span

    def _add(self, content: bytes, kind: str, role: str) -> dict[str, Any]:
        digest = hashlib.sha256(content).hexdigest()
        name = f"{digest[:32]}.{kind}"
        self.files[name] = content
        return {"role": role, "file": f"evidence/{name}", "sha256": digest}


def exhibit(
    title: str, caption: str, alt: str, images: Sequence[Mapping[str, Any]], *, image: str = "", **facts: Any
) -> dict[str, Any]:
    """Return one piece of evidence.

    Args:
        title: short.
        caption: what is seen, one sentence.
        alt: the same for those who do not see it.
        images: references of `Artifacts`.
        image: identifier in the data; "" for none.
        facts: label, predicted, confidence, ...
    """
    return {"title": title, "caption": caption, "alt": alt, "images": list(images), "image": image, "facts": facts}
