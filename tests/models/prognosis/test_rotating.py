import numpy as np
import pytest

from models.prognosis.rotating import Band, Bearing, Envelope, diagnose, line, orders, resampled, velocity, zone
from simulators.rotating import waveform

RATE = 25_600.0
SKF6205 = Bearing(9, 7.94, 39.04)


def test_orders_of_a_6205_are_the_published_ones():
    cage, outer, inner, spin = SKF6205.frequencies(1.0)
    assert (cage, outer, inner, 2 * spin) == pytest.approx((0.39828, 3.5848, 5.4152, 4.7135), abs=2e-4)


@pytest.mark.parametrize("hz", [24.7, 160.0, 903.3])
def test_velocity_of_a_sine_is_its_acceleration_over_the_angular_frequency(hz):
    t = np.arange(25_600) / RATE
    v = velocity(3.0 * np.sin(2 * np.pi * hz * t) + 0.7, RATE)
    assert v == pytest.approx(1000 * 3.0 / (2 * np.pi * hz) / np.sqrt(2), rel=5e-3)
    assert velocity(3.0 * np.sin(2 * np.pi * 3000 * t), RATE) < 1e-3  # above the range


def test_zones_of_the_standard():
    assert [zone(4.6, g, s) for g in (1, 2) for s in ("rigid", "flexible")] == ["C", "B", "D", "C"]
    assert zone(float("nan")) == ""


@pytest.mark.parametrize(("part", "which", "inner"), [("outer race", 1, False), ("inner race", 2, True)])
def test_a_damaged_race_is_named_from_the_envelope(part, which, inner):
    rng = np.random.default_rng(1)
    hz = SKF6205.frequencies(24.67)[which]
    waves = np.stack([waveform(rng, knocks_hz=hz, size=6.0, inner=inner) for _ in range(6)])
    found = diagnose(waves, RATE, 24.67, SKF6205)
    low, high = found.band.limits(RATE)
    assert found.part == part
    assert low <= 3000 <= high


def test_a_healthy_bearing_is_given_no_name():
    for seed in range(5):
        rng = np.random.default_rng(seed)
        assert diagnose(np.stack([waveform(rng) for _ in range(6)]), RATE, 24.67, SKF6205).part == ""


def test_the_squared_envelope_is_that_of_the_analytic_signal():
    scipy_signal = pytest.importorskip("scipy.signal")
    t = np.arange(4096) / RATE
    x = (1 + 0.5 * np.cos(2 * np.pi * 100 * t)) * np.sin(2 * np.pi * 4000 * t)
    e = Envelope(4096, RATE)
    band = Band(2, 1, 0.0)  # 3.2 to 6.4 kHz
    square = e._square(e.spectrum(x), band.level, band.index)
    expected = np.abs(scipy_signal.hilbert(x)) ** 2
    np.testing.assert_allclose(square[20:-20], expected[::8][20:-20], atol=0.02)


def test_kurtosis_is_0_for_noise_and_a_band_is_held():
    rng = np.random.default_rng(3)
    e = Envelope(25_600, RATE)
    kurtoses = e.kurtoses(e.spectrum(rng.normal(0, 1, 25_600)))
    assert np.abs(kurtoses).max() < 0.5
    held = Band(3, 5, 0.0)
    assert e.choose(kurtoses, held) == Band(3, 5, kurtoses[2**3 - 2 + 5])
    kurtoses[2**4 - 2 + 7] = 4.0
    assert e.choose(kurtoses, held) == Band(4, 7, 4.0)


def test_a_line_stands_above_its_floor():
    amplitude = np.full(2000, 0.1)
    for h in (1, 2, 3):
        amplitude[h * 107] = 0.8
    assert line(amplitude, 1.0, 107.36, 3, 0.02) == pytest.approx(8.0)
    assert line(amplitude, 1.0, 141.17, 3, 0.02) == pytest.approx(1.0, abs=0.01)


def test_order_tracking_makes_one_line_of_a_machine_that_speeds_up():
    n = 51_200
    speed = np.linspace(20.0, 30.0, n)
    turns = np.concatenate([[0.0], np.cumsum((speed[1:] + speed[:-1]) / 2) / RATE])
    wave = np.sin(2 * np.pi * 3.5848 * turns)
    angles, per_turn = resampled(wave, RATE, speed)
    hann = np.hanning(len(angles))
    spectrum = np.abs(np.fft.rfft(angles * hann)) * 2 / hann.sum()
    order = np.argmax(spectrum) * per_turn / len(angles)
    assert order == pytest.approx(3.5848, abs=0.02)
    assert spectrum.max() > 0.85
    blurred = np.abs(np.fft.rfft(wave * np.hanning(n))) * 2 / np.hanning(n).sum()
    assert blurred.max() < 0.4
    with pytest.raises(ValueError, match="expected a shaft that turns"):
        resampled(wave, RATE, speed - 20.0)


def test_orders_are_missing_where_the_waveform_holds_too_few_turns_or_its_spectrum_ends_before():
    wave = np.random.default_rng(0).normal(0, 1, 2048)
    assert np.isnan(orders(wave, 2048.0, 5.9)).all()
    assert np.isfinite(orders(wave, 2048.0, 6.1)).all()
    assert np.isfinite(orders(wave, 2048.0, 400.0)).tolist() == [True, True, False]
