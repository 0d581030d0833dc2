"""A trained model of remaining life as plain arrays and JSON, and back; the same numbers come out to the last bit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.prognosis.boosting import Trees
from models.prognosis.conditions import Conditions
from models.prognosis.directions import Directions
from models.prognosis.library import Library, Match
from models.prognosis.remaining import RemainingLife, Settings


def settings_of(config: Mapping[str, Any]) -> Settings:
    """Settings from their JSON; ValueError names what does not belong there."""
    known = Settings.__slots__
    if unknown := sorted(set(config) - set(known)):
        raise ValueError(f"settings: expected {', '.join(known)}, found {', '.join(unknown)}")
    match = config.get("match", {})
    rest = {k: v for k, v in config.items() if k not in ("match", "step")}
    own = Match(tuple(match["windows"]), match["temper"], match["offset"]) if match else Match()
    return Settings(**rest, match=own, step=tuple(config.get("step", Settings().step)))


def settings_json(settings: Settings) -> dict[str, Any]:
    """Settings as plain JSON."""
    s = {name: getattr(settings, name) for name in Settings.__slots__ if name != "match"}
    m = settings.match
    return {**s, "step": list(settings.step), "match": {"windows": list(m.windows), "temper": m.temper, "offset": m.offset}}


def arrays_of(model: RemainingLife) -> dict[str, NDArray[Any]]:
    """Everything that was learnt, by name."""
    c, d, b, t = model.conditions, model.directions, model.library, model.trees
    return {
        "step": c.step, "points": c.points, "sensors": c.sensors, "mean": c.mean, "sd": c.sd, "middle": d.mean, "axes": d.axes, "ratio": d.ratio,
        "scores": b.scores, "begin": b.begin, "fold": b.fold, "feature": t.feature, "threshold": t.threshold, "left": t.left, "value": t.value,
        "roots": t.roots, "base": np.array([t.base]), "signed": model.signed, "strange": np.array([model.strange]),
    }  # fmt: skip


def model_of(config: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> RemainingLife:
    """The model again; ValueError when an array is missing or the trees lead outside themselves."""
    a = arrays
    try:
        settings = settings_of(config)
        feature, left, roots, begin = (np.ascontiguousarray(a[k], np.int64) for k in ("feature", "left", "roots", "begin"))
        trees = Trees(feature, a["threshold"], left, a["value"], roots, float(a["base"][0]))
        library = Library(np.ascontiguousarray(a["scores"]), begin, np.ascontiguousarray(a["fold"], np.int64), settings.match)
        conditions = Conditions(a["step"], a["points"], np.ascontiguousarray(a["sensors"], np.int64), a["mean"], a["sd"])
        middle, axes = a["middle"], a["axes"]
        if axes.ndim == 2:  # of a version before axes of each condition
            count = len(conditions.points)
            middle, axes = np.repeat(middle[None], count, 0), np.repeat(axes[None], count, 0)
        directions = Directions(middle, np.ascontiguousarray(axes), a["ratio"])
        model = RemainingLife(settings, conditions, directions, library, trees, a["signed"], float(a["strange"][0]))
    except (KeyError, IndexError, TypeError) as missing:
        raise ValueError(f"remaining life: expected the arrays of such a model, found none of {missing}") from missing
    inner = feature >= 0
    nodes, features = len(feature), len(model.names())
    # A child stands behind its parent, so every walk ends.
    sound = (
        len(left) == len(trees.threshold) == len(trees.value) == nodes
        and bool((feature < features).all() and (left[inner] > np.flatnonzero(inner)).all() and (left[inner] + 1 < nodes).all())
        and bool((roots >= 0).all() and (roots < nodes).all())
        and begin[0] == 0 and begin[-1] == library.scores.shape[1] and bool((np.diff(begin) > 0).all())
        and directions.axes.shape == (len(conditions.points), len(conditions.sensors), len(library.scores))
        and directions.mean.shape == directions.axes.shape[:2] == conditions.mean.shape == conditions.sd.shape
    )  # fmt: skip
    if not sound:
        raise ValueError("remaining life: expected trees and histories that fit together, found others")
    return model
