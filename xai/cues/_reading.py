"""Some pictures of a data set with their truth, masks and the model's answers."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xai.core.door import open_data
from xai.core.labels import labels_of
from xai.core.seeds import image_key
from xai.cues._base import Pictures
from xai.cues._probe import Probe
from xai.errors import InputError, ShapeError

_FEWEST = 40


@dataclass(frozen=True, eq=False)
class Sample:
    """Pictures drawn from a data set.

    Attributes:
        pictures: in random order.
        names: of the pictures.
        data: name of the data set.
        notes: what was done.
        train: images that the model learnt from, in random order; None when not given.
    """

    pictures: Pictures
    names: tuple[str, ...]
    data: str
    notes: tuple[str, ...]
    train: Pictures | None = None

    def halves(self) -> tuple[Pictures, Pictures]:
        """Return those that choose and those that judge."""
        return _halves(self.pictures)

    def searched(self) -> tuple[Pictures, Pictures]:
        """Return the images in which cues are looked for, and those on which what was found is tried on the data."""
        return self.halves() if self.train is None else _halves(self.train)


def _halves(pictures: Pictures) -> tuple[Pictures, Pictures]:
    rows, half = torch.arange(len(pictures)), len(pictures) // 2
    return pictures.take(rows[:half]), pictures.take(rows[half:])


def read(probe: Probe, data: Any, labels: Any, masks: Any, samples: int, seed: int, train: Any = None) -> Sample:
    """Draw images, bring them to the model's input and ask the model about them.

    Args:
        probe: asks the model.
        data: a data set or images.
        labels: the truth; None takes the data's.
        masks: of the objects, or None.
        samples: images drawn; twice as many of `train`.
        seed: of the draw.
        train: what the model learnt from, a data set or a pair (images, labels); None when not given.

    Raises:
        InputError: no labels, or too few images.
        ShapeError: masks of another number or size.
    """
    found = _draw(probe, data, labels, masks, samples, seed)
    if train is None:
        return found
    images, truth = train if isinstance(train, tuple) and len(train) == 2 else (train, None)
    learnt = _draw(probe, images, truth, None, 2 * samples, seed)
    notes = (*found.notes, f"cues were looked for in {len(learnt.pictures)} images of the training set")
    return Sample(found.pictures, found.names, found.data, notes, learnt.pictures)


def _draw(probe: Probe, data: Any, labels: Any, masks: Any, samples: int, seed: int) -> Sample:
    data = open_data(data)
    source = data.images
    lazy = hasattr(source, "pictures")
    batch = None if lazy else probe.classifier.prepare(source)
    total = len(source) if batch is None else len(batch.inputs)
    if total < _FEWEST:
        raise InputError(f"Expected at least {_FEWEST} images, but got {total}: half choose cues, half judge them.")
    rows = np.random.default_rng(abs(seed)).permutation(total)[:samples]
    if batch is None:
        batch = probe.classifier.prepare(source.pictures(rows.tolist()))
        inputs = batch.inputs
    else:
        inputs = batch.inputs[torch.from_numpy(rows)]
    probe.classifier.check_images(inputs)
    sure = probe.probabilities(inputs)
    truth, notes = labels_of(probe.classifier, data, labels, total)
    kept = torch.from_numpy(rows)
    keys = [image_key(image) for image in inputs]
    shown = _masks(masks, total, inputs, kept)
    pictures = Pictures(inputs, truth[kept], sure.argmax(1), sure.gather(1, truth[kept, None])[:, 0], keys, shown, seed)
    ids = getattr(data, "ids", None)
    names = tuple(str(row) if ids is None else str(ids[int(row)]) for row in rows)
    return Sample(pictures, names, str(getattr(data, "name", "pictures")), (*batch.notes, *notes))


def _masks(masks: Any, total: int, inputs: Tensor, rows: Tensor) -> Tensor | None:
    if masks is None:
        return None
    found, size = torch.as_tensor(masks), tuple(inputs.shape[2:])
    if tuple(found.shape) != (total, *size):
        raise ShapeError(
            f"Expected masks ({total}, {size[0]}, {size[1]}) in the model's input geometry, but got "
            f"{tuple(found.shape)}."
        )
    return found[rows].bool()
