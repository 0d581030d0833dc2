"""What persons settle among themselves at a gateway: proposals and their approvals, and the handover of a shift."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.audit import Trail
from gateway.handover import Handovers
from gateway.proposals import Proposals


@dataclass(frozen=True, slots=True)
class Office:
    """The stores of one gateway."""

    proposals: Proposals
    handovers: Handovers

    @classmethod
    def open(
        cls, data_dir: Path, trail: Trail, key: Ed25519PrivateKey, *, gateway: str, site: str, handover_s: float, clock: Callable[[], int]
    ) -> Office:
        """Open them in a data folder."""
        return cls(
            Proposals(data_dir, trail, key, gateway=gateway, site=site, clock=clock), Handovers(data_dir, trail, every_s=handover_s, clock=clock)
        )

    def close(self) -> None:
        """Release the files."""
        self.proposals.close()
        self.handovers.close()
