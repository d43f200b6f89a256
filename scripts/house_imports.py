"""Find the imports between the files of a package: private ones from elsewhere, circles, and those of the dashboard.

Every import counts, also inside functions and under TYPE_CHECKING, once per importing file and imported module.
"""

import ast
from collections import defaultdict
from collections.abc import Iterator, Sequence

from house_source import Source

HEIGHTS = {"text": 0, "session": 0, "charts": 1, "widgets": 2, "pages": 3}  # folders of the dashboard
Pair = tuple[str, str]


def import_pairs(sources: Sequence[Source]) -> list[Pair]:
    """Return the (importing, imported) modules of the package, sorted, each pair once."""
    modules = {source.name for source in sources}
    pairs = {(source.name, module) for source in sources for module in _imported(source, modules)}
    return sorted(pair for pair in pairs if pair[0] != pair[1])


def _imported(source: Source, modules: set[str]) -> Iterator[str]:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules)
        elif isinstance(node, ast.ImportFrom):
            start = _absolute(source, node)
            names = (f"{start}.{alias.name}" for alias in node.names)
            candidates = (name if name in modules else start for name in names)
            yield from (name for name in candidates if name in modules)


def _absolute(source: Source, node: ast.ImportFrom) -> str:
    """Return the full name of the module behind `from`, also where it is written with dots."""
    if not node.level:
        return node.module or ""
    parents = source.folder.split(".")
    return ".".join([*parents[: len(parents) - node.level + 1], *filter(None, [node.module])])


def private_imports(pairs: Sequence[Pair], sources: Sequence[Source]) -> list[str]:
    """Return imports of a private module `_x` from outside the folder that holds it."""
    folders = {source.name: source.folder for source in sources}
    return [
        f"{importer} -> {module}"
        for importer, module in pairs
        if (owner := _owner(module)) and not f"{folders[importer]}.".startswith(f"{owner}.")
    ]


def _owner(module: str) -> str:
    """Return the folder that a private module belongs to, or an empty string for a public one."""
    parts = module.split(".")
    private = [k for k, part in enumerate(parts) if part.startswith("_") and not part.startswith("__")]
    return ".".join(parts[: private[0]]) if private else ""


def circles(pairs: Sequence[Pair]) -> list[list[str]]:
    """Return the groups of modules that import each other, directly or by way of others (Tarjan, 1972)."""
    graph: dict[str, list[str]] = defaultdict(list)
    for importer, module in pairs:
        graph[importer].append(module)
    search = _Components(graph)
    for module in sorted(graph):
        if module not in search.order:
            search.visit(module)
    return sorted(sorted(component) for component in search.components if len(component) > 1)


class _Components:
    """The search for strongly connected components of a graph."""

    def __init__(self, graph: dict[str, list[str]]) -> None:
        self.graph = graph
        self.order: dict[str, int] = {}
        self.lowest: dict[str, int] = {}
        self.stack: list[str] = []
        self.components: list[list[str]] = []

    def visit(self, module: str) -> None:
        """Visit a module and all that it imports."""
        self.order[module] = self.lowest[module] = len(self.order)
        self.stack.append(module)
        for following in self.graph.get(module, ()):
            if following not in self.order:
                self.visit(following)
                self.lowest[module] = min(self.lowest[module], self.lowest[following])
            elif following in self.stack:
                self.lowest[module] = min(self.lowest[module], self.order[following])
        if self.lowest[module] == self.order[module]:
            start = self.stack.index(module)
            self.components.append(self.stack[start:])
            del self.stack[start:]


def dashboard_pairs(pairs: Sequence[Pair], dashboard: str = "xai.dashboard") -> list[Pair]:
    """Return the imports between modules of the dashboard."""
    return [pair for pair in pairs if all(f"{module}.".startswith(f"{dashboard}.") for module in pair)]


def upward_imports(pairs: Sequence[Pair], dashboard: str = "xai.dashboard") -> list[str] | None:
    """Return imports of a higher folder or of another page; None where no module lies in these folders."""
    inside = [(_parts(importer, dashboard), _parts(module, dashboard)) for importer, module in pairs]
    layered = [(a, b) for a, b in inside if a[0] in HEIGHTS and b[0] in HEIGHTS]
    if not layered:
        return None
    return [f"{'.'.join(a)} -> {'.'.join(b)}" for a, b in layered if _is_upward(a, b)]


def _parts(module: str, dashboard: str) -> list[str]:
    return module.removeprefix(dashboard).removeprefix(".").split(".")


def _is_upward(importer: list[str], module: list[str]) -> bool:
    if importer[0] == module[0] == "pages":
        return len(importer) > 1 and len(module) > 1 and importer[1] != module[1]
    return HEIGHTS[importer[0]] < HEIGHTS[module[0]]
