"""What LIME and KernelSHAP share: superpixels, scores with regions hidden, and weighted ridge regression."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy
import skimage
import torch
from torch import Tensor

from xai.core.model.objective import Objective
from xai.core.results.message import Message
from xai.core.runtime.randomness import generator
from xai.core.validation import check_whole
from xai.engine.prepare import SAMPLE, Prepared, in_low_precision, prepare
from xai.errors import NameLookupError, ShapeError
from xai.explanations.methods.base import MethodInput
from xai.explanations.methods.fills import Fill, fill_image

SEGMENTS = ("slic", "quickshift", "felzenszwalb", "grid")
Segments = str | np.ndarray | Tensor
_PIXELS = 4  # of the smallest regions asked for
_FEWEST, _MANY = 4, 10  # regions of a segmentation that can be used: at least, and at most times those asked for
_LARGEST, _LARGEST_EVEN = 0.9, 0.5  # share of the image in one region; slic's are meant to be of one size


def find_regions(image: Tensor, segments: Segments, regions: int) -> tuple[Tensor, tuple[str, ...]]:
    """Return the region of each pixel (h, w) int64, numbered 0 to K - 1 without gaps, and what is to be said of them.

    Whatever numbering comes in, from a library or from the caller, is renumbered: a region without a column in the
    design, or a column without a region, would silently explain nothing. Where a segmentation finds no regions to
    compare (one for nearly the whole image, as on noise, or a thousand specks) a grid takes its place, and the note
    says so; a label map of the caller is taken as it is.

    Args:
        image: (1, C, h, w) in [0, 1].
        segments: "slic" (compactness 10), "quickshift" (lime's settings), "felzenszwalb" (scale 100), "grid", or a
            label map (h, w) with any numbers.
        regions: about how many, for slic and grid.

    Raises:
        NameLookupError: no such segmentation.
        RangeError: fewer than one region.
        ShapeError: a label map of another size.
    """
    check_whole("regions", regions)
    labels = _segment(image, segments, regions) if isinstance(segments, str) else np.asarray(segments)
    if labels.shape != tuple(image.shape[2:]):
        raise ShapeError(
            f"Expected `segments` of shape {tuple(image.shape[2:])}, one number per pixel, but got {labels.shape}."
        )
    fault = _fault(labels, segments, regions) if isinstance(segments, str) and segments != "grid" else None
    notes: tuple[Message, ...] = ()
    if fault is not None:
        height, width = labels.shape
        labels = _grid(height, width, _fitting(regions, height, width))
        notes = (Message("{segments} {fault}: a grid is used instead", segments=segments, fault=fault),)
    _, numbers = np.unique(labels, return_inverse=True)
    return torch.from_numpy(numbers.reshape(labels.shape).astype(np.int64)).to(image.device), notes


def _fault(labels: np.ndarray, segments: str, regions: int) -> Message | None:
    """Return what is wrong with a segmentation that leaves nothing to compare; None when it can be used."""
    sizes = np.unique(labels, return_counts=True)[1]
    fewest = min(_FEWEST, _fitting(regions, labels.shape[0], labels.shape[1]))
    if len(sizes) < fewest:
        return Message("finds {count} region(s)", count=len(sizes))
    share = sizes.max() / labels.size
    if fewest == _FEWEST and share > (_LARGEST_EVEN if segments == "slic" else _LARGEST):
        return Message("finds one region for {share:.0%} of the image", share=share)
    if len(sizes) > max(_FEWEST, min(_MANY * regions, labels.size // _PIXELS)):
        pixels = labels.size // len(sizes)
        return Message("finds {count} regions of {pixels} pixels on average", count=len(sizes), pixels=pixels)
    return None


def _fitting(regions: int, height: int, width: int) -> int:
    """Return how many regions of four pixels and more an image has room for, at most as many as asked for."""
    return min(regions, max(1, height * width // _PIXELS))


def _segment(image: Tensor, segments: str, regions: int) -> np.ndarray:
    if segments not in SEGMENTS:
        raise NameLookupError("segmentation", segments, SEGMENTS)
    height, width = image.shape[2:]
    regions = _fitting(regions, height, width)
    if segments == "grid":
        return _grid(height, width, regions)
    pixels = image[0].permute(1, 2, 0).detach().cpu().double().numpy()
    if pixels.shape[2] != 3:
        pixels = np.repeat(pixels.mean(2, keepdims=True), 3, 2)
    cut = skimage.segmentation
    call: Any = {
        "slic": lambda: cut.slic(pixels, n_segments=regions, compactness=10, start_label=0, channel_axis=2),
        "quickshift": lambda: cut.quickshift(pixels, kernel_size=4, max_dist=200, ratio=0.2),  # type: ignore[no-untyped-call]
        "felzenszwalb": lambda: cut.felzenszwalb(pixels, scale=100, sigma=0.5, min_size=max(1, height * width // 500)),
    }[segments]
    return np.asarray(call())


def _grid(height: int, width: int, regions: int) -> np.ndarray:
    down = min(height, max(1, round((regions * height / width) ** 0.5)))
    across = min(width, max(1, round(regions / down)))
    rows, columns = np.arange(height) * down // height, np.arange(width) * across // width
    labels: np.ndarray = rows[:, None] * across + columns
    return labels


class Hidden:
    """Copies of an image with some of its regions hidden, made on the device.

    Args:
        image: (1, C, h, w).
        filled: (1, C, h, w), what shows where regions are hidden.
        labels: (h, w) of `find_regions`.
    """

    def __init__(self, image: Tensor, filled: Tensor, labels: Tensor) -> None:
        self.labels, self.count = labels, int(labels.max()) + 1
        self.filled = filled[0].permute(1, 2, 0).contiguous()
        self.change = image[0].permute(1, 2, 0).contiguous() - self.filled

    def copies(self, shown: Tensor) -> Tensor:
        """Return images (r, C, h, w), channels last in memory, that show the regions of each row of (r, K)."""
        seen = shown.to(self.change)[:, self.labels]
        return torch.addcmul(self.filled, seen[..., None], self.change).permute(0, 3, 1, 2)

    @property
    def nothing_changes(self) -> bool:
        """Whether hiding changes no pixel, as with mean colours on a flat image."""
        return not bool(self.change.abs().max() > 1e-6)


def mean_colours(image: Tensor, labels: Tensor) -> Tensor:
    """Return the image (1, C, h, w) with each region in its mean colour."""
    flat, where = image[0].flatten(1), labels.flatten()
    count = torch.bincount(where).to(image)
    total = torch.zeros(flat.shape[0], len(count), dtype=image.dtype, device=image.device).index_add_(1, where, flat)
    return (total / count)[:, labels][None]


@dataclass(frozen=True, eq=False)
class Fit:
    """A linear model per class.

    Attributes:
        coefficients: (K, m).
        errors: (K, m) standard errors; infinite where there are no more samples than coefficients.
        intercept: (m,).
        r2: (m,) weighted share of the variance that is explained; 1 for constant scores.
        freedom: samples minus coefficients.
    """

    coefficients: Tensor
    errors: Tensor
    intercept: Tensor
    r2: Tensor
    freedom: int

    @property
    def half(self) -> Tensor:
        """Half the width of the 95 % intervals (K, m)."""
        return self.errors * float(scipy.stats.t.ppf(0.975, max(1, self.freedom)))

    def settled(self, top: int) -> bool:
        """Whether, for every class, the intervals of neighbours among the strongest `top` regions do not overlap."""
        strength, order = self.coefficients.abs().sort(dim=0, descending=True)
        half = self.half.gather(0, order)
        last = min(top, len(strength) - 1)
        apart = strength[:last] - strength[1 : last + 1] > half[:last] + half[1 : last + 1]
        return last > 0 and bool(apart.all())

    def of(self, k: int) -> dict[str, Tensor]:
        """Return the figures of class `k` by name."""
        values, half = self.coefficients[:, k], self.half[:, k].nan_to_num(posinf=1e30)
        return {
            "coefficients": values,
            "low": values - half,
            "high": values + half,
            "intercept": self.intercept[k],
            "r2": self.r2[k],
        }


def weighted_ridge(design: Tensor, scores: Tensor, weights: Tensor, alpha: float) -> Fit:
    """Fit scores ~ design by weighted least squares with a ridge. The coefficients are penalised, the intercept is not.

    Args:
        design: (n, K) float64.
        scores: (n, m) float64.
        weights: (n,) positive.
        alpha: 0 for none; regions that are never told apart then share their effect (least norm).

    Cost: one Cholesky factor of (K, K) for all classes; standard errors are HC1 (MacKinnon and White 1985).
    """
    share = weights / weights.sum()
    middle, level = share @ design, share @ scores
    centred, targets = design - middle, scores - level
    gram = centred.T @ (weights[:, None] * centred)
    system = gram + alpha * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    inverse = (
        torch.linalg.pinv(system, hermitian=True)
        if alpha == 0
        else torch.cholesky_inverse(torch.linalg.cholesky(system))
    )
    projection = inverse @ (weights[:, None] * centred).T  # (K, n)
    coefficients = projection @ targets
    rest = targets - centred @ coefficients
    total = (weights[:, None] * targets.square()).sum(0)
    left = (weights[:, None] * rest.square()).sum(0)
    r2 = torch.where(total > 0, 1 - left / total.clamp_min(1e-300), torch.ones_like(total))
    count, columns = design.shape
    freedom = count - columns - 1
    inflate = count / freedom if freedom > 0 else float("inf")
    errors = (projection.square() @ rest.square() * inflate).nan_to_num(nan=float("inf")).sqrt()
    return Fit(coefficients, errors, level - middle @ coefficients, r2, freedom)


_TRIAL = 1 << 16  # number of the draw whose coalitions try low precision


@dataclass(frozen=True, eq=False)
class Masked:
    """An image, its regions, and the model that is asked."""

    work: MethodInput
    objective: Objective
    prepared: Prepared
    hidden: Hidden
    logits: Tensor
    targets: Tensor
    doubts: tuple[str, ...] = ()
    precision: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, work: MethodInput, segments: Segments, regions: int, fill: Fill, *, fast: bool, score: str = ""
    ) -> "Masked":
        """Cut the image and prepare the model; `score` asks for another one than the work's."""
        prepared = prepare(work.classifier, work.images)
        labels, doubts = find_regions(work.images, segments, regions)
        if isinstance(fill, str) and fill == "mean":
            filled = mean_colours(work.images, labels)
        else:
            filled = fill_image(work.images, fill, key=work.keys[0], seed=work.seed)
        logits = prepared.logits(work.images).to(work.inputs.dtype)
        objective = Objective(score, work.classifier.read_outputs()) if score else work.objective
        hidden = Hidden(work.images, filled, labels)
        made = cls(work, objective, prepared, hidden, logits, work.targets(logits), doubts)
        return made._quick() if fast else made

    def _quick(self) -> "Masked":
        """Return the same in low precision where some coalitions get the same scores in it."""
        shown = draw((SAMPLE + 1, self.regions), generator(self.work.seed, self.work.keys[0], _TRIAL))
        shown[0] = True

        def falls(prepared: Prepared) -> Tensor:
            scores = replace(self, prepared=prepared).scores(shown, 0.0, 0.0)
            return scores[:1] - scores[1:]

        prepared, note = in_low_precision(self.prepared, falls)
        return replace(self, prepared=prepared, precision=(note,))

    @property
    def regions(self) -> int:
        """Number of regions."""
        return self.hidden.count

    def scores(self, shown: Tensor, begin: float = 0.0, share: float = 1.0) -> Tensor:
        """Return float64 scores (r, n) of the image with the regions of each row of (r, K) shown.

        Args:
            shown: (r, K) bool.
            begin: share of the work that was done before, for progress.
            share: of the work that this is.
        """
        versus = None if self.work.versus is None else self.work.versus.to(self.targets.device)
        scores = torch.empty(len(shown), len(self.targets), dtype=torch.float64, device=self.logits.device)
        shown = shown.to(self.logits.device)

        def run(start: int, stop: int) -> None:
            logits = self.prepared.logits(self.hidden.copies(shown[start:stop])).double()
            scores[start:stop] = self.objective.all(logits, self.targets, versus)

        sample = self.work.images.expand(min(64, len(shown)), -1, -1, -1)
        limit = self.prepared.row_limit(sample, most=32)
        self.work.part(begin, share).run_rows(run, len(shown), limit)
        return scores

    def map_of(self, values: Tensor) -> Tensor:
        """Return values per region (K, n) as maps (n, 1, h, w)."""
        return values.T[:, self.hidden.labels][:, None].to(self.work.inputs.dtype)

    def notes(self, budget: int) -> list[str]:
        """Say what the regions are, and what to beware of."""
        notes = [Message("{count} regions", count=self.regions), *self.doubts, *self.precision]
        if self.hidden.nothing_changes:
            template = "hiding changes no pixel, because the fill equals the image: choose another `fill`"
            notes.append(Message(template))
        if budget < 10 * self.regions:
            template = "{count} samples are few for {regions} regions: ten per region are a rule of thumb"
            notes.append(Message(template, count=budget, regions=self.regions))
        return notes


def draw(shape: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Return random coalitions (n, K) bool: each region shown with probability one half."""
    return torch.rand(shape, generator=generator) < 0.5
