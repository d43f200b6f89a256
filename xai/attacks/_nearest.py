"""What attacks that look for the smallest distance share: the nearest adversarial of each picture, drawn nearer."""

import torch
from torch import Tensor

from xai.attacks._balls import distance, wide
from xai.attacks._search import Search

BISECTIONS = 10


class Nearest:
    """The nearest adversarials so far.

    Attributes:
        images: (n, C, h, w); the clean picture where none is known.
        sizes: (n,) float64 distances; infinite where none is known.
    """

    def __init__(self, search: Search) -> None:
        self.search = search
        self.images = search.clean.clone()
        self.sizes = torch.full((len(search.clean),), torch.inf, dtype=torch.float64, device=search.clean.device)
        self.bounded = bool(torch.isfinite(torch.as_tensor(search.eps)).all())

    def open(self) -> Tensor:
        """Return the numbers of the pictures to search: all, or with a finite `eps` those not fooled inside it yet."""
        return self.search.alive() if self.bounded else torch.arange(len(self.sizes), device=self.sizes.device)

    def take(self, rows: Tensor, images: Tensor, fooled: Tensor) -> Tensor:
        """Keep the fooled ones that are nearer than before; return which stay in the search."""
        search = self.search
        sizes = distance(images, search.clean[rows], search.norm)
        better = fooled & (sizes < self.sizes[rows])
        which = rows[better]
        self.images[which], self.sizes[which] = images[better], sizes[better]
        inside = which[self.sizes[which] <= torch.as_tensor(search.radius(which)).to(self.sizes)]
        search.best[inside] = self.images[inside]
        search.done[inside] = True
        return ~search.done[rows] if self.bounded else torch.ones_like(better)

    def narrow(self) -> None:
        """Draw what was found towards the clean picture by bisection of the line between them."""
        rows = self.open()
        rows = rows[self.sizes[rows].isfinite()]
        low, high = (torch.full((len(rows),), v, dtype=self.images.dtype, device=rows.device) for v in (0.0, 1.0))
        clean, far = self.search.clean[rows], self.images[rows]
        for _ in range(BISECTIONS):
            if not len(rows):
                return
            middle = (low + high) / 2
            images = (clean + (far - clean) * wide(middle, clean)).clamp(0, 1)
            fooled = self.search.fooled(self.search.logits(images), rows)
            stay = self.take(rows, images, fooled)
            low, high = torch.where(fooled, low, middle), torch.where(fooled, middle, high)
            rows, low, high, clean, far = rows[stay], low[stay], high[stay], clean[stay], far[stay]
