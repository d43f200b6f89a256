"""Fit pictures to compare with."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from xai.core.classifier import Classifier
from xai.core.outputs import Chunk, run_outputs
from xai.detectors._neighbours import distances, most_similar
from xai.detectors._reference import Bank
from xai.detectors._rows import Rows, View, to_unit
from xai.errors import RangeError

if TYPE_CHECKING:
    import pandas as pd

_BYTES = 64 << 20


@dataclass(frozen=True, eq=False)
class Neighbours:
    """Features of fit pictures.

    Attributes:
        features: (n, d) float32 with norm 1.
        numbers: (n,) of the pictures in the fit data.
        labels: (n,) their classes.
    """

    features: Tensor = field(repr=False)
    numbers: Tensor = field(repr=False)
    labels: Tensor = field(repr=False)

    @classmethod
    def of(cls, bank: Bank, seed: int) -> "Neighbours":
        """Keep what fits into 64 MB, chosen at random."""
        most = max(1, _BYTES // (4 * bank.features.shape[1]))
        rows = torch.arange(len(bank))
        if len(bank) > most:
            rows = torch.randperm(len(bank), generator=torch.Generator().manual_seed(seed))[:most].sort().values
        picked = (to_unit(bank.features[rows]), bank.numbers[rows], bank.labels[rows])
        return cls(*(tensor.cpu() for tensor in picked))

    def nearest(self, classifier: Classifier, view: View, images: Any, k: int) -> "pd.DataFrame":
        """Return the `k` nearest of each picture.

        Raises:
            RangeError: `k` is no whole number of at least 1.
        """
        import pandas as pd

        if isinstance(k, bool) or not isinstance(k, int) or k < 1:
            raise RangeError(f"Expected `k` as a whole number of at least 1, but got {k!r}.")
        points: list[Tensor] = []

        def take(chunk: Chunk) -> None:
            features = None if chunk.features is None else chunk.features.cpu()
            points.append(Rows(view, chunk.logits.cpu(), features).unit)

        run_outputs(classifier, images, take)
        rows = torch.cat(points)
        places = most_similar(rows, self.features, min(k, len(self.features)))
        away = distances(rows, self.features, places)
        count = places.shape[1]
        return pd.DataFrame(
            {
                "picture": torch.arange(len(rows)).repeat_interleave(count).numpy(),
                "rank": torch.arange(1, count + 1).repeat(len(rows)).numpy(),
                "number": self.numbers[places].flatten().numpy(),
                "class": self.labels[places].flatten().numpy(),
                "distance": away.flatten().double().numpy(),
            }
        )
