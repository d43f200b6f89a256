"""`{computed} NAME`: a table that is computed when the pages are built."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

import xai
from xai.audits import checks as _checks  # noqa: F401  # registers them
from xai.audits.checks.base import CHECKS
from xai.reports import content as standards
from xai.reports.messages import words_of
from xai.stats.gates import detectable_drop, judge_share

SIZES = (50, 100, 200, 500, 1000, 2000, 5000, 10000)
SHARES = (0.5, 0.8, 0.9, 0.95, 0.99)
DROPS = (0.10, 0.05, 0.02, 0.01)
SCHEMA = Path(xai.__file__).parent / "audits" / "audit.schema.json"


def intervals() -> list[str]:
    """Return the exact 95 % interval of a share for several sample sizes."""
    rows = [[f"{size:,}"] + [_span(*_interval(round(share * size), size)) for share in SHARES] for size in SIZES]
    return _table(["images", *(f"accuracy {share:.0%}" for share in SHARES)], rows)


def _interval(hits: int, total: int) -> tuple[float, float]:
    gate = judge_share(hits, total, 0.5)
    return gate.low, gate.high


def _span(low: float, high: float) -> str:
    return f"{100 * low:.1f} to {100 * high:.1f}"


def detectable() -> list[str]:
    """Return the drop below a threshold that a gate detects with 80 % power."""
    rows = [[f"{size:,}"] + [_points(detectable_drop(size, share)) for share in SHARES] for size in SIZES]
    return _table(["images", *(f"at least {share:.0%}" for share in SHARES)], rows)


def _points(drop: float | None) -> str:
    return "never fails" if drop is None else f"{100 * drop:.1f}"


def needed() -> list[str]:
    """Return the number of images with which a gate detects a drop with 80 % power."""
    rows = [[f"at least {share:.0%}"] + [f"{_first(share, drop):,}" for drop in DROPS] for share in SHARES]
    return _table(["gate", *(f"{100 * drop:.0f} below" for drop in DROPS)], rows)


def _first(share: float, drop: float) -> int:
    """Return the smallest number of images, to three digits, at which `drop` is detectable."""
    low, high = 1, 1 << 20
    while high - low > max(1, low // 500):
        middle = (low + high) // 2
        seen = detectable_drop(middle, share)
        low, high = (middle, high) if seen is None or seen > drop else (low, middle)
    return high


def evidence() -> list[str]:
    """Return the requirements and the checks that are evidence for them."""
    words = words_of("en")
    rows = [
        [line.source, words(line.key), ", ".join(f"`{metric}`" for metric in line.metrics) or "the audit file itself"]
        for line in standards.REQUIREMENTS
    ]
    return _table(["text", "requirement, summarised", "checks that are evidence"], rows)


def checks() -> list[str]:
    """Return every check of audits with the first line of its docstring."""
    return _table(
        ["metric", "what it measures"],
        [[f"`{name}`", (CHECKS[name].__doc__ or "").splitlines()[0]] for name in CHECKS.names()],
    )


def schema() -> list[str]:
    """Return every field of audit.json with its type."""
    tree = json.loads(SCHEMA.read_text(encoding="utf-8"))
    return _table(["field", "type", "required", "meaning"], list(_fields(tree, tree, "")))


def _fields(tree: Mapping[str, Any], node: Mapping[str, Any], path: str) -> Iterator[list[str]]:
    node = _followed(tree, node)
    for name, child in node.get("properties", {}).items():
        inner, place = _followed(tree, child), f"{path}{name}"
        must = "yes" if name in node.get("required", ()) else ""
        yield [f"`{place}`", _type(inner), must, inner.get("description", "")]
        if len(place.split(".")) < 4:
            yield from _fields(tree, inner, f"{place}.")
            yield from _fields(tree, inner.get("items", {}), f"{place}[].")


def _followed(tree: Mapping[str, Any], node: Any) -> Mapping[str, Any]:
    if isinstance(node, Mapping) and "$ref" in node:
        found: Any = tree
        for part in node["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        return _followed(tree, found)
    return node if isinstance(node, Mapping) else {}


def _type(node: Mapping[str, Any]) -> str:
    if "const" in node:
        return f"`{node['const']!r}`"
    if "enum" in node:
        return ", ".join(f"`{value}`" for value in node["enum"])
    if "anyOf" in node or "oneOf" in node:
        return " or ".join(_type(part) for part in node.get("anyOf", node.get("oneOf", ())))
    kind = node.get("type", "any")
    return " or ".join(kind) if isinstance(kind, list) else kind


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines]


TABLES: dict[str, Callable[[], list[str]]] = {
    "intervals": intervals,
    "detectable": detectable,
    "needed": needed,
    "evidence": evidence,
    "checks": checks,
    "schema": schema,
}


class Computed(SphinxDirective):
    """One of the tables above."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the table."""
        return self.parse_text_to_nodes("\n".join(TABLES[self.arguments[0]]()))


def setup(app: Any) -> dict[str, bool]:
    """Add the directive."""
    app.add_directive("computed", Computed)
    return {"parallel_read_safe": True}
