"""The errors of xai, as a tree. Each is also the builtin that a caller would expect.

XaiError
|-- InputError (ValueError)           something the caller gave cannot be used
|   |-- ShapeError                    wrong rank, size or number of channels
|   |-- RangeError                    values outside their range, NaN included
|   |-- ImageError                    an image that cannot be read or shown
|   |-- DataError                     a data set that cannot be used
|   |-- CheckpointError               a model file that cannot be used
|   |-- RecordError                   a saved result that cannot be read back
|   `-- TargetError                   no such class
|-- NameLookupError (LookupError)     no such method, model, layer or setting; suggests near ones
|-- UnsupportedModelError (TypeError) the model cannot be explained this way, and what to use instead
|-- NonFiniteError (ArithmeticError)  the model answered NaN or infinity
|-- MissingExtraError (ImportError)   an optional package is not installed, or does not work; names the command
|-- Stopped (RuntimeError)            `should_stop` said so
`-- ContractError (RuntimeError)      our own mistake: please report it
"""

import copyreg
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

_BRIEF = 40  # characters of a name in a list of names


class XaiError(Exception):
    """Any error that xai raises on purpose; the message is one line with the cure.

    Example:
        >>> import xai
        >>> try:
        ...     xai.load("no-such-model")
        ... except xai.XaiError as error:
        ...     len(str(error).splitlines())
        1
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(one_line(message))

    @property
    def message(self) -> str:
        """The text; where it is a `Message`, with the template that other languages need."""
        return str(self) if not self.args or type(self.args[0]) is str else self.args[0]

    def __reduce__(self) -> tuple[Any, ...]:
        """Cross a process border as the message alone, whatever the arguments of the class are."""
        return copyreg.__newobj__, (type(self), *self.args)  # type: ignore[attr-defined]  # missing in its stubs


class InputError(XaiError, ValueError):
    """Something the caller gave cannot be used.

    Example:
        >>> import xai
        >>> try:
        ...     xai.load_data("no-such-folder")
        ... except xai.InputError as error:
        ...     print(isinstance(error, ValueError))
        True
    """


class ShapeError(InputError):
    """A tensor has the wrong rank, size or number of channels."""


class RangeError(InputError):
    """A value lies outside its range, or is not a number."""


class ImageError(InputError):
    """An image cannot be read or shown."""


class DataError(InputError):
    """A data set cannot be used."""


class CheckpointError(InputError):
    """A model file cannot be used."""


class RecordError(InputError):
    """A saved result cannot be read back."""


class TargetError(InputError):
    """The class asked for does not exist."""


class NameLookupError(XaiError, LookupError):
    """A name is not known; the message suggests near ones."""

    def __init__(self, kind: str, name: object, known: Iterable[str]) -> None:
        super().__init__(f"There is no {kind} {name!r}. {near_names(str(name), list(known))}")


class UnsupportedModelError(XaiError, TypeError):
    """The model cannot be treated this way."""


class NonFiniteError(XaiError, ArithmeticError):
    """The model answered NaN or infinity."""


class MissingExtraError(XaiError, ImportError):
    """An optional package is not installed, or it is and does not work.

    Args:
        what: what needs it.
        extra: brings it: `pip install 'xai-toolkit[EXTRA]'`.
        broken: why it cannot be imported though it is installed; see `core/extras.py`.
    """

    def __init__(self, what: str, extra: str, broken: str = "") -> None:
        command = f"'xai-toolkit[{extra}]'"
        lacks = f"needs an optional package: pip install {command}"
        fails = f"needs an optional package that is installed and does not work: {broken}. Install versions that fit"
        super().__init__(f"{what} {lacks}" if not broken else f"{what} {fails}: pip install --upgrade {command}")


class Stopped(XaiError, RuntimeError):  # noqa: N818
    """The caller's `should_stop` ended the work.

    Example:
        >>> import xai
        >>> data = xai.load_data("example:fashion-test").subset(4)
        >>> try:
        ...     xai.explain(xai.load("example:fashion"), data.images[:], should_stop=lambda: True)
        ... except xai.Stopped:
        ...     print("stopped")
        stopped
    """


class ContractError(XaiError, RuntimeError):
    """A method of xai broke its own contract: please report it.

    Example:
        >>> import xai
        >>> issubclass(xai.ContractError, RuntimeError)
        True
    """


def one_line(text: str) -> str:
    """Return `text` with line breaks and control characters, of a file name for instance, written out."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def near_names(name: str, known: list[str]) -> str:
    """Return a sentence with the names nearest to `name`, or with all of them when few."""
    near = get_close_matches(name, known, n=4, cutoff=0.4)
    if near:
        return f"Near: {', '.join(map(_brief, near))}."
    shown = ", ".join(map(_brief, known[:12])) + (", ..." if len(known) > 12 else "")
    return f"Known: {shown}." if known else "None is known here."


def _brief(name: str) -> str:
    """Return a name that may come from a file, escaped and short enough for a list."""
    line = one_line(name)
    return line if len(line) <= _BRIEF else f"{line[:_BRIEF]}..."
