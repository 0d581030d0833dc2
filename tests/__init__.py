"""Tests and benchmarks."""

import os

# Small matrices on shared cores: threads of BLAS that wait for each other would take a hundred times as long as the sums.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
