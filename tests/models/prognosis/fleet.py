"""A fleet of machines that wear until they fail, seen through noisy sensors in two operating conditions."""

import numpy as np


def unit(rng, life):
    """Settings (life, 3) and 5 sensors: three follow the wear, one is noise, one stands still."""
    t = np.arange(life)
    wear = np.exp((t - life) / 30.0) * 4 + rng.normal(0, 0.2)
    low = rng.random(life) < 0.5
    settings = np.where(low[:, None], [0.0, 0.0, 100.0], [20.0, 0.7, 60.0]) + rng.normal(0, [0.002, 0.0003, 0.0], (life, 3))
    clean = np.column_stack([wear, -2 * wear, 0.5 * wear, np.zeros(life), np.zeros(life)])
    noise = rng.normal(0, [0.3, 0.4, 0.3, 1.0, 0.0], (life, 5))
    scale = np.where(low[:, None], 1.0, 2.5)
    return settings, (clean + noise) * scale + np.where(low[:, None], 10.0, 500.0)


def fleet(n, seed):
    """n histories of 110 to 200 cycles, each to its failure."""
    rng = np.random.default_rng(seed)
    return [unit(rng, int(rng.integers(110, 200))) for _ in range(n)]
