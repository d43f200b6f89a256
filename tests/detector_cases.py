"""Features, heads and references that detectors are tried on without a network."""

import torch
from torch import Tensor

from xai.core.model.features import LinearHead
from xai.ood.detectors.base import DETECTORS, Detector, Fitted
from xai.ood.detectors.reference import Collector, FeatureRows, ModelView, Reference

EVERY = frozenset({"moments", "unit", "bank", "activations", "mean"})
STORED = [name for name in DETECTORS if "gradients" not in DETECTORS[name].needs]


def blobs(count: int = 400, classes: int = 4, width: int = 12, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return correlated non-negative features (n, d) of classes of unequal size, and their labels."""
    source = torch.Generator().manual_seed(seed)
    labels = (torch.arange(count) % (classes + 2)) % classes
    centres = 3 * torch.rand(classes, width, generator=torch.Generator().manual_seed(99))
    mix = torch.randn(width, width, generator=torch.Generator().manual_seed(98)) / width**0.5
    return (centres[labels] + torch.randn(count, width, generator=source) @ mix).relu(), labels


def head(classes: int = 4, width: int = 12, seed: int = 1) -> LinearHead:
    """Return a random linear layer with a bias."""
    source = torch.Generator().manual_seed(seed)
    return LinearHead("head", torch.randn(classes, width, generator=source), torch.randn(classes, generator=source))


def view(layer: LinearHead | None = None, pool: int = 1, kind: str = "softmax") -> ModelView:
    """Return what detectors know of a classifier with this head."""
    return ModelView(layer or head(), pool, kind)


def rows(features: Tensor, seen: ModelView | None = None) -> FeatureRows:
    """Return images with these features, and the logits that the head makes of them."""
    seen = seen or view()
    assert seen.head is not None
    return FeatureRows(seen, seen.head.logits(features).double(), features)


def of_logits(logits: Tensor, kind: str = "softmax") -> FeatureRows:
    """Return images with these logits and no features."""
    return FeatureRows(ModelView(None, 1, kind), logits.double())


def reference(features: Tensor, labels: Tensor, seen: ModelView | None = None, block: int = 64) -> Reference:
    """Return a reference gathered in blocks."""
    seen = seen or view()
    collector = Collector(seen, int(labels.max()) + 1, EVERY)
    keys = torch.randint(-(1 << 62), 1 << 62, (len(features),), generator=torch.Generator().manual_seed(3))
    for start in range(0, len(features), block):
        part = slice(start, start + block)
        collector.add(rows(features[part], seen), labels[part], keys[part])
    return collector.reference()


def fitted(detector: Detector | str, seen: ModelView | None = None, **data: object) -> Fitted:
    """Return a detector fitted on blobs."""
    made = DETECTORS[detector]() if isinstance(detector, str) else detector
    return made.fit(reference(*blobs(**data), seen))  # type: ignore[arg-type]
