"""The sections of an agent's configuration file; sources, models and uplinks bring their own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator

from edge_agent.config.texts import Name, Text, as_text
from edge_agent.core.settings import Section, Zone
from edge_agent.core.tag import RecordPolicy, TagClass, TagKind, TagRole


class EdgeSection(Section):
    """Who this edge is."""

    site: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\-]*$")]
    """ISA-95 site; part of the MQTT topics."""
    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\-]*$")]
    """Name of this edge, unique in its site; part of the MQTT topics."""
    data_dir: Path = Path("data")
    """Folder of journal, outbox and certificates."""
    simulated: bool = False
    """The line is simulated: UncertainSimulatedValue counts as good, and every record says so."""
    gmp: bool = False
    """GMP mode: only a configuration runs that one person proposed and another approved; otherwise the last approved one goes on."""
    timezone: Zone = "UTC"
    """IANA name of the plant's time zone, for reports; inside everything is UTC."""


class PeriodicReport(Section):
    """Values come at a steady rate."""

    kind: Literal["periodic"] = "periodic"
    expected_s: Annotated[float, Field(gt=0, le=86400)]
    """Seconds between two values; after three periods without one the tag is stale."""


class ByExceptionReport(Section):
    """A value comes when it changes."""

    kind: Literal["by_exception"] = "by_exception"


class TagSection(Section):
    """One tag."""

    name: Name
    """Its public name, "/" separated, unique on this edge."""
    source: str | None = None
    """Name of the source that feeds it."""
    address: str = ""
    """Where the source finds it; each source documents its form."""
    kind: TagKind = "numeric"
    """numeric, text, or block: spectra and waveforms."""
    unit: str = ""
    """Engineering unit."""
    range: tuple[float, float] | None = None
    """Engineering range [low, high] in the unit; a value outside is uncertain."""
    decimals: Annotated[int, Field(ge=0, le=9)] = 2
    """Decimals shown."""
    description: Text = {}
    """What it is, in English and Chinese."""
    path: str = ""
    """ISA-95 path site/area/line/unit; the part of the name before the last "/" when absent."""
    class_: Annotated[TagClass, Field(alias="class")] = "other"
    """gmp_critical, gmp, safety, environment or other."""
    report: Annotated[PeriodicReport | ByExceptionReport, Field(discriminator="kind")] = ByExceptionReport()
    """Contract by which silence is judged."""
    lateness_s: Annotated[float, Field(ge=0, le=86400)] | None = None
    """Seconds its windows wait for late values when `windows.lateness_s` is too short for it: an analyser that stamps the time of sampling."""
    record: RecordPolicy = "raw"
    """raw: every value; changes: values that differ; summary: summaries only."""
    record_reason: str = ""
    """Why not every value is recorded; required unless record is raw."""
    role: TagRole = "value"
    """value, or what a text tag says about its unit: batch, phase, mode, operator, lot."""

    _texts = field_validator("description", mode="before")(as_text)


class SensorSection(Section):
    """A soft sensor: a property computed from the spectra of a stream, as derived tags value, low, high, t2, q, valid and why."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\-/]*$", max_length=200)]
    """What its derived tags are called after: `<name>.<output>`."""
    tag: str
    """Name of a tag of kind block: the stream of spectra."""
    file: str
    """Model file of the calibration, seen from the configuration's folder."""
    unit: str = ""
    """Unit of the property; that of the model file when absent."""
    decimals: Annotated[int, Field(ge=0, le=9)] = 2
    """Decimals shown."""


class BearingSection(Section):
    """Geometry of a rolling bearing whose outer race stands still."""

    elements: Annotated[int, Field(ge=3, le=200)]
    """Rolling elements."""
    ball_mm: Annotated[float, Field(gt=0, le=1000)]
    """Diameter of a rolling element, mm."""
    pitch_mm: Annotated[float, Field(gt=0, le=10_000)]
    """Diameter of the circle on which they run, mm."""
    angle_deg: Annotated[float, Field(ge=0, lt=90)] = 0.0
    """Contact angle, degrees."""


