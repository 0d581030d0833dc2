"""Quantiles of the F, chi-squared and beta distributions and the limits of T2 and SPE drawn from them; worked out when a model is trained."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import Final

_STEPS: Final = 400


def _beta_share(x: float, a: float, b: float) -> float:
    """Regularised incomplete beta function by its continued fraction (Lentz)."""
    if x <= 0.0:
        return 0.0
    if x >= 1.0:
        return 1.0
    if x > (a + 1) / (a + b + 2):
        return 1.0 - _beta_share(1.0 - x, b, a)
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)) / a
    c, d = 1.0, 1.0 - (a + b) * x / (a + 1)
    d = 1.0 / d
    total = d
    for m in range(1, _STEPS):
        for term in (m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)), -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))):
            d = 1.0 / (1.0 + term * d)
            c = 1.0 + term / c
            total *= c * d
        if abs(c * d - 1.0) < 1e-15:
            break
    return front * total


def gamma_share(x: float, a: float) -> float:
    """Regularised lower incomplete gamma function by its series."""
    if x <= 0.0:
        return 0.0
    term = total = 1.0 / a
    n = 0
    while term > 1e-17 * total:
        n += 1
        term *= x / (a + n)
        total += term
    return min(1.0, total * math.exp(a * math.log(x) - x - math.lgamma(a)))


def _solved(share: Callable[[float], float], p: float, high: float) -> float:
    low = 0.0
    while share(high) < p:
        high *= 2.0
    for _ in range(200):
        middle = 0.5 * (low + high)
        if share(middle) < p:
            low = middle
        else:
            high = middle
    return 0.5 * (low + high)


def beta_quantile(p: float, a: float, b: float) -> float:
    """The value below which a beta variable lies with probability p."""
    low, high = 0.0, 1.0
    for _ in range(200):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if _beta_share(middle, a, b) < p else (low, middle)
    return 0.5 * (low + high)


def f_quantile(p: float, m: float, n: float) -> float:
    """The value below which F(m, n) lies with probability p.

    >>> round(f_quantile(0.95, 3, 47), 4)
    2.8024
    """
    x = beta_quantile(p, m / 2, n / 2)
    return n * x / (m * (1.0 - x))


def chi2_quantile(p: float, n: float) -> float:
    """The value below which chi-squared with n degrees of freedom (any positive number) lies with probability p.

    >>> round(chi2_quantile(0.95, 3), 3), round(chi2_quantile(0.99, 3), 3)
    (7.815, 11.345)
    """
    return _solved(lambda x: gamma_share(x / 2, n / 2), p, n + 10.0)


def t2_limit(p: float, components: int, rows: int) -> float:
    """Limit of T2 for new rows: A (n2 - 1) / (n (n - A)) F(A, n - A).

    >>> round(t2_limit(0.95, 3, 50), 3), round(t2_limit(0.99, 3, 50), 3)
    (8.94, 13.488)
    """
    a, n = components, rows
    return a * (n * n - 1) / (n * (n - a)) * f_quantile(p, a, n - a)


def t2_limit_of_training(p: float, components: int, rows: int) -> float:
    """Limit of T2 for the rows that the model was trained on: (n - 1)2 / n Beta(A / 2, (n - A - 1) / 2).

    >>> round(t2_limit_of_training(0.95, 3, 50), 3), round(t2_limit_of_training(0.99, 3, 50), 3)
    (7.43, 10.399)
    """
    return (rows - 1) ** 2 / rows * beta_quantile(p, components / 2, (rows - components - 1) / 2)


def box_limit(p: float, mean: float, variance: float) -> float:
    """Limit of SPE by g chi2(h), g = variance / (2 mean), h = 2 mean2 / variance (Box).

    >>> round(box_limit(0.95, 1.15, 2 * 0.3925), 3), round(box_limit(0.99, 1.15, 2 * 0.3925), 3)
    (2.883, 4.122)
    """
    return variance / (2 * mean) * chi2_quantile(p, 2 * mean * mean / variance)


def spe_limit(p: float, residual: Sequence[float]) -> float:
    """Limit of SPE from the eigenvalues left out (Jackson and Mudholkar); Box's where h0 is not positive; 0 when nothing is left out.

    >>> round(spe_limit(0.95, [0.5, 0.3, 0.2, 0.1, 0.05]), 3), round(spe_limit(0.99, [0.5, 0.3, 0.2, 0.1, 0.05]), 3)
    (2.934, 4.458)
    """
    th1, th2, th3 = (math.fsum(max(v, 0.0) ** i for v in residual) for i in (1, 2, 3))
    if th2 <= 0.0:
        return 0.0
    h0 = 1 - 2 * th1 * th3 / (3 * th2 * th2)
    if h0 <= 0:
        return box_limit(p, th1, 2 * th2)
    inner = NormalDist().inv_cdf(p) * math.sqrt(2 * th2 * h0 * h0) / th1 + 1 + th2 * h0 * (h0 - 1) / (th1 * th1)
    return float(th1 * inner ** (1 / h0))
