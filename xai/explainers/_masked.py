"""What LIME and KernelSHAP share: scores of a picture with regions hidden."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from xai.core.objective import Objective
from xai.core.seeds import generator
from xai.engine import Prepared, prepare
from xai.engine.precision import SAMPLE, in_low_precision
from xai.explainers._base import Work
from xai.explainers._fills import Fill, fill_image
from xai.explainers._regions import Hidden, Segments, find_regions, mean_colours

_TRIAL = 1 << 16  # number of the draw whose coalitions try low precision


@dataclass(frozen=True, eq=False)
class Masked:
    """A picture, its regions, and the model that is asked."""

    work: Work
    objective: Objective
    prepared: Prepared
    hidden: Hidden
    logits: Tensor
    targets: Tensor
    doubts: tuple[str, ...] = ()
    precision: tuple[str, ...] = ()

    @classmethod
    def of(cls, work: Work, segments: Segments, regions: int, fill: Fill, *, fast: bool, score: str = "") -> "Masked":
        """Cut the picture and prepare the model; `score` asks for another one than the work's."""
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
        """Return float64 scores (r, n) of the picture with the regions of each row of (r, K) shown.

        Args:
            shown: (r, K) bool.
            begin: share of the work that was done before, for progress.
            share: of the work that this is.
        """
        versus = None if self.work.versus is None else self.work.versus.to(self.targets.device)
        found = torch.empty(len(shown), len(self.targets), dtype=torch.float64, device=self.logits.device)
        shown = shown.to(self.logits.device)

        def run(start: int, stop: int) -> None:
            logits = self.prepared.logits(self.hidden.copies(shown[start:stop])).double()
            found[start:stop] = self.objective.all(logits, self.targets, versus)

        sample = self.work.images.expand(min(64, len(shown)), -1, -1, -1)
        limit = self.prepared.row_limit(sample, most=32)
        self.work.part(begin, share).run_rows(run, len(shown), limit)
        return found

    def map_of(self, values: Tensor) -> Tensor:
        """Return values per region (K, n) as maps (n, 1, h, w)."""
        return values.T[:, self.hidden.labels][:, None].to(self.work.inputs.dtype)

    def notes(self, budget: int) -> list[str]:
        """Say what the regions are, and what to beware of."""
        found = [f"{self.regions} regions", *self.doubts, *self.precision]
        if self.hidden.nothing_changes:
            found.append("hiding changes no pixel, because the fill equals the picture: choose another `fill`")
        if budget < 10 * self.regions:
            found.append(f"{budget} samples are few for {self.regions} regions: ten per region are a rule of thumb")
        return found


def draw(shape: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Return random coalitions (n, K) bool: each region shown with probability one half."""
    return torch.rand(shape, generator=generator) < 0.5
