"""What an edge is after kills and restarts, beside an unbroken run over the same journal."""

from __future__ import annotations

from pathlib import Path

from edge_agent.agent.commit import CHECKPOINTS, JOURNAL, OUTBOX, STREAMS, checkpoint_position, checkpoint_state
from edge_agent.agent.recovery import recover, rows
from edge_agent.core import Log, Start, decode, pack
from edge_agent.pipeline.chain import Pipeline


def restarts_left_no_trace(file: Path) -> int:
    """Step a journal from its first entry in one go and compare with what the agent kept; returns how often the agent was started.

    Alarm states, open windows and model states at each checkpoint (one is taken at every start, behind recovery, and one at the end) must be
    those of the unbroken run, bit for bit, and so must every record that the outbox still holds.
    """
    log = Log(file, STREAMS)
    try:
        assert log.first(JOURNAL) == 1, "the journal no longer reaches back to the beginning"
        checkpoints = [data for name in CHECKPOINTS if (data := log.value(name)) is not None]
        kept = {checkpoint_position(data)[0]: checkpoint_state(data) for data in checkpoints}
        pipeline, made, starts = Pipeline(), [], 0
        for row in rows(log, JOURNAL, 0):
            entry = decode(row.data)
            starts += isinstance(entry, Start)
            made += pipeline.step(entry)  # type: ignore[arg-type]
            if row.seq in kept:
                assert pack(pipeline.state()) == kept.pop(row.seq), f"checkpoint behind entry {row.seq}"
        assert not kept, "a checkpoint lies beyond the journal"
        for row in rows(log, OUTBOX, log.first(OUTBOX) - 1):
            assert decode(row.data) == made[row.seq - 1], f"record {row.seq}"
        assert log.head(OUTBOX).seq == len(made)
        recovered = recover(log)
        assert recovered.differing == ()
        assert pack(recovered.pipeline.state()) == pack(pipeline.state())
        return starts
    finally:
        log.close()
