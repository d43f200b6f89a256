"""`compare_ood`: every detector on the same images, with intervals and paired tests."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from xai.core.model.classifier import Classifier, as_classifier
from xai.core.results.message import Message
from xai.core.results.result import Provenance, Result
from xai.core.runtime.batching import Progress, ShouldStop, reporting
from xai.core.validation import check_alpha, check_seed
from xai.errors import InputError, NameLookupError
from xai.ood.detectors.base import DETECTORS, Detector, Fitted
from xai.ood.detectors.passes import Scored, gather, score_images
from xai.ood.fit import check_apart, make_detector
from xai.ood.judgement import RejectionGuarantee, guarantee, p_values
from xai.ood.serialization import as_data, count_of
from xai.stats.auroc import auroc, detection, paired_test
from xai.stats.intervals import holm, wilson_interval

if TYPE_CHECKING:
    import pandas as pd

COVARIATE = "covariate"
GROUPS = ("near", "far", COVARIATE)
_COLUMNS = (
    *("set", "group", "method", "images", "auroc", "auroc_low", "auroc_high", "aupr_out", "aupr_in"),
    *("fpr_ood_accepted@95id", "fpr_id_rejected@95ood", "auroc_full_spectrum"),
    *("rejected_in", "rejected_in_low", "rejected_in_high", "rejected_out", "rejected_out_low", "rejected_out_high"),
    *("gap_to_msp", "gap_low", "gap_high", "p_value", "p_holm", "against_msp"),
)


@dataclass(frozen=True, eq=False, repr=False)
class OODComparison(Result):
    """M detectors on in-distribution images and S sets of out-of-distribution ones.

    Attributes:
        labels: of the detectors (M).
        sets: group, name and label of each set (S).
        calibration: (M, c) scores of the calibration images.
        inside: (M, n) scores of the ordinary test images.
        outside: S of (M, m) scores of the out-of-distribution images.
        rows: one per set and detector, see `table`.
        alpha: of the decision whose rates are shown.
        guarantee: how often in-distribution images will be rejected.
        provenance: model, settings of each detector with what it took from the fit images, seed.
        notes: what was left out and what to beware of.

    Example:
        >>> import xai
        >>> clf = xai.load("example:fashion")
        >>> fit, rest = (xai.load_data(f"example:fashion-{part}").subset(200) for part in ("train", "test"))
        >>> digits, test = xai.load_data("example:digits").subset(50), rest.part("test")
        >>> table = xai.compare_ood(clf, fit, rest.part("calibration"), test, digits, methods=["msp", "knn"]).table
        >>> table.shape[0]
        2
    """

    _kind: ClassVar[str] = "ood comparison"
    _derived: ClassVar[tuple[str, ...]] = ("sentence",)

    labels: tuple[str, ...]
    sets: tuple[Mapping[str, str], ...]
    calibration: Tensor = field(repr=False)
    inside: Tensor
    outside: tuple[Tensor, ...]
    rows: tuple[Mapping[str, Any], ...]
    alpha: float
    guarantee: RejectionGuarantee

    def __len__(self) -> int:
        """Return the number of detectors."""
        return len(self.labels)

    def __repr__(self) -> str:
        """Sizes and model."""
        sets, count = ", ".join(tested["label"] for tested in self.sets), self.inside.shape[1]
        return f"OODComparison({len(self)} detectors, {count} images against {sets}, model: {self.model['name']})"

    @property
    def table(self) -> "pd.DataFrame":
        """One row per set and detector, the best first within a set.

        `fpr_ood_accepted@95id` is the share of OOD images accepted where 95 % of the ID ones are kept,
        `fpr_id_rejected@95ood` the share of ID ones rejected where 95 % of the OOD ones are caught: both are
        called FPR95 elsewhere. `rejected_in` and `rejected_out` are what the calibrated decision at alpha does.
        `auroc_full_spectrum` counts covariate-shifted images as ordinary. `p_holm` is the paired test against msp.
        """
        import pandas as pd

        frame = pd.DataFrame(list(self.rows))
        frame = frame[[name for name in _COLUMNS if name in frame]]
        order = {tested["label"]: place for place, tested in enumerate(self.sets)}
        return frame.sort_values(
            ["set", "auroc"], key=lambda c: c.map(order) if c.name == "set" else -c, kind="stable", ignore_index=True
        )

    @property
    def areas(self) -> "pd.DataFrame":
        """AUROC of each detector (rows) on each set (columns)."""
        import pandas as pd

        frame = pd.DataFrame(list(self.rows)).pivot(index="method", columns="set", values="auroc")
        return frame.loc[list(self.labels), [tested["label"] for tested in self.sets]]

    def scores_of(self, label: str) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the scores of the ordinary test images and of each set by one detector.

        Raises:
            NameLookupError: no such detector.
        """
        if label not in self.labels:
            raise NameLookupError("detector in this comparison", label, self.labels)
        place = self.labels.index(label)
        sets = {tested["label"]: scores[place] for tested, scores in zip(self.sets, self.outside, strict=True)}
        return self.inside[place], sets

    def plot(self, methods: list[str] | None = None) -> Any:
        """Draw histograms of the scores, ordinary against each set; return the matplotlib figure.

        Args:
            methods: labels; None draws all.
        """
        from xai.plots.uncertainty import comparison_figure

        return comparison_figure(self, list(self.labels) if methods is None else methods)

    @property
    def sentence(self) -> Message:
        """The guarantee in words."""
        return self.guarantee.sentence


