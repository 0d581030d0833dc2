"""What persons settle among themselves at a gateway: proposals and their approvals, the handover of a shift, and what to do about advice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.advice import Advices, Tell
from gateway.audit import Trail
from gateway.handover import Handovers
from gateway.journal import Journal
from gateway.notify.receiver import WorkRequest
from gateway.proposals import Proposals


@dataclass(frozen=True, slots=True)
class Office:
    """The stores of one gateway."""

    proposals: Proposals
    handovers: Handovers
    advices: Advices | None = None

    @classmethod
    def open(
        cls,
        data_dir: Path,
        trail: Trail,
        key: Ed25519PrivateKey,
        *,
        gateway: str,
        site: str,
        handover_s: float,
        clock: Callable[[], int],
        journal: Journal | None = None,
        request: Callable[[WorkRequest, int], tuple[str, ...]] = lambda _work, _now: (),
        tell: Tell = lambda _said, _by: None,
    ) -> Office:
        """Open them in a data folder; maintenance advice is read from the journal, `request` sends work requests, and `tell` says to an
        edge what was found."""
        return cls(
            Proposals(data_dir, trail, key, gateway=gateway, site=site, clock=clock),
            Handovers(data_dir, trail, every_s=handover_s, clock=clock),
            Advices(data_dir, trail, journal, request=request, tell=tell, clock=clock) if journal is not None else None,
        )

    def close(self) -> None:
        """Release the files."""
        self.proposals.close()
        self.handovers.close()
        if self.advices is not None:
            self.advices.close()
