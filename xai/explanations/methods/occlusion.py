"""Occlusion sensitivity."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import torch
from torch import Tensor

from xai.core.results.message import Message
from xai.engine.incremental import Incremental, follow_the_middle
from xai.engine.local import take
from xai.engine.prepare import Prepared, in_low_precision, prepare
from xai.explanations.methods._windows import (
    BORDERS,
    Length,
    TokenDropper,
    WindowAxis,
    averaged,
    groups,
    pixels,
    plan_axis,
)
from xai.explanations.methods.base import EXPLAINERS, Cost, Explainer, MethodInput, MethodOutput
from xai.explanations.methods.fills import FILLS, Fill, fill_image, inpaint

_GRID, _FINE = 6, 12  # windows down and across that try whether a faster way says the same; and that show the spread


@EXPLAINERS.register("occlusion")
@dataclass(frozen=True)
class Occlusion(Explainer):
    """Hides one window after another and measures how far the class score falls.

    A pixel's value is the mean, over the windows that cover it, of score(image) - score(image with the window
    hidden): above 0 is evidence for the class. All classes come from one sweep. Layers are computed anew only where the
    window can be felt (`xai.engine.incremental`), which changes nothing beyond rounding.

    Misleads where the fill itself looks like something, or where the same evidence stands twice: hiding one changes
    nothing. Try several baselines (`xai.compare_baselines`).

    Args:
        window: height and width, in pixels (int) or as a share of the side (float); one number or a pair.
        stride: between windows, likewise; None is half a window. At most the window.
        baseline: what is shown instead: "mean" (the image's mean colour), "zero" (black), "blur", "inpaint" (smoothly
            from around), "noise", a number, a tensor in [0, 1], or, for transformers, "drop": the tokens of the window
            leave the sequence, so nothing is shown instead.
        border: "clip" cuts windows at the border, which hide less there (captum's way); "inside" moves them inside.
        fast: low precision where the device is quicker in it, and following a window's influence only in its middle;
            each when it passes a check on this image. The figures are in the notes.

    Cost: one row forward per window, about 170 by default, most layers on a piece of the map.
    Source: Zeiler and Fergus 2014, section 4.2 (arXiv 1311.2901); averaging as in captum; incremental inference after
    Nakandala et al. 2019; dropped tokens after Jain et al. 2022 (arXiv 2204.08945).
    """

    name: ClassVar[str] = "occlusion"
    title: ClassVar[str] = "Occlusion sensitivity"
    family: ClassVar[str] = "occlusion"
    unit: ClassVar[str] = "fall of the class score when hidden"
    needs: ClassVar[tuple[str, ...]] = ()
    one_by_one: ClassVar[bool] = True
    choices: ClassVar[Mapping[str, tuple[str, ...]]] = {"baseline": (*FILLS, "drop"), "border": BORDERS}

    window: Length = 0.15
    stride: Length | None = None
    baseline: Fill = "mean"
    border: str = "clip"
    fast: bool = False

    @property
    def cost(self) -> Cost:
        """One row per window, for windows as a share of the side."""
        window = self.window if isinstance(self.window, float) else 0.15
        stride = self.stride if isinstance(self.stride, float) else window / 2
        across = round((1 - window) / stride) + 1
        return Cost(forward=across * across, backward=0, share="forward: early layers on pieces of the map")

    def _attribute(self, work: MethodInput) -> MethodOutput:
        size = (work.images.shape[2], work.images.shape[3])
        if isinstance(self.baseline, str) and self.baseline == "drop":
            return self._dropped(work, size)
        window = pixels(self.window, size, "window")
        rows, columns = self._axes(size, window)
        prepared = prepare(work.classifier, work.images)
        engine = Incremental(prepared, work.images, window)
        sweep = _Sweep(work, prepared, _Windows(self.baseline, work, rows, columns))
        sizes = {"count": len(sweep.windows.order), "height": window[0], "width": window[1]}
        notes = [Message("{count} windows of {height} x {width} pixels", **sizes), *engine.notes]
        if self.fast:
            engine, quick_note = sweep.quicker(engine, window)
            notes += quick_note
        falls = sweep.falls(engine)
        full = averaged(falls, rows, columns).to(work.inputs.dtype)[:, None]
        return MethodOutput(full, sweep.targets, work.spread(sweep.logits), falls, None, notes)

    def _axes(self, size: tuple[int, int], window: tuple[int, int]) -> tuple[WindowAxis, WindowAxis]:
        half = (max(1, window[0] // 2), max(1, window[1] // 2))
        stride = half if self.stride is None else pixels(self.stride, size, "stride")
        rows, columns = (plan_axis(size[k], window[k], stride[k], self.border) for k in (0, 1))
        return rows, columns

    def _dropped(self, work: MethodInput, size: tuple[int, int]) -> MethodOutput:
        """Drop tokens instead of painting over pixels."""
        dropper = TokenDropper(work.classifier, work.images)
        cells = (size[0] / dropper.grid[0], size[1] / dropper.grid[1])
        window = tuple(max(1, round(v / c)) for v, c in zip(pixels(self.window, size, "window"), cells, strict=True))
        stride = tuple(max(1, w // 2) for w in window)
        if self.stride is not None:
            strides = pixels(self.stride, size, "stride")
            stride = tuple(min(w, max(1, round(v / c))) for v, c, w in zip(strides, cells, window, strict=True))
        rows, columns = (plan_axis(dropper.grid[k], window[k], stride[k], self.border) for k in (0, 1))
        targets = work.targets(dropper.clean)
        clean = work.scores(dropper.clean, targets)
        drops = clean.new_zeros(len(rows.begin) * len(columns.begin), len(targets))

        def run(start: int, stop: int) -> None:
            for (height, width), which in _slices(groups(rows, columns), start, stop):
                top, left = rows.begin[which // len(columns.begin)], columns.begin[which % len(columns.begin)]
                values = dropper.logits(top, left, (height, width))
                drops[which.to(drops.device)] = clean - work.scores(values, targets)

        work.run_rows(run, len(drops), min(32, work.classifier.row_limit(work.images)))
        falls = drops.T.reshape(len(targets), len(rows.begin), len(columns.begin))
        coarse = averaged(falls, rows, columns)
        full = torch.nn.functional.interpolate(coarse[:, None], size, mode="nearest-exact")
        note = Message(
            "{count} windows of {height} x {width} tokens leave the sequence before {layer!r}",
            **{"count": len(drops), "height": window[0], "width": window[1], "layer": dropper.name},
        )
        return MethodOutput(full, targets, work.spread(dropper.clean), falls, None, [note])


class _Sweep:
    """All windows of an image sent through an engine, for all classes asked for."""

    def __init__(self, work: MethodInput, prepared: Prepared, windows: "_Windows") -> None:
        self.work, self.prepared, self.windows = work, prepared, windows
        self.logits = prepared.logits(work.images).to(work.inputs.dtype)
        self.targets = work.targets(self.logits)
        self.clean: dict[Prepared, Tensor] = {}

    def values(self, engine: Incremental, size: tuple[int, int], which: Tensor) -> Tensor:
        """Return falls of the score (N, n) for windows of one size."""
        top, left = self.windows.places(which)
        logits = engine.logits(self.windows.values(top, left, size), top, left)
        return self._clean(engine.prepared) - self._scores(logits)

    def _clean(self, prepared: Prepared) -> Tensor:
        """Return the scores (1, n) of the clean image in the same arithmetic, so that its rounding cancels."""
        if prepared not in self.clean:
            self.clean[prepared] = self._scores(prepared.logits(self.work.images))
        return self.clean[prepared]

    def _scores(self, logits: Tensor) -> Tensor:
        return self.work.scores(logits.to(self.logits.dtype), self.targets)

    def quicker(self, exact: Incremental, window: tuple[int, int]) -> tuple[Incremental, list[str]]:
        """Return an engine in low precision, or one that follows less, where a sample of windows says the same."""
        engines, sample = {self.prepared: exact}, cache(self.sample)

        def falls(prepared: Prepared) -> Tensor:
            if prepared not in engines:
                engines[prepared] = Incremental(prepared, self.work.images, window)
            sampled = sample(engines[prepared])
            return sampled if prepared is self.prepared else torch.cat([sampled, self.sample(engines[prepared], _FINE)])

        prepared, note = in_low_precision(self.prepared, falls)
        if prepared is not self.prepared:
            return engines[prepared], [note]
        engine, second = follow_the_middle(exact, sample)
        return engine, [note, second]

    def sample(self, engine: Incremental, most: int = _GRID) -> Tensor:
        """Return falls (S, n) for whole windows on a grid over the image, at most `most` down and across."""
        size, which = self.windows.sizes[0]
        down, across = len(self.windows.rows.begin), len(self.windows.columns.begin)
        row, column = which // across, which % across
        chosen = which[(row % -(-down // most) == 0) & (column % -(-across // most) == 0)]
        return self.values(engine, size, chosen)

    def falls(self, engine: Incremental) -> Tensor:
        """Return falls of the score (n, down, across)."""
        windows, work = self.windows, self.work
        falls = self.logits.new_zeros(len(windows.order), len(self.targets))

        def run(start: int, stop: int) -> None:
            for size, which in windows.slices(start, stop):
                falls[which.to(falls.device)] = self.values(engine, size, which)

        sample = work.images.expand(min(64, len(falls)), -1, -1, -1)
        work.run_rows(run, len(falls), self.prepared.row_limit(sample, most=64, cached=False))
        return falls.T.reshape(len(self.targets), len(windows.rows.begin), len(windows.columns.begin))


class _Windows:
    """The windows of a sweep in the order they run: those of one size together."""

    def __init__(self, baseline: Fill, work: MethodInput, rows: WindowAxis, columns: WindowAxis) -> None:
        self.rows, self.columns, self.image = rows, columns, work.images
        self.sizes = groups(rows, columns)
        self.order = torch.cat([which for _, which in self.sizes])
        self.filled: Tensor | None = None
        if not (isinstance(baseline, str) and baseline == "inpaint"):
            filled = fill_image(work.images, baseline, key=work.keys[0], seed=work.seed)
            self.filled = filled[0].permute(1, 2, 0).contiguous()

    def slices(self, start: int, stop: int) -> list[tuple[tuple[int, int], Tensor]]:
        """Return the windows number start..stop in running order, by size."""
        return _slices(self.sizes, start, stop)

    def places(self, which: Tensor) -> tuple[Tensor, Tensor]:
        """Return first rows and columns of windows."""
        across = len(self.columns.begin)
        return self.rows.begin[which // across], self.columns.begin[which % across]

    def values(self, top: Tensor, left: Tensor, size: tuple[int, int]) -> Tensor:
        """Return what is shown in windows (N, C, height, width)."""
        if self.filled is None:
            return inpaint(self.image, top, left, size)
        return take(self.filled, top, left, size).permute(0, 3, 1, 2)


def _slices(sizes: list[tuple[tuple[int, int], Tensor]], start: int, stop: int) -> list[tuple[tuple[int, int], Tensor]]:
    slices, before = [], 0
    for size, which in sizes:
        part = which[max(0, start - before) : max(0, stop - before)]
        before += len(which)
        if len(part):
            slices.append((size, part))
    return slices