BASELINE = "msp"


def compare_ood(
    model: Classifier | nn.Module,
    fit_data: Any,
    calibration_data: Any,
    in_data: Any,
    out_data: Any,
    methods: Sequence[str | Detector] | None = None,
    alpha: float = 0.05,
    seed: int = 0,
    *,
    pool: bool | None = None,
    progress: bool | Progress | None = None,
    should_stop: ShouldStop | None = None,
) -> OODComparison:
    """Compare detectors on ordinary and out-of-distribution images; all of them read the same passes.

    Args:
        model: a classifier or a bare module.
        fit_data: in-distribution images, usually those it was trained on.
        calibration_data: other in-distribution images, that neither the model nor a detector has seen.
        in_data: in-distribution images to test on.
        out_data: OOD images: a data set, or several by name, or by group "near", "far" and "covariate" (the
            model's own classes, seen otherwise), each a data set or several by name.
        methods: names, or detectors with settings, such as `DETECTORS["knn"](k=50)`; None takes all.
        alpha: of the decision whose realised rates are shown.
        seed: fixes everything random.
        pool: as in `xai.fit_ood`.
        progress: None, True for a bar, or a callable `(done, total)` in images.
        should_stop: asked between chunks; True ends the work with `xai.errors.Stopped`.

    Returns:
        OODComparison: `.table` has one row per detector and set; `.plot()` draws the histograms.

    Raises:
        DataError: no images, or test or calibration images that were fitted on.
        NameLookupError: no such method.
        Stopped: `should_stop()` was true.

    Cost: one forward row per image for all detectors together; ODIN two more and one back.

    Example:
        >>> import xai
        >>> clf, images = xai.load("example:fashion"), xai.load_data("example:fashion-test").images[:300]
        >>> sets = images[:100], images[100:200], images[200:], 1 - images[200:]  # the last: negatives
        >>> sorted(xai.compare_ood(clf, *sets, methods=["knn"]).table["method"])
        ['knn', 'msp']
    """
    classifier, seed, alpha = as_classifier(model), check_seed(seed), check_alpha(alpha)
    detectors, sets = _detectors(methods), list(_sets(out_data))
    passes = [("fit", fit_data), ("calibration", calibration_data), ("in", in_data), *((s.label, s.data) for s in sets)]
    passes = [(label, as_data(data, repr(label))) for label, data in passes]
    sizes = [count_of(data) for _, data in passes]
    with reporting(progress, "compare_ood") as report:
        tells = [
            None if report is None else partial(_tell, report, sum(sizes[:k]), sum(sizes)) for k in range(len(sizes))
        ]
        reads = frozenset().union(*(detector.reads for detector in detectors))
        reference, fit_keys = gather(
            classifier, fit_data, reads, pool=pool, seed=seed, progress=tells[0], should_stop=should_stop
        )
        left = {d.label: d.missing(reference.view) for d in detectors if d.missing(reference.view)}
        fitted = [detector.fit(reference) for detector in detectors if detector.label not in left]
        scored = [
            score_images(classifier, fitted, data, progress=tell, should_stop=should_stop)
            for (_, data), tell in zip(passes[1:], tells[1:], strict=True)
        ]
    for (what, _), scored_part in zip(passes[1:3], scored, strict=False):
        check_apart(scored_part.keys, fit_keys, what, "fit")
    job = _ComparisonJob(classifier, fitted, sets, scored, alpha, seed)
    return job.result([*classifier.notes, *reference.notes, *left.values(), *_shared(scored[1], scored[0])])


@dataclass(frozen=True)
class _Set:
    """A set of out-of-distribution images."""

    group: str
    name: str
    data: Any

    @property
    def label(self) -> str:
        return f"{self.group}: {self.name}" if self.group and self.name != self.group else self.name


def _detectors(methods: Sequence[str | Detector] | None) -> list[Detector]:
    if isinstance(methods, str):
        methods = [methods]
    detectors = [
        make_detector(m, {}) if isinstance(m, str) else m for m in (DETECTORS.names() if methods is None else methods)
    ]
    if not detectors:
        raise InputError("Expected at least one method to compare, but got none.")
    if not any(detector.label == BASELINE for detector in detectors):
        detectors = [make_detector(BASELINE, {}), *detectors]
    by_label = {detector.label: detector for detector in detectors}
    return list(by_label.values())


