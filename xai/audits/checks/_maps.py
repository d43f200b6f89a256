"""What the checks of explanations share: pictures beside their maps and the maps of a model with random weights."""

from typing import Any

import numpy as np

from xai.audits.checks.base import CheckView
from xai.audits.context import DATA
from xai.audits.documents.artifacts import exhibit

_CHECKS = dict[str, dict[str, Any]]


def checks_of(view: CheckView) -> list[_CHECKS]:
    """Return what was asked of each map, by name."""
    every = [own for part in view.found[0].facts for own in part["checks"]]
    return [{check["name"]: check for check in own} for own in every]


def shown_maps(view: CheckView, checks: list[_CHECKS], method: str) -> tuple[dict[str, Any], ...]:
    """Return the most typical map, that of the surest wrong answer, and the least stable one.

    The most typical map is the medoid: it correlates best with all others on average.
    """
    found = view.found[0]
    maps, rows = found["maps"], found.rows
    flat = maps.reshape(len(maps), -1).astype(np.float64)
    flat -= flat.mean(1, keepdims=True)
    flat /= np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-30)
    truth = view.scene.truth(DATA, rows).numpy()
    wrong = np.flatnonzero(found["target"] != truth)
    steady = [own.get("stability", {}).get("values", {}).get("correlation", np.inf) for own in checks]
    chosen = {"most typical map": int((flat @ flat.T).mean(1).argmax())}
    if len(wrong):
        chosen["surest wrong answer"] = int(wrong[found["probability"][wrong].argmax()])
    if np.isfinite(min(steady)):
        chosen["least stable map"] = int(np.argmin(steady))
    return tuple(_one(view, k, title, method) for title, k in chosen.items())


def _one(view: CheckView, k: int, title: str, method: str) -> dict[str, Any]:
    scene, album, found = view.scene, view.album, view.found[0]
    row = int(found.rows[k])
    labels, name = scene.classifier.labels, scene.role().ids[row]
    truth, said = labels[int(scene.truth(DATA, [row])[0])], labels[int(found["target"][k])]
    images = [album.picture(scene.inputs(DATA, [row])[0]), album.heatmap(found["maps"][k])]
    images.append(album.heatmap(found["control"][k], "control"))
    words = f"the {method} map of {said!r}, and the map of a model with random weights"
    return exhibit(
        title,
        f"{name} (in truth {truth!r}): {words}; a map worth looking at differs from it.",
        f"A picture of {truth}, {words}.",
        images,
        picture=name,
        label=truth,
        predicted=said,
        confidence=float(found["probability"][k]),
    )
