"""What the vibration chain costs: eight channels at 25.6 kHz, a second at a time, beside the same with scipy.

`python -m tests.benchmarks.vibration [--seconds N]`: validity and shape, velocity, three orders, all 30 bands, envelope spectrum, four bearing lines.
CPU time of one thread, share of one core. The scipy version filters each band (Butterworth, order 4) and takes the Hilbert envelope. One JSON line.
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np
from numpy.typing import NDArray

from models.prognosis.rotating import LEVELS, SLIP, Bearing, Envelope, line, orders, velocity
from models.prognosis.waveform import features
from simulators.rotating import waveform

CHANNELS, RATE = 8, 25_600
BEARING = Bearing(9, 7.94, 39.04)


def ours(waves: NDArray[np.float64], envelope: Envelope) -> list[float]:
    """Strongest bearing line of each channel."""
    out = []
    features(waves, 50.0)
    for wave in waves:
        velocity(wave, RATE)
        orders(wave, RATE, 24.67)
        spectrum = envelope.spectrum(wave)
        amplitude, bin_hz = envelope.lines(spectrum, envelope.choose(envelope.kurtoses(spectrum)))
        out.append(max(float(line(amplitude, bin_hz, hz, 3, SLIP)) for hz in BEARING.frequencies(24.67)))
    return out


def scipys(waves: NDArray[np.float64]) -> None:
    """The same steps from scipy's parts."""
    from scipy import signal, stats

    for wave in waves:
        stats.kurtosis(wave)
        np.sqrt(np.mean(wave**2))
        signal.welch(wave, RATE, nperseg=len(wave))
        best, chosen = -np.inf, None
        for level in range(1, LEVELS + 1):
            width = RATE / 2 / 2**level
            for i in range(2**level):
                low, high = max(i * width, 50.0), min((i + 1) * width, RATE / 2 - 50.0)
                a = np.abs(signal.hilbert(signal.sosfilt(signal.butter(4, (low, high), "band", fs=RATE, output="sos"), wave))) ** 2
                if (kurtosis := float(np.mean(a**2) / np.mean(a) ** 2)) > best:
                    best, chosen = kurtosis, a
        assert chosen is not None
        np.abs(np.fft.rfft(chosen - chosen.mean()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=10)
    opt = parser.parse_args()
    rng = np.random.default_rng(0)
    waves = np.stack([waveform(rng, knocks_hz=88.4 if c % 2 else 0.0, size=4.0) for c in range(CHANNELS)])
    envelope = Envelope(RATE, RATE)
    ours(waves, envelope)
    start = time.thread_time()
    for _ in range(opt.seconds):
        lines = ours(waves, envelope)
    share = (time.thread_time() - start) / opt.seconds
    start = time.thread_time()
    scipys(waves)
    theirs = time.thread_time() - start
    found = [round(x, 1) for x in lines]
    print(json.dumps({"benchmark": "vibration", "channels": CHANNELS, "rate_hz": RATE, "share_of_core": round(share, 4), "scipy": round(theirs, 3),
                      "times_faster": round(theirs / share, 1), "lines": found}))  # fmt: skip


if __name__ == "__main__":
    main()
