"""Repeated, leaked, broken and doubtfully labelled images of the data."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from xai.audits.check_result import CheckResult, exhibit
from xai.audits.checks.base import CHECKS, EXAMPLES, Check, percent, share_of, span
from xai.audits.context import DATA, TRAIN, Context
from xai.audits.execution.stages.base import DataStage, Stage
from xai.audits.execution.store import StoredResult
from xai.core.results.codec import finite, plain
from xai.core.results.message import Message
from xai.fairness.data_faults import data_faults


@CHECKS.register("data_faults")
@dataclass(frozen=True)
class DataFaultsCheck(Check):
    """Share of images that are repeated, also in the training data, or show nothing.

    Attributes:
        against_train: whether repeats are looked for in [train] too, where there is one.
    """

    name: ClassVar[str] = "data_faults"
    title: ClassVar[str] = "Faults of the data"
    family: ClassVar[str] = "data"
    question: ClassVar[str] = (
        "How many images are repeated, leaked from training, or broken, and which labels are doubtful?"
    )
    kind: ClassVar[str] = "descriptive"
    conditions: ClassVar[tuple[str, ...]] = ("at_least", "at_most")
    better: ClassVar[str] = "less"
    limits: ClassVar[tuple[str, ...]] = ("look at doubtful labels: a wrong model and a wrong label look alike",)

    against_train: bool = True

    def stages(self) -> tuple[Stage, ...]:
        """Compare all images."""
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

    def _study(self, context: Context, rows: np.ndarray) -> StoredResult:
        own = np.sort(rows)
        train = context.roles[TRAIN].data if self.against_train and TRAIN in context.roles else None
        faults = data_faults(
            context.classifier,
            context.role(DATA).data.take(own),
            train,
            labels=context.labels(DATA, own),
            seed=context.seed,
            should_stop=context.should_stop,
        )
        record = faults.to_dict()
        bad = np.zeros(len(own), dtype=bool)
        for pair in faults.pairs:
            ends = [(pair.first_split, pair.first_row), (pair.second_split, pair.second_row)]
            mine = [row for split, row in ends if split == "data"]
            bad[mine if pair.across else mine[1:]] = True
        bad[[image.row for image in faults.broken]] = True
        facts = {name: record[name] for name in ("findings", "pairs", "suspects", "broken", "notes")}
        facts |= {name: facts[name][:200] for name in ("pairs", "suspects", "broken")}
        facts |= {"sentences": [str(finding) for finding in faults.findings]}
        arrays = {
            "bad": bad,
            "rows": own,
            "pairs": faults.pair_images[:EXAMPLES],
            "suspects": faults.suspect_images[:EXAMPLES],
        }
        return StoredResult(arrays, finite(plain(facts)))

    def measure(self, context: Context) -> CheckResult:
        """Count certain faults; list doubtful labels."""
        faults, facts = context.results[0], context.results[0].parts[0]
        share = share_of(faults["bad"], faults["rows"], context.level)
        claim = Message(
            "{share} of {count:,} images ({span}) are repeated, leaked or broken; {doubtful} labels are doubtful.",
            **{"share": percent(share.value), "span": span(share.low, share.high), "count": share.n},
            doubtful=len(facts["suspects"]),
        )
        return replace(
            share,
            claim=claim,
            facts={"findings": facts["findings"]},
            tables={name: facts[name] for name in ("pairs", "suspects", "broken")},
            evidence=self._shown(context, facts),
            notes=(*facts["sentences"], *facts["notes"]),
        )

    def _shown(self, context: Context, facts: dict[str, Any]) -> tuple[dict[str, Any], ...]:
        faults, artifacts, shown = context.results[0], context.artifacts, []
        for k, pair_images in enumerate(faults["pairs"][:3]):
            pair = facts["pairs"][k]
            words = {name: pair[name] for name in ("first_name", "first_split", "second_name", "second_split")}
            images = [artifacts.image(pair_images[0] / 255), artifacts.image(pair_images[1] / 255, "repeated")]
            shown.append(
                exhibit(
                    Message("the same image twice"),
                    Message("{first_name} ({first_split}) and {second_name} ({second_split}) are one image.", **words),
                    Message(
                        "{first_name} ({first_split}) and {second_name} ({second_split}), which look alike.", **words
                    ),
                    images,
                    image=pair["second_name"],
                )
            )
        for k, image in enumerate(faults["suspects"][:3]):
            suspect = facts["suspects"][k]
            words = {name: suspect[name] for name in ("name", "given", "suggested")}
            shown.append(
                exhibit(
                    Message("a doubtful label"),
                    Message("{name}: labelled {given!r}, looks like {suggested!r}.", **words),
                    Message("An image labelled {given!r}, looks like {suggested!r}.", **words),
                    [artifacts.image(image / 255)],
                    image=suspect["name"],
                    label=suspect["given"],
                    predicted=suspect["suggested"],
                )
            )
        return tuple(shown)

    def code(self) -> str:
        """Return Python that repeats it."""
        return "xai.data_faults(model, data, train).findings"


@dataclass(frozen=True)
class _Compared(DataStage):
    """A stage that reads the training data, too, where there is some."""

    train: bool = True

    def reads(self, context: Context) -> list[Any]:
        """Return the fingerprint of the training data."""
        return [context.roles[TRAIN].fingerprint] if self.train and TRAIN in context.roles else []
