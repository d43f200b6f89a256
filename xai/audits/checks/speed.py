"""Images per second through the model."""

import time
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from xai.audits.check_result import CheckResult
from xai.audits.checks.base import CHECKS, FIGURES, Check
from xai.audits.context import DATA, Context
from xai.audits.execution.stages.base import DataStage, Stage
from xai.audits.execution.store import StoredResult
from xai.core.results.message import Message
from xai.core.validation import check_whole
from xai.stats.intervals import paired_mean


@CHECKS.register("speed")
@dataclass(frozen=True)
class Speed(Check):
    """Images per second through the model, on the machine of the audit.

    Attributes:
        batch: images at a time.
        repeats: timings.
    """

    name: ClassVar[str] = "speed"
    title: ClassVar[str] = "Speed"
    family: ClassVar[str] = "quality"
    question: ClassVar[str] = "How many images a second does the model predict on this machine?"
    kind: ClassVar[str] = "descriptive"
    span: ClassVar[tuple[float, float]] = (0.0, float("inf"))
    conditions: ClassVar[tuple[str, ...]] = FIGURES
    first_images: ClassVar[int | None] = 32
    limits: ClassVar[tuple[str, ...]] = (
        "a measurement of this machine under its load: the only figure that another run does not repeat",
    )

    batch: int = 1
    repeats: int = 20

    def __post_init__(self) -> None:
        """Refuse numbers that are none."""
        check_whole("batch", self.batch)
        check_whole("repeats", self.repeats)

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

    def _study(self, context: Context, rows: np.ndarray) -> StoredResult:
        inputs = context.inputs(DATA, np.resize(rows, self.batch))
        context.classifier.logits_of(inputs)  # the first one also sets things up
        seconds = []
        for _ in range(self.repeats):
            began = time.perf_counter()
            context.classifier.logits_of(inputs)
            seconds.append(time.perf_counter() - began)
        return StoredResult({"seconds": np.array(seconds)})

    def measure(self, context: Context) -> CheckResult:
        """Average the logarithms: timings are skewed."""
        rates = np.log(self.batch / context.results[0]["seconds"])
        n = len(rates)
        mean, low, high, _ = paired_mean(np.zeros(n), rates, context.level)
        ends = (low, min(high, 50.0)) if n > 1 else (-float("inf"), 50.0)
        value, low, high = (float(np.exp(v)) for v in (mean, *ends))
        claim = Message(
            "{value:.4g} images per second, {batch} at a time ({low:.4g} to {high:.4g}).",
            **{"value": value, "batch": self.batch, "low": low, "high": high},
        )
        return CheckResult(value, low, high, context.level, n, "images/s", claim=claim, facts={"batch": self.batch})

    def code(self) -> str:
        """Return Python that repeats it."""
        return f"timeit(lambda: model.predict(data.images[:{self.batch}]))"