def _sets(out_data: Any) -> Iterator[_Set]:
    if not isinstance(out_data, Mapping):
        yield _Set("", str(getattr(out_data, "name", None) or "out-of-distribution"), out_data)
        return
    for name, data in out_data.items():
        if isinstance(data, Mapping):
            if name not in GROUPS:
                raise InputError(
                    f"Expected groups of out-of-distribution images among {', '.join(GROUPS)}, but got {name!r}."
                )
            yield from (_Set(name, str(inner), some) for inner, some in data.items())
        else:
            yield _Set(name if name in GROUPS else "", str(name), data)


def _tell(report: Progress, begun: int, total: int, done: int, _all: int) -> None:
    report(begun + done, total)


def _shared(inside: Scored, calibration: Scored) -> list[str]:
    same = int(torch.isin(inside.keys, calibration.keys).sum())
    if not same:
        return []
    template = "{count} test images also calibrate: the realised rates are too favourable, the AUROC is not"
    return [Message(template, count=same)]


@dataclass(frozen=True, eq=False)
class _ComparisonJob:
    """What was scored: calibration, test, then one per set."""

    classifier: Classifier
    fitted: Sequence[Fitted]
    sets: Sequence[_Set]
    scored: Sequence[Scored]
    alpha: float
    seed: int

    def result(self, notes: Sequence[str]) -> OODComparison:
        """Return the record."""
        labels = [item.detector.label for item in self.fitted]
        tables = [dict(zip(labels, scored.scores, strict=True)) for scored in self.scored]
        calibration, inside, *outside = tables
        rows = [row for k in range(len(self.sets)) for row in self._rows(k, calibration, inside, outside)]
        adjusted = holm([row["p_value"] for row in rows])
        compared = [row["method"] != BASELINE for row in rows]
        adjusted[compared] = holm(np.array([row["p_value"] for row in rows])[compared])
        final = tuple(
            {**row, "p_holm": float(p), "against_msp": _words(row, p)} for row, p in zip(rows, adjusted, strict=True)
        )
        settings = {item.detector.label: {**item.detector.settings, "fitted": dict(item.facts)} for item in self.fitted}
        return OODComparison(
            labels=tuple(labels),
            sets=tuple({"group": s.group, "name": s.name, "label": s.label} for s in self.sets),
            calibration=torch.stack(list(calibration.values())),
            inside=torch.stack(list(inside.values())),
            outside=tuple(torch.stack(list(scores.values())) for scores in outside),
            rows=final,
            alpha=self.alpha,
            guarantee=guarantee(self.alpha, len(self.scored[0].keys)),
            provenance=Provenance.of(self.classifier, settings, self.seed),
            notes=tuple(dict.fromkeys([*notes, *(note for item in self.fitted for note in item.notes)])),
        )

    def _rows(
        self,
        k: int,
        calibration: Mapping[str, Tensor],
        inside: Mapping[str, Tensor],
        outside: Sequence[Mapping[str, Tensor]],
    ) -> Iterator[dict[str, Any]]:
        """Yield one row per detector for one set."""
        shifted = [scores for scores, s in zip(outside, self.sets, strict=True) if s.group == COVARIATE]
        own = self.sets[k].group == COVARIATE
        for label, ordinary in inside.items():
            outer = outside[k][label]
            figures = detection(ordinary, outer)
            gap, ends, p = paired_test([ordinary, inside[BASELINE]], [outer, outside[k][BASELINE]])
            row = {"set": self.sets[k].label, "group": self.sets[k].group, "method": label, "images": len(outer)}
            row |= {
                "auroc": figures.auroc,
                "auroc_low": figures.low,
                "auroc_high": figures.high,
                "aupr_out": figures.aupr_out,
                "aupr_in": figures.aupr_in,
                "fpr_ood_accepted@95id": figures.ood_accepted_at_95_id,
                "fpr_id_rejected@95ood": figures.id_rejected_at_95_ood,
            }
            if shifted and not own:
                full = torch.cat([ordinary, *(scores[label] for scores in shifted)])
                row["auroc_full_spectrum"] = auroc(full, outer)
            row |= self._realised("rejected_in", ordinary, calibration[label])
            row |= self._realised("rejected_out", outer, calibration[label])
            yield row | {"gap_to_msp": gap, "gap_low": ends[0], "gap_high": ends[1], "p_value": p}

    def _realised(self, name: str, scores: Tensor, calibration: Tensor) -> dict[str, float]:
        """Return the share rejected at alpha, with its 95 % interval."""
        hits = int((p_values(scores, calibration) <= self.alpha * (1 + 1e-12)).sum())
        low, high = wilson_interval(hits, len(scores))
        return {name: hits / len(scores), f"{name}_low": low, f"{name}_high": high}


def _words(row: Mapping[str, Any], p: float) -> str:
    if row["method"] == BASELINE:
        return "the baseline"
    if p > 0.05:
        return "no evidence of a difference from msp"
    return "better than msp" if row["gap_to_msp"] > 0 else "worse than msp"
