"""Nearest neighbours against scikit-learn, and models that copy: by the functions, and by the commands as typed."""

import json
import os

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.neighbors import NearestNeighbors

import vae_zoo
from tests.conftest import call
from tests.running import checkpoint
from vae_zoo.errors import UserError
from vae_zoo.latent import Nearest, memorised, nearest

pytest_plugins = ["tests.trained_runs"]


@pytest.mark.parametrize("size", [1, 7, 64, 500])
def test_the_nearest_are_those_of_scikit_learn(size):
    x, queries = torch.rand(300, 3, 4, 4), torch.rand(9, 3, 4, 4)
    distances, rows = nearest(queries, x.split(size), 5)
    d, i = NearestNeighbors(n_neighbors=5, algorithm="brute").fit(x.flatten(1)).kneighbors(queries.flatten(1))
    np.testing.assert_allclose(distances.numpy(), d, atol=1e-6)
    np.testing.assert_array_equal(rows.numpy(), i)


def test_of_equal_distances_the_first_is_nearest_and_a_copy_has_distance_zero():
    x = 9 + torch.randn(50, 3072).exp()  # so that |q|^2 - 2 q s + |s|^2 rounds
    distances, rows = nearest(x[:6], torch.cat([x, x[:6], x[:6]]).split(9), 4)
    assert (distances[:, :3] == 0).all() and (distances[:, 3] > 0).all()
    torch.testing.assert_close(rows[:, :3], torch.arange(6)[:, None] + torch.tensor([0, 50, 56]))
    corners = torch.tensor([[0.0, 1], [1, 0], [0, -1], [-1, 0], [3, 0]])
    assert nearest(torch.zeros(1, 2), corners.split(2), 5)[1].tolist() == [[0, 1, 2, 3, 4]]


def test_small_distances_far_from_the_origin_are_kept():
    x = 1000 + torch.rand(20, 8)
    step = torch.zeros(8)
    step[2] = 2.0**-10  # exact at 1000 in 32 bits
    distances, rows = nearest(x[4:5] + step, x.split(6))
    assert rows.item() == 4 and distances.item() == pytest.approx(2.0**-10, rel=1e-5)


def test_what_is_left_out_is_no_neighbour():
    x = torch.rand(20, 5)
    search = Nearest(x[:3], 2)
    for first in (0, 10):
        search.show(x[first : first + 10], torch.arange(3)[:, None] == torch.arange(first, first + 10))
    _, rows = search.found()
    assert rows.tolist() == nearest(x[:3], [x], 3)[1][:, 1:].tolist()


@pytest.mark.parametrize(
    "queries, batches, k, message",
    [
        (torch.rand(2, 4), [torch.rand(3, 4)], 4, "the set of 3 has fewer than 4 neighbours for a query"),
        (torch.rand(2, 4), [], 1, "the set of 0 has fewer than 1 neighbours"),
        (torch.rand(2, 4), [torch.rand(3, 5)], 1, "the set is of 5 numbers each, the queries of 4"),
        (torch.rand(0, 4), [torch.rand(3, 4)], 1, "there is nothing to find the nearest of"),
        (torch.rand(2, 4), [torch.full((3, 4), torch.nan)], 1, "a distance needs finite numbers"),
        (torch.rand(2, 4), [torch.rand(3, 4)], 0, "k must be at least 1, got 0"),
    ],
)
def test_what_has_no_nearest_is_one_sentence(queries, batches, k, message):
    with pytest.raises(UserError, match=message):
        nearest(queries, batches, k)


def test_a_model_that_copies_and_one_that_knows_the_truth():
    train, test, fresh = (torch.rand(n, 3, 4, 4) for n in (300, 100, 200))
    copies = memorised(train[:50], lambda: train.split(64), test.split(64))
    assert (copies.ratio == 0).all() and copies.share == 1 and copies.row.tolist() == list(range(50))
    usual = memorised(test, lambda: train.split(64), test.split(64))
    assert float(usual.ratio.median()) == 1 and usual.share == 0  # each is nearest to itself
    truth, _ = NearestNeighbors(n_neighbors=1).fit(train.flatten(1)).kneighbors(test.flatten(1))
    torch.testing.assert_close(usual.distance, torch.from_numpy(truth[:, 0]).float())
    knows = memorised(fresh, lambda: train.split(64), test.split(64))
    assert abs(float(knows.ratio.median()) - 1) < 0.05
    assert knows.chance == 0.75 and abs(knows.share - 0.75) < 0.1
    smooth = memorised(0.5 + 0.3 * (fresh - 0.5), lambda: train.split(64), test.split(64))
    assert float(smooth.ratio.median()) < 0.9 and abs(smooth.share - 0.75) < 0.15  # blurred is not copied
    with pytest.raises(UserError, match="half of the test pictures or more are in the training set"):
        memorised(fresh, lambda: train.split(64), [train[:10]])


