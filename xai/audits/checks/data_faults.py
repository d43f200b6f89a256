"""Is the data itself sound?"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from xai.audits.checks.base import CHECKS, EXAMPLES, Check, CheckView, percent, span
from xai.audits.context import DATA, TRAIN, Context
from xai.audits.documents.artifacts import exhibit
from xai.audits.execution.stages.base import DataStage, Stage
from xai.audits.execution.store import StoredResult
from xai.audits.measurement import Measurement, share_of
from xai.core.results.serialization import finite, plain
from xai.fairness.data_faults.faults import data_faults


@CHECKS.register("data_faults")
@dataclass(frozen=True)
class DataFaultsCheck(Check):
    """Share of pictures that are repeated, also in the training data, or show nothing.

    Attributes:
        against_train: whether pictures are looked for in [train] too, where there is one.
    """

    name: ClassVar[str] = "data_faults"
    title: ClassVar[str] = "Faults of the data"
    family: ClassVar[str] = "data"
    question: ClassVar[str] = (
        "How many pictures are repeated, leaked from training, or broken, and which labels are doubtful?"
    )
    kind: ClassVar[str] = "descriptive"
    conditions: ClassVar[tuple[str, ...]] = ("at_least", "at_most")
    better: ClassVar[str] = "less"
    limits: ClassVar[tuple[str, ...]] = (
        "doubtful labels are to be looked at: a wrong model and a wrong label look alike",
    )

    against_train: bool = True

    def stages(self) -> tuple[Stage, ...]:
        """Compare all pictures."""
        given = (("against_train", self.against_train),)
        return (
            _Compared(
                most=self.most,
                title=self.name,
                given=given,
                rows_each=2,
                beside=0.006,
                study=self._study,
                train=self.against_train,
            ),
        )

    def _study(self, scene: Context, rows: np.ndarray) -> StoredResult:
        own = np.sort(rows)
        train = scene.roles[TRAIN].data if self.against_train and TRAIN in scene.roles else None
        found = data_faults(
            scene.classifier,
            scene.role(DATA).data.take(own),
            train,
            labels=scene.truth(DATA, own),
            seed=scene.seed,
            should_stop=scene.should_stop,
        )
        kept = found.to_dict()
        bad = np.zeros(len(own), dtype=bool)
        for pair in found.pairs:
            ends = [(pair.first_split, pair.first_row), (pair.second_split, pair.second_row)]
            mine = [row for split, row in ends if split == "data"]
            bad[mine if pair.across else mine[1:]] = True
        bad[[one.row for one in found.broken]] = True
        facts = {name: kept[name] for name in ("findings", "pairs", "suspects", "broken", "notes")}
        facts |= {name: facts[name][:200] for name in ("pairs", "suspects", "broken")}
        facts |= {"sentences": [str(one) for one in found.findings]}
        arrays = {
            "bad": bad,
            "rows": own,
            "pairs": found.pair_pictures[:EXAMPLES],
            "suspects": found.suspect_pictures[:EXAMPLES],
        }
        return StoredResult(arrays, finite(plain(facts)))

    def measure(self, view: CheckView) -> Measurement:
        """Count what is certain; list what is doubtful."""
        found, facts = view.found[0], view.found[0].facts[0]
        kept = share_of(found["bad"], found["rows"], view.level)
        said = (
            f"{percent(kept.value or 0)} of {kept.n:,} pictures ({span(kept.low or 0, kept.high or 1)}) are repeated, "
            f"leaked or broken; {len(facts['suspects'])} labels are doubtful."
        )
        return Measurement(
            **{
                **vars(kept),
                "claim": said,
                "facts": {"findings": facts["findings"]},
                "tables": {name: facts[name] for name in ("pairs", "suspects", "broken")},
                "evidence": self._shown(view, facts),
                "notes": (*facts["sentences"], *facts["notes"]),
            }
        )

    def _shown(self, view: CheckView, facts: dict[str, Any]) -> tuple[dict[str, Any], ...]:
        found, album, shown = view.found[0], view.album, []
        for k, pictures in enumerate(found["pairs"][:3]):
            one = facts["pairs"][k]
            names = f"{one['first_name']} ({one['first_split']}) and {one['second_name']} ({one['second_split']})"
            images = [album.picture(pictures[0] / 255), album.picture(pictures[1] / 255, "repeated")]
            shown.append(
                exhibit(
                    "the same picture twice",
                    f"{names} are one picture.",
                    f"{names}, which look alike.",
                    images,
                    picture=one["second_name"],
                )
            )
        for k, picture in enumerate(found["suspects"][:3]):
            one = facts["suspects"][k]
            words = f"labelled {one['given']!r}, looks like {one['suggested']!r}"
            shown.append(
                exhibit(
                    "a doubtful label",
                    f"{one['name']}: {words}.",
                    f"A picture {words}.",
                    [album.picture(picture / 255)],
                    picture=one["name"],
                    label=one["given"],
                    predicted=one["suggested"],
                )
            )
        return tuple(shown)

    def code(self) -> str:
        """Repeat it by hand."""
        return "xai.data_faults(model, data, train).findings"


@dataclass(frozen=True)
class _Compared(DataStage):
    """Reads the training data where there is some."""

    train: bool = True

    def reads(self, scene: Context) -> list[Any]:
        """Return the fingerprint of the training data."""
        return [scene.roles[TRAIN].manifest.fingerprint] if self.train and TRAIN in scene.roles else []
