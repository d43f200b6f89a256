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
from xai.datasets.headers import TABLES
from xai.datasets.idx import is_idx_folder, load_idx
from xai.datasets.manifest import load_manifest
from xai.datasets.parts import with_parts
from xai.errors import DataError

_KNOWN = (
    "Give a folder with one sub-folder per class, a .csv, .tsv or .parquet table, an .npz file, a folder of CIFAR "
    "python batches or of IDX files, or example:fashion-test, example:fashion-train, example:digits."
)


def load_data(
    source: str | os.PathLike[str] | Dataset,
    classes: Sequence[str] | None = None,
    part: str | None = None,
    *,
    path_column: str = "path",
    label_column: str = "label",
    part_column: str | None = None,
    bits: int | None = None,
) -> Dataset:
    """Return a data set; pictures are read when they are asked for.

    Args:
        source: a folder with one sub-folder per class, also below train/, val/ and test/; a .csv, .tsv or .parquet
            table with a path, a label and any group columns; an .npz file with `images` and `labels`; a folder with
            CIFAR python batches or IDX files; or "example:fashion-test", "example:fashion-train", "example:digits".
        classes: class names in the order of the labels; None takes them from the data.
        part: a fixed part, such as "test" or "calibration"; None takes everything.
        path_column: of a table.
        bits: how many bits of 16-bit samples are used, such as 12; None takes what each file says, or all 16.
        label_column: of a table; without it there are no labels.
        part_column: of a table or .npz file: says which part each image is of. None takes a column called part, split,
            partition, fold, subset or set, and says so in `notes`; "" takes none.

    Returns:
        Dataset with `.images`, `.labels`, `.groups`, `.ids`, `len()`, `.subset(n, seed)`, `.parts`, `.part("test")`.

    Raises:
        DataError: a missing, empty or damaged source, or labels outside `classes`; one line names the file.
        NameLookupError: no such example, part or column of parts.

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
    if path.is_dir() and is_cifar_folder(path):
        return load_cifar(path, classes, part)
    if path.is_dir() and is_idx_folder(path):
        return load_idx(path, classes, part)
    found = _load(path, classes, path_column, label_column, bits)
    if part_column is not None or not path.is_dir():  # the parts of a folder are its own folders
        found = with_parts(found, part_column)
    return found if part is None else found.part(part)


def _load(path: Path, classes: Sequence[str] | None, path_column: str, label_column: str, bits: int | None) -> Dataset:
    if path.is_dir():
        return load_folder(path, classes, bits=bits)
    suffix = path.suffix.lower()
    if suffix in TABLES:
        return load_manifest(path, classes, path_column=path_column, label_column=label_column, bits=bits)
    if suffix == ".npz":
        return load_arrays(path, classes, bits=bits)
    raise DataError(f"{path}: not a data set of a known kind. {_KNOWN}")
