"""The edge agent: reads a line, judges every value, calls the operator and keeps the record."""

import os

# Before numpy is loaded. No model calls BLAS at run time; training does, on matrices so small that its threads would only wait for each other,
# and one thread adds in the same order on every computer.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

__version__ = "0.1.0"
