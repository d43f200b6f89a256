"""Print the figures that the tree of xai/ is judged by: `python scripts/house_figures.py [--json] [--startup]`.

Read from the source (files under xai/, by ast and tokenize):
files; code lines (no docstrings, comments, blank lines, imports); code lines per file; import lines as a share of code
and import lines; class names defined more than once, nested ones too; pairs of a file and a private module `_x` of a
folder that the file is not in; circles of files that import each other, imports inside functions included; pairs of
dashboard modules of which one imports the other, and those that go upward (text, session < charts < widgets < pages) or
from page to page; pairs of places with six or more equal lines; files of less than 40 or more than 400 lines, method
files and `__init__` aside where they are short; folders of more than 15 files, those of methods aside; the median
length of functions without docstrings; old words that still occur.
Counted while calls run, each in a process of its own (house_calls.py): files entered, hops between files, and classes
of audits with a method entered or an object made; public names, and their members.
With --startup, CPU time in seconds (house_startup.py), median of five processes, half a minute to two minutes.

`--checkout DIR` measures another checkout with the interpreter that runs this script. The exit code is always 0.
"""

import argparse
import ast
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from house_calls import count_in_child
from house_imports import circles, dashboard_pairs, import_pairs, private_imports, upward_imports
from house_repeats import repeats
from house_source import (
    Source,
    files_out_of_bounds,
    full_folders,
    function_median,
    line_numbers,
    read_package,
    repeated_classes,
)
from house_startup import beyond, ratio, startup_seconds
from house_words import files_to_search, old_words_of

ROOT = Path(__file__).resolve().parents[1]
WORD_LISTS = "OLD_WORDS", "OLD_NAMES", "OLD_WORDS_ES"  # the constants in tests/house_rules


@dataclass(frozen=True)
class Figure:
    """One figure: its name, its value (None: not measured), the bar ("<= 9") and what it counts, place by place."""

    name: str
    now: float | None
    bar: str = ""
    places: list[str] = field(default_factory=list)
    unit: str = ""

    def row(self) -> tuple[str, str, str]:
        """Return the row of the table."""
        if self.now is None:
            return self.name, "-", self.bar
        digits = 0 if float(self.now).is_integer() and not self.unit else 2
        return self.name, f"{self.now:,.{digits}f}{self.unit}", self.bar


def count_of(name: str, places: Sequence[str] | None, bar: str = "0") -> Figure:
    """Return the figure that counts places."""
    return Figure(name, None, bar) if places is None else Figure(name, len(places), bar, list(places))


def static_figures(checkout: Path) -> list[Figure]:
    """Return the figures read from the source of a checkout."""
    sources = read_package(checkout / "xai")
    pairs = import_pairs(sources)
    inside = dashboard_pairs(pairs)
    short, long = files_out_of_bounds(sources)
    return [
        *_line_figures(sources),
        count_of("class names defined more than once", repeated_classes(sources)),
        count_of("private modules imported from elsewhere", private_imports(pairs, sources)),
        count_of("import circles", [" ".join(circle) for circle in circles(pairs)]),
        count_of("runs of six or more lines that stand twice", repeats(sources)),
        count_of("files under 40 lines", short),
        count_of("files over 400 lines", long),
        count_of("folders over 15 files", full_folders(sources)),
        Figure("median length of functions", function_median(sources), "< 10"),
        count_of("imports inside the dashboard", [" -> ".join(pair) for pair in inside], "<= 150"),
        count_of("of them upward or between pages", upward_imports(inside)),
        count_of("old words that occur", old_words(checkout)),
    ]


def _line_figures(sources: Sequence[Source]) -> list[Figure]:
    numbers = [line_numbers(source) for source in sources]
    code, imports = (sum(len(getattr(lines, kind)) for lines in numbers) for kind in ("code", "imports"))
    return [
        Figure("files", len(sources), "<= 360"),
        Figure("code lines", code, "<= 32,500"),
        Figure("code lines per file", round(code / max(1, len(sources)), 1), ">= 85"),
        Figure("import share", 100 * imports / max(1, code + imports), "<= 9 %", unit=" %"),
    ]


