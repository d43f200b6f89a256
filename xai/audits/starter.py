"""`init_audit`: a commented xai.toml, a workflow and a test to start from."""

import os
from importlib.resources import files as resources
from pathlib import Path

from xai.errors import InputError, RecordError
from xai.models import check_source

FILES = {
    "xai.toml": "xai.toml",
    "test_audit.txt": "tests/test_audit.py",
    "workflow.yml": ".github/workflows/audit.yml",
}


def init_audit(
    folder: str | os.PathLike[str] = ".", model: str = "example:fashion", *, overwrite: bool = False
) -> tuple[Path, ...]:
    """Write a commented xai.toml with every check, a GitHub workflow and a test that must be able to fail.

    Args:
        folder: to write into.
        model: an example network, whose file runs as it is, or any other source, whose data is left to fill in.
        overwrite: whether to replace files that are there.

    Returns:
        The files written.

    Raises:
        InputError: a file is there already, and `overwrite` is False; or there is no such model.
        NameLookupError: no such model of the toolkit's own; near names are suggested.
        RecordError: the folder cannot be written.

    Example:
        >>> import tempfile, xai
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     [path.name for path in xai.init_audit(folder)]
        ['xai.toml', 'test_audit.py', 'audit.yml']
    """
    check_source(model)
    place = Path(folder)
    wanted = {place / target: _content(name, model) for name, target in FILES.items()}
    for path in wanted:
        if path.exists() and not overwrite:
            raise InputError(f"{path} is there already. Move it away, or overwrite it with --force.")
    for path, content in wanted.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")
        except OSError as error:
            raise RecordError(f"{path}: cannot be written ({error.strerror}). Choose another folder.") from error
    return tuple(wanted)


def _content(name: str, model: str) -> str:
    text = (resources("xai.audits") / "starters" / name).read_text(encoding="utf-8")
    return text.replace('"example:fashion"', _quoted(model))


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
