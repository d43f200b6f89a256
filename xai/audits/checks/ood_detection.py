"""Does the model know when a picture is none of its business?"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from xai.audits.checks.base import CHECKS, FIGURES, Check, CheckView, percent
from xai.audits.conditions import Condition
from xai.audits.context import CALIBRATION, DATA, OOD, TRAIN, Context
from xai.audits.documents.artifacts import exhibit
from xai.audits.execution.stages.base import DataStage, Stage
from xai.audits.execution.store import StoredResult
from xai.audits.measurement import Measurement
from xai.errors import InputError
from xai.ood.detectors.base import DETECTORS
from xai.ood.fit import fit_ood
from xai.stats.auroc import auroc_interval, detection
from xai.stats.intervals import wilson

_SHOWN = 4


@CHECKS.register("ood_detection")
@dataclass(frozen=True)
class OODDetection(Check):
    """Chance that a foreign picture scores higher than an ordinary one (AUROC), of the hardest foreign set.

    Attributes:
        method: of the detector, "auto" chooses on the calibration pictures.
        alpha: share of ordinary pictures that may be rejected.
    """

    name: ClassVar[str] = "ood_detection"
    title: ClassVar[str] = "Detection of foreign pictures"
    family: ClassVar[str] = "out of distribution"
    question: ClassVar[str] = "Are pictures that belong to none of the classes told from ordinary ones?"
    needs: ClassVar[tuple[str, ...]] = (DATA, TRAIN, CALIBRATION, OOD)
    conditions: ClassVar[tuple[str, ...]] = FIGURES
    usual: ClassVar[tuple[Condition, ...]] = ()
    limits: ClassVar[tuple[str, ...]] = ("only the foreign pictures that were given are judged",)

    method: str = "auto"
    alpha: float = 0.05

    def __post_init__(self) -> None:
        """Refuse unknown detectors."""
        if self.method != "auto":
            DETECTORS[self.method]
        if not 0 < self.alpha < 1:
            raise InputError(f"Expected `alpha` between 0 and 1, but got {self.alpha!r}.")

    def stages(self) -> tuple[Stage, ...]:
        """Fit, calibrate, score."""
        given = (("method", self.method), ("alpha", self.alpha))
        return (
            _Fit(
                most=self.most,
                title=self.name,
                given=given,
                rows_each=4,
                beside=0.002,
                others=(TRAIN, CALIBRATION),
                study=self._study,
            ),
        )

    def _study(self, scene: Context, rows: np.ndarray) -> StoredResult:
        fit, calibration = (scene.role(name).data for name in (TRAIN, CALIBRATION))
        detector = fit_ood(
            scene.classifier,
            fit,
            calibration,
            self.method,
            scene.seed,
            duplicates="drop",
            should_stop=scene.should_stop,
        )
        arrays, facts = (
            {},
            {
                "method": detector.method,
                "sentence": detector.guarantee(self.alpha).sentence,
                "notes": list(detector.notes),
            },
        )
        sets = {"": scene.role(DATA).data.take(np.sort(rows))} | {
            name: role.data for name, role in scene.outside().items()
        }
        for name, data in sets.items():
            judged = detector.judge(data, self.alpha, should_stop=scene.should_stop)
            arrays[f"score {name}"] = judged.scores.numpy()
            arrays[f"p {name}"] = judged.p_values.numpy()
            arrays[f"said {name}"] = np.array(judged.predicted, dtype=np.str_)
        return StoredResult(arrays, facts)

    def measure(self, view: CheckView) -> Measurement:
        """Compare scores of both kinds."""
        found, facts = view.found[0], view.found[0].facts[0]
        inside = found["score "]
        table: list[dict[str, Any]] = []
        for name in view.scene.outside():
            figures = detection(inside, found[f"score {name}"], view.level)
            row: dict[str, Any] = {"set": name, "pictures": len(found[f"score {name}"]), "auroc": figures.auroc}
            row |= {
                "low": figures.low,
                "high": figures.high,
                "fpr_ood_accepted_at_95_id": figures.ood_accepted_at_95_id,
            }
            table.append(
                row | self._rates(found[f"p {name}"], "rejected_out") | self._rates(found["p "], "rejected_in")
            )
        worst: dict[str, Any] = min(table, key=lambda row: float(row["auroc"]))
        said = (
            f"{facts['method']} tells {worst['set']!r} from ordinary pictures with AUROC {worst['auroc']:.3f} "
            f"({worst['low']:.3f} to {worst['high']:.3f}); at alpha {self.alpha:g} it rejects "
            f"{percent(worst['rejected_out'])} of them and {percent(worst['rejected_in'])} of the ordinary ones."
        )
        histogram = {name or "ordinary": _histogram(found, name) for name in ("", *view.scene.outside())}
        return Measurement(
            float(worst["auroc"]),
            *self._hardest(view, [float(row["low"]) for row in table]),
            view.level,
            len(inside) + int(worst["pictures"]),
            "auroc",
            claim=said,
            facts={"method": facts["method"], "guarantee": facts["sentence"], "worst": worst["set"]},
            tables={"sets": table},
            curves={"scores": histogram},
            evidence=self._accepted(view, str(worst["set"])),
            notes=tuple(facts["notes"]),
        )

    def _hardest(self, view: CheckView, lows: list[float]) -> tuple[float, float]:
        """Return the interval of the smallest AUROC: whichever set looks hardest, the gate errs as often as it says.

        The smallest of the lower ends holds as each by itself does; the smallest upper end only after Bonferroni's
        correction, since chance chooses it.
        """
        found, names = view.found[0], list(view.scene.outside())
        level = 1 - (1 - view.level) / len(names)
        highs = [auroc_interval(found["score "], found[f"score {name}"], level)[1] for name in names]
        return min(lows), min(highs)

    def _rates(self, p_values: np.ndarray, name: str) -> dict[str, float]:
        hits = int((p_values <= self.alpha * (1 + 1e-12)).sum())
        low, high = wilson(hits, len(p_values))
        return {name: hits / len(p_values), f"{name}_low": float(low), f"{name}_high": float(high)}

    def _accepted(self, view: CheckView, name: str) -> tuple[dict[str, Any], ...]:
        """Return the foreign pictures that look most ordinary."""
        found, role = view.found[0], view.scene.outside()[name]
        order = np.argsort(found[f"score {name}"], kind="stable")[:_SHOWN]
        shown = []
        for k in order.tolist():
            answer, p = str(found[f"said {name}"][k]), float(found[f"p {name}"][k])
            pixels = role.data.images.pictures([k])[0].pixels
            verdict = "rejected" if p <= self.alpha else "accepted"
            shown.append(
                exhibit(
                    f"foreign, taken for {answer}",
                    f"{role.ids[k]} of {name}: {verdict} (p {p:.3g}), the model says {answer!r}.",
                    f"A picture of {name}, {verdict} by the detector, which the model takes for {answer}.",
                    [view.album.picture(pixels)],
                    picture=role.ids[k],
                    predicted=answer,
                    p_value=p,
                )
            )
        return tuple(shown)

    def code(self) -> str:
        """Repeat it by hand."""
        return f"xai.fit_ood(model, train, calibration, {self.method!r}).judge(foreign, alpha={self.alpha!r})"


@dataclass(frozen=True)
class _Fit(DataStage):
    """Also reads all foreign sets, whatever they are called."""

    def reads(self, scene: Context) -> list[Any]:
        """Return the fingerprints of all data sets."""
        found = [[f"{OOD}{name}", role.manifest.fingerprint] for name, role in scene.outside().items()]
        return [*super().reads(scene), *sorted(found)]


def _histogram(found: Any, name: str) -> list[float]:
    """Return 101 quantiles of the scores."""
    return [float(v) for v in np.quantile(found[f"score {name}"], np.linspace(0, 1, 101))]
