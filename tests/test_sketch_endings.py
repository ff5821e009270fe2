"""Endings of sketches: against sampling, the density and slow loops; and the commands as typed."""

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats

import vae_zoo
from tests.conftest import call
from tests.running import checkpoint
from tests.zoo import sketches, small
from vae_zoo import rendering
from vae_zoo.data.sketches import stroke5
from vae_zoo.errors import UserError
from vae_zoo.latent import endings, surprise
from vae_zoo.models import SketchDecoder, SketchRNN
from vae_zoo.strokes import END, START, Points, beginning, lengths

pytest_plugins = ["tests.trained_runs"]
both = pytest.mark.parametrize("cls", [SketchDecoder, SketchRNN])


def model_that_goes_on(cls, **changes):
    """A model in 64 bits whose sketches have points enough to look at."""
    model = small(cls, **changes).double()
    with torch.no_grad():
        model.likelihood.linear.weight.mul_(3)  # what comes next depends on what came before
        model.likelihood.linear.bias[-1] -= 1.5
    return model


def test_beginnings_are_those_of_a_slow_loop():
    x = sketches(30)
    most = min(int((row[:, 3] > 0).sum()) for row in x)
    for lines in range(1, most + 1):
        for row, cut in zip(x, beginning(x, lines=lines), strict=True):
            left, kept = lines, []
            for point in row.tolist():
                kept.append(point)
                left -= point[3] == 1
                if not left:
                    break
            assert cut[: len(kept)].tolist() == kept and (cut[len(kept) :] == torch.tensor(END)).all()
    for points in range(1, 4):
        cut = beginning(x, points=points)
        assert cut.shape[1] == points + 1 and torch.equal(cut[:, :points], x[:, :points])
        assert lengths(cut).tolist() == [points] * 30
    assert torch.equal(beginning(x), x)


def test_a_last_line_may_end_without_a_lift_of_the_pen():
    x = stroke5([np.array([[1.0, 0, 1], [1, 0, 0], [1, 0, 0]])])
    assert lengths(beginning(x, lines=1)).tolist() == [1] and torch.equal(beginning(x, lines=2), x)


@both
@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.0])
def test_a_sample_goes_on_from_its_own_beginning_to_itself(cls, temperature):
    model = model_that_goes_on(cls)
    z = model.codes_of(sketches(40).double()).detach()
    torch.manual_seed(1)
    x = model.likelihood.sample(z, temperature)
    n = lengths(x)
    assert n.max() > 5 and (temperature == 0 or len(set(n.tolist())) > 5)
    for share in (0.0, 0.5, 1.0):
        kept = (n * share).long().clamp(max=19)[:, None, None]
        begun = torch.where(torch.arange(x.shape[1])[:, None] < kept, x, x.new_tensor(END))
        torch.manual_seed(1)
        assert torch.equal(model.likelihood.sample(z, temperature, begun)[:, : x.shape[1]], x) or share == 1
        if share == 1:  # all of a sketch may go on, but begins as it did
            again = model.likelihood.sample(z, temperature, begun)
            assert all(torch.equal(a[: int(k)], b[: int(k)]) for a, b, k in zip(again, x, kept, strict=True))


@both
def test_beginnings_stay_to_the_bit_and_endings_end(cls):
    model, x = model_that_goes_on(cls), sketches(9).double()
    begun = beginning(x, lines=1)
    made = model.complete(x, lines=1, n=50)
    assert made.shape[:2] == (9, 50) and made.shape[2] <= 21
    for first, drawn in zip(begun, made, strict=True):
        k = int(lengths(first))
        assert (drawn[:, :k] == first[:k]).all()
        assert lengths(drawn).min() >= k and lengths(drawn).max() <= 20 and len(set(lengths(drawn).tolist())) > 3
        for one in drawn:
            assert (one[lengths(one) :] == one.new_tensor(END)).all()
    assert (made[..., 2:].sum(-1) == 1).all() and torch.equal(made[..., 2:], made[..., 2:].round())
    without_noise = model.complete(x, lines=1, n=3, temperature=0.0)
    torch.testing.assert_close(without_noise[:, :1].expand_as(without_noise), without_noise)