def old_words(checkout: Path) -> list[str] | None:
    """Return the old words that occur in code, pages and notebooks; None without a list in tests/."""
    tests = checkout / "tests"
    rules = [path for path in (tests / "house_rules.py", *sorted(tests.glob("house_rules/*.py"))) if path.is_file()]
    lists = [next((words for path in rules if (words := _constant(path, name))), {}) for name in WORD_LISTS]
    if not any(lists):
        return None
    texts = files_to_search(checkout)
    return sorted({word for place, text in texts.items() for _, word in old_words_of(place, text, *lists)})


def _constant(path: Path, name: str) -> dict[str, Sequence[str]]:
    """Return the words in a module's constant, a literal mapping, or a sequence of patterns; empty where none is."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        if isinstance(node, ast.Assign | ast.AnnAssign) and getattr(target, "id", "") == name and node.value:
            words = ast.literal_eval(node.value)
            return words if isinstance(words, dict) else dict.fromkeys(words, ())
    return {}


def call_figures(checkout: Path) -> list[Figure]:
    """Return the figures counted while calls run on a checkout."""
    explain, attack, audit, public = (
        count_in_child(verb, checkout) or {} for verb in ("explain", "attack", "audit", "public")
    )
    audit_classes = [name for name in audit.get("classes", []) if name.startswith("xai.audits.")] if audit else None
    return [
        count_of("files entered by explain(gradcam)", explain.get("files"), "<= 14"),
        Figure("hops of explain(gradcam)", explain.get("hops"), "<= 60"),
        count_of("files entered by attack(pgd)", attack.get("files"), "<= 16"),
        Figure("hops of attack(pgd)", attack.get("hops")),
        count_of("files entered by audit(accuracy)", audit.get("files"), "<= 30"),
        count_of("classes of audits in audit(accuracy)", audit_classes, "<= 8 coined"),
        count_of("public names", public.get("names"), "about 45"),
        count_of("public members", public.get("members"), ""),
    ]


def startup_figures(checkout: Path) -> list[Figure]:
    """Return the figures of starting a process, in seconds of CPU time."""
    seconds = startup_seconds(checkout)
    return [
        Figure("import xai, beyond python", beyond(seconds, "xai", "python"), "<= 0.06 s", unit=" s"),
        Figure("import torch", seconds["torch"], unit=" s"),
        Figure("xai.explain, beyond torch", beyond(seconds, "explain", "torch"), "<= 0.4 s", unit=" s"),
        Figure("xai.attack, beyond torch", beyond(seconds, "attack", "torch"), "<= 0.4 s", unit=" s"),
        Figure("import torch, load weights, forward", seconds["forward"], unit=" s"),
        Figure("xai explain photo.jpg over that", ratio(seconds, "photo", "forward"), "<= 1.35 x", unit=" x"),
    ]


def table(figures: Sequence[Figure]) -> str:
    """Return the figures as lines of "figure | now | bar"."""
    rows = [("figure", "now", "bar"), *(figure.row() for figure in figures)]
    widths = [max(len(row[k]) for row in rows) for k in range(3)]
    return "\n".join(f"{name:<{widths[0]}} | {now:>{widths[1]}} | {bar}".rstrip() for name, now, bar in rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the figures of a checkout."""
    parser = argparse.ArgumentParser(description="Print the figures that the tree of xai/ is judged by.")
    parser.add_argument("--json", action="store_true", help="one JSON document, with the places behind each figure")
    parser.add_argument("--checkout", type=Path, default=ROOT, help="root of the checkout to measure")
    parser.add_argument("--startup", action="store_true", help="also measure CPU times of starting")
    parser.add_argument("--static", action="store_true", help="only what is read from the source")
    options = parser.parse_args(arguments)
    makers: list[Callable[[Path], list[Figure]]] = [static_figures]
    makers += [] if options.static else [call_figures]
    makers += [startup_figures] if options.startup else []
    figures = [figure for make in makers for figure in make(options.checkout.resolve())]
    print(json.dumps([asdict(figure) for figure in figures], indent=1) if options.json else table(figures))


if __name__ == "__main__":
    main()
