"""Sketches on disk and in batches: formats, safety, lengths, augmentation, COCO's outlines."""

import io
import json
import os
import pickle
import shutil
import zipfile

import numpy as np
import pytest
import torch

from tests.conftest import call, shared
from vae_zoo import drawing
from vae_zoo.data import COCOSketches, Sketches
from vae_zoo.data.coco_sketches import outline
from vae_zoo.data.generated_sketches import generate_sketches
from vae_zoo.data.sketch_files import _Unpickler, from_lines, read_ndjson, read_npz
from vae_zoo.data.sketches import AugmentedSketches, BucketBatchSampler, SketchDataset, drop_points, stroke3, stroke5
from vae_zoo.errors import UserError
from vae_zoo.strokes import lengths

LINES = [np.array([[10, 20], [13, 24], [13, 30]]), np.array([[50, 20], [40, 20]])]


def test_strokes_of_a_drawing():
    rows = from_lines(LINES)
    assert rows.tolist() == [[3, 4, 0], [0, 6, 1], [37, -10, 0], [-10, 0, 1]]
    x = stroke5([rows, rows[:1]])
    assert x.shape == (2, 5, 5) and lengths(x).tolist() == [4, 1]
    assert x[0].tolist() == [[3, 4, 1, 0, 0], [0, 6, 0, 1, 0], [37, -10, 1, 0, 0], [-10, 0, 0, 1, 0], [0, 0, 0, 0, 1]]
    assert (x[1, 1:] == torch.tensor([0.0, 0, 0, 0, 1])).all()
    for back, rows_ in zip(stroke3(x), (rows, rows[:1]), strict=True):
        assert back.tolist() == rows_.tolist()
    for drawn, line in zip(drawing.lines(x[0]), LINES, strict=True):
        assert (drawn + [10, 20]).tolist() == line.tolist()  # what was put in is what is drawn


def drawing_of(lines, **more):
    return json.dumps({"word": "cat", "key_id": "7", "drawing": [line.T.tolist() for line in lines]} | more)


def test_ndjson(tmp_path):
    path = tmp_path / "cat.ndjson"
    path.write_text(drawing_of(LINES) + "\n\n" + drawing_of(LINES[:1], word="dog", key_id="8") + "\n")
    cat, dog = read_ndjson(path)
    assert (cat.id, cat.label, dog.id, dog.label) == ("7", "cat", "8", "dog")
    assert cat.rows.tolist() == from_lines(LINES).tolist() and len(dog.rows) == 2


@pytest.mark.parametrize(
    "line",
    [
        *("no json", "{}", '{"word": "cat"}', '{"word": "a", "drawing": [[1]]}', "[1]", "7", "[" * 200_000),
        '{"word": "a", "drawing": [[[1, 1' + "0" * 400 + "], [2, 3]]]}",
        '{"word": ["a"], "drawing": [[[1, 2], [2, 3]]]}',
        '{"word": null, "drawing": [[[1, 2], [2, 3]]]}',
    ],
    ids=str.__len__,
)
def test_a_line_that_is_no_drawing_is_named(line, tmp_path):
    path = tmp_path / "cat.ndjson"
    path.write_text(drawing_of(LINES) + "\n" + line + "\n")
    with pytest.raises(UserError, match="cat.ndjson, line 2, is not a drawing of QuickDraw's"):
        read_ndjson(path)


def object_array(sketches):
    array = np.empty(len(sketches), object)
    array[:] = sketches
    return array


def save_npz(path, protocol=None, **parts):
    """As NumPy does it, or with pickles of an older protocol, as Python 2 did."""
    if protocol is None:
        np.savez(path, **{name: object_array(part) for name, part in parts.items()})
        return
    with zipfile.ZipFile(path, "w") as file:
        for name, part in parts.items():
            content = io.BytesIO()
            header = {"descr": "|O", "fortran_order": False, "shape": (len(part),)}
            np.lib.format.write_array_header_1_0(content, header)
            content.write(pickle.dumps(object_array(part), protocol=protocol))
            file.writestr(f"{name}.npy", content.getvalue())


