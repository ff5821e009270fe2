"""Precision, recall, density and coverage: against loops, and where they are known."""

import math

import pytest
import torch

from tests.data_sets import images, module
from tests.running import data_for, fitting, one_that, run_test
from tests.test_distances import Colour, remember
from tests.zoo import models_that
from vae_zoo import neighbours
from vae_zoo.callbacks import Evaluation
from vae_zoo.errors import UserError
from vae_zoo.metrics import FID, MSE, NLL, Coverage, Density, MSESampled, Precision, Recall, fidelity
from vae_zoo.models import LatentVariableModel

MODEL = one_that(LatentVariableModel, pixels=True, conditional=False)
FIGURES = {
    "precision": fidelity.precision,
    "recall": fidelity.recall,
    "density": fidelity.density,
    "coverage": fidelity.coverage,
}
every_figure = pytest.mark.parametrize("figure", FIGURES.values(), ids=FIGURES)


def by_loops(name, real, fake, k):
    """The figure, by the definitions, one pair at a time."""

    def reach(points, i):
        return sorted(math.dist(points[i], other) for j, other in enumerate(points) if j != i)[k - 1]

    real, fake = real.tolist(), fake.tolist()
    if name == "recall":
        return by_loops("precision", torch.tensor(fake), torch.tensor(real), k)
    inside = [[math.dist(y, x) <= reach(real, i) + 1e-9 for i, x in enumerate(real)] for y in fake]
    return {
        "precision": sum(any(of_sample) for of_sample in inside) / len(fake),
        "density": sum(map(sum, inside)) / (k * len(fake)),
        "coverage": sum(any(of_image) for of_image in zip(*inside, strict=True)) / len(real),
    }[name]


@pytest.mark.parametrize("block", [1, 7, 256])
@pytest.mark.parametrize("name", FIGURES)
def test_figures_are_those_of_loops(name, block, monkeypatch):
    monkeypatch.setattr(neighbours, "BLOCK", block)
    found = set()
    for k, n, m in ((1, 12, 9), (3, 12, 20), (5, 30, 30)):
        real, fake = torch.randn(n, 3), 0.7 * torch.randn(m, 3) + 1
        assert FIGURES[name](real, fake, k) == pytest.approx(by_loops(name, real, fake, k), abs=1e-12)
        found.add(FIGURES[name](real, fake, k))
    assert not found <= {0.0, 1.0}


def test_identical_sets_are_like_each_other_and_far_ones_are_not():
    x = torch.randn(300, 8)
    assert [figure(x, x.flip(0)) for figure in FIGURES.values()] == [1, 1, 6 / 5, 1]  # itself and its five nearest
    assert [figure(x, x + 100) for figure in FIGURES.values()] == [0, 0, 0, 0]


@every_figure
def test_the_expectation_for_two_sets_of_one_distribution(figure):
    n, k, draws = 40, 5, 150
    found = torch.tensor([figure(torch.randn(n, 2), torch.randn(n, 2), k) for _ in range(draws)], dtype=torch.float64)
    covered = 1 - math.prod((n - i) / (2 * n - i) for i in range(1, k + 1))
    expected = {fidelity.density: 1.0, fidelity.coverage: covered}.get(figure)
    error = float(found.std()) / math.sqrt(draws)
    if expected is None:  # precision and recall have one value, by symmetry, which is none that is known
        assert 0.8 < float(found.mean()) < 1
    else:
        assert float(found.mean()) == pytest.approx(expected, abs=4 * error) and 4 * error < 0.04


def test_half_of_the_data_missing_halves_what_is_covered_and_no_more():
    """Two clusters, of which the model knows one."""
    real = torch.cat([torch.randn(400, 4), torch.randn(400, 4) + 50])
    fake = torch.randn(800, 4)
    assert fidelity.precision(real, fake) > 0.9 and fidelity.density(real, fake) == pytest.approx(1, abs=0.1)
    for figure in (fidelity.recall, fidelity.coverage):
        assert figure(real, fake) == figure(real[:400], fake) / 2 > 0.45
    # And the other way round: half of the samples are like nothing that is there.
    assert fidelity.precision(fake, real) == fidelity.precision(fake, real[:400]) / 2 > 0.45
    assert fidelity.recall(fake, real) > 0.9


def test_copies_of_one_image_have_all_precision_and_cover_nothing():
    real = torch.randn(200, 4)
    fake = real[:1].expand(200, -1)
    assert fidelity.precision(real, fake) == 1 and fidelity.recall(real, fake) == 1 / 200
    assert fidelity.coverage(real, fake) < 0.1


