"""An earlier audit as what a later one is measured by, picture by picture."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np

from xai.audits.conditions import PairedOutcome
from xai.audits.config import Config
from xai.audits.documents.compare import compare, keys_of, pair_of
from xai.audits.documents.document import measured_in
from xai.audits.documents.record import Audit
from xai.audits.loading import baseline_path
from xai.audits.measurement import Measurement


@dataclass(frozen=True, eq=False)
class Baseline:
    """A baseline.

    Attributes:
        audit: the earlier one.
    """

    audit: Audit

    @classmethod
    def of(cls, config: Config) -> Self | None:
        """Return the baseline that the settings name; None for none.

        Raises:
            RecordError: there is none at that place.
        """
        if isinstance(config.baseline, Audit):
            return cls(config.baseline)
        path = baseline_path(config)
        return None if path is None else cls(Audit.load(path))

    @cached_property
    def digest(self) -> str:
        """SHA-256 of its file."""
        return hashlib.sha256(self.audit.to_bytes()).hexdigest()

    @cached_property
    def keys(self) -> list[bytes]:
        """Digests of its pictures."""
        return keys_of(self.audit.document)

    def before(self, id_: str) -> tuple[Measurement, Sequence[str]] | None:
        """Return what it measured by a check, and hex digests of the pictures it did so on."""
        measured = measured_in(self.audit.document, id_)
        if measured is None or measured.rows is None:
            return None
        return measured, [self.keys[int(row)].hex() for row in measured.rows]

    def pair(
        self, id_: str, measured: Measurement | None, keys: Sequence[bytes], model: str, settings: Mapping[str, Any]
    ) -> PairedOutcome | None:
        """Return the outcomes of a check then and now, on the pictures that both measured.

        Args:
            id_: of the check.
            measured: now.
            keys: of the pictures now.
            model: its fingerprint now.
            settings: of the check now.
        """
        old = measured_in(self.audit.document, id_)
        pair = None if old is None or measured is None else pair_of(old, self.keys, measured, keys)
        if (
            pair is None
            or model != self.audit.document["model"]["fingerprint"]
            or self.audit[id_]["settings"] != settings
        ):
            return pair
        return replace(pair, same=bool(np.array_equal(pair.before, pair.after)))

    def about(self, keys: Sequence[bytes]) -> dict[str, Any]:
        """Return what a later audit says of it."""
        held = self.audit.document
        shared = len(set(self.keys) & set(keys))
        return {"model": held["model"], "sha256": self.digest, "verdict": held["verdict"], "shared": shared}

    def changes(self, document: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the paired differences to it; None where no picture or no check is shared."""
        if not set(self.keys) & set(keys_of(document)):
            return None
        shared = {check["id"] for check in self.audit.checks} & {check["id"] for check in document["checks"]}
        return compare(self.audit, Audit(document, {})).to_dict() if shared else None
