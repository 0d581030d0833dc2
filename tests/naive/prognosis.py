"""Obvious twins of the kernels of prognosis: dense numpy, one formula per line."""

import numpy as np


def matches(query, histories, window, own, temper, offset, horizon):
    """Log weight of each place r of each history (oldest first), -inf where it does not fit."""
    last = query[-window:]
    w = len(last)
    out = np.full((len(histories), horizon), -np.inf)
    for u, history in enumerate(histories):
        for r in range(min(len(history) - w + 1, horizon)):
            if u != own:
                d = last - history[len(history) - r - w : len(history) - r]
                mean = d.mean(axis=0)
                out[u, r] = -(((d - mean) ** 2).sum(axis=0) + w * mean**2 / (1 + w * offset**2)).sum() / (2 * temper)
    return out


def posterior(weights, cap):
    """Mean, sd, three quantiles, chance of more than the cap, best log weight."""
    p = np.exp(weights - weights.max()).sum(axis=0)
    p /= p.sum()
    r = np.minimum(np.arange(len(p)), cap)
    mean = p @ r
    quantiles = [r[np.searchsorted(np.cumsum(p), q)] for q in (0.1, 0.5, 0.9)]
    return np.array([mean, np.sqrt(p @ (r - mean) ** 2), *quantiles, p[np.arange(len(p)) > cap].sum(), weights.max()])


def history(scores):
    """Features of each direction, then the age."""
    out = []
    for y in scores.T:
        fast = slow = y[0]
        for v in y:
            fast, slow = fast + 0.2 * (v - fast), slow + 0.07 * (v - slow)
        slopes = []
        for w in (20, 40, 80):
            part = y[-w:]
            t = np.arange(len(part))
            spread = len(t) * (t**2).sum() - t.sum() ** 2
            slopes.append((len(t) * (t * part).sum() - t.sum() * part.sum()) / (spread + 3000 * len(t)))
        out += [*(y[-w:].mean() for w in (5, 10, 20, 40, 80)), *slopes, fast, slow, y[:15].mean(), y.mean()]
    return np.array([*out, len(scores)])


def trees(x, feature, threshold, left, value, roots, base):
    """Predictions of one row after the other, each tree walked from its root."""
    out = []
    for row in x:
        said = base
        for node in roots:
            while feature[node] >= 0:
                node = left[node] + (row[feature[node]] > threshold[node])
            said += value[node]
        out.append(said)
    return np.array(out)


def watched(level, limit, ratio, severe, begin, end, need, of, clear):
    """Weights and alarm, each snapshot worked out anew from all before it."""
    above, alarm = [], []
    for i in range(len(level)):
        known = level[begin : min(i + 1, end)]
        known = known[np.isfinite(known)]
        over = max(limit, ratio * np.median(known)) if len(known) else limit
        above.append(need if level[i] > severe * over else int(level[i] > over))
        quiet = np.isfinite(level[: i + 1])
        recent = np.array(above)[quiet][-clear:]
        on = bool(alarm and alarm[-1]) and not (len(recent) == clear and not recent.any())
        alarm.append(sum(above[-of:]) >= need or on)
    return np.array(above), np.array(alarm)


def shape(wave):
    """Mean, rms, peak, crest, kurtosis, level of one waveform."""
    d = wave - wave.mean()
    rms, peak = np.sqrt(np.mean(d**2)), np.abs(d).max()
    return np.array([wave.mean(), rms, peak, peak / rms, np.mean(d**4) / rms**4, np.mean(d**4) ** 0.25])
