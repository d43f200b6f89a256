"""How long work takes: each stage is tried on a few images, since how soon an attack ends is not known before."""

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from xai.audits.plan import Plan, Task
from xai.audits.scene import DATA, Scene
from xai.audits.stages import Alone, Stage
from xai.audits.work import settled
from xai.core.hooks import borrowed, gradients_on

_FEW, _MANY, _PACED = 2, 40, 32  # images tried
_LONGEST = 3.0  # seconds of one try, by the rows that a stage may need at most
clock: Callable[[], float] = time.perf_counter


def seconds_of(plan: Plan, tasks: Sequence[Task]) -> dict[str, float]:
    """Return the seconds that pieces of work take, about, by key.

    Cost: each stage on at most 43 images, or fewer so that it takes about three seconds.
    """
    pace = _pace(plan.scene)
    stages = list(dict.fromkeys(task.stage for task in tasks))
    with settled():
        costs = {stage: _cost(plan.scene, stage, pace) for stage in stages}
    found = {}
    for task in tasks:
        fixed, each = costs[task.stage]
        batches = 1 if task.stage.whole else math.ceil(len(task.rows) / plan.config.micro_batch)
        found[task.key] = fixed * batches + each * len(task.rows)
    return found


def _cost(scene: Scene, stage: Stage, pace: float) -> tuple[float, float]:
    """Return the seconds of a batch whatever its size, and those of each image."""
    rows = stage.rows(scene)
    each = pace * (stage.cost.forward + 2 * stage.cost.backward)
    if isinstance(stage, Alone):
        count = len(rows) if stage.counted is None else min(stage.counted, len(rows))
        return count * (each + stage.beside * _size(scene)), 0.0
    if each > _LONGEST or len(rows) < 3 * _FEW:
        return 0.0, each
    try:
        stage.run(scene, rows[:1])  # the first time costs more
        few = _timed(stage, scene, rows[1 : 1 + _FEW])
        many = min(_MANY, max(2 * _FEW, int(_LONGEST * _FEW / max(few, 1e-9))), len(rows) - 1 - _FEW)
        more = _timed(stage, scene, rows[1 + _FEW : 1 + _FEW + many])
    except Exception:  # noqa: BLE001  (what breaks in the audit is a finding of its report, and takes no time)
        return 0.0, 0.0
    slope = max((more - few) / (many - _FEW), 0.3 * more / many)
    return max(0.0, few - _FEW * slope), slope


def _timed(stage: Stage, scene: Scene, rows: np.ndarray) -> float:
    began = clock()
    stage.run(scene, rows)
    return clock() - began


def _size(scene: Scene) -> float:
    """Return the pixels of a model input in units of 28 x 28, in which work beside the model is given."""
    shape = scene.inputs(DATA, scene.role().order[:1]).shape
    return float(shape[-1] * shape[-2]) / 784


def _pace(scene: Scene) -> float:
    """Return the seconds of one row forward, from a forward and a backward of some images."""
    classifier = scene.classifier
    inputs = scene.inputs(DATA, scene.role().order[:_PACED])
    rows = inputs.to(device=classifier.device, dtype=classifier.dtype)
    with borrowed(classifier.module), gradients_on():
        _there_and_back(classifier, rows[:2])  # the first time costs more
        began = clock()
        _there_and_back(classifier, rows)
        return (clock() - began) / (3 * len(rows))


def _there_and_back(classifier: Any, rows: torch.Tensor) -> None:
    rows = rows.detach().requires_grad_()
    logits = classifier.raw_logits(rows)
    if logits.requires_grad:
        torch.autograd.grad(logits.sum(), rows)
