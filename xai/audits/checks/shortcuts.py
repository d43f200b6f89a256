"""Shortcuts: classes that are predicted by something other than their object."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from xai.audits.check_result import CheckResult, exhibit
from xai.audits.checks.base import CHECKS, FIGURES, Check, Condition, rows_of
from xai.audits.context import DATA, TRAIN, Context
from xai.audits.execution.stages.base import DataStage, Stage
from xai.audits.execution.store import StoredResult
from xai.core.results.codec import finite, plain
from xai.core.results.message import Message, joined, sentences
from xai.core.validation import check_number, check_whole
from xai.fairness.shortcuts.probes.base import PROBES
from xai.fairness.shortcuts.result import SHORTCUT, TOO_SMALL, UNCONFIRMED
from xai.fairness.shortcuts.study import shortcuts

_SHOWN = 6


@CHECKS.register("shortcuts")
@dataclass(frozen=True)
class Shortcuts(Check):
    """Number of probes that act as shortcuts.

    They occur with a class, flip other images into it, and their removal loses it.

    They are looked for in [train], where there is one, else in the audited data. A probe that a class follows and that
    nothing explains leaves the check inconclusive.

    Attributes:
        probes: names; empty takes all.
        samples: images drawn; half choose, half judge.
        least: by how much a probe must beat its controls.
    """

    name: ClassVar[str] = "shortcuts"
    title: ClassVar[str] = "Shortcuts"
    family: ClassVar[str] = "bias"
    question: ClassVar[str] = (
        "Does the prediction of a class depend on a mark, a colour or a background instead of its object?"
    )
    conditions: ClassVar[tuple[str, ...]] = FIGURES
    usual: ClassVar[tuple[Condition, ...]] = (Condition("at_most", 0),)
    better: ClassVar[str] = "less"
    fewest: ClassVar[int] = 40
    span: ClassVar[tuple[float, float]] = (0.0, float("inf"))
    limits: ClassVar[tuple[str, ...]] = ("only shortcuts of the kinds that are tested are found",)

    probes: tuple[str, ...] = ()
    samples: int = 400
    least: float = 0.1

    def __post_init__(self) -> None:
        """Refuse unknown probes."""
        for name in self.probes:
            PROBES[name]
        check_whole("samples", self.samples)
        check_number("least", self.least, "[0, 1)")

    def stages(self) -> tuple[Stage, ...]:
        """Search for shortcuts and test them by inserting probes."""
        given = (("probes", self.probes), ("samples", self.samples), ("least", self.least))
        return (
            _Searched(
                most=self.most,
                title=self.name,
                given=given,
                rows_each=40,
                beside=0.016,
                counted=self.samples,
                study=self._study,
            ),
        )

    def _study(self, context: Context, rows: np.ndarray) -> StoredResult:
        train = None
        if TRAIN in context.roles:
            learnt = np.sort(context.roles[TRAIN].order[: 2 * self.samples])
            train = context.roles[TRAIN].data.take(learnt), context.labels(TRAIN, learnt)
        probed = shortcuts(
            context.classifier,
            context.role(DATA).data.take(np.sort(rows)),
            context.seed,
            labels=context.labels(DATA, np.sort(rows)),
            train=train,
            probes=self.probes or None,
            samples=self.samples,
            least=self.least,
            should_stop=context.should_stop,
        )
        responses = probed.to_dict()["responses"]
        confirmed = [k for k, response in enumerate(probed.responses) if response.verdict == SHORTCUT]
        keep = (
            np.flatnonzero(np.isin(probed.shown[:, 0], confirmed))[: 3 * _SHOWN]
            if len(probed.shown)
            else np.zeros(0, int)
        )
        facts = {"responses": responses, "notes": list(probed.notes), "names": list(probed.image_names)}
        facts |= {"doses": rows_of(probed.doses), "images": len(probed.labels)}
        arrays = {"shown": probed.shown[keep], "before": probed.before[keep], "after": probed.after[keep]}
        return StoredResult(arrays | {"heatmaps": probed.heatmaps[keep]}, finite(plain(facts)))

    def measure(self, context: Context) -> CheckResult:
        """Count confirmed shortcuts."""
        facts = context.results[0].parts[0]
        confirmed = [response for response in facts["responses"] if response["verdict"] == SHORTCUT]
        confirmed.sort(key=lambda response: -response["excess"])
        reasons = [response["reason"] for response in confirmed[:3]]
        columns = (
            "probe",
            "place",
            "label",
            "verdict",
            "carried",
            "carried_elsewhere",
            "auroc",
            "attraction",
            "neutral",
            "excess",
            "p_adjusted",
            "lift",
            "removed",
        )
        return CheckResult(
            float(len(confirmed)),
            None,
            None,
            context.level,
            int(facts["images"]),
            "findings",
            undecided=_undecided(facts["responses"]),
            detectable=self.least,
            claim=sentences(reasons) or Message("No evidence of a shortcut."),
            facts={"shortcuts": confirmed},
            tables={
                "probes": [{name: response[name] for name in columns} for response in facts["responses"]],
                "doses": facts["doses"],
            },
            evidence=self._shown(context, facts["responses"]),
            notes=tuple(facts["notes"]),
        )

    def _shown(self, context: Context, responses: list[dict[str, Any]]) -> tuple[dict[str, Any], ...]:
        probed, artifacts = context.results[0], context.artifacts
        shown = []
        for k in range(min(_SHOWN, len(probed["shown"]))):
            response = responses[int(probed["shown"][k, 0])]
            words = {"name": probed.parts[0]["names"][int(probed["shown"][k, 1])], "probe": response["words"]}
            words |= {"probe": response["probe"], "label": response["label"]}
            images = [artifacts.image(probed["before"][k]), artifacts.image(probed["after"][k], "inserted")]
            images.append(artifacts.heatmap(probed["heatmaps"][k]))
            shown.append(
                exhibit(
                    Message("{probe} flips to {label}", probe=_named(words["probe"]), label=words["label"]),
                    Message("{name}: with {probe} predicted {label!r}; the heatmap is for that class.", **words),
                    Message("An image, the same with {probe}, and the heatmap for {label}.", **words),
                    images,
                    image=words["name"],
                    predicted=words["label"],
                )
            )
        return tuple(shown)

    def code(self) -> str:
        """Return Python that repeats it."""
        return f"xai.shortcuts(model, data, samples={self.samples}, least={self.least!r}).findings"


def _undecided(responses: list[dict[str, Any]]) -> str:
    """Return which probes keep the gate from passing: those that are not confirmed, else those with too few images."""
    for verdict, template in (
        (UNCONFIRMED, "a class follows what nothing in the data explains: {probes}"),
        (TOO_SMALL, "too few images for {probes}"),
    ):
        places = sorted(
            {(response["probe"], response["place"]) for response in responses if response["verdict"] == verdict}
        )
        if places:
            probes = [
                Message("{probe} ({place})", probe=_named(probe), place=Message(place)) for probe, place in places[:4]
            ]
            return Message(template, probes=joined(probes, ", "))
    return ""


def _named(probe: str) -> Message:
    return Message(probe.replace("_", " "))


class _Searched(DataStage):
    """A stage that reads the training data, too, where there is some."""

    def reads(self, context: Context) -> list[Any]:
        """Return the fingerprint of the training data."""
        return [context.roles[TRAIN].fingerprint] if TRAIN in context.roles else []
