"""Sketches on disk: formats of any age, and files that would run something."""

import io
import json
import os
import pickle
import zipfile

import numpy as np
import pytest
import torch

from vae_zoo import rendering
from vae_zoo.data.sketch_files import _Unpickler, from_lines, read_ndjson, read_npz
from vae_zoo.data.sketches import stroke5
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
    for drawn, line in zip(rendering.lines(x[0]), LINES, strict=True):
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
