"""Run the notebooks and keep what they show: `python scripts/make_notebooks.py [NAME ...]`, a part of a name each.

Each is a pair: the `.py` file is written by hand, the `.ipynb` beside it is that file executed, images included.
"""

import base64
import io
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import jupytext
from nbclient import NotebookClient
from PIL import Image

HERE = Path(__file__).resolve().parent.parent
NOTEBOOKS = HERE / "notebooks"
DPI = 80  # of images; with 256 colours a notebook stays small enough for a repository
LIMIT = 600  # seconds for a cell, far beyond the three minutes that a notebook may take


def main(parts: list[str]) -> None:
    """Run all, or those whose names hold one of the words."""
    for source in sources():
        if not parts or any(part in source.stem for part in parts):
            began = time.perf_counter()
            notebook = executed(source)
            jupytext.write(notebook, source.with_suffix(".ipynb"))
            size = source.with_suffix(".ipynb").stat().st_size
            print(f"{source.stem}: {time.perf_counter() - began:.0f} s, {size / 1e6:.2f} MB", flush=True)


def sources() -> list[Path]:
    """Return the hand-written halves, in their order."""
    return sorted(NOTEBOOKS.glob("[0-9]*.py"))


def executed(source: Path) -> Any:
    """Return a notebook run from its first cell to its last, in an empty folder, as the `.ipynb` keeps it.

    Raises:
        CellExecutionError: a cell failed.
    """
    notebook = jupytext.read(source)
    os.environ["PYTHONPATH"] = str(HERE)
    os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"
    with tempfile.TemporaryDirectory(prefix="xai-notebook-") as folder:
        Path(folder, "matplotlibrc").write_text(f"figure.dpi: {DPI}\n", encoding="utf-8")
        NotebookClient(notebook, timeout=LIMIT, resources={"metadata": {"path": folder}}).execute()
    for number, cell in enumerate(notebook.cells):
        _tidy(cell, f"cell-{number}")
    notebook.metadata.pop("language_info", None)
    return notebook


def _tidy(cell: Any, name: str) -> None:
    """Drop what changes from run to run: times, random names, warnings and bars."""
    cell["id"] = name
    cell.metadata.clear()
    if cell.cell_type == "code":
        cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
        for output in cell.outputs:
            if "image/png" in output.get("data", {}):
                output.data["image/png"] = _small(output.data["image/png"])


def _small(image: str) -> str:
    """Return a PNG in base64 with 256 colours."""
    packed = io.BytesIO()
    with Image.open(io.BytesIO(base64.b64decode(image))) as image:
        image.convert("RGB").quantize(256).save(packed, "PNG", optimize=True)
    return base64.b64encode(packed.getvalue()).decode("ascii")


if __name__ == "__main__":
    main(sys.argv[1:])
