"""Is a class recognised by something that is not its object?"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from xai.audits.checks.base import CHECKS, FIGURES, Check, CheckView, positive, rows_of
from xai.audits.conditions import Condition
from xai.audits.context import DATA, TRAIN, Context
from xai.audits.documents.artifacts import exhibit
from xai.audits.execution.stages.base import DataStage, Stage
from xai.audits.execution.store import StoredResult
from xai.audits.measurement import Measurement
from xai.core.results.message import sentences
from xai.core.results.serialization import finite, plain
from xai.errors import InputError
from xai.fairness.shortcuts.probes.base import CUES
from xai.fairness.shortcuts.result import SHORTCUT, TOO_SMALL, UNCONFIRMED
from xai.fairness.shortcuts.study import shortcuts

_SHOWN = 6


@CHECKS.register("shortcuts")
@dataclass(frozen=True)
class Shortcuts(Check):
    """Number of cues that go with a class in the data, turn other images into it, and are missed without.

    They are looked for in [train], where there is one, else in the audited data. A cue that a class follows and that
    nothing explains leaves the check inconclusive.

    Attributes:
        cues: names; empty takes all.
        samples: images drawn; half choose, half judge.
        least: by how much a cue must beat its controls.
    """

    name: ClassVar[str] = "shortcuts"
    title: ClassVar[str] = "Shortcuts"
    family: ClassVar[str] = "bias"
    question: ClassVar[str] = "Does a class hang on a mark, a colour, a background rather than on its object?"
    conditions: ClassVar[tuple[str, ...]] = FIGURES
    usual: ClassVar[tuple[Condition, ...]] = (Condition("at_most", 0),)
    better: ClassVar[str] = "less"
    fewest: ClassVar[int] = 40
    span: ClassVar[tuple[float, float]] = (0.0, float("inf"))
    limits: ClassVar[tuple[str, ...]] = ("only cues of the kinds that are looked for are found",)

    cues: tuple[str, ...] = ()
    samples: int = 400
    least: float = 0.1

    def __post_init__(self) -> None:
        """Refuse unknown cues."""
        for name in self.cues:
            CUES[name]
        positive("samples", self.samples, whole=True)
        if not 0 <= self.least < 1:
            raise InputError(f"Expected `least` from 0 to below 1, but got {self.least!r}.")

    def stages(self) -> tuple[Stage, ...]:
        """Look for cues and plant them."""
        given = (("cues", self.cues), ("samples", self.samples), ("least", self.least))
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

    def _study(self, scene: Context, rows: np.ndarray) -> StoredResult:
        train = None
        if TRAIN in scene.roles:
            learnt = np.sort(scene.roles[TRAIN].order[: 2 * self.samples])
            train = scene.roles[TRAIN].data.take(learnt), scene.truth(TRAIN, learnt)
        found = shortcuts(
            scene.classifier,
            scene.role(DATA).data.take(np.sort(rows)),
            scene.seed,
            labels=scene.truth(DATA, np.sort(rows)),
            train=train,
            cues=self.cues or None,
            samples=self.samples,
            least=self.least,
            should_stop=scene.should_stop,
        )
        responses = found.to_dict()["responses"]
        confirmed = [k for k, one in enumerate(found.responses) if one.verdict == SHORTCUT]
        keep = (
            np.flatnonzero(np.isin(found.shown[:, 0], confirmed))[: 3 * _SHOWN]
            if len(found.shown)
            else np.zeros(0, int)
        )
        facts = {"responses": responses, "notes": list(found.notes), "names": list(found.names)}
        facts |= {"doses": rows_of(found.doses), "pictures": len(found.labels)}
        arrays = {"shown": found.shown[keep], "before": found.before[keep], "after": found.after[keep]}
        return StoredResult(arrays | {"heatmaps": found.heatmaps[keep]}, finite(plain(facts)))

    def measure(self, view: CheckView) -> Measurement:
        """Count confirmed shortcuts."""
        facts = view.found[0].facts[0]
        found = [one for one in facts["responses"] if one["verdict"] == SHORTCUT]
        found.sort(key=lambda one: -one["excess"])
        told = sentences([one["reason"] for one in found[:3]]) or "No cue is a shortcut."
        columns = (
            "cue",
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
        return Measurement(
            float(len(found)),
            None,
            None,
            view.level,
            int(facts["pictures"]),
            "findings",
            undecided=_undecided(facts["responses"]),
            detectable=self.least,
            claim=told,
            facts={"shortcuts": found},
            tables={
                "cues": [{name: one[name] for name in columns} for one in facts["responses"]],
                "doses": facts["doses"],
            },
            evidence=self._shown(view, facts["responses"]),
            notes=tuple(facts["notes"]),
        )

    def _shown(self, view: CheckView, responses: list[dict[str, Any]]) -> tuple[dict[str, Any], ...]:
        found, album = view.found[0], view.album
        shown = []
        for k in range(min(_SHOWN, len(found["shown"]))):
            one = responses[int(found["shown"][k, 0])]
            name = view.found[0].facts[0]["names"][int(found["shown"][k, 1])]
            images = [album.picture(found["before"][k]), album.picture(found["after"][k], "planted")]
            images.append(album.heatmap(found["heatmaps"][k]))
            shown.append(
                exhibit(
                    f"{one['cue']} makes {one['label']}",
                    f"{name}: with {one['words']} the model says {one['label']!r}; the map shows what speaks for it.",
                    f"A picture, the same with {one['words']}, and a map of what speaks for {one['label']}.",
                    images,
                    picture=name,
                    predicted=one["label"],
                )
            )
        return tuple(shown)

    def code(self) -> str:
        """Repeat it by hand."""
        return f"xai.shortcuts(model, data, samples={self.samples}, least={self.least!r}).findings"


def _undecided(responses: list[dict[str, Any]]) -> str:
    """Say which cues keep the gate from passing: those that a class follows for no known reason, then those too few."""
    for verdict, words in (
        (UNCONFIRMED, "a class follows what nothing in the data explains"),
        (TOO_SMALL, "too few images to tell for"),
    ):
        places = sorted({f"{one['cue']} ({one['place']})" for one in responses if one["verdict"] == verdict})
        if places:
            joint = ": " if verdict == UNCONFIRMED else " "
            return f"{words}{joint}{', '.join(places[:4])}"
    return ""


class _Searched(DataStage):
    """Reads the training data where there is some."""

    def reads(self, scene: Context) -> list[Any]:
        """Return the fingerprint of the training data."""
        return [scene.roles[TRAIN].manifest.fingerprint] if TRAIN in scene.roles else []
