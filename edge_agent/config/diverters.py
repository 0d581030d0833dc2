"""The diverter of a continuous line in the configuration: from what is known of the feed to where it is divided."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any

from pydantic import Field

from edge_agent.core.settings import Section
from edge_agent.pipeline.diverters import KEPT, MEMORY, OUTPUTS, UNITS, DiverterPlan, FeederPlan, SectionPlan, curves
from edge_agent.pipeline.ticks import TICK_NS, seconds_ns
from models.material.residence import Residence

Percent = Annotated[float, Field(ge=0, le=100)]


class FeederSection(Section):
    """One feeder: its flow, and what it may be wrong by."""

    tag: str
    """Tag of its mass flow, kg/h."""
    content_percent: Percent
    """Share of the component that is watched in what it feeds, % w/w: 100 for the pure substance, 0 for an excipient."""
    uncertainty_percent: Annotated[float, Field(ge=0, le=50)] = 1.0
    """The flow may be wrong by so much at any time, % of it: calibration of its scale."""
    refill: str | None = None
    """Tag that is 1 while its hopper is refilled and nobody weighs; also 1 while it is not known."""
    refill_percent: tuple[Annotated[float, Field(ge=-100, le=0)], Annotated[float, Field(ge=0, le=1000)]] = (-5.0, 15.0)
    """By how much it may underfeed and overfeed during a refill, % of the flow told."""


class InstrumentSection(Section):
    """An instrument that measures the component behind a section."""

    tag: str
    """Tag of its concentration, % of label claim: measured, or the value of a soft sensor."""
    uncertainty: Annotated[float, Field(ge=0, le=100)] = 1.0
    """The mean of its values may be wrong by so much, % of label claim."""
    values: Annotated[int, Field(ge=1, le=MEMORY)] = 5
    """Newest good values that are averaged."""
    hold_s: Annotated[float, Field(gt=0, le=3600)] = 10.0
    """It says nothing when less than half of them are younger than this."""
    required: bool = True
    """What passes while it says nothing is taken as unknown; false: it is then believed to the feeders alone."""


class TrainSection(Section):
    """Units that material passes one after the other."""

    units: tuple[Residence, ...]
    """Their residence times at nominal flow, of the forms tanks, dispersion and measured."""
    instrument: InstrumentSection | None = None
    """An instrument behind them."""


class DiverterSection(Section):
    """A diverter: which material is turned out of a continuous line, as derived tags divert_request, reason, watchdog, valid_until and more."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\-/]*$", max_length=200)]
    """What its derived tags are called after: `<name>.<output>`."""
    feeders: Annotated[tuple[FeederSection, ...], Field(min_length=1)]
    """All feeders of the line."""
    target_percent: Annotated[float, Field(gt=0, le=100)]
    """Share of the component in the blend at 100 % of label claim, % w/w."""
    limits: tuple[float, float] = (95.0, 105.0)
    """What may be accepted, % of label claim."""
    margin: Annotated[float, Field(ge=0, le=50)] = 0.5
    """Taken off both limits, % of label claim: what the model of the line may be wrong by."""
    unknown: tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(ge=0)]] | None = None
    """What material of which nothing is known may contain, % of label claim; from none to the pure substance when absent."""
    nominal_kg_h: Annotated[float, Field(gt=0, le=100_000)]
    """Total flow at which the residence times were found, kg/h."""
    sections: Annotated[tuple[TrainSection, ...], Field(min_length=1, max_length=6)]
    """The way from the feeders to the diverter, cut behind every instrument."""
    residence_tolerance_percent: Annotated[float, Field(ge=0, le=50)] = 10.0
    """Residence times may be so much shorter or longer, %."""
    step_s: Annotated[float, Field(ge=0.1, le=60)] = 1.0
    """Seconds between two decisions, a multiple of 0.1; at nominal flow material moves by one parcel."""
    hold_s: Annotated[float, Field(gt=0, le=600)] = 3.0
    """A flow that is older is not known."""
    lead_s: Annotated[float, Field(ge=0, le=3600)] = 10.0
    """So long before it arrives the divert is asked for; at least hold_s and valid_s together, as a PLC may act on a word that old."""
    after_s: Annotated[float, Field(ge=0, le=3600)] = 10.0
    """It is asked for so long behind the last material outside the limits, counted at nominal flow."""
    valid_s: Annotated[float, Field(ge=0.5, le=600)] = 5.0
    """A request is valid for so long; a stale one means divert."""
    feedback: str | None = None
    """Tag that is 1 while the diverter diverts; without it the request itself decides what the accounts say."""
    actuator_s: Annotated[float, Field(ge=0, le=60)] = 2.0
    """The diverter is where it was asked to be within this time, or a mismatch is told."""

    def inputs(self) -> dict[tuple[str | int, ...], str]:
        """Every tag it looks at, by its place in the section."""
        found: dict[tuple[str | int, ...], str] = {}
        for i, feeder in enumerate(self.feeders):
            found["feeders", i, "tag"] = feeder.tag
            if feeder.refill is not None:
                found["feeders", i, "refill"] = feeder.refill
        for i, section in enumerate(self.sections):
            if section.instrument is not None:
                found["sections", i, "instrument", "tag"] = section.instrument.tag
        return found | ({("feedback",): self.feedback} if self.feedback is not None else {})

    def plan(self) -> DiverterPlan:
        """What the pipeline does."""
        pure = max(f.content_percent for f in self.feeders)
        return DiverterPlan(
            name=self.name, outputs=tuple(f"{self.name}.{output}" for output in OUTPUTS),
            feeders=tuple(
                FeederPlan(
                    f.tag, f.content_percent / 100, f.uncertainty_percent / 100, f.refill or "",
                    1 + f.refill_percent[0] / 100, 1 + f.refill_percent[1] / 100,
                )
                for f in self.feeders
            ),
            sections=tuple(
                SectionPlan(units, i.tag, i.uncertainty, i.values, i.hold_s, i.required) if (i := s.instrument) is not None else SectionPlan(units)
                for s in self.sections
                for units in [tuple(u.model_dump(mode="json") for u in s.units)]
            ),
            target=self.target_percent / 100, limits=(self.limits[0] + self.margin, self.limits[1] - self.margin),
            unknown=self.unknown if self.unknown is not None else (0.0, 100.0 * pure / self.target_percent),
            nominal_kg_h=self.nominal_kg_h, step_s=self.step_s, hold_s=self.hold_s, lead_s=self.lead_s, after_s=self.after_s, valid_s=self.valid_s,
            tolerance=self.residence_tolerance_percent / 100, feedback=self.feedback or "", actuator_s=self.actuator_s,
        )  # fmt: skip

    def mistakes(self, known: Iterable[str]) -> Iterator[tuple[tuple[str | int, ...], str, str]]:
        """What does not fit together; `known`: tags that it may look at."""
        names = set(known)
        for place, name in self.inputs().items():
            if name not in names:
                yield place, "the name of a measured numeric tag or of a soft sensor's output", repr(name)
        if not self.limits[0] + self.margin < 100.0 < self.limits[1] - self.margin:
            yield ("limits",), "low + margin < 100 < high - margin", f"{list(self.limits)} with margin {self.margin:g}"
        if seconds_ns(self.step_s) % TICK_NS:
            yield ("step_s",), "a multiple of 0.1", f"{self.step_s:g}"
        if self.lead_s < self.hold_s + self.valid_s:
            yield ("lead_s",), f"at least hold_s + valid_s = {self.hold_s + self.valid_s:g}", f"{self.lead_s:g}"
        if self.valid_s <= self.step_s:
            yield ("valid_s",), "more than step_s", f"{self.valid_s:g}"
        try:
            curves(self.plan().sections, self.step_s, self.residence_tolerance_percent / 100)
        except ValueError as error:
            yield ("sections",), *_split(str(error))


def _split(words: str) -> tuple[str, str]:
    expected, _, found = words.partition(", found ")
    return expected, found


def outputs(diverters: Iterable[DiverterSection]) -> dict[str, DiverterSection]:
    """Every derived tag, with its diverter."""
    return {f"{d.name}.{output}": d for d in diverters for output in OUTPUTS}


def output_fields(name: str) -> Mapping[str, Any]:
    """Unit, decimals and recording of a derived tag."""
    output = name.rpartition(".")[2]
    kept = output in KEPT
    reason = "every change is recorded" if kept else "recomputed bit for bit from the journal"
    decimals = 3 if output.endswith("_kg") else 0 if UNITS[output] == "" or output in ("valid_until", "starts_s", "ends_s", "unseen_s") else 2
    return {"unit": UNITS[output], "decimals": decimals, "record": "changes" if kept else "summary", "record_reason": reason}