@both
def test_what_is_drawn_has_the_teacher_forced_density(cls, monkeypatch):
    """Each row's log-density under the distribution that it was drawn from is that of the completed sketch."""
    model, x = model_that_goes_on(cls), sketches(12).double()
    z, seen, draw = model.codes_of(x).detach(), [], Points.sample
    monkeypatch.setattr(Points, "sample", lambda points, temperature: seen.append(points) or draw(points, temperature))
    made = model.complete(x, points=3)[:, 0]
    with torch.no_grad():
        taught = model.likelihood.forward(z).log_prob_steps(made)
    for step, points in enumerate(seen):
        log_p = points.log_prob_pen(made[:, step, 2:]) + points.log_prob_offset(made[:, step, :2]) * (
            lengths(made) > step
        )
        torch.testing.assert_close(log_p * (lengths(made) >= step), taught[:, step])
    torch.testing.assert_close(taught.sum(-1), model.likelihood(z).log_prob(made).detach())


@both
def test_the_next_point_follows_the_mixture_after_the_beginning(cls):
    n, k = 20_000, 6
    model = model_that_goes_on(cls, shape=(k + 1, 5))
    x = stroke5([np.column_stack([np.random.default_rng(0).normal(size=(k, 2)), np.arange(k) == 2])]).double()
    z = model.codes_of(x).detach()
    last = torch.cat([x.new_tensor(START)[None, None], x[:, :k]], 1)
    with torch.no_grad():
        points, _ = model.likelihood.points(last, z, model.likelihood.first_state(z))
    weight, mean, log_sigma, _, pen = (part[0, -1] for part in points)
    made = model.complete(x, points=k, n=n)[0, :, k]
    counts = made[:, 2:].sum(0)
    assert stats.chisquare(counts.numpy(), n * pen.softmax(-1).numpy()).pvalue > 1e-3
    assert stats.chisquare(counts.numpy(), n * points.pen[0, 0].softmax(-1).numpy()).pvalue < 1e-6  # not the first's
    drawn = made[made[:, 4] == 0, :2]
    for axis in (0, 1):

        def cdf(value, axis=axis):
            normals = torch.distributions.Normal(mean[:, axis], log_sigma[:, axis].exp())
            return (normals.cdf(torch.as_tensor(value)[:, None]) * weight.softmax(-1)).sum(-1).numpy()

        assert stats.kstest(drawn[:, axis].numpy(), cdf).pvalue > 1e-3


@both
def test_the_surprise_of_an_ending_is_what_the_beginning_leaves_of_the_density(cls):
    model, x = model_that_goes_on(cls), sketches(8).double()
    n, z = lengths(x), model.codes_of(x).detach()
    log_p = model.likelihood(z).log_prob(x).detach()
    torch.testing.assert_close(surprise(model, x, 0), -log_p / (n + 1))
    # p(x_1 ... x_k) is that of the sketch which is over after k points, without what the end costs.
    cut = beginning(x, points=3)
    with torch.no_grad():
        steps = model.likelihood.forward(z).log_prob_steps(cut)
    torch.testing.assert_close(surprise(model, x, 3), -(log_p - steps[:, :3].sum(-1)) / (n + 1 - 3))
    with torch.no_grad():
        model.likelihood.linear.bias[-1] -= 1e6  # it never ends, and what cuts it off is not its doing
    (drawn,) = endings(model, x[0], [1.0], 4, points=3)
    assert drawn.ended == 0 and drawn.points == 17 and drawn.begun == 3 and drawn.nats.abs().max() < 1e3


def test_rows_of_endings_share_their_noise_and_leave_the_callers_alone():
    model, x = model_that_goes_on(SketchDecoder), sketches(1).double()
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    a, b, c = endings(model, x[0], [0.5, 0.5, 1.0], 6, lines=1, seed=3)
    other = endings(model, x[0], [0.5], 6, lines=1, seed=4)[0]
    first = [each.sketches[:, each.begun] for each in (a, b, c, other)]  # the first point after the beginning
    assert torch.equal(a.sketches, b.sketches)
    assert not torch.equal(first[0], first[2]) and not torch.equal(first[0], first[3])
    assert torch.equal(torch.rand(3), expected)
    assert a.begun == lengths(beginning(x, lines=1)) and a.sketches.shape[0] == 6 == len(a.nats)


