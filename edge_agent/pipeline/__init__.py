"""The pipeline: journal entries in, records out; no I/O, clock, uuid or randomness. `chain.Pipeline` is the way in."""
