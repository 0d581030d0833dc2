"""How long the training of principal components takes: `python -m tests.benchmarks.training [--rows 1000000] [--tags 50]`; one JSON line.

`fit_s` is the model from rows in memory; `train_s` adds the calibration: four more fits and the scores of every row held out. The limit is 10 s.
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np

from edge_agent.training.train import calibrated_group
from models.pca import Pca, PcaConfig


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--tags", type=int, default=50)
    args = parser.parse_args()
    rng = np.random.default_rng(1)
    value = rng.normal(size=(args.rows, 8)) @ rng.normal(size=(8, args.tags)) + 0.3 * rng.normal(size=(args.rows, args.tags))
    time_ns = np.arange(args.rows, dtype=np.int64) * 1_000_000_000
    config = PcaConfig(name="u", tags=("*",), file="training")
    begun = time.perf_counter()
    Pca.train(config, time_ns, value)
    fit = time.perf_counter() - begun
    begun = time.perf_counter()
    calibrated_group(config, time_ns, value)
    whole = time.perf_counter() - begun
    print(json.dumps({"rows": args.rows, "tags": args.tags, "fit_s": round(fit, 2), "train_s": round(whole, 2), "limit_s": 10}))


if __name__ == "__main__":
    main()
