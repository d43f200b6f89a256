"""`load_data`: a data set from a folder, a table, an array file or an example's name."""

import os
from collections.abc import Sequence
from pathlib import Path

from xai.core.samples import check_bits
from xai.datasets.arrays import load_arrays
from xai.datasets.base import Dataset
from xai.datasets.cifar import is_cifar_folder, load_cifar
from xai.datasets.examples import load_example
from xai.datasets.folder import load_folder
from xai.datasets.idx import is_idx_folder, load_idx
from xai.datasets.manifest import load_manifest
from xai.errors import DataError

_KNOWN = (
    "Give a folder with one sub-folder per class, a .csv or .parquet table, an .npz file, a folder of CIFAR python "
    "batches or of IDX files, or example:fashion-test, example:fashion-train, example:digits."
)


def load_data(
    source: str | os.PathLike[str] | Dataset,
    classes: Sequence[str] | None = None,
    part: str | None = None,
    *,
    path_column: str = "path",
    label_column: str = "label",
    bits: int | None = None,
) -> Dataset:
    """Return a data set; pictures are read when they are asked for.

    Args:
        source: a folder with one sub-folder per class; a .csv or .parquet table with a path, a label and any group
            columns; an .npz file with `images` and `labels`; a folder with CIFAR python batches or IDX files; or
            "example:fashion-test", "example:fashion-train", "example:digits".
        classes: class names in the order of the labels; None takes them from the data.
        part: a fixed part, such as "test" or "calibration"; None takes everything.
        path_column: of a table.
        bits: how many bits of 16-bit samples are used, such as 12; None takes what each file says, or all 16.
        label_column: of a table; without it there are no labels.

    Returns:
        Dataset with `.images`, `.labels`, `.groups`, `.ids`, `len()`, `.subset(n, seed)`.

    Raises:
        DataError: a missing, empty or damaged source, or labels outside `classes`; one line names the file.
        NameLookupError: no such example or part.

    Cost: names and labels go through the disk, never all through memory; no picture is read.

    Example:
        >>> import xai
        >>> data = xai.load_data("example:fashion-test", part="calibration")
        >>> len(data), data.subset(3, seed=1).labels.shape
        (5000, torch.Size([3]))
    """
    if isinstance(source, Dataset):
        return source if part is None else source.part(part)
    text = os.fspath(source)
    if text.startswith("example:"):
        return load_example(text.removeprefix("example:"), part)
    path, bits = Path(text), check_bits(bits)
    if not path.exists():
        raise DataError(f"{path}: no such file or folder. {_KNOWN}")
    if path.is_dir():
        return _load_folder(path, classes, part, bits)
    suffix = path.suffix.lower()
    if suffix in {".csv", ".parquet"}:
        found = load_manifest(path, classes, path_column=path_column, label_column=label_column, bits=bits)
    elif suffix == ".npz":
        found = load_arrays(path, classes, bits=bits)
    else:
        raise DataError(f"{path}: not a data set of a known kind. {_KNOWN}")
    return found if part is None else found.part(part)


def _load_folder(folder: Path, classes: Sequence[str] | None, part: str | None, bits: int | None) -> Dataset:
    if is_cifar_folder(folder):
        return load_cifar(folder, classes, part)
    if is_idx_folder(folder):
        return load_idx(folder, classes, part)
    found = load_folder(folder, classes, bits=bits)
    return found if part is None else found.part(part)