@pytest.fixture
def folders(shapes, tmp_path, monkeypatch):
    """Pictures in two folders, which are their labels: dark ones and bright ones; and a picture of each apart."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for name, low, high in (("dark", 0, 90), ("bright", 160, 255)):
        os.makedirs(f"set/{name}")
        os.makedirs(f"apart/{name}")
        for number in range(6):
            flat = rng.integers(low, high, 3, np.uint8)
            picture = Image.fromarray(np.broadcast_to(flat, (40, 40, 3)).copy())
            picture.save(f"{'apart' if number == 5 else 'set'}/{name}/{number}.png")
    return tmp_path


@pytest.mark.slow
def test_neighbours_by_the_command(runs, folders, capsys):
    last = runs / checkpoint("images")
    words = ["--ckpt_path", last]
    assert call("encode", "set", *words, "--out", "codes.npz") == 0
    capsys.readouterr()
    assert call("neighbours", "apart", "--among", "set", "--n", 3, "--batch_size", 4, *words) == 0
    said = capsys.readouterr().out
    found = json.loads(open("neighbours.json").read())
    assert (
        call("neighbours", "apart", "--among", "set", "--n", 3, "--codes", "codes.npz", "--out", "b.png", *words) == 0
    )
    again = json.loads(open("b.json").read())
    for one, other in zip(found["pictures"], again["pictures"], strict=True):  # encoded in batches of another size
        assert one["pixels"] == other["pixels"]
        for a, b in zip(one["code"], other["code"], strict=True):
            assert a == {"name": b["name"], "distance": pytest.approx(b["distance"], rel=1e-4)}
    assert found["label_pixels"] == 1 and found["label_chance"] == 0.5 and "100.0% in pixels" in said
    model = vae_zoo.load(last)
    x, among = (vae_zoo.load_images(name, model) for name in ("apart", "set"))
    assert [row["name"] for row in found["pictures"]] == ["apart/bright/5.png", "apart/dark/5.png"]
    for how, (a, b) in {"pixels": (x, among), "code": (model.encode(x), model.encode(among))}.items():
        d, i = NearestNeighbors(n_neighbors=3).fit(b.flatten(1).numpy()).kneighbors(a.flatten(1).numpy())
        for row, picture in enumerate(found["pictures"]):
            listed = picture[how]
            assert [each["name"] for each in listed] == [
                f"set/{'bright' if n < 5 else 'dark'}/{n % 5}.png" for n in i[row]
            ]
            np.testing.assert_allclose([each["distance"] for each in listed], d[row], rtol=1e-4)
    # Four rows of a picture and three neighbours, twice as large and with a text below.
    assert Image.open("neighbours.png").height == 4 * (64 + 16 + 4)
    assert call("neighbours", "set/dark/0.png", "--among", "./set", "--n", 3, *words) == 0
    (itself,) = json.loads(open("neighbours.json").read())["pictures"]
    assert all(each["distance"] > 0 for each in itself["code"] + itself["pixels"])


@pytest.mark.slow
def test_neighbours_by_the_features_of_a_discriminator(runs, folders, capsys):
    assert call("neighbours", "apart", "--among", "set", "--ckpt_path", runs / checkpoint("samples")) == 0
    assert json.loads(open("neighbours.json").read())["n"] == 8


@pytest.mark.slow
def test_codes_of_other_pictures_or_weights_are_refused(runs, folders, capsys):
    last = runs / checkpoint("images")
    words = ["--ckpt_path", last]
    assert call("encode", "set", *words, "--out", "codes.npz") == 0
    assert call("encode", "set/dark", *words, "--out", "fewer.npz") == 0
    codes = dict(np.load("codes.npz"))
    np.savez("other.npz", **codes | {"weights": np.array("0" * 64)})
    np.savez("nameless.npz", z=codes["z"])
    np.savez(
        "more.npz", **{name: np.concatenate([value] * 2) if value.ndim else value for name, value in codes.items()}
    )
    np.savez("order.npz", **codes | {"name": codes["name"][::-1]})
    with open("damaged.npz", "wb") as file:
        file.write(open("codes.npz", "rb").read()[:-300])
    given = ["neighbours", "apart", "--among", "set", *words]
    for name, message in (
        ("other.npz", "other.npz: these codes were made by other weights than those of this "),
        (
            "fewer.npz",
            "fewer.npz has the codes of other pictures than --among, or in another order: see set/bright/0.png",
        ),
        ("order.npz", "or in another order: see set/bright/0.png"),
        ("nameless.npz", "nameless.npz has the codes of other pictures"),
        ("more.npz", "more.npz has 20 codes, and --among has 10 pictures"),
        ("damaged.npz", "damaged.npz has no codes that can be read"),
        ("nowhere.npz", "No such file or directory: 'nowhere.npz'"),
    ):
        capsys.readouterr()
        assert call(*given, "--codes", name) == 1
        said = capsys.readouterr().err
        assert message in said and len(said.strip().splitlines()) == 1
    assert call("decode", "other.npz", *words) == 1
    assert "other.npz: these codes were made by other weights" in capsys.readouterr().err
    assert call("decode", "nameless.npz", *words) == 0  # codes of one's own


@pytest.mark.slow
@pytest.mark.parametrize(
    "words, message",
    [
        (["neighbours", "apart", "--among", "nowhere"], "nowhere does not exist"),
        (["neighbours", "apart", "--among", "set", "--n", 99], "the set of 10 has fewer than 99 neighbours"),
        (["neighbours", "apart", "--among", "set", "--out", "a.jpg"], "--out a.jpg: it ends in .png"),
        (["neighbours", "apart", "--among", "set", "--n", 0], "n must be at least 1, got 0"),
        (["memorised", "--out", "a.svg"], "--out a.svg: it ends in .png"),
        (["memorised", "--n", 0], "n must be at least 1, got 0"),
    ],
)
def test_what_cannot_be_compared_is_one_sentence(words, message, runs, folders, capsys):
    assert call(*words, "--ckpt_path", runs / checkpoint("images")) == 1
    said = capsys.readouterr().err
    assert message in said and len(said.strip().splitlines()) == 1


@pytest.mark.slow
def test_models_that_have_no_such_codes_are_refused(runs, folders, capsys):
    for command, name, message in (
        ("neighbours", "labelled", "is given the label, which its codes then do not tell"),
        ("neighbours", "sketches", "a model of sketches, (31, 5), reads no pictures"),
        ("memorised", "sketches", "makes sketches, between which there is no distance in pixels"),
    ):
        words = ["apart", "--among", "set"] if command == "neighbours" else []
        assert call(command, *words, "--ckpt_path", runs / checkpoint(name)) == 1
        assert message in capsys.readouterr().err


@pytest.mark.slow
def test_memorised_by_the_command(runs, folders, monkeypatch, capsys):
    last = runs / checkpoint("images")
    assert call("memorised", "--ckpt_path", last, "--n", 20, "--columns", 5, "--batch_size", 8) == 0
    found = json.loads(open("memorised.json").read())
    assert found["samples"] == 20 and found["chance"] == 48 / 68 and 0 <= found["nearer_to_training"] <= 1
    ratios = [each["ratio"] for each in found["nearest"]]
    assert ratios == sorted(ratios) and f"is {found['median_ratio']:.3f} of that of test" in capsys.readouterr().out
    assert Image.open("memorised.png").size == (5 * 66 + 2, 8 * 82 + 2)
    model = vae_zoo.load(last)
    train = next(vae_zoo.cli.trained.data_of_run(last, model, "", []).batches("train", 48))[0]
    monkeypatch.setattr(type(model), "sample", lambda self, n, y=None, **_: train[:n])  # one that copies
    assert call("memorised", "--ckpt_path", last, "--n", 20, "--batch_size", 64) == 0
    found = json.loads(open("memorised.json").read())
    assert found["median_ratio"] == 0 and found["nearer_to_training"] == 1
    assert call("memorised", "--ckpt_path", runs / checkpoint("labelled"), "--n", 4, "--label", 1) == 0
