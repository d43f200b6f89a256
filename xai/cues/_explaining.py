"""Explanations as a function of images and class."""

from torch import Tensor

from xai.core.classifier import Classifier
from xai.cues._probe import Probe
from xai.errors import UnsupportedModelError
from xai.explainers import EXPLAINERS

_FIRST, _SECOND = "hirescam", "occlusion"


class Explaining:
    """Explains images by a method.

    Attributes:
        method: name; "hirescam" becomes "occlusion" where the model rules it out and none was asked for.
        notes: why, if so.
    """

    def __init__(self, classifier: Classifier, probe: Probe, method: str | None, seed: int) -> None:
        EXPLAINERS[method or _FIRST]  # an unknown name is refused before any work
        self._classifier, self._probe, self._seed, self._free = classifier, probe, seed, method is None
        self.method, self.notes = method or _FIRST, list[str]()

    def __call__(self, images: Tensor, target: int) -> Tensor:
        """Return maps (n, h, w) of images (n, C, h, w) for a class.

        Raises:
            UnsupportedModelError: the model cannot be explained by the method that was asked for.
        """
        try:
            found = EXPLAINERS[self.method]().explain(self._classifier, images, target, seed=self._seed)
        except UnsupportedModelError as error:
            if not self._free or self.method == _SECOND:
                raise
            self.notes.append(f"explained by {_SECOND}: {error}")
            self.method = _SECOND
            return self(images, target)
        self._probe.advance(len(images))
        return found.attribution.sum(1).float()
