"""The probe: what a linear classifier makes of features."""

import numpy as np
import pytest

from vae_zoo.errors import UserError
from vae_zoo.metrics.probe import balanced, probe


def clusters(n, classes=4, noise=0.1, seed=0):
    """Features around a corner of the cube for each class, on very different scales."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, n)
    x = np.eye(classes)[y] + noise * rng.normal(size=(n, classes))
    return x * 10.0 ** np.arange(classes) + 1e3, y


def test_it_finds_what_is_there_and_nothing_else():
    found = probe(clusters(400), clusters(200, seed=1), few=(20, 1000), draws=3)
    assert found["accuracy"] == 1 and found["error"]["20"]["mean"] < 0.02 and found["error"]["1000"] is None
    assert (found["features"], found["labels"], found["n_train"], found["n_test"]) == (4, 4, 400, 200)
    assert found["converged"] and not probe(clusters(400), clusters(200), few=(), max_iter=1)["converged"]
    train, test = clusters(400), clusters(200, seed=1)
    rng = np.random.default_rng(0)
    nothing = probe((train[0], rng.permutation(train[1])), (test[0], rng.permutation(test[1])), few=(40,))
    assert 0.15 < nothing["accuracy"] < 0.35 and nothing["error"]["40"]["mean"] == pytest.approx(0.75, abs=0.1)
    assert nothing["error"]["40"]["std"] > 0
    common = np.bincount(train[1]).argmax()
    assert found["chance"] == pytest.approx((test[1] == common).mean())


def test_more_labels_help_and_the_seed_fixes_the_draws():
    train, test = clusters(600, noise=0.6), clusters(400, noise=0.6, seed=1)
    found = probe(train, test, few=(8, 400))
    assert found["error"]["8"]["mean"] > found["error"]["400"]["mean"] > 0
    assert found["error"]["400"]["mean"] == pytest.approx(1 - found["accuracy"], abs=0.03)
    assert probe(train, test, few=(8, 400)) == found != probe(train, test, few=(8, 400), seed=1)


def test_units_and_origins_of_the_features_do_not_matter():
    (x, y), (x_test, y_test) = clusters(300, noise=0.6), clusters(300, noise=0.6, seed=1)
    plain, moved = (probe((a, y), (b, y_test), few=(30,)) for a, b in ((x, x_test), (1e3 * x - 7, 1e3 * x_test - 7)))
    assert plain == moved
    bent = x * [1e-3, 1, 1e3, 1]
    assert probe((bent, y), (x_test * [1e-3, 1, 1e3, 1], y_test), few=(30,)) == plain


def test_few_labels_are_of_all_classes_alike():
    y = np.repeat([0, 1, 2], [50, 30, 3])
    seen = []
    for seed in range(20):
        rows = balanced(y, 12, np.random.default_rng(seed))
        assert len(set(rows)) == 12 and np.bincount(y[rows]).tolist() in ([5, 4, 3], [4, 5, 3])
        seen.append(tuple(sorted(rows)))
    assert len(set(seen)) == 20


@pytest.mark.parametrize(
    "change, message",
    [
        ({"train": (np.zeros((9, 2)), np.zeros(9, int))}, "a probe needs two labels or more, these data have one"),
        ({"few": (0,)}, "few must be at least 2, got 0"),
        ({"c": 0.0}, "c must be positive"),
        ({"draws": 0}, "draws must be at least 1"),
    ],
)
def test_what_cannot_be_probed(change, message):
    with pytest.raises(UserError, match=message):
        probe(**{"train": clusters(50), "test": clusters(50), "few": (10,)} | change)
