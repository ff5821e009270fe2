"""The generated sketches."""

import pytest

from vae_zoo.cli import main
from vae_zoo.data.generated_sketches import generate_sketches
from vae_zoo.data.sketch_files import read_ndjson
from vae_zoo.errors import UserError


def test_generated_sketches_are_the_same_anywhere_and_of_three_kinds(tmp_path, doodles, monkeypatch):
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
    assert main(["data", "sketches", "--out", "b/b.ndjson", "--n", "40", "--seed", "1"]) == 0
    assert (tmp_path / "b" / "b.ndjson").read_text() == (tmp_path / "a.ndjson").read_text()
