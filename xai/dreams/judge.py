"""Which class a class picture is, once it is saved."""

import torch
from torch import Tensor

from xai.core.geometry import plan_geometry
from xai.core.heads import to_probabilities
from xai.core.hooks import gradient
from xai.core.objective import Objective
from xai.dreams.goals import ClassGoal
from xai.dreams.pyramid import Size


class Judge:
    """Classifies the picture as it will be saved, in 8 bits and at its size, the way `Classifier.predict` does."""

    def __init__(self, goal: ClassGoal, size: Size) -> None:
        self.classifier, self.index = goal.classifier, goal.index
        self.geometry = plan_geometry(
            size, self.classifier.input_size, self.classifier.resize, self.classifier.crop_ratio
        )

    def logits(self, picture: Tensor) -> Tensor:
        """Return logits (1, K) of a picture (1, C, H, W)."""
        fill = self.classifier.mean if any(self.classifier.mean) else (0.5,) * self.classifier.channels
        return self.classifier.raw_logits(
            self.geometry.apply(picture[0], picture.new_tensor(fill).view(-1, 1, 1))[None]
        )

    def probabilities(self, picture: Tensor) -> Tensor:
        """Return the probabilities of all classes (K,)."""
        with torch.no_grad():
            return to_probabilities(self.logits(quantised(picture)), self.classifier.head)[0]

    def look(self, picture: Tensor) -> tuple[float, Tensor]:
        """Return the probability of the class, and the gradient of its margin over the best other one."""
        leaf = quantised(picture).requires_grad_()
        logits = self.logits(leaf)
        meaning = self.classifier.read_outputs()
        margin = Objective("margin" if meaning.head == "softmax" else "logit", meaning)
        score = margin.one(logits, torch.tensor([self.index], device=logits.device)).sum()
        share = to_probabilities(logits.detach(), meaning.head)[0, self.index]
        return float(share), gradient(score, leaf, "the picture")


def quantised(picture: Tensor) -> Tensor:
    """Return the picture as a file of 8 bits holds it."""
    return (picture.detach().clamp(0, 1) * 255).round() / 255