class MachineSection(Section):
    """A rotating machine judged from a stream of acceleration waveforms, as derived tags velocity, zone, rms, peak, crest, kurtosis, level, fault."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\-/]*$", max_length=200)]
    """What its derived tags are called after: `<name>.<output>`."""
    tag: str
    """Name of a tag of kind block: waveforms of acceleration (unit m/s2 or g) over time (s, ms or us)."""
    speed_rpm: Annotated[float, Field(gt=0, le=200_000)]
    """Speed of the shaft, revolutions per minute; the rated one where `speed_tag` tells the actual one."""
    speed_tag: str | None = None
    """Name of a numeric tag with the speed in r/min: bearing lines follow it, and a waveform over which it varies is read at equal angles."""
    bearing: BearingSection | None = None
    """Its bearing; adds the derived tags cage, outer, inner and ball."""
    group: Literal[1, 2] = 2
    """Machine group of ISO 20816-3: 1 above 300 kW, 2 from 15 to 300 kW."""
    support: Literal["rigid", "flexible"] = "rigid"
    """How it stands."""
    full_scale: Annotated[float, Field(ge=0)] = 0.0
    """Range of the sensor in the unit of the stream, from which clipping is known; 0 when it is unknown."""
    decimals: Annotated[int, Field(ge=0, le=9)] = 2
    """Decimals shown."""


class WindowsSection(Section):
    """Summaries and late data."""

    length_s: Annotated[float, Field(ge=0.1, le=3600)] = 10.0
    """Length of a summary window in seconds."""
    lateness_s: Annotated[float, Field(ge=0, le=3600)] = 2.0
    """Seconds a window waits for late values."""
    idle_s: Annotated[float, Field(gt=0, le=3600)] = 10.0
    """After so many seconds without any value open windows close by the clock."""
    max_skew_s: Annotated[float, Field(ge=0, le=86400)] = 5.0
    """A value stamped further in the future is rejected and counted."""


class OutboxSection(Section):
    """Buffers and their budgets."""

    max_bytes: Annotated[int, Field(ge=1 << 20, le=1 << 50)] = 2_000_000_000
    """Bytes of records waiting for delivery; beyond it others' samples are shed, then others' summaries, never GMP, alarms or audit."""
    journal_bytes: Annotated[int, Field(ge=1 << 20, le=1 << 50)] = 500_000_000
    """Bytes of journal kept for restart and replay; older entries are forgotten."""
    checkpoint_s: Annotated[float, Field(gt=0, le=3600)] = 300.0
    """Seconds between checkpoints of the pipeline's state."""
    commit_ms: Annotated[int, Field(ge=1, le=10_000)] = 100
    """Milliseconds after which values are committed at the latest; an alarm is committed at once."""
    commit_bytes: Annotated[int, Field(ge=1024, le=1 << 30)] = 65_536
    """Bytes after which values are committed."""
    queue_bytes: Annotated[int, Field(ge=1 << 16, le=1 << 40)] = 16_000_000
    """Bytes of values waiting to be judged or committed; beyond it sources are no longer read."""


class HttpSection(Section):
    """Where the agent answers; keep it on loopback."""

    host: str = "127.0.0.1"
    """Address to listen on; one that other computers reach needs `exposed: true`."""
    exposed: bool = False
    """Answer other computers too, although nothing here asks who they are: put a firewall or a proxy in front."""
    port: Annotated[int, Field(ge=0, le=65535)] = 9580
    """TCP port; 0 chooses a free one."""
    panel: bool = False
    """Serve the panel beside the line at /panel/, for a browser on this computer."""
    panel_idle_s: Annotated[int, Field(ge=30, le=86400)] = 300
    """Seconds without use after which the panel falls back to looking only."""
    panel_keys: dict[str, Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]] = {}
    """Public keys of gateways whose lists of people are believed; absent: the key that a gateway's first list came with."""
