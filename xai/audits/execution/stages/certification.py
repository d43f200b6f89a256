"""What can be certified."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from xai.audits.context import Context
from xai.audits.execution.stages.base import Stage, StageCost
from xai.audits.execution.store import StoredResult
from xai.robust.certification.certify import certify

_ROWS_OF_CERTIFICATES = {"ibp": 2.0, "crown_ibp": 20.0, "crown": 500.0, "auto": 500.0, "smoothing": 1100.0}


@dataclass(frozen=True)
class CertificationStage(Stage):
    """Certificates that no change inside a ball changes the answer.

    Attributes:
        eps: radius in the scale of pixels in [0, 1].
        norm: "linf", "l2" or "l1".
        method: of `xai.certify`.
    """

    name: ClassVar[str] = "certified"

    eps: float = 1 / 255
    norm: str = "linf"
    method: str = "crown_ibp"

    @property
    def cost(self) -> StageCost:
        """A guess: certificates depend on the network."""
        return StageCost(_ROWS_OF_CERTIFICATES.get(self.method, 500.0))

    def run(self, context: Context, rows: np.ndarray) -> StoredResult:
        """Certify what can be certified."""
        certificate = certify(
            context.classifier,
            context.decoded(self.role, rows),
            context.labels(self.role, rows),
            eps=self.eps,
            norm=self.norm,
            method=self.method,
            seed=context.seed,
            should_stop=context.should_stop,
        )
        by = np.array(certificate.decided_by, dtype="U16")
        return StoredResult({"verified": certificate.verified.numpy(), "by": by}, {"notes": list(certificate.notes)})
