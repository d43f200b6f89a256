"""The data sets that ship with xai."""

from dataclasses import replace

import numpy as np

from xai.core.resources import data_folder
from xai.datasets.arrays import from_arrays, load_arrays
from xai.datasets.base import Dataset
from xai.errors import NameLookupError

EXAMPLES = ("fashion-test", "fashion-train", "digits")


def load_example(name: str, part: str | None = None) -> Dataset:
    """Return an example data set, or a fixed part of it.

    "fashion-test" has the parts "calibration" (even rows) and "test" (odd rows), 5,000 pictures each.

    Raises:
        NameLookupError: no such example or part.
    """
    if name not in EXAMPLES:
        raise NameLookupError("example data set", name, EXAMPLES)
    found = _digits() if name == "digits" else load_arrays(data_folder() / f"{name}.npz", name=f"example:{name}")
    if name == "fashion-test":
        halves = np.where(np.arange(len(found)) % 2 == 0, "calibration", "test")
        columns = {**found.source.columns, "part": lambda rows: halves[rows]}
        found = Dataset(replace(found.source, columns=columns, part="part"), found.rows)
    return found if part is None else found.part(part)


def _digits() -> Dataset:
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = (digits.images / 16).astype(np.float32)
    return from_arrays("example:digits", images, digits.target.astype(np.int64), [str(k) for k in range(10)])
