"""Gradient ascent on a picture, octave by octave.

Source: Mordvintsev, Olah & Tyka 2015, Inceptionism, and the notebook dream.ipynb that came with it (octaves that keep
the detail of the photograph, jitter); the Laplacian gradient and the tiles from its TensorFlow form. Differs: the
gradient has a root mean square of 1 at each step, seeds, an early end of the forward, and a class picture is checked as
it will be saved.
"""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from xai.core.rows import Progress, ShouldStop
from xai.dreams.ascent import direction
from xai.dreams.goals import ClassGoal
from xai.dreams.judge import Judge
from xai.dreams.plan import Plan
from xai.dreams.pyramid import resize
from xai.errors import Stopped

_MORE = 100  # steps at most to make a class picture one of its class
_SHRINK = 0.8  # of a step, over an octave: long ones find the shapes, short ones their place


class Walk:
    """The steps of one dream and what is kept of them."""

    def __init__(self, plan: Plan, report: Progress | None, should_stop: ShouldStop | None) -> None:
        self.plan, self.report, self.should_stop = plan, report, should_stop
        self.objective: list[float] = []
        self.octave: list[int] = []
        self.frames: list[Tensor] = []
        self.notes: list[str] = []
        self.still = 0  # steps without any gradient
        goal = plan.goal
        self.judge = Judge(goal, plan.sizes[-1]) if isinstance(goal, ClassGoal) else None

    def run(self) -> Tensor:
        """Return the final picture (1, C, H, W).

        Raises:
            Stopped: `should_stop()` was true between two steps.
        """
        plan, source = self.plan, self.plan.source()
        picture = base = resize(plan.start, plan.sizes[0])
        for number, size in enumerate(plan.sizes):
            finer = resize(plan.start, size)  # the detail that the smaller octave could not hold comes back
            picture, base = (finer + resize(picture - base, size)).clamp(0, 1), finer
            picture = self._climb(number, picture, source)
        picture = self._settle(picture)
        if not self.frames or not torch.equal(self.frames[-1], picture.cpu()):
            self.frames.append(picture.cpu())
        self._judge_steps()
        return picture

    def _climb(self, number: int, picture: Tensor, source: torch.Generator) -> Tensor:
        """Return the picture after the steps of one octave."""
        settings, size = self.plan.settings, self.plan.sizes[number]
        steps, best, waited = settings.steps or 1, -np.inf, 0
        for step in range(steps):
            self._ask(number * steps + step)
            picture, value = self._step(picture, source, settings.step_size * (1 - _SHRINK * step / steps))
            self.octave.append(number)
            waited = 0 if value > best else waited + 1
            best = max(best, value)
            ended = waited == settings.patience or self._reached(number, picture)
            due = step + 1 == steps or ended
            if settings.frames_every is not None:
                due = len(self.objective) % settings.frames_every == 0
            if due:
                self.frames.append(resize(picture, self.plan.sizes[-1]).clamp(0, 1).cpu())
            self._tell(number * steps + (steps if ended else step + 1))
            if ended:
                self.notes.append(f"octave {number + 1} ({size[0]} x {size[1]}) ended early, after {step + 1} steps")
                break
        return picture

    def _step(self, picture: Tensor, source: torch.Generator, length: float) -> tuple[Tensor, float]:
        """Return the picture one step further, and the objective before it."""
        eye, settings = self.plan.eye, self.plan.settings
        size, full = (int(picture.shape[2]), int(picture.shape[3])), self.plan.sizes[-1]
        jitter = settings.jitter or 0
        reach = eye.reach(size, min(jitter, max(1, round(jitter * min(size) / min(full)))))
        value, found = eye.slope(picture, eye.draw(size, reach, source), reach)
        self.objective.append(value)
        self.still += not bool(found.any())
        return (picture + length * direction(found, picture, settings)).clamp(0, 1), value

    def _reached(self, number: int, picture: Tensor) -> bool:
        """Return whether the class has the probability at which the dream may end, in the last octave."""
        until, judge, last = self.plan.settings.until, self.judge, number == len(self.plan.sizes) - 1
        return (
            until is not None
            and last
            and judge is not None
            and float(judge.probabilities(picture)[judge.index]) >= until
        )

    def _settle(self, picture: Tensor) -> Tensor:
        """Take further steps until the saved picture is surely of its class; all scales may serve, rough ones too."""
        settings, judge = self.plan.settings, self.judge
        sure = min(settings.sure, settings.until or 1.0)
        if judge is None or not sure:
            return picture
        free = replace(settings, fourier=False, laplacian=True, tv=0.0)
        for taken in range(_MORE + 1):
            share, found = judge.look(picture)
            if share >= sure or taken == _MORE:
                break
            self._ask(len(self.objective))
            picture = (picture + settings.step_size * direction(found, picture, free)).clamp(0, 1)
        if taken:
            self.notes.append(
                f"{taken} further step(s) raised the class above the others, to a probability of {share:.3f}"
            )
        return picture

    def _ask(self, done: int) -> None:
        if self.should_stop is not None and self.should_stop():
            total = len(self.plan.sizes) * (self.plan.settings.steps or 1)
            raise Stopped(f"Stopped after {done} of {total} steps, as asked.")

    def _tell(self, done: int) -> None:
        if self.report is not None:
            self.report(done, len(self.plan.sizes) * (self.plan.settings.steps or 1))

    def _judge_steps(self) -> None:
        """Say what went wrong with the steps, if anything."""
        if self.still:
            self.notes.append(
                f"{self.still} of {len(self.objective)} steps had no gradient, as of what sleeps behind a ReLU; "
                "name the layer before it, another seed or a picture"
            )
        steps = pairwise(zip(self.objective, self.octave, strict=True))
        rises = [after - before for (before, k), (after, n) in steps if k == n]
        if rises and not self.still and float(np.mean(rises)) <= 0:
            self.notes.append(
                "the steps did not raise the objective on average: take a smaller `step_size`, or `jitter=0`"
            )
