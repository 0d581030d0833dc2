"""Linear algebra of the run-time models: plain loops in a fixed order, so that the same rows give the same bits on every way there."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from models.compiled import kernel

Matrix = NDArray[np.float64]


@kernel("void(float64[:, ::1], uint8[::1], float64[::1], float64[:, ::1])")
def mean_and_covariance(rows: Matrix, used: NDArray[np.uint8], mean: Matrix, covariance: Matrix) -> None:
    """Mean (D,) and covariance (D, D), divisor n - 1, of those rows (n, D) that are used."""
    d = rows.shape[1]
    count = 0
    for j in range(d):
        mean[j] = 0.0
    for t in range(len(rows)):
        if used[t]:
            count += 1
            for j in range(d):
                mean[j] += rows[t, j]
    for j in range(d):
        mean[j] /= max(count, 1)
        for i in range(d):
            covariance[j, i] = 0.0
    away = np.empty(d)
    for t in range(len(rows)):
        if used[t]:
            for j in range(d):
                away[j] = rows[t, j] - mean[j]
            for i in range(d):
                a = away[i]
                for j in range(d):
                    covariance[i, j] += a * away[j]
    for i in range(d):
        for j in range(d):
            covariance[i, j] /= max(count - 1, 1)


@kernel("void(float64[:, ::1], float64)")
def add_ridge(a: Matrix, share: float) -> None:
    """Add that share of the mean variance to each variance (at least 1e-12, so that a constant can be divided by)."""
    trace = 0.0
    for i in range(len(a)):
        trace += a[i, i]
    for i in range(len(a)):
        a[i, i] += max(share * trace / len(a), 1e-12)


@kernel("void(float64[:, ::1], float64[:, ::1])")
def inverse(a: Matrix, out: Matrix) -> None:
    """Inverse of a symmetric positive definite matrix by Cholesky; a is overwritten with its factor."""
    n = len(a)
    for j in range(n):
        for k in range(j):
            s = a[j, k]
            for i in range(j, n):
                a[i, j] -= a[i, k] * s
        root = math.sqrt(max(a[j, j], 1e-300))
        for i in range(j, n):
            a[i, j] /= root
    column = np.empty(n)
    for c in range(n):
        for i in range(n):
            column[i] = 1.0 if i == c else 0.0
        for i in range(n):
            s = column[i]
            for k in range(i):
                s -= a[i, k] * column[k]
            column[i] = s / a[i, i]
        for i in range(n - 1, -1, -1):
            s = column[i]
            for k in range(i + 1, n):
                s -= a[k, i] * column[k]
            column[i] = s / a[i, i]
        for i in range(n):
            out[i, c] = column[i]
    for i in range(n):
        for j in range(i):
            both = 0.5 * (out[i, j] + out[j, i])
            out[i, j] = both
            out[j, i] = both


@kernel("float64(float64[:, ::1], float64[::1], float64[::1])")
def distance(precision: Matrix, away: Matrix, weighted: Matrix) -> float:
    """away' precision away; weighted (D,) becomes precision away."""
    d = len(away)
    for j in range(d):
        weighted[j] = 0.0
    for i in range(d):
        a = away[i]
        for j in range(d):
            weighted[j] += precision[i, j] * a
    total = 0.0
    for j in range(d):
        total += away[j] * weighted[j]
    return total


@kernel("void(float64[:, ::1], float64[::1], uint8[::1])")
def impute(precision: Matrix, away: Matrix, known: NDArray[np.uint8]) -> None:
    """Set the unknown deviations from the mean to their conditional mean given the known ones, by the precision matrix of all."""
    d = len(away)
    m = 0
    place = np.empty(d, np.int64)
    for j in range(d):
        if not known[j]:
            place[m] = j
            m += 1
    if m == 0:
        return
    a = np.empty((m, m + 1))
    for r in range(m):
        right = 0.0
        for j in range(d):
            if known[j]:
                right -= precision[place[r], j] * away[j]
        a[r, m] = right
        for c in range(m):
            a[r, c] = precision[place[r], place[c]]
    # A principal part of a positive definite matrix: elimination needs no pivots.
    for r in range(m):
        for q in range(r + 1, m):
            f = a[q, r] / a[r, r]
            for c in range(r, m + 1):
                a[q, c] -= f * a[r, c]
    for r in range(m - 1, -1, -1):
        s = a[r, m]
        for c in range(r + 1, m):
            s -= a[r, c] * away[place[c]]
        away[place[r]] = s / a[r, r]


@kernel("void(float64[:, ::1], float64[::1], float64[:, ::1])")
def eigen(a: Matrix, values: Matrix, vectors: Matrix) -> None:
    """Eigenvalues, descending, and eigenvectors (columns, largest component positive) of a symmetric matrix by Jacobi rotations; a is destroyed."""
    n = len(a)
    for i in range(n):
        for j in range(n):
            vectors[i, j] = 1.0 if i == j else 0.0
    for _ in range(60):
        off = 0.0
        whole = 0.0
        for i in range(n):
            whole += a[i, i] * a[i, i]
            for j in range(i):
                off += 2.0 * a[i, j] * a[i, j]
        if off <= 1e-28 * max(whole, 1e-300):
            break
        for p in range(n):
            for q in range(p + 1, n):
                if a[p, q] == 0.0:
                    continue
                theta = (a[q, q] - a[p, p]) / (2.0 * a[p, q])
                t = (1.0 if theta >= 0.0 else -1.0) / (abs(theta) + math.sqrt(theta * theta + 1.0))
                c = 1.0 / math.sqrt(t * t + 1.0)
                s = t * c
                for k in range(n):
                    x = a[k, p]
                    y = a[k, q]
                    a[k, p] = c * x - s * y
                    a[k, q] = s * x + c * y
                for k in range(n):
                    x = a[p, k]
                    y = a[q, k]
                    a[p, k] = c * x - s * y
                    a[q, k] = s * x + c * y
                    x = vectors[k, p]
                    y = vectors[k, q]
                    vectors[k, p] = c * x - s * y
                    vectors[k, q] = s * x + c * y
    for i in range(n):
        values[i] = a[i, i]
    for i in range(n):
        top = i
        for j in range(i + 1, n):
            if values[j] > values[top]:
                top = j
        values[i], values[top] = values[top], values[i]
        big = 0.0
        for k in range(n):
            x = vectors[k, i]
            vectors[k, i] = vectors[k, top]
            vectors[k, top] = x
            if abs(vectors[k, i]) > abs(big):
                big = vectors[k, i]
        if big < 0.0:
            for k in range(n):
                vectors[k, i] = -vectors[k, i]
