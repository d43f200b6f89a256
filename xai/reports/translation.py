"""`translate`: the words of reports for whoever shows an audit elsewhere."""

from typing import Any

from xai.reports.words import words_of


def translate(text: str, language: str, *, sentence: bool = False, **values: Any) -> str:
    """Return a message of reports, or what the library says in English, in a language.

    Args:
        text: key of a message, such as "verdict.fail", or English sentences: a note, a reason, a title. Numbers in them
            stay as they are written.
        language: "en" or "es".
        sentence: whether the text is what the library says, even where a message has a key like it ("check", "class").
        values: for the places of a message.

    Returns:
        The text in that language; as it is where the catalogue has neither.

    Raises:
        NameLookupError: no such language.

    Example:
        >>> import xai
        >>> xai.translate("verdict.fail", "es")
        'no superado'
    """
    words = words_of(language)
    if text in words.messages and not sentence:
        return words(text, **values)
    return words.told(text, plain=True).text
