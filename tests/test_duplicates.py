"""Near-doubles: hashes by brute force, planted copies, and the command as typed."""

import io
import json
import os
from itertools import combinations

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps

from tests.conftest import call, shared
from vae_zoo.data.pictures import read_pictures
from vae_zoo.errors import UserError
from vae_zoo.latent import PictureHash, find_duplicates
from vae_zoo.latent.duplicates import agreement, close_pairs, connected


@pytest.fixture
def briefly(monkeypatch):
    """A tenth of the training, which will do for pictures of noise."""
    monkeypatch.setattr("vae_zoo.latent.duplicates.STEPS", 25)


def pictures(n, seed=0):
    """Smooth noise, no two alike, (n, 3, 32, 32) uint8."""
    coarse = torch.rand(n, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    return (255 * torch.nn.functional.interpolate(coarse, size=(32, 32), mode="bilinear")).round().to(torch.uint8)


@pytest.mark.parametrize("most", [0, 1, 3])
def test_close_pairs_are_those_of_brute_force(most, monkeypatch):
    monkeypatch.setattr("vae_zoo.latent.duplicates.BLOCK", 16)
    torch.manual_seed(0)
    bits = torch.rand(50, 8) < 0.5
    found = {tuple(pair) for pairs in close_pairs(bits, most) for pair in pairs.tolist()}
    truth = {(i, j) for i, j in combinations(range(50), 2) if int((bits[i] != bits[j]).sum()) <= most}
    assert connected(50, [*found]) == connected(50, [*truth])
    assert found <= truth and (found == truth or not most)  # by a dictionary, each with the one before it


def test_groups_are_what_links_connect():
    assert connected(7, [(0, 4), (4, 2), (5, 6)]) == [[0, 2, 4], [5, 6]]
    assert connected(3, []) == []


def test_agreement_knows_the_same_picture_brighter_and_not_another():
    x = pictures(40)
    brighter = (0.7 * x + 40).round().to(torch.uint8)
    found = agreement(x, brighter)
    assert found.diagonal().min() > 0.99 and found.fill_diagonal_(0).abs().max() < 0.6
    flat = torch.full_like(x, 9)
    assert agreement(x, flat).abs().max() < 1e-3 and agreement(flat, flat).abs().max() < 1e-3


@pytest.mark.slow
def test_planted_copies_are_found_and_nothing_else(briefly):
    x = pictures(300)
    noisy = (x[:20] + 6 * torch.randn(20, 3, 32, 32)).clamp(0, 255).to(torch.uint8)
    darker = (0.9 * x[30:40]).to(torch.uint8)
    state = torch.get_rng_state()
    found = find_duplicates(torch.cat([x, noisy, darker, x[20:30], x[20:21]]))
    assert torch.equal(torch.get_rng_state(), state)
    pairs = [[i, 300 + i] for i in range(20)] + [[i, 290 + i] for i in range(30, 40)]
    equal = [[20, 330, 340]] + [[i, 310 + i] for i in range(21, 30)]
    assert found == sorted([*pairs, *equal], key=lambda rows: (-len(rows), rows))
    assert find_duplicates(x) == []
    mirrored = torch.cat([x, x[:5].flip(-1)])
    assert find_duplicates(mirrored) == [] and find_duplicates(mirrored, mirrored=True) == [
        [i, 300 + i] for i in range(5)
    ]


def test_many_flat_pictures_are_no_doubles_of_each_other(briefly):
    flat = torch.arange(0, 250, 5, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 32, 32)
    assert find_duplicates(torch.cat([flat, flat[:1]]), bits=4) == [[0, 50]]


def test_a_hash_follows_from_the_pictures_and_the_seed(briefly):
    x = pictures(64)
    first, again, other = (PictureHash(x, seed).bits(x) for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert first.shape == (64, 128)


@pytest.mark.parametrize(
    "given, options, message",
    [
        (pictures(1), {}, "duplicates need two pictures or more"),
        (torch.rand(4, 3, 32, 32), {}, "pictures must be bytes"),
        (pictures(4), {"bits": -1}, "bits must be at least 0"),
        (pictures(4), {"bits": 129}, "bits must be at most 128"),
        (pictures(4), {"least": 2.0}, "least must be between 0 and 1"),
    ],
)
def test_what_has_no_duplicates_is_one_sentence(given, options, message):
    with pytest.raises(UserError, match=message):
        find_duplicates(given, **options)


@pytest.mark.slow
def test_the_command(shapes, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    os.makedirs("set")
    for name in sorted(os.listdir(shapes / "images"))[:40]:
        Image.open(shapes / "images" / name).save(f"set/{name[:-4]}.png")
    first = sorted(os.listdir("set"))[0]
    with Image.open(f"set/{first}") as picture:
        picture.convert("RGB").save("set/copy.jpg", quality=60)
    before = sorted(os.listdir("set"))
    assert call("duplicates", "set") == 0
    said = capsys.readouterr().out
    found = json.loads(open("duplicates.json").read())
    assert [f"set/{first}", "set/copy.jpg"] in map(sorted, found["groups"]) and found["pictures"] == 41
    assert "Nothing has been deleted" in said and sorted(os.listdir("set")) == before
    assert Image.open("duplicates.png").width > 100
    for words, message in (
        (["set/copy.jpg"], "duplicates need two pictures or more"),
        (["nowhere"], "nowhere does not exist"),
        (["set", "--out", "a.png"], "--out a.png: it ends in .json"),
        (["nowhere", "--bits", 200], "bits must be at most 128, got 200"),
        (["nowhere", "--agreement", -1], "agreement must be between 0 and 1"),
    ):
        assert call("duplicates", *words) == 1
        said = capsys.readouterr().err
        assert message in said and len(said.strip().splitlines()) == 1


def jpeg(image, quality):
    """As a JPEG of this quality brings it back."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


# What copies look like, and the least share of them that is found.
COPIES = {
    "JPEG of quality 30": (lambda image: jpeg(image, 30), 0.97),
    "JPEG of quality 10": (lambda image: jpeg(image, 10), 0.97),
    "half the size": (lambda image: image.resize((32, 32), Image.Resampling.BICUBIC), 0.99),
    "without 2 % at each side": (lambda image: ImageOps.crop(image, 1), 0.95),
    "brighter by 15 %": (lambda image: ImageEnhance.Brightness(image).enhance(1.15), 0.97),
    "with 3/4 of the contrast": (lambda image: ImageEnhance.Contrast(image).enhance(0.75), 0.97),
}


@pytest.mark.slow
def test_copies_planted_among_photos_are_found(tmp_path):
    import zipfile

    names = []
    with zipfile.ZipFile(shared("photos_10k2k.zip")) as photos:
        for number, name in enumerate([n for n in photos.namelist() if "/train/" in n and n.endswith(".jpg")][:1500]):
            (tmp_path / f"{number:04}.jpg").write_bytes(photos.read(name))
            names.append(tmp_path / f"{number:04}.jpg")
    x, _ = read_pictures(names, (3, 32, 32))
    x = (255 * x).round().to(torch.uint8)
    pairs = {pair for group in find_duplicates(x) for pair in combinations(group, 2)}
    assert len(pairs) <= 2  # of 1.1 million
    made = []
    for part, (copy, _) in enumerate(COPIES.values()):  # each kind is of a hundred photos of its own
        for name in names[100 * part : 100 * (part + 1)]:
            made.append(np.asarray(ImageOps.fit(copy(Image.open(name).convert("RGB")), (32, 32))))
    copies = torch.from_numpy(np.stack(made)).permute(0, 3, 1, 2)
    group_of = {row: set(group) for group in find_duplicates(torch.cat([x, copies])) for row in group}
    for part, (kind, (_, least)) in enumerate(COPIES.items()):
        found = sum(len(x) + i in group_of.get(i, ()) for i in range(100 * part, 100 * (part + 1))) / 100
        assert found >= least, kind
