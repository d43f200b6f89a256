"""What stands in a page of Markdown: its blocks, what they do, and its links."""

import doctest
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).resolve().parent.parent.parent
DOCS = ROOT / "docs"
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@dataclass(frozen=True)
class Block:
    """A block of code: its language and its text."""

    language: str
    text: str


def blocks(page: Path) -> list[Block]:
    return [Block(*found) for found in _BLOCK.findall(page.read_text(encoding="utf-8"))]


def follow(page: Path, folder: Path) -> list[str]:
    """Do what a page says, in `folder`, and return what differs from what it shows.

    A ```toml block that begins with `# NAME` is written to that file, ```console is run line by line, and ```python
    with prompts is a session that goes on from block to block. Other blocks are only shown.
    """
    names: dict[str, object] = {"__name__": "__main__"}
    faults = []
    for block in blocks(page):
        if block.language == "toml" and block.text.startswith("# "):
            first = block.text.splitlines()[0]
            (folder / first.removeprefix("# ")).write_text(block.text, encoding="utf-8")
        elif block.language == "console":
            faults += [fault for command, wanted in commands(block.text) for fault in _run(command, wanted, folder)]
        elif block.language == "python" and ">>> " in block.text:
            faults += _session(block.text, names, page)
    return faults


def commands(text: str) -> Iterator[tuple[str, str]]:
    """Yield each command of a ```console block with the output that is shown below it."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, wanted = part.partition("\n")
        yield command, wanted


def _run(command: str, wanted: str, folder: Path) -> list[str]:
    tools = folder / ".tools"
    tools.mkdir(exist_ok=True)
    (tools / "xai").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m xai.cli "$@"\n', encoding="utf-8")
    (tools / "xai").chmod(0o755)
    around = os.environ | {"PATH": f"{tools}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["sh", "-c", command], cwd=folder, env=around, capture_output=True, text=True, timeout=600, check=False
    )
    if doctest.OutputChecker().check_output(wanted, done.stdout, _FLAGS):
        return []
    return [f"{command}\nwanted:\n{wanted}\ngot:\n{done.stdout}{done.stderr}"]


def _session(text: str, names: dict[str, object], page: Path) -> list[str]:
    said: list[str] = []
    test = doctest.DocTestParser().get_doctest(text, names, page.name, str(page), 0)
    doctest.DocTestRunner(optionflags=_FLAGS).run(test, out=said.append, clear_globs=False)
    names.update(test.globs)
    return said


class _Names(HTMLParser):
    """Collects what a page can be asked for (ids) and what it asks for (links, images)."""

    def __init__(self) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.wanted: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if value and name in {"id", "name"}:
                self.anchors.add(value)
            elif value and name in {"href", "src"} and tag != "link":
                self.wanted.append(value)


def broken_links(site: Path) -> list[str]:
    """Return the links of built pages to files or anchors that are not there."""
    read = {page: _names(page) for page in sorted(site.rglob("*.html"))}
    faults = []
    for page, names in read.items():
        for link in names.wanted:
            parts = urlsplit(link)
            if parts.scheme or link == "#" or (page.name in {"search.html", "genindex.html"} and not parts.path):
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            target = target / "index.html" if target.is_dir() else target
            anchor = unquote(parts.fragment)
            if not target.is_file() or (anchor and target in read and anchor not in read[target].anchors):
                faults.append(f"{page.relative_to(site)}: {link}")
    return faults


def _names(page: Path) -> _Names:
    found = _Names()
    found.feed(page.read_text(encoding="utf-8"))
    return found


_LINK = re.compile(r"(?<!`)\[[^\]\n]*\]\(([^)\s]+)\)")


def broken_paths(page: Path) -> list[str]:
    """Return the links of a page of Markdown, as it lies in the repository, to files that are not there."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    links = [urlsplit(link) for link in _LINK.findall(text)]
    return [
        f"{page.relative_to(ROOT)}: {link.path}"
        for link in links
        if not link.scheme and link.path and not (page.parent / unquote(link.path)).exists()
    ]
