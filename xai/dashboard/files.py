"""What can be downloaded, as bytes; made when it is asked for."""

import io
import tempfile
import zipfile
from pathlib import Path

import numpy as np

import xai

_MOMENT = (1980, 1, 1, 0, 0, 0)  # the same result gives the same bytes


def picture_png(explanation: xai.Explanation) -> bytes:
    """Return picture, map and overlay as a PNG."""
    with tempfile.TemporaryDirectory() as folder:
        return explanation.save(Path(folder) / "explanation.png").read_bytes()


def whole_zip(explanation: xai.Explanation) -> bytes:
    """Return the folder that `Explanation.load` reads, as a zip."""
    stream = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        saved = explanation.save(Path(folder) / "explanation")
        for path in sorted(saved.iterdir()):
            archive.writestr(zipfile.ZipInfo(path.name, _MOMENT), path.read_bytes(), zipfile.ZIP_DEFLATED)
    return stream.getvalue()


def map_npy(explanation: xai.Explanation) -> bytes:
    """Return the raw signed map (H, W) float32 as a NumPy file."""
    stream = io.BytesIO()
    np.save(stream, explanation.heatmap, allow_pickle=False)
    return stream.getvalue()
