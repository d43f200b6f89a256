"""How fast is the model?"""

import time
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import scipy

from xai.audits.checks.base import CHECKS, FIGURES, Check, CheckView, positive
from xai.audits.context import DATA, Context
from xai.audits.execution.stages.base import DataStage, Stage
from xai.audits.execution.store import StoredResult
from xai.audits.measurement import Measurement


@CHECKS.register("speed")
@dataclass(frozen=True)
class Speed(Check):
    """Pictures per second through the model, on the machine of the audit.

    Attributes:
        batch: pictures at a time.
        repeats: timings.
    """

    name: ClassVar[str] = "speed"
    title: ClassVar[str] = "Speed"
    family: ClassVar[str] = "quality"
    question: ClassVar[str] = "How many pictures a second does the model answer on this machine?"
    kind: ClassVar[str] = "descriptive"
    span: ClassVar[tuple[float, float]] = (0.0, float("inf"))
    conditions: ClassVar[tuple[str, ...]] = FIGURES
    first_pictures: ClassVar[int | None] = 32
    limits: ClassVar[tuple[str, ...]] = (
        "a measurement of this machine under its load: the only figure here that another run does not repeat",
    )

    batch: int = 1
    repeats: int = 20

    def __post_init__(self) -> None:
        """Refuse numbers that are none."""
        positive("batch", self.batch, whole=True)
        positive("repeats", self.repeats, whole=True)

    def stages(self) -> tuple[Stage, ...]:
        """Time forwards."""
        given = (("batch", self.batch), ("repeats", self.repeats))
        return (
            DataStage(
                most=self.most,
                title=self.name,
                given=given,
                rows_each=float(self.repeats),
                study=self._study,
                steady=False,
            ),
        )

    def _study(self, scene: Context, rows: np.ndarray) -> StoredResult:
        inputs = scene.inputs(DATA, np.resize(rows, self.batch))
        scene.classifier.logits_of(inputs)  # the first one also sets things up
        seconds = []
        for _ in range(self.repeats):
            began = time.perf_counter()
            scene.classifier.logits_of(inputs)
            seconds.append(time.perf_counter() - began)
        return StoredResult({"seconds": np.array(seconds)})

    def measure(self, view: CheckView) -> Measurement:
        """Average the logarithms: timings are skewed."""
        rates = np.log(self.batch / view.found[0]["seconds"])
        mean, n = float(rates.mean()), len(rates)
        half = (
            float(scipy.stats.t.ppf((1 + view.level) / 2, n - 1) * rates.std(ddof=1) / n**0.5)
            if n > 1
            else float("inf")
        )
        value, low, high = (float(np.exp(v)) for v in (mean, mean - half, min(mean + half, 50.0)))
        said = f"{value:.4g} pictures a second, {self.batch} at a time ({low:.4g} to {high:.4g})."
        return Measurement(value, low, high, view.level, n, "pictures/s", claim=said, facts={"batch": self.batch})

    def code(self) -> str:
        """Repeat it by hand."""
        return f"timeit(lambda: model.predict(data.images[:{self.batch}]))"
