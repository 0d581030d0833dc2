"""One spectrum of 1,000 points through treatment, PLS, T2 and Q: ours against scipy and scikit-learn in the same run.

`python -m tests.benchmarks.spectrum [--spectra N]`: times are medians over N calls with one spectrum each. Also the soft sensor of a default
calibration: five members of 400 samples each. The last line is one JSON object; 50 us a spectrum are aimed at.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.signal
from numpy.typing import NDArray
from sklearn.cross_decomposition import PLSRegression

from models.spectra import gaussian, pls
from models.spectra.choose import Calibration, Member
from models.spectra.sensor import Sensor, begin, judge, pls_arrays, sensor_arrays
from models.spectra.treatment import SavitzkyGolay, Snv, Treatment

Float64 = NDArray[np.float64]
FACTORS = 8


def spectra(n: int, points: int, seed: int) -> tuple[Float64, Float64]:
    rng = np.random.default_rng(seed)
    x = np.linspace(0, 1, points)
    pure = np.array([np.exp(-0.5 * ((x - c) / 0.05) ** 2) for c in rng.uniform(0.1, 0.9, 12)])
    share = rng.uniform(0, 1, (n, 12))
    return 0.5 + share @ pure * (1 + rng.normal(0, 0.03, (n, 1))) + rng.normal(0, 3e-4, (n, points)), share[:, 0]


def median_us(call: Callable[[Float64], Any], X: Float64) -> float:
    call(X[:1])
    times = []
    for i in range(len(X)):
        row = X[i : i + 1]
        begin = time.perf_counter()
        call(row)
        times.append(time.perf_counter() - begin)
    return round(1e6 * statistics.median(times), 1)


def main() -> None:
    arg = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arg.add_argument("--spectra", type=int, default=2000)
    opt = arg.parse_args()
    X, y = spectra(400, 1000, 1)
    fresh, _ = spectra(opt.spectra, 1000, 2)
    steps = (Snv(), SavitzkyGolay(width=15, derivative=1))
    chain = Treatment(steps, np.arange(1000.0))
    Z = chain.apply(X)[0]
    model, theirs = pls.fit(Z, y, FACTORS), PLSRegression(FACTORS, scale=False).fit(Z, y)
    sensor = Sensor(pls_arrays(chain, model, X, y, 0.1))
    member, scratch, treated, total = sensor._members[0], sensor._scratch, np.empty((1, 1000)), np.zeros((1, 6))
    variance = model.scores.var(axis=0, ddof=1)

    def scipy_sklearn(row: Float64) -> tuple[float, float, float]:
        z = (row - row.mean(axis=1, keepdims=True)) / row.std(axis=1, ddof=1, keepdims=True)
        z = scipy.signal.savgol_filter(z, 15, 2, deriv=1)[:, 7:-7]
        t = theirs.transform(z)
        rest = z - theirs._x_mean - t @ theirs.x_loadings_.T
        return float(theirs.predict(z).ravel()[0]), float((t**2 / variance).sum()), float((rest**2).sum())

    def kernels(row: Float64) -> None:
        begin(row, *sensor._begin, scratch, treated)
        judge(treated, *member, scratch, total)

    ours, peer = sensor.judge(fresh[:5])[0][:, 0], [scipy_sklearn(row[None])[0] for row in fresh[:5]]
    if not np.allclose(ours, peer, rtol=0, atol=1e-8):
        raise SystemExit(f"expected equal predictions, found {ours} and {peer}")
    kept = []
    for width in (7, 15, 21, 31, 41):
        one = Treatment((Snv(), SavitzkyGolay(width=width, derivative=1)), np.arange(1000.0))
        k = gaussian.kernels(one.apply(X)[0])
        kept.append(Member(one, np.arange(len(one.axis)), gaussian.fit(k, y, iterations=5)))
    five = Sensor(sensor_arrays(Calibration(tuple(kept), (0.2,) * 5, 0.1), X, y, 0.1))
    figures = {
        "benchmark": "spectrum", "points": 1000, "factors": FACTORS,
        "kernels_us": median_us(kernels, fresh),
        "sensor_us": median_us(sensor.judge, fresh),
        "default_calibration_of_five_us": median_us(five.judge, fresh),
        "scipy_scikit_learn_us": median_us(scipy_sklearn, fresh),
        "block_of_all_us_each": median_us(lambda _: sensor.judge(fresh), fresh[:5]) / opt.spectra,
        "largest_difference": float(np.max(np.abs(ours - peer))),
    }  # fmt: skip
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
