"""Detection of out-of-distribution images."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from xai.audits.check_result import CheckResult, exhibit
from xai.audits.checks.base import CHECKS, FIGURES, Check, Condition, percent
from xai.audits.context import CALIBRATION, DATA, OOD, TRAIN, Context
from xai.audits.execution.stages.base import DataStage, Stage
from xai.audits.execution.store import StoredResult
from xai.core.results.message import Message
from xai.core.validation import check_alpha
from xai.ood.detectors.base import DETECTORS
from xai.ood.fit import fit_ood
from xai.stats.auroc import auroc_interval, detection
from xai.stats.intervals import wilson

_SHOWN = 4


@CHECKS.register("ood_detection")
@dataclass(frozen=True)
class OODDetection(Check):
    """AUROC of out-of-distribution against in-distribution images, of the hardest set.

    Attributes:
        method: of the detector, "auto" chooses on the calibration images.
        alpha: share of in-distribution images that may be rejected.
    """

    name: ClassVar[str] = "ood_detection"
    title: ClassVar[str] = "Detection of out-of-distribution images"
    family: ClassVar[str] = "out of distribution"
    question: ClassVar[str] = "Are images that belong to none of the classes detected?"
    needs: ClassVar[tuple[str, ...]] = (DATA, TRAIN, CALIBRATION, OOD)
    conditions: ClassVar[tuple[str, ...]] = FIGURES
    usual: ClassVar[tuple[Condition, ...]] = ()
    limits: ClassVar[tuple[str, ...]] = ("holds for the out-of-distribution images that were given",)

    method: str = "auto"
    alpha: float = 0.05

    def __post_init__(self) -> None:
        """Refuse unknown detectors."""
        if self.method != "auto":
            DETECTORS[self.method]
        check_alpha(self.alpha)

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

    def _study(self, context: Context, rows: np.ndarray) -> StoredResult:
        fit, calibration = (context.role(name).data for name in (TRAIN, CALIBRATION))
        detector = fit_ood(
            context.classifier,
            fit,
            calibration,
            self.method,
            context.seed,
            duplicates="drop",
            should_stop=context.should_stop,
        )
        arrays, facts = (
            {},
            {
                "method": detector.method,
                "sentence": detector.guarantee(self.alpha).sentence,
                "notes": list(detector.notes),
            },
        )
        sets = {"": context.role(DATA).data.take(np.sort(rows))} | {
            name: role.data for name, role in context.ood_roles().items()
        }
        for name, data in sets.items():
            judged = detector.judge(data, self.alpha, should_stop=context.should_stop)
            arrays[f"score {name}"] = judged.scores.numpy()
            arrays[f"p {name}"] = judged.p_values.numpy()
            arrays[f"predicted {name}"] = np.array(judged.predictions, dtype=np.str_)
        return StoredResult(arrays, facts)

    def measure(self, context: Context) -> CheckResult:
        """Compare scores of both kinds."""
        scores, facts = context.results[0], context.results[0].parts[0]
        inside = scores["score "]
        table: list[dict[str, Any]] = []
        for name in context.ood_roles():
            figures = detection(inside, scores[f"score {name}"], context.level)
            row: dict[str, Any] = {"set": name, "images": len(scores[f"score {name}"]), "auroc": figures.auroc}
            row |= {
                "low": figures.low,
                "high": figures.high,
                "fpr_ood_accepted_at_95_id": figures.ood_accepted_at_95_id,
            }
            table.append(
                row | self._rates(scores[f"p {name}"], "rejected_out") | self._rates(scores["p "], "rejected_in")
            )
        worst: dict[str, Any] = min(table, key=lambda row: float(row["auroc"]))
        claim = Message(
            "{method} detects {name!r} with AUROC {auroc:.3f} ({low:.3f} to {high:.3f}); at alpha {alpha:g} it rejects "
            "{rejected_out} of them and {rejected_in} of the in-distribution images.",
            **{"method": facts["method"], "name": worst["set"], "alpha": self.alpha},
            **{name: worst[name] for name in ("auroc", "low", "high")},
            **{name: percent(worst[name]) for name in ("rejected_out", "rejected_in")},
        )
        histogram = {name or "in-distribution": _histogram(scores, name) for name in ("", *context.ood_roles())}
        return CheckResult(
            float(worst["auroc"]),
            *self._hardest(context, [float(row["low"]) for row in table]),
            context.level,
            len(inside) + int(worst["images"]),
            "auroc",
            claim=claim,
            facts={"method": facts["method"], "guarantee": facts["sentence"], "worst": worst["set"]},
            tables={"sets": table},
            curves={"scores": histogram},
            evidence=self._accepted(context, str(worst["set"])),
            notes=tuple(facts["notes"]),
        )

    def _hardest(self, context: Context, lows: list[float]) -> tuple[float, float]:
        """Return the interval of the smallest AUROC: whichever set looks hardest, the gate errs as often as it says.

        The smallest of the lower ends holds as each by itself does; the smallest upper end only after Bonferroni's
        correction, since chance chooses it.
        """
        scores, names = context.results[0], list(context.ood_roles())
        level = 1 - (1 - context.level) / len(names)
        highs = [auroc_interval(scores["score "], scores[f"score {name}"], level)[1] for name in names]
        return min(lows), min(highs)

    def _rates(self, p_values: np.ndarray, name: str) -> dict[str, float]:
        hits = int((p_values <= self.alpha * (1 + 1e-12)).sum())
        low, high = wilson(hits, len(p_values))
        return {name: hits / len(p_values), f"{name}_low": float(low), f"{name}_high": float(high)}

    def _accepted(self, context: Context, name: str) -> tuple[dict[str, Any], ...]:
        """Return the out-of-distribution images of the lowest scores."""
        scores, role = context.results[0], context.ood_roles()[name]
        order = np.argsort(scores[f"score {name}"], kind="stable")[:_SHOWN]
        shown = []
        for k in order.tolist():
            p = float(scores[f"p {name}"][k])
            words = {"image": role.ids[k], "set": name, "p": p, "predicted": str(scores[f"predicted {name}"][k])}
            words["verdict"] = Message("rejected") if p <= self.alpha else Message("accepted")
            pixels = role.data.images.decoded([k])[0].pixels
            shown.append(
                exhibit(
                    Message("out-of-distribution, predicted as {predicted}", predicted=words["predicted"]),
                    Message("{image} of {set}: {verdict} (p {p:.3g}), predicted {predicted!r}.", **words),
                    Message("An image of {set}, {verdict} by the detector, predicted as {predicted}.", **words),
                    [context.artifacts.image(pixels)],
                    image=role.ids[k],
                    predicted=words["predicted"],
                    p_value=p,
                )
            )
        return tuple(shown)

    def code(self) -> str:
        """Return Python that repeats it."""
        return f"xai.fit_ood(model, train, calibration, {self.method!r}).judge(ood_images, alpha={self.alpha!r})"


@dataclass(frozen=True)
class _Fit(DataStage):
    """A stage that also reads all out-of-distribution sets."""

    def reads(self, context: Context) -> list[Any]:
        """Return the fingerprints of all data sets."""
        sets = [[f"{OOD}{name}", role.fingerprint] for name, role in context.ood_roles().items()]
        return [*super().reads(context), *sorted(sets)]


def _histogram(scores: Any, name: str) -> list[float]:
    """Return 101 quantiles of the scores."""
    return [float(v) for v in np.quantile(scores[f"score {name}"], np.linspace(0, 1, 101))]