@pytest.mark.parametrize(
    "words, message",
    [
        ({"points": 20}, "a beginning of 20 points has no ending: the model's sketches have 20 at most"),
        ({"points": 21}, "points 21: sketch 0 of 1 is over after 20 points"),
        ({"lines": 3}, "lines 3: sketch 0 of 1 is over after 1 line"),
        ({"points": 3, "lines": 1}, "a beginning is of 3 points or of 1 line, not of both"),
        ({"points": 0}, "points must be at least 1, got 0"),
        ({"points": 2, "n": 0}, "n must be at least 1, got 0"),
        ({"points": 2, "temperature": -1.0}, "temperature must be at least 0, got -1"),
    ],
)
def test_beginnings_that_cannot_be(words, message):
    model, x = small(SketchDecoder), stroke5([np.ones((20, 3)) * [1, 1, 0]])
    with pytest.raises(UserError, match=message):
        model.complete(x, **words)
    inside = x.clone()
    inside[0, 2] = x.new_tensor(END)  # and then it goes on
    with pytest.raises(UserError, match="sketches must end"):
        model.complete(inside, points=5)


def test_a_beginning_has_a_colour_of_its_own_and_the_line_goes_on_from_it():
    x = stroke5([np.array([[4.0, 0, 0], [4, 0, 1], [0, 4, 0], [-8, 0, 1]])])[0]  # as in test_rendering
    for begun, first, rest in (
        (1, [[[0, 0], [4, 0]]], [[[4, 0], [8, 0]], [[8, 4], [0, 4]]]),  # cut in the middle of a line
        (2, [[[0, 0], [4, 0], [8, 0]]], [[[8, 4], [0, 4]]]),  # and where the pen is lifted
        (3, [[[0, 0], [4, 0], [8, 0]], [[8, 4]]], [[[8, 4], [0, 4]]]),
        (4, [[[0, 0], [4, 0], [8, 0]], [[8, 4], [0, 4]]], []),
    ):
        assert [line.tolist() for line in rendering.lines(x[:begun])] == first
        assert [line.tolist() for line in rendering.lines(x, begun)] == rest
    (picture,) = rendering.rasterise(x[None], 64, begun=2)
    assert picture.shape == (3, 64, 64)
    black = (picture < 0.3).all(0)
    red = (picture[0] > 0.7) & (picture[2] < 0.3)
    assert red.any() and black.any()
    assert red.nonzero()[:, 0].max() < black.nonzero()[:, 0].min()  # the beginning is the upper line
    root = ElementTree.fromstring(rendering.svg([x[None], x[None]], 64, begun=[2, 0], names=["a", "b <c>"]))
    colours = [path.get("stroke") for path in root.iter("{http://www.w3.org/2000/svg}path")]
    assert colours == [rendering.BEGUN, "black", "black"]
    assert [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")] == ["a", "b <c>"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sketch_samples", "sketches"])
def test_the_command_draws_a_row_for_each_temperature(name, runs, monkeypatch, capsys):
    monkeypatch.chdir(runs)
    words = ["complete", "--ckpt_path", checkpoint(name), "--sketches", 0, 3, "--n", 4, "--points", 2]
    assert call(*words, "--temperatures", 0, 0.5) == 0
    assert "sketch 3: its own ending has" in capsys.readouterr().out
    found = json.loads(Path("complete.json").read_text())
    assert [sketch["sketch"] for sketch in found["sketches"]] == [0, 3]
    for sketch in found["sketches"]:
        assert sketch["points_of_beginning"] == 2 and sketch["label"] in ("circle", "star", "zigzag")
        assert [row["temperature"] for row in sketch["endings"]] == [0, 0.5]
        assert all(0 <= row["ended"] <= 1 and row["points"] <= 29 for row in sketch["endings"])
    assert Image.open("complete.png").height == 6 * (96 + 4)
    assert call(*words, "--temperatures", 0, 0.5, "--out", "complete.svg") == 0
    paths = list(ElementTree.parse("complete.svg").getroot().iter("{http://www.w3.org/2000/svg}path"))
    assert len(paths) == 2 * 2 * (1 + 4 + 4)
    model, (x, _) = vae_zoo.load(checkpoint(name)), of_test(runs)
    own = float(surprise(model, x[3:4], 2))
    assert found["sketches"][1]["nats_per_step"] == pytest.approx(own, rel=1e-4)


def of_test(runs):
    """The test sketches of the fixture's runs."""
    from vae_zoo.cli.trained import data_of_run

    data = data_of_run(Path(checkpoint("sketches")), vae_zoo.load(checkpoint("sketches")), "", [])
    return next(data.batches("test", 100))


