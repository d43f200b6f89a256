"""`bias`: do groups of images fare differently, more than chance makes them?"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import nn

from xai.core.images.border import open_data
from xai.core.labels import labels_of
from xai.core.model.classifier import Classifier, as_classifier
from xai.core.model.predictions import to_probabilities
from xai.core.model.resizing import resizing_note
from xai.core.model.usage_checks import data_doubts
from xai.core.results.result import Provenance
from xai.core.runtime.batching import Progress, ShouldStop, reporting
from xai.core.validation import check_seed
from xai.errors import InputError, NameLookupError
from xai.fairness.groups.gaps import GapJudge
from xai.fairness.groups.questions import CALIBRATION, CONFIDENCE, METRICS, BiasSettings, ask, judge_questions
from xai.fairness.groups.result import BiasResult, parities
from xai.fairness.groups.tables import Cube, ImageTable, amplification, divide

_MOST_GROUPS = 20  # of a column that is taken when none is named
Columns = Sequence[str] | Mapping[str, Any] | str | None


def bias(
    model: Classifier | nn.Module,
    data: Any,
    groups: Columns = None,
    *,
    labels: Any = None,
    extra: Mapping[str, Any] | None = None,
    seed: int = 0,
    progress: bool | Progress | None = None,
    should_stop: ShouldStop | None = None,
    **settings: Any,
) -> BiasResult:
    """Compare how a classifier treats groups of images. It says which gaps are more than chance.

    Args:
        model: a classifier or a bare module.
        data: a data set of `xai.load_data`, or images in any form.
        groups: names of columns of the data, or a table or mapping from names to (N,) values; None takes all columns of
            the data with at most 20 groups. Columns are compared alone and crossed.
        labels: the truth (N,), indices or names; None takes the data's, by class name where the order differs.
        extra: further numbers per image by name, (N,) each, nan where they do not apply: whether an attack failed
            (robust accuracy), whether a detector rejected it (false rejection), how well it is explained. Zeros and
            ones are compared as shares, others by their means.
        seed: of the permutations.
        progress: None, True for a bar, or a callable `(done, total)`.
        should_stop: asked between chunks and questions; True ends the work with `xai.errors.Stopped`.
        settings: `metrics`, `alpha`, `correction`, `depth`, `min_count`, `relevant`, `tolerance`, `replicates`; see
            `xai.fairness.groups.questions.BiasSettings`.

    Returns:
        BiasResult; `.findings` holds the gaps that are unfair, `.table` all, `.groups` each group.

    Raises:
        InputError: no labels, no group column, or a value that cannot be used.
        NameLookupError: no such column, metric or setting.
        Stopped: `should_stop()` was true.

    Cost: one pass over the images; then about ten milliseconds per question (metric, class and column), whatever N.

    Example:
        >>> import xai
        >>> clf = xai.load("example:fashion")
        >>> data = xai.load_data("example:fashion-test").subset(200)
        >>> part = ["day", "night"] * 100
        >>> xai.bias(clf, data, groups={"light": part}).table["column"].unique().tolist()
        ['light']
    """
    classifier, seed = as_classifier(model), check_seed(seed)
    data = open_data(data)
    columns, chosen = _columns(data, groups), _settings(settings)
    outputs = classifier.outputs(data, progress=progress, should_stop=should_stop)
    ground_truth, notes = labels_of(classifier, data, labels, len(outputs))
    notes = (*notes, *outputs.image_notes, *resizing_note(classifier, data, torch.as_tensor(ground_truth)))
    notes += data_doubts(classifier, data, outputs.logits.argmax(1), ground_truth)
    confidence = to_probabilities(outputs.logits, classifier.head).double().amax(1)
    rows = ImageTable.of(ground_truth, outputs.logits.argmax(1), confidence, extra, classifier.class_names, METRICS)
    name = str(getattr(data, "name", "images"))
    provenance = Provenance.of(classifier, asdict(chosen), seed, {"name": name})
    return _report(rows, columns, chosen, provenance, (*classifier.notes, *notes), progress, should_stop)


def bias_of_predictions(
    labels: Any,
    predictions: Any,
    groups: Mapping[str, Any],
    confidence: Any = None,
    *,
    extra: Mapping[str, Any] | None = None,
    class_names: Sequence[str] | None = None,
    seed: int = 0,
    progress: bool | Progress | None = None,
    should_stop: ShouldStop | None = None,
    **settings: Any,
) -> BiasResult:
    """Do what `bias` does with answers that are already there; no model is needed.

    Args:
        labels: the truth (N,), class numbers from 0 or names.
        predictions: (N,) likewise.
        groups: from names to (N,) values: a mapping or a table.
        confidence: (N,) probability of each answer, in [0, 1]; None leaves calibration and confidence out.
        extra: as in `bias`.
        class_names: in the order of the numbers; None takes those that occur.
        seed: of the permutations.
        progress: as in `bias`, in questions.
        should_stop: as in `bias`.
        settings: as in `bias`.

    Returns:
        BiasResult.

    Raises:
        InputError: arrays that do not fit together, or values that cannot be used.
        NameLookupError: no such metric or setting.
        Stopped: `should_stop()` was true.

    Example:
        >>> import xai
        >>> labels, answers = [0, 1] * 50, [0, 1] * 49 + [1, 0]
        >>> found = xai.bias_of_predictions(labels, answers, groups={"site": ["A"] * 50 + ["B"] * 50})
        >>> found.findings
        ()
    """
    chosen, rows = _settings(settings), ImageTable.of(labels, predictions, confidence, extra, class_names, METRICS)
    provenance = Provenance.of(None, asdict(chosen), check_seed(seed), {"name": "stored predictions"})
    return _report(rows, _mapping(groups), chosen, provenance, (), progress, should_stop)


def _report(
    rows: ImageTable,
    columns: Mapping[str, Any],
    settings: BiasSettings,
    provenance: Provenance,
    notes: Sequence[str],
    progress: bool | Progress | None,
    should_stop: ShouldStop | None,
) -> BiasResult:
    if rows.confidence is None and {CALIBRATION, CONFIDENCE} & set(settings.metrics or ()):
        raise InputError("Expected `confidence` for the metrics calibration and confidence, but got None. Pass (N,).")
    divisions = divide(columns, len(rows), settings.depth)
    questions = [question for division in divisions for question in ask(division, rows, settings, provenance.seed)]
    with reporting(progress, "groups") as report:
        tested_questions = judge_questions(questions, settings, provenance.seed, report, should_stop)
    judge = GapJudge(rows.classes, settings, sum(question.first for question in tested_questions))
    gaps = [judge.gap(question) for question in tested_questions]
    parity_lines, grown = [], []
    for division in divisions:
        own = [(q, gap.verdict) for q, gap in zip(tested_questions, gaps, strict=True) if q.division is division]
        parity_lines += parities([q for q, _ in own], [verdict for _, verdict in own], rows.classes)
        cube = Cube.of(division.codes, rows.labels, rows.predictions, len(division.groups), len(rows.classes))
        grown.append(amplification(cube, division.name, division.groups, rows.classes))
    return BiasResult(
        gaps=tuple(gaps),
        values=tuple(line for question in tested_questions for line in judge.groups(question)),
        parities=tuple(parity_lines),
        amplifications=tuple(grown),
        columns=tuple(division.name for division in divisions),
        group_names=tuple(division.groups for division in divisions),
        labels=rows.labels,
        predictions=rows.predictions,
        codes=np.stack([division.codes for division in divisions]),
        class_names=rows.classes,
        provenance=provenance,
        notes=tuple(dict.fromkeys([*notes, *(division.note for division in divisions if division.note)])),
    )


def _settings(given: Mapping[str, Any]) -> BiasSettings:
    known = list(BiasSettings.__dataclass_fields__)
    for name in given:
        if name not in known:
            raise NameLookupError("setting of bias", name, known)
    metrics = given.get("metrics")
    named = (metrics,) if isinstance(metrics, str) else None if metrics is None else tuple(metrics)
    return BiasSettings(**{**given, "metrics": named})


def _columns(data: Any, groups: Columns) -> Mapping[str, Any]:
    """Return the group columns by name.

    Raises:
        InputError: none is there to take.
    """
    if groups is not None and not isinstance(groups, str | list | tuple):
        return _mapping(groups)
    own = getattr(data, "groups", None)
    own = {} if own is None else own
    if groups is not None:
        return {name: own[name] for name in ([groups] if isinstance(groups, str) else groups)}
    few = {name: values for name, values in own.items() if len(set(values.tolist())) <= _MOST_GROUPS}
    if not few:
        raise InputError(
            f"Expected `groups`, but the data has no column with at most {_MOST_GROUPS} groups (columns: {list(own)}). "
            "Name a column, or pass a mapping from a name to one value per image."
        )
    return few


def _mapping(groups: Any) -> Mapping[str, Any]:
    if not hasattr(groups, "keys"):
        raise InputError(
            f"Expected `groups` as a mapping from names to one value per image, but got {type(groups).__name__}. "
            'Write {"sex": values}.'
        )
    return {str(name): groups[name] for name in groups.keys()}  # noqa: SIM118 (also a pandas table)
