import numpy as np
import pytest

from models.prognosis import boosting, features
from models.prognosis.conditions import learn
from models.prognosis.library import HORIZON, Library, Match
from models.prognosis.remaining import Settings, train
from tests.models.prognosis.fleet import fleet
from tests.naive import prognosis as naive


@pytest.fixture(scope="module")
def model():
    return train(fleet(24, 1), Settings(directions=2))


def test_places_and_what_they_say_equal_the_obvious_formula():
    rng = np.random.default_rng(0)
    histories = [np.cumsum(rng.normal(0, 1, (n, 3)), axis=0) for n in (40, 90, 300)]
    library = Library.of(histories, np.array([0, 1, 0]), Match((10, 30, 60), 3.0, 1.2))
    for n in (5, 33, 80):
        query = np.cumsum(rng.normal(0, 1, (n, 3)), axis=0)
        weights = library.weights(query, own=1)
        said = library.says(weights, 125.0, folds=2)
        for m, window in enumerate((10, 30, 60)):
            expected = naive.matches(query, histories, window, 1, 3.0, 1.2, HORIZON)
            np.testing.assert_allclose(weights[m], expected, rtol=1e-9)
            np.testing.assert_allclose(said[0, m], naive.posterior(expected, 125.0), rtol=1e-6, atol=1e-6)
            assert np.isnan(said[1, m, 0])  # without fold 0 there is no history left: its own is left out


def test_what_is_said_without_a_fold_is_said_by_a_library_without_it():
    rng = np.random.default_rng(3)
    histories = [np.cumsum(rng.normal(0, 1, (n, 2)), axis=0) for n in (80, 90, 120, 100)]
    fold = np.array([0, 1, 2, 1])
    whole, query = Library.of(histories, fold, Match()), np.cumsum(rng.normal(0, 1, (50, 2)), axis=0)
    said = whole.says(whole.weights(query), 125.0, folds=3)
    for f in range(3):
        part = Library.of([h for h, g in zip(histories, fold, strict=True) if g != f], np.zeros(4, np.int64), Match())
        np.testing.assert_allclose(said[1 + f], part.says(part.weights(query), 125.0)[0], rtol=1e-9)


def test_features_of_a_history_equal_the_obvious_formula():
    rng = np.random.default_rng(1)
    for n in (1, 12, 200):
        scores = rng.normal(0, 1, (n, 2))
        np.testing.assert_allclose(features.of(scores), naive.history(scores), rtol=1e-9, atol=1e-12)


def test_trees_learn_say_and_explain_the_same_number():
    rng = np.random.default_rng(2)
    x = rng.normal(0, 1, (600, 6))
    y = 3 * np.sign(x[:, 1]) + x[:, 2] ** 2
    trees = boosting.fit(x[:400], y[:400], trees=80, rate=0.1, seeds=2)
    said, parts, start = trees.explain(x[400:])
    assert np.sqrt(np.mean((said - y[400:]) ** 2)) < 0.3 * y.std()
    np.testing.assert_allclose(parts.sum(axis=1) + start, said, atol=1e-9)
    assert set(np.argsort(-np.abs(parts).mean(axis=0))[:2]) == {1, 2}
    expected = naive.trees(x[400:], trees.feature, trees.threshold, trees.left, trees.value, trees.roots, trees.base)
    np.testing.assert_array_equal(said, expected)
    np.testing.assert_array_equal(said, [trees.predict(row[None])[0] for row in x[400:]])


def test_sensors_that_say_nothing_are_left_out_and_conditions_are_found():
    units = fleet(10, 5)
    remaining = np.concatenate([np.arange(len(v))[::-1] for _, v in units])
    found = learn(units, remaining, np.array([1.0, 0.05, 5.0]), 8.0)
    assert len(found.points) == 2
    assert found.sensors.tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match="expected sensors that change towards failure, found none"):
        learn([(np.zeros((50, 3)), np.ones((50, 2)))], np.arange(50), np.ones(3), 8.0)


def test_remaining_life_of_new_units_is_near_and_its_interval_covers(model):
    rng = np.random.default_rng(9)
    errors, inside = [], []
    for settings, values in fleet(40, 2):
        r = int(rng.integers(5, 80))
        e = model.estimate(settings[:-r], values[:-r])
        assert e.status in ("good", "new pattern")
        errors.append(e.remaining - r)
        inside.append(e.lower <= r <= e.upper)
    assert np.sqrt(np.mean(np.square(errors))) < 16  # guessing the middle errs by 22
    assert np.mean(inside) >= 0.8


def test_a_number_is_explained_by_histories_and_sensors(model):
    settings, values = fleet(1, 7)[0]
    e = model.estimate(settings[:-10], values[:-10])
    assert e.status == "good"
    assert e.remaining < 30
    assert len(e.alike) == 5
    assert sum(w for _, _, w in e.alike) <= 1.0 + 1e-9
    assert e.alike[0][1] < 30
    assert {column for column, _ in e.sensors} <= {0, 1, 2}
    assert len(e.added) == 5


def test_no_number_is_made_up(model):
    settings, values = fleet(1, 8)[0]
    assert model.estimate(settings[:19], values[:19]).status == "too young"
    spoilt = values.copy()
    spoilt[30, 1] = np.nan
    assert model.estimate(settings, spoilt).status == "bad input"
    away = settings.copy()
    away[-1] = (40.0, 0.2, 20.0)
    assert model.estimate(away, values).status == "unknown condition"
    strange = values.copy()
    strange[60:, 0] += np.linspace(0, 400, len(values) - 60)
    assert model.estimate(settings, strange).status == "new pattern"
    with pytest.raises(ValueError, match="expected 10 or more histories to failure, found 3"):
        train(fleet(3, 1))
