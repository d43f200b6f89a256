"""One explained picture with everything needed to ask it questions."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from xai.core.classifier import Classifier
from xai.core.explanation import Explanation
from xai.core.objective import Objective
from xai.core.seeds import generator, image_key
from xai.engine import Prepared, prepare
from xai.explainers import EXPLAINERS, Explainer
from xai.explainers._fills import fill_image

FILLED = ("mean", "zero", "blur", "noise")  # baselines that are images
_NOT_SETTINGS = ("score", "versus")


@dataclass(frozen=True, eq=False)
class Subject:
    """An explained picture.

    Attributes:
        classifier: the model.
        image: (1, C, h, w) its input, on the CPU.
        explanation: of one or several pictures.
        k: which of them.
        seed: of the rating.
    """

    classifier: Classifier
    image: Tensor
    explanation: Explanation
    k: int
    seed: int

    @cached_property
    def heatmap(self) -> Tensor:
        """The map in the model's input geometry (h, w)."""
        return self.explanation.attribution[self.k].sum(0).float()

    @property
    def target(self) -> int:
        """The explained class."""
        return int(self.explanation.targets[self.k])

    @cached_property
    def versus(self) -> int | None:
        """The class it is explained against, or None."""
        names = self.explanation.settings.get("versus")
        return None if not names else self.classifier.find_target(names[self.k if len(names) > 1 else 0])

    @cached_property
    def key(self) -> bytes:
        """Stands for the picture in everything random."""
        return image_key(self.image[0])

    @cached_property
    def prepared(self) -> Prepared:
        """The model without gradients, faster."""
        return prepare(self.classifier, self.image)

    @cached_property
    def limit(self) -> int:
        """How many pictures go through the model at once."""
        sample = self.image.to(self.classifier.device).expand(32, -1, -1, -1)
        return self.prepared.row_limit(sample, most=32)

    def draws(self, number: int) -> torch.Generator:
        """Return a generator of the rating's seed, the picture, and the question's number."""
        return generator(self.seed, self.key, number)

    def fixed_draws(self, number: int) -> torch.Generator:
        """Return a generator of the image and the question's number: for what a verdict should not hang on."""
        return generator(0, self.key, number)

    def score(self, images: Tensor) -> Tensor:
        """Return the explained score (N,) on the CPU of pictures (N, C, h, w)."""
        objective = Objective(str(self.explanation.settings.get("score", "logit")), self.classifier.read_outputs())
        found = []
        for part in torch.split(images, self.limit):
            logits = self.prepared.logits(part)
            whole = torch.full((len(part),), self.target, device=logits.device)
            against = None if self.versus is None else torch.full_like(whole, self.versus)
            found.append(objective.one(logits, whole, against).cpu())
        return torch.cat(found)

    @cached_property
    def explainer(self) -> Explainer | None:
        """The method with the settings used; None when it is not registered or a setting was an array."""
        if self.explanation.method not in EXPLAINERS.names():
            return None
        method = EXPLAINERS[self.explanation.method]
        known = {f.name for f in fields(method)}  # type: ignore[arg-type]  # every method is a dataclass
        given = {n: v for n, v in self.explanation.settings.items() if n not in _NOT_SETTINGS}
        if set(given) - known or any(isinstance(value, dict) for value in given.values()):
            return None
        return method(**{name: _tuple(value) for name, value in given.items()})

    @cached_property
    def own_fill(self) -> Tensor | None:
        """What the method showed in place of hidden pixels (1, C, h, w), where it hides any and names it."""
        fill = getattr(self.explainer, "baseline", None)
        if not isinstance(fill, str) or fill not in FILLED:
            return None
        return fill_image(self.image, fill, key=self.key, seed=self.explanation.seed)

    def again(
        self, images: Tensor | None = None, *, model: Classifier | None = None, keys: Sequence[bytes] | None = None
    ) -> Tensor:
        """Return maps (N, h, w) of the same method, class, settings and seed for other pictures or another model."""
        assert self.explainer is not None
        images = self.image if images is None else images
        found = self.explainer.explain(
            model or self.classifier,
            images,
            self.target,
            versus=self.versus,
            score=str(self.explanation.settings.get("score", "logit")),
            seed=self.explanation.seed,
            keys=keys,
        )
        return found.attribution.sum(1).float()


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
