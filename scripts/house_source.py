"""Read the files of a package and count its lines, names, functions and folders; the standard library only."""

import ast
import io
import tokenize
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

LINES = (40, 400)  # fewest and most lines of a file
FOLDER = 15  # most files of a folder
_NO_CODE = frozenset(
    {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
)
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Source:
    """One Python file: its dotted name, its path, its text and its syntax tree."""

    name: str
    path: Path
    text: str
    tree: ast.Module

    @property
    def folder(self) -> str:
        """The dotted name of the folder that the file lies in."""
        return self.name if self.path.name == "__init__.py" else self.name.rpartition(".")[0]


@dataclass(frozen=True)
class LineNumbers:
    """The numbers of the lines of a file by what stands on them, from 1; no two sets share a line."""

    code: frozenset[int]
    imports: frozenset[int]


def read_package(package: Path) -> list[Source]:
    """Return the Python files of a package, sorted by path."""
    return [_read(path, package.parent) for path in sorted(package.rglob("*.py"))]


def _read(path: Path, root: Path) -> Source:
    parts = path.relative_to(root).with_suffix("").parts
    name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    text = path.read_text(encoding="utf-8")
    return Source(name, path, text, ast.parse(text))


def line_numbers(source: Source) -> LineNumbers:
    """Return the lines of code and of imports; docstrings, comments and blank lines are neither."""
    docstrings, imports = set(), set()
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            imports |= _span(node)
        elif isinstance(node, _DOCUMENTED) and (docstring := docstring_of(node)):
            docstrings |= _span(docstring)
    filled = set()
    for token in tokenize.generate_tokens(io.StringIO(source.text).readline):
        if token.type not in _NO_CODE:
            filled |= set(range(token.start[0], token.end[0] + 1))
    return LineNumbers(frozenset(filled - docstrings - imports), frozenset(imports))


def _span(node: ast.stmt) -> set[int]:
    return set(range(node.lineno, (node.end_lineno or node.lineno) + 1))


def docstring_of(node: ast.Module | ast.ClassDef | Function) -> ast.Expr | None:
    """Return the statement that holds the docstring, or None."""
    first = node.body[0] if node.body else None
    return first if isinstance(first, ast.Expr) and _is_text(first.value) else None


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def repeated_classes(sources: Sequence[Source]) -> list[str]:
    """Return the names of classes defined more than once in the package, each with its files."""
    places: dict[str, list[str]] = defaultdict(list)
    for source in sources:
        for node in ast.walk(source.tree):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(source.name)
    return [f"{name}: {', '.join(files)}" for name, files in sorted(places.items()) if len(files) > 1]


def function_median(sources: Sequence[Source]) -> float:
    """Return the median length of all functions and methods in lines, signature included, docstring not."""
    lengths = [length for source in sources for length in _function_lengths(source)]
    return median(lengths) if lengths else 0.0


def _function_lengths(source: Source) -> Iterator[int]:
    for node in ast.walk(source.tree):
        if isinstance(node, Function):
            docstring = docstring_of(node)
            yield len(_span(node)) - (len(_span(docstring)) if docstring else 0)


def is_method_file(source: Source) -> bool:
    """Say whether a top-level definition is registered under a name: `@REGISTRY.register("name")`, `@kind("name")`."""
    return any(
        isinstance(decorator, ast.Call) and bool(decorator.args) and _is_text(decorator.args[0])
        for node in source.tree.body
        if isinstance(node, ast.ClassDef | Function)
        for decorator in node.decorator_list
    )


def files_out_of_bounds(sources: Sequence[Source]) -> tuple[list[str], list[str]]:
    """Return files under 40 and files over 400 lines; `__init__`, `__main__` and method files may be short."""
    short, long = [], []
    for source in sources:
        lines = len(source.text.splitlines())
        may_be_short = source.path.stem in {"__init__", "__main__"} or is_method_file(source)
        if lines < LINES[0] and not may_be_short:
            short.append(f"{source.name}: {lines}")
        elif lines > LINES[1]:
            long.append(f"{source.name}: {lines}")
    return short, long


def full_folders(sources: Sequence[Source]) -> list[str]:
    """Return folders with more than 15 Python files; those whose public files are methods for the most part may."""
    sizes = Counter(source.folder for source in sources)
    public = [source for source in sources if not source.path.stem.startswith("_")]
    methods = Counter(source.folder for source in public if is_method_file(source))
    named = Counter(source.folder for source in public)
    return [
        f"{folder}: {size}"
        for folder, size in sorted(sizes.items())
        if size > FOLDER and 2 * methods[folder] <= named[folder]
    ]
