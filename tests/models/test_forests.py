"""Forests and distances of several tags on clouds whose answer is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pydantic
import pytest
from numpy.typing import NDArray

from models import GROUPS, AnyModel
from models.random_cut_forest import displacement, grow

MODEL: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(AnyModel)
S = 1_000_000_000


def judged(kind: str, rows: NDArray[np.float64], **options: Any) -> NDArray[np.float64]:
    made: Any = GROUPS[kind]
    model = made(MODEL.validate_python({"kind": kind, "name": "u", "tags": ["*"], **options}), rows.shape[1])
    out = np.empty((len(rows), len(made.outputs) + len(made.reasons) + rows.shape[1]))
    model.step(np.arange(len(rows), dtype=np.int64) * S, rows, np.ones(rows.shape, np.uint8), out)
    return out


def two_states(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    """A plant with two operating points that takes turns."""
    return np.where((np.arange(n) // 10 % 2 == 0)[:, None], 0.0, 10.0) + rng.normal(size=(n, 3))


@pytest.mark.parametrize("kind", ["random_cut_forest", "half_space_trees"])
def test_between_two_operating_points_is_unusual_for_a_forest(kind: str) -> None:
    rng = np.random.default_rng(1)
    rows = np.concatenate([two_states(rng, 500), np.full((5, 3), 5.0)])
    out = judged(kind, rows, train_rows=400)
    assert (out[500:, 0] > 1).all()
    assert out[502:, 1].all()
    assert (out[400:500, 0] > 1).mean() < 0.06
    assert not judged("mahalanobis", rows, train_rows=400)[500:, 1].any()  # the very middle of the cloud, for a distance


@pytest.mark.parametrize("kind", ["random_cut_forest", "half_space_trees", "mahalanobis"])
def test_the_tag_that_is_off_has_the_largest_share_with_its_sign(kind: str) -> None:
    rng = np.random.default_rng(2)
    rows = rng.normal(size=(420, 4))
    rows[410:, 2] = -8.0
    out = judged(kind, rows, train_rows=400)
    # Halvings that miss the tag say nothing of it: half-space trees are the least sensitive to one tag of many.
    assert (out[410:, 0] > (0.7 if kind == "half_space_trees" else 1)).all()
    assert (out[410:, 4:].argmin(axis=1) == 2).all()
    assert (np.abs(out[410:, 4:]).argmax(axis=1) == 2).all()


def test_displacement_of_a_row_that_lies_apart_is_the_whole_sample() -> None:
    """One tag, rows 0 .. 7: far out a first cut parts it from all of them; on a row nothing is cut."""
    sample = np.arange(8.0).reshape(1, 8, 1)
    forest = (np.zeros((1, 15), np.int32), np.zeros((1, 15)), np.full((1, 15, 2), -1, np.int32), np.zeros((1, 15), np.int32),
              np.zeros((1, 15, 1)), np.zeros((1, 15, 1)))  # fmt: skip
    grow(sample, np.array([3]), *forest)
    assert forest[3][0, 0] == 8
    share = np.empty(1)
    assert displacement(np.array([1e9]), *forest, share) == pytest.approx(8, rel=1e-6)
    assert share[0] == pytest.approx(1)
    assert displacement(np.array([-1e9]), *forest, share) == pytest.approx(8, rel=1e-6)
    assert share[0] == pytest.approx(-1)
    assert displacement(np.array([3.0]), *forest, share) < 8


def test_the_expected_displacement_is_what_robust_random_cut_trees_give_on_average() -> None:
    """Collusive displacement of an inserted row, by the rrcf library: mean of many trees over the same rows."""
    rrcf = pytest.importorskip("rrcf")
    rng = np.random.default_rng(4)
    rows = rng.normal(size=(32, 2))
    trees = 300
    forest = (np.zeros((trees, 63), np.int32), np.zeros((trees, 63)), np.full((trees, 63, 2), -1, np.int32), np.zeros((trees, 63), np.int32),
              np.zeros((trees, 63, 2)), np.zeros((trees, 63, 2)))  # fmt: skip
    grow(np.ascontiguousarray(np.broadcast_to(rows, (trees, 32, 2))), np.array([1]), *forest)
    peers = [rrcf.RCTree(rows, random_state=i) for i in range(trees)]
    for x in ([0.1, 0.2], [2.0, 0.0], [4.0, -4.0]):
        theirs = []
        for tree in peers:
            tree.insert_point(np.array(x), index="new")
            theirs.append(tree.codisp("new"))
            tree.forget_point("new")
        assert displacement(np.array(x), *forest, np.empty(2)) == pytest.approx(np.mean(theirs), rel=0.12)