@pytest.mark.slow
@pytest.mark.parametrize(
    "command, name, words, message",
    [
        ("complete", "images", [], "makes images, which have no first strokes; SketchDecoder draws endings"),
        ("complete", "sketch_samples", ["--lines", 9], "--sketches 0: lines 9: sketch 0 of 1 is over after"),
        (
            "complete",
            "sketch_samples",
            ["--sketches", 20],
            "20: the run has test sketches from 0 to 19, and its",
        ),
        ("complete", "sketch_samples", ["--sketches", -1], "-1: the run has test sketches from 0 to 19"),
        ("complete", "sketch_samples", ["--temperatures", -1], "temperature must be at least 0, got -1"),
        ("complete", "sketch_samples", ["--out", "a.gif"], "--out a.gif: it ends in .png or .svg"),
        ("complete", "sketch_samples", ["--lines", 1, "--points", 2], "of 2 points or of 1 line, not of both"),
        ("complete", "sketch_samples", ["--n", 0], "n must be at least 1, got 0"),
        (
            "arithmetic",
            "sketches",
            ["--with", "dog", "--without", "star"],
            "dog: the run has test sketches from 0",
        ),
        ("arithmetic", "sketches", ["--with", 0, 1, "--without", "star"], "needs 3 pictures with it or more, got 2"),
        ("arithmetic", "sketch_samples", ["--with", 0, "--without", 1], "has no codes, so it cannot calculate"),
        ("denoise", "sketches", [], "makes sketches, and noise on pixels is none of theirs"),
        ("denoise", "sketches", ["--images", "."], "a model of sketches, (31, 5), reads no pictures"),
        ("encode", "sketches", ["."], "a model of sketches, (31, 5), reads no pictures"),
        ("relabel", "sketches", [], "takes no labels; CVAE does"),
        ("traverse", "sketches", ["--out", "a.svg"], "--out a.svg: it ends in .png"),
        ("manifold", "sketches", [], "a manifold is drawn of a code of 2 numbers"),
    ],
)
def test_what_is_no_sketch_or_cannot_be_done_with_one(command, name, words, message, runs, monkeypatch, capsys):
    monkeypatch.chdir(runs)
    where = ["--ckpt_path", checkpoint(name)]
    if command == "encode":
        words, where = [*words, *where], []
    assert call(command, *where, *words) == 1
    said = capsys.readouterr().err
    assert message in said and len(said.strip().splitlines()) == 1
    assert not list(Path().glob("a.*"))


@pytest.mark.slow
def test_codes_of_sketches_are_calculated_with(runs, monkeypatch, capsys):
    monkeypatch.chdir(runs)
    words = ["arithmetic", "--ckpt_path", checkpoint("sketches"), "--with", "circle", "--without", "star"]
    assert call(*words, "--plus", "zigzag", "--n", 3) == 0
    found = json.loads(Path("arithmetic.json").read_text())
    _, y = of_test(runs)
    counts = torch.bincount(y).tolist()  # circle, star, zigzag
    assert [found["pictures"][name] for name in ("with", "without", "plus")] == counts
    assert Image.open("arithmetic.png").height == 4 * 68
    assert call(*words, "--images", 0, 1, "--strengths", 0, 1, "--save", "v.npz") == 0
    model, (x, y) = vae_zoo.load(checkpoint("sketches")), of_test(runs)
    z = model.encode(x)
    truth = z[y == 0].mean(0) - z[y == 1].mean(0)
    np.testing.assert_allclose(np.load("v.npz")["vector"], truth.numpy(), atol=1e-5)


@pytest.mark.slow
def test_walks_through_codes_of_sketches(runs, monkeypatch):
    monkeypatch.chdir(runs)
    where = ["--ckpt_path", checkpoint("sketches")]
    assert call("traverse", *where, "--n", 3, "--columns", 4) == 0
    assert Image.open("traverse.png").height == 3 * 68
    assert call("interpolate", *where, "--n", 2, "--columns", 4, "--chain", "--out", "way.gif") == 0
    assert call("predict", "--run_dir", "sketches") == 0
    assert call("decode", "sketches/codes.npz", *where, "--out", "drawn") == 0
    assert len(list(Path("drawn").iterdir())) == 20
