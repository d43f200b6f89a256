"""Does a classifier answer more one-sidedly than its labels are? Directional bias amplification."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy

from xai.fairness.cube import Cube
from xai.fairness.records import Plain


@dataclass(frozen=True)
class Amplification(Plain):
    """Bias amplification from groups to answers.

    Attributes:
        column: what divides the pictures.
        value: mean over groups and classes of the change of P(class | group) from labels to answers, counted positive
            where it deepens what the labels already show. 0 for answers equal to the labels; above 0: amplified.
        interval: 95 %, with the directions that the labels show taken as given.
        where: group and class with the largest change in that sense, "" when nothing changes.
        change: that change.
    """

    column: str
    value: float
    interval: tuple[float, float]
    where: str
    change: float


def amplification(cube: Cube, column: str, groups: Sequence[str], classes: Sequence[str]) -> Amplification:
    """Return the bias amplification of the answers against the labels.

    Only the direction from groups to answers: there is no prediction of the group.

    Source: Wang & Russakovsky 2021, equation 4 (A -> T); classes that do not occur at all are left out.
    """
    truth, said = cube.by_class(cube.label), cube.by_class(cube.said)
    known = (truth + said).sum(1) > 0
    size = cube.by_group()
    direction = np.where(truth * size.sum() > truth.sum(1, keepdims=True) * size, 1.0, -1.0)
    weight = direction / (size * known.sum() * len(size)) * known[:, None]
    change = direction * (said - truth) / size
    moved = weight[cube.said, cube.group] - weight[cube.label, cube.group]
    mean = np.bincount(cube.group, cube.count * moved, len(size)) / size
    square = np.bincount(cube.group, cube.count * (moved - mean[cube.group]) ** 2, len(size))
    half = float(scipy.stats.norm.ppf(0.975) * np.sqrt((square * size / np.maximum(size - 1, 1)).sum()))
    value = float((cube.count * moved).sum())
    largest, (label, group) = float(change.max()), np.unravel_index(int(change.argmax()), change.shape)
    where = f"{groups[int(group)]} / {classes[int(label)]}" if largest > 0 else ""
    return Amplification(column, value, (value - half, value + half), where, max(largest, 0.0))
