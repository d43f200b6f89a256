"""Find runs of six or more equal lines that stand in two places of a package."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from house_source import Source, line_numbers

RUN = 6  # fewest lines of a run
_PUNCTUATION = set("()[]{},:")


@dataclass(frozen=True)
class Line:
    """One line of code without the blanks around it, and where it stands."""

    source: Source
    number: int
    text: str


def repeats(sources: Sequence[Source]) -> list[str]:
    """Return each pair of places with six or more equal lines in a row, as long as it goes.

    Lines are compared without the blanks around them. Docstrings, comments, imports, blank lines and lines of
    punctuation alone are left out before; what stands three times makes three pairs, and a run does not overlap itself.
    """
    lines = [line for source in sources for line in _code_lines(source)]
    return [
        f"{_place(lines, first, length)} = {_place(lines, second, length)}"
        for first, second, length in sorted(_pairs(lines))
    ]


def _code_lines(source: Source) -> Iterator[Line]:
    rows = source.text.splitlines()
    for number in sorted(line_numbers(source).code):
        text = rows[number - 1].strip()
        if text and not set(text) <= _PUNCTUATION:
            yield Line(source, number, text)


def _pairs(lines: Sequence[Line]) -> Iterator[tuple[int, int, int]]:
    """Yield the positions of both places and the length of the run."""
    windows = defaultdict(list)
    for start in range(len(lines) - RUN + 1):
        if lines[start].source is lines[start + RUN - 1].source:
            windows[tuple(line.text for line in lines[start : start + RUN])].append(start)
    for starts in windows.values():
        for k, first in enumerate(starts):
            for second in starts[k + 1 :]:
                length = _length(lines, first, second)
                if length >= RUN and not (first and _equal(lines, first - 1, second - 1, first, second)):
                    yield first, second, length


def _length(lines: Sequence[Line], first: int, second: int) -> int:
    length = 0
    while (
        first + length < second
        and second + length < len(lines)
        and _equal(lines, first + length, second + length, first, second)
    ):
        length += 1
    return length


def _equal(lines: Sequence[Line], first: int, second: int, *starts: int) -> bool:
    """Say whether two lines are equal and stand in the files in which the runs begin."""
    places = zip((first, second), starts, strict=True)
    return lines[first].text == lines[second].text and all(lines[a].source is lines[b].source for a, b in places)


def _place(lines: Sequence[Line], start: int, length: int) -> str:
    return f"{lines[start].source.name}:{lines[start].number}-{lines[start + length - 1].number}"
