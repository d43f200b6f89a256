"""What the checks of rated explanations share: settings, work, and images beside their maps."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from xai.audits.check_result import exhibit
from xai.audits.checks.base import Check
from xai.audits.context import DATA, Context
from xai.audits.execution.stages.base import Stage
from xai.audits.execution.stages.explanations import RatingStage
from xai.core.results.message import Message
from xai.explanations.methods.base import EXPLAINERS

_CHECKS = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class RatingCheck(Check):
    """A share of explanations by their ratings.

    Attributes:
        method: of the explanation.
    """

    family: ClassVar[str] = "explanations"
    conditions: ClassVar[tuple[str, ...]] = ("at_least", "at_most", "max_drop_vs_baseline")
    first_images: ClassVar[int | None] = 32

    method: str = "gradcam"

    def __post_init__(self) -> None:
        """Refuse unknown methods."""
        EXPLAINERS[self.method]

    def stages(self) -> tuple[Stage, ...]:
        """Explain and rate, once for all checks of one method."""
        return (RatingStage(most=self.most, method=self.method),)

    def code(self) -> str:
        """Return Python that repeats it."""
        return f"xai.rate_explanation(model, images, xai.explain(model, images, {self.method!r})).checks"


def checks_of(context: Context) -> list[_CHECKS]:
    """Return the ratings of each map, by name."""
    every = [own for part in context.results[0].parts for own in part["checks"]]
    return [{check["name"]: check for check in own} for own in every]


def shown_maps(context: Context, checks: list[_CHECKS], method: str) -> tuple[dict[str, Any], ...]:
    """Return the most typical map, that of the most confident error, and the least stable one.

    The most typical map is the medoid: it correlates best with all others on average.
    """
    rated = context.results[0]
    maps, rows = rated["maps"], rated.rows
    flat = maps.reshape(len(maps), -1).astype(np.float64)
    flat -= flat.mean(1, keepdims=True)
    flat /= np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-30)
    wrong = np.flatnonzero(rated["target"] != context.labels(DATA, rows).numpy())
    stability = [own.get("stability", {}).get("values", {}).get("correlation", np.inf) for own in checks]
    chosen = {Message("most typical map"): int((flat @ flat.T).mean(1).argmax())}
    if len(wrong):
        chosen[Message("most confident error")] = int(wrong[rated["probability"][wrong].argmax()])
    if np.isfinite(min(stability)):
        chosen[Message("least stable map")] = int(np.argmin(stability))
    return tuple(_exhibit(context, k, title, method) for title, k in chosen.items())


def _exhibit(context: Context, k: int, title: Message, method: str) -> dict[str, Any]:
    artifacts, rated = context.artifacts, context.results[0]
    row = int(rated.rows[k])
    labels, name = context.classifier.class_names, context.role().ids[row]
    label, predicted = labels[int(context.labels(DATA, [row])[0])], labels[int(rated["target"][k])]
    images = [artifacts.image(context.inputs(DATA, [row])[0]), artifacts.heatmap(rated["maps"][k])]
    images.append(artifacts.heatmap(rated["control"][k], "control"))
    words = {"name": name, "label": label, "predicted": predicted, "method": method}
    return exhibit(
        title,
        Message(
            "{name} (label {label!r}): the {method} map of {predicted!r}, and the map of a model with random weights; "
            "a map that depends on the model differs from it.",
            **words,
        ),
        Message(
            "An image of {label}, the {method} map of {predicted!r}, and the map of a model with random weights.",
            **words,
        ),
        images,
        image=name,
        label=label,
        predicted=predicted,
        confidence=float(rated["probability"][k]),
    )