@pytest.mark.parametrize("protocol", [None, 0, 2, 3, 4])
@pytest.mark.parametrize("dtype", [np.int16, ">i2", np.float32, np.float64, np.uint8])
def test_npz_of_any_age_and_kind(tmp_path, protocol, dtype):
    parts = {
        name: [np.asfortranarray(np.arange(3 * (n + i)).reshape(-1, 3) % [99, 99, 2]).astype(dtype) for i in (1, 2)]
        for n, name in enumerate(("train", "valid", "test"))
    }
    save_npz(tmp_path / "cat.npz", protocol, **parts)
    found = read_npz(tmp_path / "cat.npz")
    for part, name in (("train", "train"), ("val", "valid"), ("test", "test")):
        assert [sketch.rows.tolist() for sketch in found[part]] == [rows.tolist() for rows in parts[name]]
        assert [sketch.id for sketch in found[part]] == [f"cat/{name}/0", f"cat/{name}/1"]
        assert {sketch.label for sketch in found[part]} == {"cat"}


class Evil:
    """Unpickled, it makes a file."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def exploits(victim):
    make = f"open({str(victim)!r}, 'w').close()"
    return {
        "system": Evil(os.system, f"touch {victim}"),
        "eval": Evil(eval, make),
        "exec": Evil(exec, make),
        "open": Evil(open, str(victim), "w"),
        "getattr": Evil(getattr, str, "upper"),
        "unpickler": Evil(pickle.loads, pickle.dumps(Evil(os.system, f"touch {victim}"))),
        "numpy": Evil(np.load, str(victim)),
    }


@pytest.mark.parametrize("name", exploits("x"))
@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("inside", [False, True])
def test_a_file_that_would_run_something_is_refused_and_runs_nothing(tmp_path, name, protocol, inside):
    victim = tmp_path / "victim"
    evil = exploits(victim)[name]
    sketch = np.zeros((3, 3), np.int16)
    bad = object_array([evil]) if inside else evil
    parts = {"train": [sketch, bad], "valid": [sketch], "test": [sketch]}
    save_npz(tmp_path / "cat.npz", protocol, **parts)
    with pytest.raises(UserError, match=r"cat.npz (is refused: reading it would call \w+|is not a .npz of sketches)"):
        read_npz(tmp_path / "cat.npz")
    assert not victim.exists()
    with np.load(tmp_path / "cat.npz", allow_pickle=True) as file:  # the exploit is one: NumPy runs it
        if name in ("system", "eval", "exec", "open", "unpickler"):
            try:
                file["train"]
            finally:
                assert victim.exists()


def test_refused_files_say_what_they_would_have_called(tmp_path):
    save_npz(tmp_path / "cat.npz", 2, train=[exploits(tmp_path / "v")["system"]], valid=[], test=[])
    with pytest.raises(UserError, match="would call (posix|nt).system, which no array of numbers needs"):
        read_npz(tmp_path / "cat.npz")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"no zip"])
def test_a_file_that_is_no_npz(tmp_path, content):
    (tmp_path / "cat.npz").write_bytes(content)
    with pytest.raises(UserError, match="cat.npz is not a .npz of sketches, with the arrays train, valid and test"):
        read_npz(tmp_path / "cat.npz")


@pytest.mark.parametrize(
    "array", [np.zeros(3), object_array([np.array(["a"])]), object_array([7]), object_array([np.zeros(2, "V8")])]
)
def test_an_npz_of_something_else(tmp_path, array):
    np.savez(tmp_path / "cat.npz", train=array, valid=array, test=array)
    with pytest.raises(UserError, match="cat.npz is"):
        read_npz(tmp_path / "cat.npz")


def test_a_pickle_changes_nothing_and_asks_for_no_more_than_there_is(tmp_path):
    """BUILD on the stand-ins, a byte order that is none, and sizes that no machine has."""
    reconstruct, dtype = b"cnumpy.core.multiarray\n_reconstruct\n", b"cnumpy\ndtype\n"
    pickles = {
        "build": reconstruct + b"}S'evil'\nI1\nsb.",
        "slots": reconstruct + b"(N}S'evil'\nI1\nstb.",
        "order": dtype + b"(S'f4'\nI0\nI1\ntR(I3\nS'3'\nNNNI-1\nI-1\nI0\ntb.",
        "memo": b"Nr\xff\xff\xff\x7f.",
        "bytes": b"\x8e" + (10**12).to_bytes(8, "little") + b".",
        "inst": b"(S'x'\nios\nsystem\n.",
        "persistent": b"Pname\n.",
    }
    for name, content in pickles.items():
        with zipfile.ZipFile(tmp_path / "cat.npz", "w") as file:
            header = io.BytesIO()
            np.lib.format.write_array_header_1_0(header, {"descr": "|O", "fortran_order": False, "shape": (1,)})
            file.writestr("train.npy", header.getvalue() + content)
        with pytest.raises(UserError, match="cat.npz is"):
            read_npz(tmp_path / "cat.npz")
        assert not any(hasattr(known, "evil") for known in _Unpickler.KNOWN.values()), name


def test_sketches_of_one_length_may_be_an_array_of_numbers(tmp_path):
    rows = np.random.default_rng(0).integers(0, 2, (5, 7, 3))
    np.savez(tmp_path / "cat.npz", train=rows, valid=rows[:2], test=np.asfortranarray(rows[:3]))
    found = read_npz(tmp_path / "cat.npz")
    assert [len(found[part]) for part in ("train", "val", "test")] == [5, 2, 3]
    assert np.array_equal(found["test"][2].rows, rows[2]) and np.array_equal(found["train"][4].rows, rows[4])


def test_dots_and_nothing():
    dot, line = np.array([[5.0, 5]]), np.array([[10.0, 10], [20, 20]])
    assert from_lines([dot, line]).tolist() == [[0, 0, 1], [5, 5, 0], [10, 10, 1]]  # the pen is lifted in between
    assert from_lines([line, dot]).tolist() == [[10, 10, 1], [-15, -15, 1]]
    assert from_lines([]).shape == from_lines([np.empty((0, 2))]).shape == (0, 3)


def test_the_published_sheep():
    path = shared("sketch/aaron_sheep.npz")
    data = Sketches(str(path))
    data.setup()
    with np.load(path, allow_pickle=True, encoding="latin1") as trusted:
        for part, name in (("train", "train"), ("val", "valid"), ("test", "test")):
            assert len(data.split[part]) == len(trusted[name])
            for ours, theirs in zip(read_npz(path)[part], trusted[name], strict=True):
                assert np.array_equal(ours.rows, theirs)
        scale = np.concatenate([rows[:, :2] for rows in trusted["train"]]).astype(np.float64).std()
    assert data.scale == pytest.approx(scale, rel=1e-4) and data.labels == ["aaron_sheep"]
    assert data.shape == (250, 5)  # the longest training sketch
    x, _ = next(data.batches("test", 300))
    with np.load(path, allow_pickle=True, encoding="latin1") as trusted:
        for sketch, rows in zip(stroke3(x), trusted["test"], strict=True):
            np.testing.assert_allclose(sketch[:, :2] * scale, rows[:, :2], rtol=1e-4, atol=1e-4)


def test_quickdraw_files_in_a_folder():
    data = Sketches(str(shared("sketch/quickdraw_ndjson")), n_test=5, n_val=3)
    data.setup()
    assert data.labels == ["bicycle", "cat", "dog", "owl", "pig"]
    assert {part: len(ids) for part, ids in data.split.items()} == {"train": 85, "val": 15, "test": 25}
    ids = [id_ for part in data.split.values() for id_ in part]
    assert len(set(ids)) == 125
    x, y = next(data.batches("test", 25))
    assert y.bincount().tolist() == [5] * 5 and (x[..., 2:].sum(-1) == 1).all()


# --- batches


def of_lengths(ns, seed=0):
    rng = np.random.default_rng(seed)
    rows = [np.column_stack([rng.normal(size=(n, 2)), rng.random(n) < 0.2]).astype(np.float32) for n in ns]
    return SketchDataset(rows, torch.arange(len(ns)), list(map(str, ns)))


def test_a_few_sketches_for_many_processes():
    data = AugmentedSketches(of_lengths([4, 5, 6]))
    assert [list(BucketBatchSampler(data, 100, 4, rank)) for rank in range(4)] == [[[0, 1, 2]]] * 4


@pytest.mark.parametrize("world", [1, 2, 3])
def test_each_sketch_once_an_epoch_among_sketches_of_its_length(world):
    data = AugmentedSketches(of_lengths(np.random.default_rng(0).integers(5, 250, 1_000)))
    samplers = [BucketBatchSampler(data, 16, world, rank, seed=3) for rank in range(world)]
    epochs = []
    for epoch in (0, 1, 0):
        for sampler in samplers:
            sampler.set_epoch(epoch)
        batches = [list(sampler) for sampler in samplers]
        assert {len(part) for part in batches} == {len(samplers[0])}  # as many for each process
        epochs.append([index for part in batches for batch in part for index in batch])
        assert set(epochs[-1]) == set(range(1_000))
        assert len(epochs[-1]) - 1_000 <= 16 * (world - 1)
        x = [data[batch][0] for batch in batches[0]]
        used = sum(int(lengths(part).sum()) for part in x) / sum(part.shape[0] * part.shape[1] for part in x)
        assert used > 0.92  # at random it would be .55
        means = [float(lengths(part).float().mean()) for part in x]
        assert means != sorted(means) and data.epoch == epoch  # not from short to long, and varied anew
    assert epochs[0] == epochs[2] != epochs[1]


def test_the_deviation_is_that_of_the_training_sketches(tmp_path):
    parts = {
        name: [rng_rows * scale for rng_rows in SAMPLE] for name, scale in (("train", 3), ("valid", 50), ("test", 7))
    }
    save_npz(tmp_path / "cat.npz", **parts)
    data = Sketches(str(tmp_path / "cat.npz"))
    data.setup()
    offsets = np.concatenate(parts["train"])[:, :2]
    assert data.scale == pytest.approx(offsets.std())
    x, _ = next(data.batches("train", 10))
    drawn = x[x[..., 4] == 0][:, :2]
    assert drawn.std(correction=0).item() == pytest.approx(1, rel=1e-5)
    assert set(x[..., 2:].unique().tolist()) == {0, 1}  # pens are not divided


SAMPLE = [
    np.column_stack([np.random.default_rng(n).normal(size=(n, 2)), np.zeros(n)]).astype(np.float32) for n in (4, 9)
]
for sample in SAMPLE:
    sample.setflags(write=False)


def test_stretching_is_of_whole_axes_and_new_in_each_epoch():
    data = of_lengths([12, 7])
    varied = AugmentedSketches(data, random_scale=0.2, seed=5)
    seen = []
    for epoch in range(200):
        varied.epoch = epoch
        x, plain = varied[[0, 1]][0], data.__getitems__([0, 1])[0]
        assert torch.equal(x[..., 2:], plain[..., 2:])
        factors = x[0, :12, :2] / plain[0, :12, :2]
        assert (factors - factors[0]).abs().max() < 1e-4
        seen.append(factors[0])
        assert torch.equal(varied[[1, 0]][0][1, :12], x[0, :12])  # the same in any batch of the epoch
    factors = torch.stack(seen)
    assert 0.8 <= factors.min() < 0.83 and 1.17 < factors.max() <= 1.2
    assert np.corrcoef(factors.T.numpy())[0, 1] == pytest.approx(0, abs=0.2)


def test_dropping_keeps_ends_and_places():
    rng = np.random.default_rng(0)
    rows = of_lengths([200]).sketches[0]
    rows[0, 2] = 0  # so that the first point may be dropped, too
    kept = [drop_points(rows, 0.3, rng) for _ in range(50)]
    for sketch in kept:
        ends = [np.round(part[:, :2].cumsum(0)[part[:, 2] == 1], 3) for part in (sketch, rows)]
        assert np.allclose(*ends, atol=2e-3)  # every stroke still ends where it did
        np.testing.assert_allclose(sketch[:, :2].sum(0), rows[:, :2].sum(0), atol=1e-4)
        places = {tuple(np.round(place, 3)) for place in rows[:, :2].cumsum(0)}
        assert all(tuple(np.round(place, 3)) in places for place in sketch[:, :2].cumsum(0)[::17])
    inside = ((rows[:, 2] == 0) & (np.append(0, rows[:-1, 2]) == 0)).sum()
    dropped = np.mean([200 - len(sketch) for sketch in kept])
    assert dropped == pytest.approx(0.3 * inside, rel=0.1)
    assert np.array_equal(drop_points(rows, 0.0, rng), rows)
    assert len(drop_points(rows[:1], 0.9, rng)) == 1


def test_only_training_sketches_vary(doodles):
    data = Sketches(str(doodles), random_scale=0.3, drop_points=0.3, batch_size=9)
    plain = Sketches(str(doodles), batch_size=9)
    for module in (data, plain):
        module.setup()
    for part in ("val", "test", "train"):
        assert torch.equal(next(data.batches(part, 9))[0], next(plain.batches(part, 9))[0])
    for a, b in zip(data.test_dataloader(), plain.test_dataloader(), strict=True):
        assert torch.equal(a[0], b[0])
    shapes = [[x.shape[1] for x, _ in module.train_dataloader()] for module in (data, plain)]
    assert shapes[0] != shapes[1]


def test_longer_sketches_are_left_out_with_a_word(doodles):
    data = Sketches(str(doodles), max_length=8, n_test=30, n_val=0)
    with pytest.warns(
        UserWarning, match=r"left out \d+ of 90 sketches, which have no line, or more points than data.max_length"
    ):
        data.setup()
    assert "circle" not in data.labels and data.shape == (8, 5) and data.val_dataloader() == []
    assert all(len(sketch) <= 8 for sketch in data.parts["train"].sketches)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"path": "nowhere"}, "data.path: .*nowhere does not exist; .* vae-zoo data sketches --out"),
        ({"max_length": 1}, "no train sketch has a line and at most data.max_length points"),
        (
            {"n_test": 80, "n_val": 20},
            "of 90 drawings in .*sketches.ndjson, 80 to test on and 20 to validate on leave 0 to train",
        ),
        ({"n_train": 90}, "set data.n_train, data.n_test and data.n_val"),
        ({"drop_points": 1.0}, "drop_points must be at least 0 and less than 1, got 1.0"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
    ],
)
def test_bad_settings_say_so(change, message, doodles):
    with pytest.raises(UserError, match=message):
        Sketches(**{"path": str(doodles)} | change).setup()


def test_a_folder_without_sketches(tmp_path):
    with pytest.raises(UserError, match="is neither a .ndjson or .npz file nor a folder with one in it"):
        Sketches(str(tmp_path)).setup()
    save_npz(tmp_path / "cat.npz", train=SAMPLE, valid=SAMPLE, test=SAMPLE)
    with pytest.raises(UserError, match="data.n_test = 3, but .*cat.npz has 2"):
        Sketches(str(tmp_path), n_test=3).setup()
    save_npz(tmp_path / "cat.npz", train=[np.zeros((4, 2))], valid=SAMPLE, test=SAMPLE)
    with pytest.raises(UserError, match=r"cat.npz .*: a sketch has the shape \(4, 2\), it must be \(N, 3\)"):
        Sketches(str(tmp_path)).setup()
    for bad in (np.full((4, 3), np.nan), np.full((4, 3), 7), np.array(3.0)):
        save_npz(tmp_path / "cat.npz", train=[bad], valid=SAMPLE, test=SAMPLE)
        with pytest.raises(UserError, match="cat.npz is not a .npz of sketches"):
            Sketches(str(tmp_path)).setup()
    save_npz(tmp_path / "cat.npz", train=[np.zeros((4, 3))], valid=SAMPLE, test=SAMPLE)
    with pytest.raises(UserError, match="the training sketches have no extent"):
        Sketches(str(tmp_path)).setup()


# --- the embedded set, and COCO's outlines


def test_doodles_are_the_same_anywhere_and_of_three_kinds(tmp_path, doodles, monkeypatch):
    generate_sketches(tmp_path / "a.ndjson", 40, seed=1)
    assert doodles.read_text().startswith((tmp_path / "a.ndjson").read_text())
    words = [sketch.label for sketch in read_ndjson(doodles)]
    assert {word: words.count(word) > 15 for word in set(words)} == dict.fromkeys(("circle", "star", "zigzag"), True)
    strokes = {word: {int(s.rows[:, 2].sum()) for s in read_ndjson(doodles) if s.label == word} for word in set(words)}
    assert strokes == {"circle": {4}, "star": {1}, "zigzag": {1}}
    with pytest.raises(UserError, match="a.ndjson is there already"):
        generate_sketches(tmp_path / "a.ndjson", 4)
    with pytest.raises(UserError, match="out must be a .ndjson file"):
        generate_sketches(tmp_path / "folder", 4)
    monkeypatch.chdir(tmp_path)
    assert call("data", "sketches", "--out", "b/b.ndjson", "--n", 40, "--seed", 1, monkeypatch=monkeypatch) == 0
    assert (tmp_path / "b" / "b.ndjson").read_text() == (tmp_path / "a.ndjson").read_text()


def test_an_outline_is_scaled_simplified_and_closed():
    square = [0.0, 0, 5, 0.01, 10, 0, 10, 10, 0, 10]  # the second corner is none
    rows = outline([square], epsilon=2.0)
    np.testing.assert_allclose(rows[:, :2], [[255, 0], [0, 255], [-255, 0], [0, -255]])
    assert rows[:, 2].tolist() == [0, 0, 0, 1]
    assert len(outline([square], epsilon=0.0)) == 5
    two = outline([square, [20.0, 0, 30, 0, 30, 10]], epsilon=2.0)
    assert two[:, 2].sum() == 2 and two[-1, 2] == 1
    assert outline([[1.0, 1, 1, 1, 1, 1]], 2.0) is None and outline([[0.0, 0, 1, 1]], 2.0) is None
    assert outline([square, [20.0, 0, 20.01, 0, 20, 0.01]], 2.0)[:, 2].sum() == 1  # a speck is no stroke
    assert outline([[0.0, 0, 100, 0, 50, 0.1]], 2.0) is None  # a line there and back
    # No point of the outline is further away than epsilon from the simplified one (Ramer-Douglas-Peucker).
    angles = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    circle = np.column_stack([np.cos(angles), np.sin(angles)]) * 100
    rows = outline([circle.flatten().tolist()], epsilon=2.0)
    assert 10 < len(rows) < 40
    corners = np.concatenate([[[0, 0]], rows[:, :2].cumsum(0)])
    places = (circle - circle[0]) * 255 / 200
    a, b = corners[:-1], corners[1:]
    t = np.clip(((places[:, None] - a) * (b - a)).sum(-1) / ((b - a) ** 2).sum(-1), 0, 1)
    away = np.linalg.norm(places[:, None] - (a + t[..., None] * (b - a)), axis=-1).min(1)
    assert away.max() <= 2.0 + 1e-6


def test_outlines_of_the_drawn_coco_set(shapes):
    data = COCOSketches(str(shapes), n_test=10, n_val=10)
    data.setup()
    assert set(data.labels) == {"triangle", "square", "pentagon", "star", "circle"}
    corners = {"triangle": 3, "square": 4, "pentagon": 5, "star": 10}
    for part, size in (("train", 100), ("test", 100)):
        x, y = next(data.batches(part, size))
        for n, label in zip(lengths(x).tolist(), y.tolist(), strict=True):
            name = data.labels[label]
            assert n == corners.get(name, n) and n > 2
    images = {part: {id_.split("/")[0] for id_ in ids} for part, ids in data.split.items()}
    assert len(images["test"]) == len(images["val"]) == 10 and not images["train"] & (images["test"] | images["val"])
    again = COCOSketches(str(shapes), n_test=10, n_val=10, categories=["star"], epsilon=0.5)
    again.setup()
    assert again.labels == ["star"]
    with pytest.raises(UserError, match=r"data.categories: \['sun'\] not in .*, which has circle, "):
        COCOSketches(str(shapes), categories=["sun"]).setup()


def test_outlines_of_real_coco(tmp_path):
    root = shared("coco_open")
    data = COCOSketches(str(root))
    data.setup()
    annotations = json.loads((root / "annotations" / "instances.json").read_text())["annotations"]
    outlined = [a for a in annotations if isinstance(a["segmentation"], list)]
    assert sum(map(len, data.split.values())) == pytest.approx(len(outlined), abs=5)
    assert "person" in data.labels and data.scale > 0
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "instances.json").write_bytes((root / "annotations" / "instances.json").read_bytes())
    alone = COCOSketches(str(tmp_path))  # without the pictures
    alone.setup()
    assert alone.split == data.split


def test_outlines_of_a_zip_of_one_folder(shapes, tmp_path):
    whole = shutil.make_archive(str(tmp_path / "whole"), "zip", shapes.parent, shapes.name)
    inside, plain = COCOSketches(whole), COCOSketches(str(shapes))
    for data in (inside, plain):
        data.setup()
    assert inside.split == plain.split


def test_a_segmentation_that_is_none_is_named(shapes, tmp_path):
    content = json.loads((shapes / "annotations" / "instances.json").read_text())
    for bad in ([0, 0, 10, 0, 10, 10], [["a", "b", "c", "d", "e", "f"]]):
        content["annotations"][3]["segmentation"] = bad
        (tmp_path / "instances.json").write_text(json.dumps(content))
        with pytest.raises(UserError, match="instances.json: the segmentation of annotation 4 is no list of polygons"):
            COCOSketches(str(tmp_path)).setup()


def test_pictures_without_annotations_have_no_outlines(tmp_path):
    (tmp_path / "a.jpg").touch()
    with pytest.raises(UserError, match="has no COCO annotation file; give one with --data.annotations"):
        COCOSketches(str(tmp_path)).setup()
