"""The edge agent: reads a line, judges every value, calls the operator and keeps the record."""

import os
import sys

# Before numpy is loaded. No model calls BLAS at run time; training does, on matrices so small that its threads would only wait for each other,
# and one thread adds in the same order on every computer.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# structlog loads rich to draw tracebacks wherever it is installed, here for the help of the commands: 4 MB in every edge and gateway for pictures
# that no journal shows. It is there again for whoever asks behind this.
if "rich" not in sys.modules:
    sys.modules["rich"] = None  # type: ignore[assignment]
    import structlog  # noqa: F401

    del sys.modules["rich"]

__version__ = "0.1.0"
