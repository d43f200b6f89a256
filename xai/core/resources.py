"""Where the files that ship with xai are."""

from pathlib import Path

from xai.errors import DataError

_PACKAGE = Path(__file__).resolve().parent.parent


def data_folder() -> Path:
    """Return the folder with example pictures and networks: inside the installed package, or the checkout's data/.

    Raises:
        DataError: neither is there.
    """
    for folder in (_PACKAGE / "_data", _PACKAGE.parent / "data"):
        if folder.is_dir():
            return folder
    raise DataError("The example data of xai is not installed. Reinstall xai-toolkit.")
