"""Synchronous instants of many columns: spectra, waveforms, aligned tags."""

from __future__ import annotations

from dataclasses import dataclass, replace

import msgspec
import numpy as np

from edge_agent.core.samples import Float64, Int64, UInt32


class Acquisition(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """How an instrument took what is in a block, as far as it told; absent facts stay empty.

    The words of `status` and the numbers of `cycle` are those of ADI (OPC 10020).
    """

    status: str = ""
    """good, bad, unknown, partial or not_used; empty: the instrument tells none."""
    counter: int | None = None
    """Number of the acquisition at the instrument."""
    integration_s: float | None = None
    scans: int | None = None
    """Scans averaged."""
    instrument: str = ""
    probe: str = ""
    background: str = ""
    """Background reference in force: its name, or `sha256:` and the hash of its values."""
    background_ns: int | None = None
    """When it was taken, ns UTC."""
    cycle: int | None = None
    """Execution cycle: 0 idle, 1 diagnostic, 2 cleaning, 4 calibration, 8 validation, 16 sampling; 32768 more with a grab sample."""
    sample: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """n instants of k columns of one stream.

    tag      the stream's tag id
    time_ns  (n,) int64, ns UTC
    values   (n, k) float64, C-order
    status   (n,) or (n, k) uint32
    axis     (k,) float64: wavelength, wavenumber, offset in seconds, or column number
    axis_unit, unit   UCUM or plain text: "nm", "1/cm", "s"; "AU", "m/s2"
    acquisition       how all of them were taken; None where the source told nothing
    """

    tag: int
    time_ns: Int64
    values: Float64
    status: UInt32
    axis: Float64
    axis_unit: str = ""
    unit: str = ""
    received_ns: int = 0
    acquisition: Acquisition | None = None

    def __post_init__(self) -> None:
        n, k = len(self.time_ns), len(self.axis)
        if self.time_ns.dtype != np.int64 or self.time_ns.shape != (n,):
            raise ValueError(f"Block.time_ns: expected ({n},) int64, found {self.time_ns.shape} {self.time_ns.dtype}")
        if self.values.dtype != np.float64 or self.values.shape != (n, k) or not self.values.flags.c_contiguous:
            raise ValueError(f"Block.values: expected ({n}, {k}) float64 in C-order, found {self.values.shape} {self.values.dtype}")
        if self.status.dtype != np.uint32 or self.status.shape not in ((n,), (n, k)):
            raise ValueError(f"Block.status: expected ({n},) or ({n}, {k}) uint32, found {self.status.shape} {self.status.dtype}")
        if self.axis.dtype != np.float64 or self.axis.shape != (k,):
            raise ValueError(f"Block.axis: expected ({k},) float64, found {self.axis.shape} {self.axis.dtype}")

    def __len__(self) -> int:
        return len(self.time_ns)

    def __eq__(self, other: object) -> bool:
        """Bitwise equality of all columns."""
        return (
            isinstance(other, Block)
            and (self.tag, self.axis_unit, self.unit, self.received_ns, self.values.shape, self.status.shape, self.acquisition)
            == (other.tag, other.axis_unit, other.unit, other.received_ns, other.values.shape, other.status.shape, other.acquisition)
            and self.time_ns.tobytes() == other.time_ns.tobytes()
            and self.values.tobytes() == other.values.tobytes()
            and self.status.tobytes() == other.status.tobytes()
            and self.axis.tobytes() == other.axis.tobytes()
        )

    __hash__ = None  # type: ignore[assignment]

    @property
    def nbytes(self) -> int:
        """Bytes of all columns."""
        return self.time_ns.nbytes + self.values.nbytes + self.status.nbytes + self.axis.nbytes

    def received(self, received_ns: int) -> Block:
        """The same instants with the time of receipt set."""
        return replace(self, received_ns=received_ns)
