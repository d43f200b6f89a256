"""Faults of a data set: which images, and what they do to the accuracy."""

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from xai.core.results.message import Message
from xai.core.results.result import Result
from xai.fairness.label_errors import Broken, Effect, SuspectLabel

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class DuplicatePair:
    """Two images that are the same one.

    Attributes:
        first_split: "data" or "train".
        first_row: number in it.
        first_name: identifier.
        second_split: of the other one.
        second_row: number in it.
        second_name: identifier.
        turn: how the second was mirrored or turned; "" as it stands.
        distance: share of the variation that one does not explain of the other, as a root.
        relative: over the distance of the tenth nearest image.
        labels: of both; "" where there are none.
    """

    first_split: str
    first_row: int
    first_name: str
    second_split: str
    second_row: int
    second_name: str
    turn: str
    distance: float
    relative: float
    labels: tuple[str, str]

    @property
    def across(self) -> bool:
        """Whether one is in the data and the other in train."""
        return self.first_split != self.second_split


@dataclass(frozen=True)
class Fault:
    """One kind of fault.

    Attributes:
        kind: "leak" (in data and train), "duplicates" (within the data), "labels", "imbalance", "broken".
        count: images of the data that it concerns.
        headline: in words.
        effect: on accuracy; None where there is no model, or nothing to leave out.
    """

    kind: str
    count: int
    headline: str
    effect: Effect | None

    def __str__(self) -> str:
        """Return headline and effect, a message."""
        if self.effect is None:
            return self.headline
        low, high = self.effect.interval
        return Message(
            "{headline}; accuracy {accuracy:.2%}, without {without:.2%} ({change:+.2f} points, {low:+.2f} to "
            "{high:+.2f})",
            **{"headline": self.headline, "accuracy": self.effect.accuracy, "without": self.effect.without},
            **{"change": 100 * self.effect.change, "low": 100 * low, "high": 100 * high},
        )


@dataclass(frozen=True, eq=False, repr=False)
class DataFaults(Result):
    """What is wrong with a data set.

    Attributes:
        findings: one per kind of fault that was found.
        pairs: images that are the same, closest first.
        suspects: labels to check, most suspicious first.
        broken: images that show nothing.
        counts: images per class of the data; empty without labels.
        class_names: of all classes.
        size: images of the data.
        train_size: of train; 0 without it.
        pair_images: (P, 2, s, s) uint8, of the first pairs, the second turned back.
        suspect_images: (S, s, s) uint8, of the first suspects.
        provenance: model (empty without one), checks, seed of folds and resamples, names of data and train.
        notes: what was done and what to beware of.

    Example:
        >>> import xai
        >>> clf = xai.load("example:fashion")
        >>> data = xai.load_data("example:fashion-test").subset(150)
        >>> found = xai.data_faults(clf, data)
        >>> isinstance(found.findings, tuple)
        True
    """

    _kind: ClassVar[str] = "data faults"

    findings: tuple[Fault, ...]
    pairs: tuple[DuplicatePair, ...]
    suspects: tuple[SuspectLabel, ...]
    broken: tuple[Broken, ...]
    counts: tuple[int, ...]
    class_names: tuple[str, ...]
    size: int
    train_size: int
    pair_images: np.ndarray = field(repr=False)
    suspect_images: np.ndarray = field(repr=False)

    def __len__(self) -> int:
        """Return the number of images of the data."""
        return self.size

    def __repr__(self) -> str:
        """Size and kinds."""
        kinds = ", ".join(f"{fault.kind} {fault.count}" for fault in self.findings) or "nothing found"
        return f"DataFaults({self.size} images: {kinds})"

    def __str__(self) -> str:
        """Return the findings in words."""
        return "\n".join(map(str, self.findings)) or f"nothing found in {self.size} images"

    @property
    def table(self) -> "pd.DataFrame":
        """One row per finding: kind, count, accuracy as it is and without, change with interval."""
        import pandas as pd

        names = ["accuracy", "without", "change", "low", "high"]
        rows = []
        for fault in self.findings:
            effect = fault.effect
            values = (
                [None] * 5 if effect is None else [effect.accuracy, effect.without, effect.change, *effect.interval]
            )
            rows.append({"kind": fault.kind, "count": fault.count, **dict(zip(names, values, strict=True))})
        return pd.DataFrame(rows, columns=["kind", "count", *names])

    @property
    def rows(self) -> "pd.DataFrame":
        """One row per pair, suspect and broken image."""
        import pandas as pd

        records = [{"kind": "pair", **asdict(pair)} for pair in self.pairs]
        records += [{"kind": "label", **asdict(suspect)} for suspect in self.suspects]
        records += [{"kind": "broken", **asdict(broken)} for broken in self.broken]
        return pd.DataFrame(records)

    def plot(self) -> Any:
        """Draw pairs and suspects with what they do to the accuracy; return the matplotlib figure."""
        from xai.plots.fairness import faults_figure

        return faults_figure(self)
