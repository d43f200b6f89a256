"""Weighted ridge regression in closed form, for many right-hand sides, with intervals."""

from dataclasses import dataclass

import scipy
import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Fit:
    """A linear model per class.

    Attributes:
        coefficients: (K, m).
        errors: (K, m) standard errors; infinite where there are no more samples than coefficients.
        intercept: (m,).
        r2: (m,) weighted share of the variance that is explained; 1 for constant scores.
        freedom: samples less coefficients.
    """

    coefficients: Tensor
    errors: Tensor
    intercept: Tensor
    r2: Tensor
    freedom: int

    @property
    def half(self) -> Tensor:
        """Half the width of the 95 % intervals (K, m)."""
        return self.errors * float(scipy.stats.t.ppf(0.975, max(1, self.freedom)))

    def settled(self, top: int) -> bool:
        """Whether, for every class, the intervals of neighbours among the strongest `top` regions do not overlap."""
        strength, order = self.coefficients.abs().sort(dim=0, descending=True)
        half = self.half.gather(0, order)
        last = min(top, len(strength) - 1)
        apart = strength[:last] - strength[1 : last + 1] > half[:last] + half[1 : last + 1]
        return last > 0 and bool(apart.all())

    def of(self, k: int) -> dict[str, Tensor]:
        """Return the figures of class `k` by name."""
        values, half = self.coefficients[:, k], self.half[:, k].nan_to_num(posinf=1e30)
        return {
            "coefficients": values,
            "low": values - half,
            "high": values + half,
            "intercept": self.intercept[k],
            "r2": self.r2[k],
        }


def weighted_ridge(design: Tensor, scores: Tensor, weights: Tensor, alpha: float) -> Fit:
    """Fit scores ~ design by weighted least squares with a ridge on the coefficients, not on the intercept.

    Args:
        design: (n, K) float64.
        scores: (n, m) float64.
        weights: (n,) positive.
        alpha: 0 for none; regions that are never told apart then share their effect (least norm).

    Cost: one Cholesky factor of (K, K) for all classes; standard errors are HC1 (MacKinnon and White 1985).
    """
    share = weights / weights.sum()
    middle, level = share @ design, share @ scores
    centred, targets = design - middle, scores - level
    gram = centred.T @ (weights[:, None] * centred)
    system = gram + alpha * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    inverse = (
        torch.linalg.pinv(system, hermitian=True)
        if alpha == 0
        else torch.cholesky_inverse(torch.linalg.cholesky(system))
    )
    pull = inverse @ (weights[:, None] * centred).T  # (K, n)
    found = pull @ targets
    rest = targets - centred @ found
    total = (weights[:, None] * targets.square()).sum(0)
    left = (weights[:, None] * rest.square()).sum(0)
    r2 = torch.where(total > 0, 1 - left / total.clamp_min(1e-300), torch.ones_like(total))
    count, columns = design.shape
    freedom = count - columns - 1
    inflate = count / freedom if freedom > 0 else float("inf")
    errors = (pull.square() @ rest.square() * inflate).nan_to_num(nan=float("inf")).sqrt()
    return Fit(found, errors, level - middle @ found, r2, freedom)
