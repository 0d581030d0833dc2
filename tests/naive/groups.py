"""The models of several tags again, with numpy's own linear algebra and nothing kept but the past."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.change import ChangeConfig
from models.limits import spe_limit, t2_limit
from models.pca import PcaConfig
from models.unit import MARGINS, UnitConfig

Array = NDArray[np.float64]


class Reference:
    """Training rows, standardisation and conditional means."""

    def __init__(self, rows: list[tuple[int, Array]], ridge: Array) -> None:
        self.x = np.array([x for _, x in rows])
        self.mean, sd = self.x.mean(axis=0), self.x.std(axis=0, ddof=1)
        self.sd = np.maximum(sd, np.maximum(1e-9 * abs(self.mean), 1e-12))
        self.z = (self.x - self.mean) / self.sd
        self.cov = np.atleast_2d(np.cov(self.z.T))
        self.whole = self.cov + ridge
        self.gap = 10 * int(np.median(np.diff([t for t, _ in rows])))

    def row(self, x: Array, usable: NDArray[np.bool_]) -> Array | None:
        ok = usable & (np.abs(np.nan_to_num(x, nan=np.inf)) <= 1e150)
        if (~ok).sum() > 0.2 * len(x):
            return None
        z = np.clip((np.where(ok, x, 0) - self.mean) / self.sd, -1e6, 1e6)
        if not ok.all():
            s = self.whole
            z[~ok] = s[np.ix_(~ok, ok)] @ np.linalg.solve(s[np.ix_(ok, ok)], z[ok])
        return z


def ridged(cov: Array, share: float) -> Array:
    return cov + max(share * np.trace(cov) / len(cov), 1e-12) * np.eye(len(cov))


def signed(share: Array, away: Array) -> Array:
    return np.where(away >= 0, share, -share)


class NaiveUnit:
    def __init__(self, c: UnitConfig, rows: list[tuple[int, Array]]) -> None:
        z0 = Reference(rows, 0)
        self.c, self.r = c, Reference(rows, ridged(z0.cov, c.ridge) - z0.cov)
        z = self.r.z
        n = len(z)
        stacked = np.array([np.concatenate([z[max(t - lag, 0)] for lag in range(3)]) for t in range(n)])
        self.channels: list[Any] = []
        means = np.array([b.mean(axis=0) for b in np.array_split(self.r.x, c.blocks)])
        moving = float((means.var(axis=0) / np.maximum(self.r.x.var(axis=0), 1e-300)).max())
        for lam, lam2, slope, given in zip((c.slow, 1.0), (c.slow_distance, c.fast_distance), MARGINS, c.margins or (None, None), strict=True):
            g, now = [], np.zeros(stacked.shape[1])
            for s in stacked:
                now = now + lam * (s - now)
                g.append(now)
            edges = np.linspace(20, n, c.blocks + 1).astype(int)
            held: list[float] = []
            for a, b in itertools.pairwise(edges):
                mu, precision = self.fit([g[t] for t in range(20, n) if not a <= t < b])
                q = None
                for t in range(max(a - 30, 0), b):
                    d = float((g[t] - mu) @ precision @ (g[t] - mu))
                    q = d if q is None else q + lam2 * (d - q)
                    if t >= a:
                        held.append(q)
            mu, precision = self.fit(g[20:])
            q, inside = None, []
            for x in g:
                d = float((x - mu) @ precision @ (x - mu))
                q = d if q is None else q + lam2 * (d - q)
                inside.append(q)
            margin = given if given is not None else max(1.0, 0.6 + slope * moving)
            limit = margin * max(float(np.quantile(held, c.quantile)), 1e-12)
            rest = np.median(inside[20:])
            self.channels.append({"lam": lam, "lam2": lam2, "mu": mu, "p": precision, "limit": limit, "rest": rest, "g": g[-1], "q": q})
        self.lags, self.last = [z[-1], z[-2], z[-3]], rows[-1][0]
        self.above = self.below = self.alarm = 0

    def fit(self, g: list[Array]) -> tuple[Array, Array]:
        a = np.array(g)
        return a.mean(axis=0), np.linalg.inv(ridged(np.cov(a.T), self.c.ridge))

    def judge(self, t: int, x: Array, usable: NDArray[np.bool_]) -> list[float]:
        k = len(x)
        z = self.r.row(x, usable)
        if z is None:
            return [math.nan, math.nan, 0.0] + [math.nan] * (3 + k)
        if t - self.last > self.r.gap:
            self.lags = [z, z, z]
            for c in self.channels:
                c["g"], c["q"] = c["mu"], c["rest"]
        else:
            self.lags = [z, *self.lags[:2]]
        self.last = t
        ratios, shares = [], []
        for c in self.channels:
            c["g"] = c["g"] + c["lam"] * (np.concatenate(self.lags) - c["g"])
            away = c["g"] - c["mu"]
            weighted = c["p"] @ away
            c["q"] += c["lam2"] * (away @ weighted - c["q"])
            ratios.append(c["q"] / c["limit"])
            shares.append(signed((away * weighted).reshape(3, k).sum(axis=0), away.reshape(3, k).sum(axis=0)) / max(away @ weighted, 1e-300))
        lead = 0 if ratios[0] >= ratios[1] else 1
        worst = ratios[lead]
        self.above = self.above + 1 if worst > 1 else 0
        self.below = self.below + 1 if worst < 0.7 else 0
        self.alarm = 1 if self.above >= 6 else 0 if self.below >= 1 / self.c.slow else self.alarm
        return [worst, self.alarm, 1.0, lead, *ratios, *shares[lead]]


class NaiveChange:
    def __init__(self, c: ChangeConfig, rows: list[tuple[int, Array]]) -> None:
        self.c, self.r = c, Reference(rows, c.ridge * np.eye(len(rows[0][1])))
        self.past = list(self.r.z)
        self.size = 2 * c.window + c.between
        self.limit = max(self.score(self.past[: t + 1])[0] for t in range(self.size - 1, len(self.past)))
        self.last, self.since = rows[-1][0], 1 << 40

    def score(self, past: list[Array]) -> tuple[float, Array, Array]:
        w = self.c.window
        away = np.mean(past[-w:], axis=0) - np.mean(past[-2 * w - self.c.between : -w - self.c.between], axis=0)
        weighted = np.linalg.solve(self.r.whole, away)
        return 0.5 * w * float(away @ weighted), away, weighted

    def judge(self, t: int, x: Array, usable: NDArray[np.bool_]) -> list[float]:
        z = self.r.row(x, usable)
        nothing = [math.nan] * (2 + len(x))
        if z is None:
            return nothing
        if t - self.last > self.r.gap:
            self.past = []
        self.last = t
        self.past = [*self.past, z][-self.size :] if len(self.past) >= self.size else [*self.past, z]
        self.since += 1
        if len(self.past) < self.size:
            return nothing
        s, away, weighted = self.score(self.past)
        call = float(s > self.limit and self.since > self.c.refractory)
        if call:
            self.since = 0
        return [s / self.limit, call, *signed(away * weighted / max(away @ weighted, 1e-300), away)]


class NaivePca:
    def __init__(self, c: PcaConfig, rows: list[tuple[int, Array]]) -> None:
        z0 = Reference(rows, 0)
        self.r = Reference(rows, ridged(z0.cov, 0.01) - z0.cov)
        values, vectors = np.linalg.eigh(self.r.cov)
        values, vectors = values[::-1], vectors[:, ::-1]
        wanted = c.components or int((values > 1).sum())
        a = max(1, min(wanted, int((values > 1e-9).sum()), len(rows) - 2))
        self.p, self.values = vectors[:, :a], values[:a]
        self.limits = t2_limit(c.quantile, a, len(rows)), max(spe_limit(c.quantile, values[a:].tolist()), 1e-12)
        self.last: list[bool] = []

    def judge(self, t: int, x: Array, usable: NDArray[np.bool_]) -> list[float]:
        z = self.r.row(x, usable)
        if z is None:
            return [math.nan] * 3 + [0.0] + [math.nan] * (1 + len(x))
        scores = self.p.T @ z
        residual = z - self.p @ scores
        t2, spe = float((scores**2 / self.values).sum()), float(residual @ residual)
        ratios = t2 / self.limits[0], spe / self.limits[1]
        self.last = [*self.last, max(ratios) > 1][-5:]
        off = ratios[1] >= ratios[0]
        share = signed(residual**2, residual) / max(spe, 1e-300) if off else z * (self.p @ (scores / self.values)) / max(t2, 1e-300)
        return [*ratios, float(sum(self.last) >= 3), 1.0, float(off), *share]



class NaiveReference:
    """A score of single rows, its limit from held-out blocks, and 3 of the last 5 above it; `fit` gives the score and shares of a row."""

    def __init__(self, c: Any, rows: list[tuple[int, Array]]) -> None:
        z0 = Reference(rows, 0)
        self.c, self.r = c, Reference(rows, ridged(z0.cov, 0.01) - z0.cov)
        z, found = self.r.z, []
        for a, b in itertools.pairwise(np.linspace(0, len(z), c.blocks + 1).astype(int)):
            score = self.fit([*z[:a], *z[b:]])
            found += [score(x)[0] for x in z[a:b]]
        self.score = self.fit([*z])
        self.limit = c.margin * max(float(np.quantile(found, c.quantile)), 1e-12)
        self.last: list[bool] = []

    def fit(self, z: list[Array]) -> Any:
        raise NotImplementedError

    def judge(self, t: int, x: Array, usable: NDArray[np.bool_]) -> list[float]:
        z = self.r.row(x, usable)
        if z is None:
            return [math.nan] * 2 + [0.0] + [math.nan] * (1 + len(x))
        score, shares = self.score(z)
        self.last = [*self.last, score / self.limit > 1][-5:]
        return [score / self.limit, float(sum(self.last) >= 3), 1.0, score, *shares]


class NaiveMahalanobis(NaiveReference):
    def fit(self, z: list[Array]) -> Any:
        mu, precision = np.mean(z, axis=0), np.linalg.inv(ridged(np.cov(np.array(z).T), self.c.ridge))

        def score(x: Array) -> tuple[float, Array]:
            away = x - mu
            d = float(away @ precision @ away)
            return d, signed(away * (precision @ away), away) / max(d, 1e-300)

        return score


class Lehmer:
    def __init__(self, seed: int) -> None:
        self.now = seed

    def next(self) -> float:
        self.now = self.now * 48271 % (2**31 - 1)
        return self.now / (2**31 - 1)


class NaiveForest(NaiveReference):
    def fit(self, z: list[Array]) -> Any:
        chance, row, samples = Lehmer(self.c.seed), list(range(len(z))), []
        for _ in range(self.c.trees):
            samples.append([])
            for i in range(self.c.sample):
                at = i % len(row)
                other = at + int(chance.next() * (len(row) - at))
                row[at], row[other] = row[other], row[at]
                samples[-1].append(z[row[at]])
        chance = Lehmer(self.c.seed)
        trees = [self.tree(sample, chance) for sample in samples]

        def score(x: Array) -> tuple[float, Array]:
            found = [self.displaced(tree, x, 0.0) for tree in trees]
            total = sum(f for f, _ in found)
            return total / len(trees), sum(s for _, s in found) / max(total, 1e-300)

        return score

    def tree(self, rows: list[Array], chance: Lehmer) -> dict[str, Any]:
        low, high = np.min(rows, axis=0), np.max(rows, axis=0)
        node: dict[str, Any] = {"n": len(rows), "low": low, "high": high}
        whole = 0.0
        for width in high - low:
            whole += width
        if whole > 0:
            left, j = chance.next() * whole, 0
            while j < len(low) - 1 and left > high[j] - low[j]:
                left -= high[j] - low[j]
                j += 1
            while not high[j] > low[j]:
                j -= 1
            at = low[j] + left
            at = at if at < high[j] else low[j]
            right = self.tree([r for r in rows if r[j] > at], chance)
            node |= {"right": right, "left": self.tree([r for r in rows if r[j] <= at], chance), "j": j, "at": at}
        return node

    def displaced(self, node: dict[str, Any], x: Array, most: float) -> tuple[float, Array]:
        outside = np.maximum(x - node["high"], 0) - np.maximum(node["low"] - x, 0)
        beyond, width = float(np.abs(outside).sum()), float((node["high"] - node["low"]).sum())
        chance = beyond / (beyond + width) if beyond > 0 else 0.0
        here = max(most, node["n"])
        if "j" in node:
            left = x[node["j"]] <= node["at"]
            mine, other = (node["left"], node["right"]) if left else (node["right"], node["left"])
            below, shares = self.displaced(mine, x, max(most, other["n"] / (mine["n"] + 1)))
        else:
            below, shares = most, np.zeros(len(x))
        own = here * outside / beyond if beyond > 0 else np.zeros(len(x))
        return chance * here + (1 - chance) * below, chance * own + (1 - chance) * shares


class NaiveHalfSpaceTrees(NaiveReference):
    def fit(self, z: list[Array]) -> Any:
        chance, k, inner = Lehmer(self.c.seed), len(z[0]), 2**self.c.height - 1
        low, high = np.min(z, axis=0), np.max(z, axis=0)
        trees = []
        for _ in range(self.c.trees):
            draws = [chance.next() for _ in range(k)]
            half = [2 * max(s, 1 - s) for s in draws]
            ranges = {0: [[a + (s - h) * (b - a), a + (s + h) * (b - a)] for a, b, s, h in zip(low, high, draws, half, strict=True)]}
            cuts: dict[int, tuple[int, float]] = {}
            for i in range(inner):
                j = min(int(chance.next() * k), k - 1)
                a, b = ranges[i][j]
                cuts[i] = j, 0.5 * (a + b)
                for child, side in ((2 * i + 1, [a, cuts[i][1]]), (2 * i + 2, [cuts[i][1], b])):
                    ranges[child] = [side if c == j else r for c, r in enumerate(ranges[i])]
            rows: dict[int, list[Array]] = {0: list(z)}
            for i, (j, at) in cuts.items():
                rows[2 * i + 1] = [r for r in rows[i] if not r[j] > at]
                rows[2 * i + 2] = [r for r in rows[i] if r[j] > at]
            trees.append((cuts, {i: len(r) for i, r in rows.items()}))

        def score(x: Array) -> tuple[float, Array]:
            total, away, shares = 0.0, 0.0, np.zeros(k)
            for cuts, n in trees:
                i = depth = 0
                while i in cuts and n[i] > self.c.sparse * n[0]:
                    j, at = cuts[i]
                    below = 2 * i + (2 if x[j] > at else 1)
                    lost = max(math.log2(n[i] / (2 * max(n[below], 0.5))), 0.0)
                    away += lost
                    shares[j] += lost if x[j] > at else -lost
                    i, depth = below, depth + 1
                total += math.log2(n[0]) + self.c.height - depth - math.log2(max(n[i], 0.5))
            return total / len(trees), shares / max(away, 1e-300)

        return score


class NaiveLagged:
    """Lagged rows along the directions of the past, and off them."""

    def __init__(self, c: Any, rows: list[tuple[int, Array]]) -> None:
        z0 = Reference(rows, 0)
        self.c, self.r = c, Reference(rows, ridged(z0.cov, 0.01) - z0.cov)
        z, n = self.r.z, len(rows)
        past = {t: np.concatenate([z[t - lag] for lag in range(c.lags)]) for t in range(c.lags - 1, n)}
        found = []
        for a, b in itertools.pairwise(np.linspace(c.lags - 1, n, c.blocks + 1).astype(int)):
            lengths = self.fit({t: x for t, x in past.items() if not a <= t < b + c.lags - 1})
            found += [lengths(past[t])[:2] for t in range(a, b)]
        self.lengths = self.fit(past)
        self.limit = c.margin * np.maximum(np.quantile(found, 1 - (1 - c.quantile) / 2, axis=0), 1e-12)
        self.lags, self.time, self.last = [*z[::-1][: c.lags]], rows[-1][0], [False]

    def fit(self, past: dict[int, Array]) -> Any:
        x = np.array([*past.values()])
        mu, cov = x.mean(axis=0), np.cov(x.T)
        if self.c.kind == "dynamic_pca":
            values, vectors = np.linalg.eigh(cov)
            values, vectors = values[::-1], vectors[:, ::-1]
            a = max(1, min(self.c.components or int((values > 1).sum()), int((values > 1e-9).sum())))
            first = vectors[:, :a] @ np.diag(1 / values[:a]) @ vectors[:, :a].T
            second = vectors[:, a:] @ vectors[:, a:].T
        else:
            pairs = [(v, past[t + self.c.lags]) for t, v in past.items() if t + self.c.lags in past]
            d = len(mu)
            both = np.cov(np.hstack([np.array([p for p, _ in pairs]), np.array([f for _, f in pairs])]).T)
            values, vectors = np.linalg.eigh(ridged(cov, self.c.ridge))
            whiten = vectors @ np.diag(values**-0.5) @ vectors.T
            across = whiten @ both[:d, d:]
            _, directions = np.linalg.eigh(across @ np.linalg.inv(ridged(both[d:, d:], self.c.ridge)) @ across.T)
            w = directions[:, ::-1].T @ whiten
            a = min(self.c.states or max(len(self.r.mean) // 2, 1), d - 1)
            first, second = w[:a].T @ w[:a], w[a:].T @ w[a:]
        return lambda x: (float((x - mu) @ first @ (x - mu)), float((x - mu) @ second @ (x - mu)), x - mu, first, second)

    def judge(self, t: int, x: Array, usable: NDArray[np.bool_]) -> list[float]:
        z, k = self.r.row(x, usable), len(x)
        if z is None:
            return [math.nan] * 2 + [0.0] + [math.nan] * (2 + k)
        self.lags = [z] * self.c.lags if t - self.time > self.r.gap else [z, *self.lags[:-1]]
        self.time = t
        one, two, away, *forms = self.lengths(np.concatenate(self.lags))
        ratios = one / self.limit[0], two / self.limit[1]
        lead = 0 if ratios[0] >= ratios[1] else 1
        self.last = [*self.last, ratios[lead] > 1][-5:]
        shares = (away * (forms[lead] @ away)).reshape(-1, k).sum(axis=0) / max((one, two)[lead], 1e-300)
        return [ratios[lead], float(sum(self.last) >= 3), 1.0, *ratios, *signed(shares, away.reshape(-1, k).sum(axis=0))]


NAIVE: dict[str, Any] = {
    "unit": NaiveUnit, "change": NaiveChange, "pca": NaivePca, "mahalanobis": NaiveMahalanobis, "random_cut_forest": NaiveForest,
    "half_space_trees": NaiveHalfSpaceTrees, "dynamic_pca": NaiveLagged, "canonical_variates": NaiveLagged,
}  # fmt: skip


def judged(config: Any, time_ns: list[int], value: Array, usable: NDArray[np.bool_], width: int) -> Array:
    """Outputs of every instant."""
    rows: list[tuple[int, Array]] = []
    model = None
    out = []
    for t, x, u in zip(time_ns, value, usable, strict=True):
        if model is not None:
            out.append(model.judge(t, x, u))
            continue
        if (u & (np.abs(np.nan_to_num(x, nan=np.inf)) <= 1e150)).all():
            rows.append((t, x))
            if len(rows) == config.train_rows:
                model = NAIVE[config.kind](config, rows)
        out.append([math.nan] * width)
    return np.array(out).reshape(len(time_ns), width)
