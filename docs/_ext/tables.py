"""`{computed} NAME`: a table that is computed when the pages are built."""

from collections.abc import Callable
from typing import Any

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

TABLES: dict[str, Callable[[], list[str]]] = {}


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