@pytest.mark.slow
@models_that(pixels=True)
def test_the_four_share_samples_and_features(cls, shapes, tmp_path, monkeypatch):
    data = module(shapes)
    model = fitting(cls, data)
    samples, seen = remember(model, monkeypatch), []
    colour = Colour()
    colour.register_forward_hook(lambda _, given, made: seen.append(made))
    measures = [Precision(), Recall(k=2), Density(), Coverage(k=4)]
    results = run_test(model, data, tmp_path, nll_samples=0, features=colour, metrics=measures)
    (x, y), (drawn, labels) = images(data, "test"), zip(*samples, strict=True)
    assert len(drawn) == 2 and len(seen) == 4  # of two batches, images and samples, each once
    assert torch.cat(labels).equal(y) if model.labels else labels == (None, None)
    real, fake = x.mean((2, 3)), torch.cat(drawn).mean((2, 3))
    for name, k in (("precision", 3), ("recall", 2), ("density", 5), ("coverage", 4)):
        assert results[name] == pytest.approx(FIGURES[name](real, fake, k), abs=0.051), name  # a tie of 20


SAMPLED = [Precision, Recall, Density, Coverage]


def test_the_seed_fixes_the_samples_and_nobody_else_notices_them(shapes, tmp_path_factory):
    """The figures that draw, and the next random number, are to the bit those of a test without samples."""
    data = module(shapes)

    def measured(seed, *measures):
        torch.manual_seed(7)
        model = fitting(MODEL, data)
        torch.manual_seed(seed)
        results = run_test(model, data, tmp_path_factory.mktemp("run"), nll_samples=3, metrics=list(measures))
        return results, torch.rand(())

    others = [MSE, MSESampled, NLL]
    alone, after = measured(0, *(cls() for cls in others))
    found = set()
    for names in (SAMPLED, SAMPLED[::-1], SAMPLED[:1]):
        beside, later = measured(0, *(cls(Colour()) for cls in [FID, *names]), *(cls() for cls in others))
        assert later == after and [beside[cls.name] for cls in others] == [alone[cls.name] for cls in others]
        found.add((beside["fid"], beside["precision"]))
    assert len(found) == 1  # whichever measures stand beside them, in which order
    fids = [measured(seed, FID(Colour()))[0]["fid"] for seed in (0, 1)]
    assert fids[0] == found.pop()[0] != fids[1]


def test_batches_have_samples_of_their_own(shapes, tmp_path, monkeypatch):
    """Even where nothing else draws between them."""
    data = module(shapes, batch_size=10)
    model = fitting(MODEL, data)
    samples = remember(model, monkeypatch)
    run_test(model, data, tmp_path, metrics=[Precision(Colour())])
    (first, _), (second, _) = samples
    assert not first.equal(second)


@pytest.mark.parametrize("n, k, why", [(1, 3, "it needs two images"), (3, 3, "it needs more than 3 images")])
def test_too_few_images_are_a_reason(n, k, why, shapes, tmp_path):
    data = module(shapes, n_test=n)
    results = run_test(fitting(MODEL, data), data, tmp_path, metrics=[Recall(Colour(), k=k)])
    assert results["recall"] is None and results["reasons"]["recall"] == why


@models_that(pixels=False)
def test_sketches_are_a_reason(cls, shapes, doodles, tmp_path):
    data = data_for(cls, shapes, doodles)
    results = run_test(fitting(cls, data), data, tmp_path, metrics=[measure() for measure in SAMPLED])
    for measure in SAMPLED:
        assert results[measure.name] is None
        assert results["reasons"][measure.name] == "it makes sketches, which have no pixels"


def test_a_model_that_diverged_has_no_figure(shapes, tmp_path):
    data = module(shapes)
    model = fitting(MODEL, data)
    with torch.no_grad():
        next(model.likelihood.parameters()).fill_(float("nan"))
    measures = [FID(Colour()), Precision(Colour())]
    results = run_test(model, data, tmp_path, nll_samples=0, metrics=measures)
    assert results["fid"] is results["precision"] is None
    assert results["reasons"]["fid"] == results["reasons"]["precision"] == "diverged"


def test_a_listed_measure_takes_the_features_of_the_evaluation_unless_it_has_its_own():
    ours, own = Colour(), Colour()
    made = Evaluation(features=ours, metrics=[Precision(), Recall(own), FID()])
    assert [measure.features for measure in made.measures] == [ours, own, ours]


def test_what_is_refused():
    with pytest.raises(UserError, match="k must be at least 1, got 0"):
        Density(k=0)
    with pytest.raises(UserError, match="the set of 3 has fewer than 4 neighbours"):
        fidelity.precision(torch.rand(3, 2), torch.rand(3, 2), 3)
