"""`translate`: the words of reports for whoever shows an audit elsewhere."""

from typing import Any

from xai.reports.words import words_of


def translate(text: str, language: str, **values: Any) -> str:
    """Return a message of reports, or a constant sentence of a check, in a language.

    Args:
        text: key of a message, such as "verdict.fail", or an English sentence.
        language: "en" or "es".
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
    return words(text, **values) if text in words.messages else words.sentence(text)
