"""Messages: English sentences that keep their template and values, so that other languages need no parsing."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass
from string import Formatter
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    import pandas as pd


class Message(str):
    """An English sentence made from a template and values.

    It is a `str` in every respect. Another language is another template for the same `key`, filled with the same
    values; values that are messages are translated, too.

    Args:
        key: the English template, with named places as in `str.format`: "{count} images of {total:,}".
        values: one for each place; of any kind that `str.format` takes.

    Attributes:
        key: the template.
        values: by the name of the place.

    Raises:
        KeyError: a place has no value.

    Example:
        >>> Message("{share:.0%} of the images", share=0.25)
        '25% of the images'
        >>> Message("{share:.0%} of the images", share=0.25).key
        '{share:.0%} of the images'
    """

    key: str
    values: Mapping[str, Any]

    __slots__ = ("key", "values")

    SENTENCE = "sentence"  # format spec of a place: capitalised, with a full stop

    def __new__(cls, key: str, /, **values: Any) -> Self:
        """Fill the template."""
        message = super().__new__(cls, key.format(**values) if values else _unescaped(key))
        message.key, message.values = key, values
        return message

    @classmethod
    def restored(cls, text: str, key: str, values: Mapping[str, Any]) -> Self:
        """Return a message read from a file; its template, which anybody may have written, is not filled again."""
        message = super().__new__(cls, text)
        message.key, message.values = key, values
        return message

    def __format__(self, spec: str) -> str:
        """Return the text, as a sentence where the place asks for one."""
        return _as_sentence(self) if spec == self.SENTENCE else super().__format__(spec)

    def __reduce__(self) -> tuple[Any, ...]:
        """Return what makes the same message again, for copies."""
        return Message.restored, (str(self), self.key, dict(self.values))

    def told(self, template: Callable[[str], str | None], number: Callable[[str], str] = str) -> str | None:
        """Return the message in another language; None where a template is missing.

        A template without words, such as "{low} to {high}" is not but "{percent:.1f} %" is, needs no translation.

        Args:
            template: from the English template to that of the language, or None.
            number: writes the digits of a formatted number as the language does.
        """
        own = template(self.key)
        if own is None and _PLAIN.fullmatch(self.key):
            own = self.key
        if own is None:
            return None
        try:
            return _Filler(template, number).vformat(own, (), self.values)
        except _UNFIT:  # values read from a file may be anything
            return None


class _MissingTemplateError(Exception):
    """A value that is a message has no template in the language."""


class _Filler(Formatter):
    """Fills a template: messages among the values are translated, numbers written as the language does."""

    def __init__(self, template: Callable[[str], str | None], number: Callable[[str], str]) -> None:
        self._template, self._number = template, number

    def format_field(self, value: Any, format_spec: str) -> str:
        if isinstance(value, Message):
            text = value.told(self._template, self._number)
            if text is None:
                raise _MissingTemplateError
            return _as_sentence(text) if format_spec == Message.SENTENCE else text
        written = format(value, format_spec)
        return self._number(written) if isinstance(value, int | float) and not isinstance(value, bool) else written


_UNFIT = (_MissingTemplateError, LookupError, ValueError, TypeError, AttributeError, MemoryError, RecursionError)
# what a template without words may hold: nothing that reads attributes or makes a text of any length, for a file may
# hold any template
_PLAIN = re.compile(r"(?:\{\w+(?:![rs])?(?::(?:sentence|,?(?:\.\d{1,2})?[a-z%]?))?\}|[^\w{}]|[\d_])*")


def _as_sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].removesuffix('.')}."


def _unescaped(key: str) -> str:
    return key.replace("{{", "{").replace("}}", "}")


def constant(text: str) -> Message:
    """Return a text as a message without values; a message as it is."""
    return text if isinstance(text, Message) else Message.restored(text, text, {})


def joined(messages: Sequence[str], joint: str = "; ") -> Message:
    """Return several messages as one, with a joint between them.

    Example:
        >>> joined([Message("first"), Message("second")]).key
        '{part0}; {part1}'
    """
    parts = {f"part{k}": message for k, message in enumerate(messages)}
    return Message(joint.join(f"{{{name}}}" for name in parts), **parts)


def sentences(texts: Sequence[str]) -> Message:
    """Return several messages as sentences, one after the other: capitalised, each with a full stop.

    Example:
        >>> sentences([Message("first"), Message("second")])
        'First. Second.'
    """
    parts = {f"part{k}": constant(text) for k, text in enumerate(texts)}
    return Message(" ".join(f"{{{name}:{Message.SENTENCE}}}" for name in parts), **parts)


def messages_in(value: Any) -> Iterator[Message]:
    """Yield the messages in nested mappings, lists, tuples and dataclasses."""
    if isinstance(value, Message):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from messages_in(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from messages_in(item)
    elif is_dataclass(value):
        for field in fields(value):
            yield from messages_in(getattr(value, field.name))


def message_table(value: Any) -> dict[str, Any]:
    """Return the templates and values of the messages in a value by their text, JSON-ready; for a file beside it."""
    return {str(message): _encoded(message) for message in messages_in(value)}


def with_messages(value: Any, table: Mapping[str, Any]) -> Any:
    """Return a value read from a file with the texts of a `message_table` as messages again."""
    if isinstance(value, str):
        return _decoded(value, table[value]) if value in table else value
    if isinstance(value, Mapping):
        return {name: with_messages(item, table) for name, item in value.items()}
    if isinstance(value, list):
        return [with_messages(item, table) for item in value]
    return value


def _encoded(message: Message) -> dict[str, Any]:
    return {"key": message.key, "values": {name: _encoded_value(value) for name, value in message.values.items()}}


def _encoded_value(value: Any) -> Any:
    if isinstance(value, Message):
        return {"text": str(value), **_encoded(value)}
    if value is None or isinstance(value, bool | str | int | float):
        return value
    return value.item() if hasattr(value, "item") else str(value)


def _decoded(text: str, record: Mapping[str, Any]) -> Message:
    values = {str(name): _decoded_value(value) for name, value in record["values"].items()}
    return Message.restored(text, str(record["key"]), values)


def _decoded_value(value: Any) -> Any:
    return _decoded(str(value["text"]), value) if isinstance(value, Mapping) else value


def frame_of(rows: Sequence[Any], columns: Sequence[str] | None = None) -> "pd.DataFrame":
    """Return a table of records or mappings whose messages keep their templates; pandas would make text of them."""
    import pandas as pd

    records = [dict(row) if isinstance(row, Mapping) else asdict(row) for row in rows]
    frame = pd.DataFrame(records, columns=None if columns is None else list(columns))
    for name in frame.columns:
        values = [record[name] for record in records]
        if any(isinstance(value, Message) for value in values):
            frame[name] = pd.Series(values, index=frame.index, dtype=object)
    return frame
