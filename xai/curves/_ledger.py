"""What is known of each picture at each radius: proven up to one of them, broken from one on."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from xai.errors import ContractError

SLACK = 1e-6  # relative: how far a float32 picture may lie outside its ball, measured in float64


@dataclass(eq=False)
class Ledger:
    """One line per picture. A proof holds for all smaller radii, a counterexample for all larger ones.

    Attributes:
        images: (N, C, h, w) clean model inputs.
        labels: (N,) the truth.
        eps: increasing radii (E).
        answers: (N,) classes of the nearest counterexample, of the clean picture where none is known.
        proved: (N,) int64: how many radii are proven, from the smallest on.
        broken: (N,) int64: number of the smallest radius that is broken; E where none is.
        nearest: (N, C, h, w) the nearest counterexample; the clean picture where none is known.
        distance: (N,) float64 to it; infinite where none is known.
        broken_by: (N,) name of the attack that found it, "" where none did; "clean" for wrong answers to begin with.
        proved_by: (N,) name of the method of the last proof.
    """

    images: Tensor
    labels: Tensor
    eps: tuple[float, ...]
    answers: Tensor
    proved: Tensor = field(init=False)
    broken: Tensor = field(init=False)
    nearest: Tensor = field(init=False)
    distance: Tensor = field(init=False)
    broken_by: list[str] = field(init=False)
    proved_by: list[str] = field(init=False)

    def __post_init__(self) -> None:
        count, wrong = len(self.images), self.answers != self.labels
        self.proved = torch.zeros(count, dtype=torch.int64)
        self.broken = torch.where(wrong, 0, len(self.eps))
        self.nearest = self.images.clone()
        self.distance = torch.full((count,), torch.inf, dtype=torch.float64).masked_fill(wrong, 0.0)
        self.broken_by = ["clean" if bad else "" for bad in wrong.tolist()]
        self.proved_by = [""] * count

    def to_attack(self, level: int) -> Tensor:
        """Return the pictures whose largest open radius is this one: an attack that fails here has done its work."""
        return ((self.broken == level + 1) & (self.proved <= level)).nonzero()[:, 0]

    def open(self) -> Tensor:
        """Return the pictures with a radius that is neither proven nor broken."""
        return (self.proved < self.broken).nonzero()[:, 0]

    def take(
        self, rows: Tensor, images: Tensor, distance: Tensor, answers: Tensor, names: Sequence[str], real: Tensor
    ) -> Tensor:
        """Note counterexamples (n, C, h, w) of some pictures that are nearer than the known ones.

        Args:
            rows: (n,) numbers of the pictures.
            images: the counterexamples.
            distance: (n,) float64 from the clean pictures.
            answers: (n,) their classes.
            names: n names of the attacks.
            real: (n,) bool: which are counterexamples at all.

        Returns:
            The numbers of the pictures for which something new was noted.
        """
        new = (real & (distance < self.distance[rows])).nonzero()[:, 0]
        which = rows[new]
        self.nearest[which], self.distance[which] = images[new].to(self.nearest), distance[new]
        self.answers[which] = answers[new]
        for row, k in zip(which.tolist(), new.tolist(), strict=True):
            self.broken_by[row] = names[k]
        limits = torch.tensor(self.eps, dtype=torch.float64) * (1 + SLACK) + SLACK
        self.broken[which] = torch.searchsorted(limits, self.distance[which])
        self.check()
        return which

    def take_proofs(self, rows: Tensor, verified: Tensor, levels: Tensor, method: str) -> None:
        """Note for which of some pictures (n,) a radius was proven, each with the number of its own (n,)."""
        which = rows[verified]
        self.proved[which] = torch.maximum(self.proved[which], levels[verified] + 1)
        for row in which.tolist():
            self.proved_by[row] = method
        self.check()

    def check(self) -> None:
        """Hold proofs and counterexamples against each other.

        Raises:
            ContractError: a picture is proven at a radius at which it is broken.
        """
        both = (self.proved > self.broken).nonzero()[:, 0]
        if len(both):
            row = int(both[0])
            raise ContractError(
                f"Picture {row} is proven up to {self.eps[int(self.proved[row]) - 1]:.6g} by {self.proved_by[row]!r}, "
                f"but {self.broken_by[row]!r} changed the answer at {float(self.distance[row]):.6g}: one of them is "
                "wrong. Please report it with the model."
            )
