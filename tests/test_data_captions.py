"""Captions: y is the number of a picture's text, texts are facts that a model is told, and a file of them is data."""

import importlib
import json
import re
import shutil
import sys
import warnings
import zipfile

import numpy as np
import pytest
import torch

import vae_zoo
from tests.conftest import SMALL as RUN
from tests.conftest import call, only_run, options, shared
from tests.data_sets import module
from vae_zoo import trust
from vae_zoo.cli.checkpoints import refuse_other_data
from vae_zoo.data.captions import sentence
from vae_zoo.errors import UserError
from vae_zoo.sharing import export

pytest_plugins = ["tests.data_fixtures"]
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

TOLD = """
from vae_zoo.distributions import ConditionedOnLabel, Gaussian, GaussianPosterior, StandardNormal
from vae_zoo.models.latent import EvidenceModel
from vae_zoo.networks import MLPDecoder, MLPEncoder


class Told(EvidenceModel):
    conditional = True

    def __init__(self, shape: tuple[int, int, int] = (1, 4, 4), captions: tuple[str, ...] = ("a photo",)) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.labels, (channels, height, width) = len(captions), shape
        q = GaussianPosterior(MLPEncoder((channels + 1, height, width), 4, width=4))
        self.posterior = ConditionedOnLabel(q, self.labels, (1, height, width))
        self.prior = StandardNormal(2, shape, self.posterior)
        self.likelihood = ConditionedOnLabel(Gaussian(MLPDecoder(3, shape, width=4)), self.labels, (1,))
        self.samples, self.beta, self.free_bits, self.warmup = 1, 1.0, 0.0, 0
        self.lr, self.optimizer, self.lr_scheduler, self.lr_interval = 1e-3, None, None, "epoch"
"""


@pytest.fixture
def told(tmp_path, monkeypatch):
    """A module with a model that takes captions, in the current folder."""
    (tmp_path / "told.py").write_text(TOLD)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("told")
    sys.modules.pop("told")


def write(folder, rows, name="captions.json", **more):
    """A captions file of rows (id, image_id, caption)."""
    pictures = json.loads((folder / "annotations" / "instances.json").read_text())["images"]
    annotations = [dict(zip(("id", "image_id", "caption"), row, strict=True)) for row in rows]
    path = folder / "annotations" / name
    path.write_text(json.dumps({"images": pictures, "annotations": annotations, **more}))
    return path


def texts_by_id(data):
    """The text of each picture in the data, by the picture's id, from batches as a model gets them."""
    found = {}
    for part, ids in data.split.items():
        labels = [y for _, y in data.batches(part, 7)] or [torch.empty(0, dtype=torch.int64)]
        found |= dict(zip(ids, [data.facts.captions[y] for y in torch.cat(labels)], strict=True))
    return found


def test_the_label_of_a_picture_is_the_number_of_its_caption_with_the_smallest_id(folder):
    rows = [(3 * n + k, n, f"caption {k} of {n // 2}") for n in range(1, 81) for k in range(3)]
    write(folder, np.random.default_rng(0).permutation(np.array(rows, dtype=object)).tolist())
    data = module(folder, captions="auto")
    assert texts_by_id(data) == {id_: f"caption 0 of {id_ // 2}" for ids in data.split.values() for id_ in ids}
    texts = tuple(f"caption 0 of {n}" for n in range(41))  # of pictures 1, 2 and 3, ... in the order of their ids
    assert data.facts.captions == data.facts.label_names == texts and data.facts.labels == 41


def test_captions_change_labels_and_nothing_else(folder):
    plain, captioned = module(folder), module(folder, captions="auto")
    assert plain.facts.captions == () and plain.facts.labels == 5
    assert plain.split == captioned.split and plain.split_sha256 != captioned.split_sha256
    assert captioned.parts["train"].pixels.filename == plain.parts["train"].pixels.filename  # decoded once
    for part in ("train", "val", "test"):
        assert torch.equal(pixels(plain, part), pixels(captioned, part))
    again = module(folder, captions="auto")
    assert again.split_sha256 == captioned.split_sha256 and again.facts == captioned.facts
    path = folder / "annotations" / "captions.json"
    path.write_text(path.read_text().replace("a red", "a scarlet"))
    changed = module(folder, captions="auto")
    assert changed.split_sha256 != captioned.split_sha256
    assert any("scarlet" in text for text in changed.facts.captions)


def pixels(data, part):
    return torch.cat([x for x, _ in data.batches(part, 9)])


def test_a_picture_without_a_caption_has_the_sentence_of_its_label(folder):
    write(folder, [(1, 1, " "), (2, 2, "two"), (3, 3, "\n"), (4, 3, "three"), (5, 999, "of no picture")])
    with pytest.warns(UserWarning, match="captions.json describes 2 of 80 pictures; the others, such as 1, have"):
        data = module(folder, captions="auto", n_train=50)
    label = texts_by_id(module(folder, captions="categories", n_train=50))
    assert texts_by_id(data) == label | {2: "two", 3: "three"}
    plain = module(folder, n_train=50)
    names = [plain.labels[y] for y in torch.cat([y for _, y in plain.batches("train", 9)])]
    assert [label[id_] for id_ in plain.split["train"]] == [f"a photo of a {name}" for name in names]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        module(folder, captions="categories")


def test_a_sentence_has_the_article_of_its_noun():
    assert sentence("dog") == "a photo of a dog" and sentence("Orange cat") == "a photo of an Orange cat"
    assert sentence("none") == "a photo"  # which is what pictures without a label are called
    assert sentence("a\0\x1b[31m  b") == "a photo of an a [31m b" and len(sentence("x" * 10_000)) == 1000


@pytest.mark.parametrize(
    "raw, clean",
    [
        ("  A dog\n\tis  here. ", "A dog is here."),
        ("a \x1b[31mred\x1b[0m dog\0", "a [31mred [0m dog"),
        ("left\u202eright \ufeff\u2028end", "left right end"),
        ("a \ud800 half", "a half"),
        ("un café à Paris, 猫", "un café à Paris, 猫"),
        ("null", "null"),
        ("x" * 1000, "x" * 1000),
    ],
)
def test_a_text_is_one_line_that_a_terminal_can_show(folder, raw, clean):
    write(folder, [(n, n, raw) for n in range(1, 81)])
    assert module(folder, captions="auto").facts.captions == (clean,) and clean.isprintable()


BAD = {
    ("annotations", "caption"): [None, 7, True, ["x"], {}, "x" * 1001],
    ("annotations", "id"): [None, True, 1.5, "1", 2**63],
    ("annotations", "image_id"): [None, True, "1", [1], 2**63],
    ("images", "id"): [None, True, 1.0, "1"],
    ("images", "file_name"): [None, 7, "", "a\0b", "../x", "/x"],
}


@pytest.mark.parametrize("key, field", BAD)
def test_a_field_of_a_wrong_type_is_named_with_its_entry(folder, key, field):
    path = folder / "annotations" / "captions.json"
    whole = path.read_text()
    for bad in BAD[key, field]:
        content = json.loads(whole)
        content[key][3][field] = bad
        path.write_text(json.dumps(content))
        said = f"^data.captions: .*captions.json is not in COCO format: entry 3 of '{key}' has the"
        with pytest.raises(UserError, match=said) as refused:
            module(folder, captions="auto")
        assert len(str(refused.value)) < 500 and "\n" not in str(refused.value)
    del content[key][3][field]
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=f"entry 3 of '{key}' has no {field}"):
        module(folder, captions="auto")
    module(folder)  # which asks for no captions


def test_a_file_that_is_none_is_named(folder, tmp_path):
    path = folder / "annotations" / "captions.json"
    for content, said in ((b"", "is empty"), (b"[" * 100_000, "is not JSON"), (b"7", "is not in COCO")):
        path.write_bytes(content)
        with pytest.raises(UserError, match=f"data.captions: .*captions.json {said}"):
            module(folder, captions="auto")
    write(folder, [(1, 999, "of no picture")])
    with pytest.raises(UserError, match="captions.json describes none of the 80 pictures; give another file, or categ"):
        module(folder, captions="auto")
    path.unlink()
    for given in ("auto", "annotations/captions.json", str(path)):
        with pytest.raises(UserError, match="data.captions: the annotation file .*captions.json does not exist; give"):
            module(folder, captions=given)
    (tmp_path / "outside.json").write_text("{}")
    path.symlink_to(tmp_path / "outside.json")
    with pytest.raises(UserError, match="data.captions: .* leads? out of"):
        module(folder, captions="auto")
    with pytest.raises(UserError, match="data.captions: .* leads out of its folder"):
        module(folder, captions="../outside.json")
    with pytest.raises(UserError, match="data.captions must be the path of a file"):
        module(folder, captions="/" + "x" * 5000)
    shutil.move(folder / "annotations" / "instances.json", folder / "annotations" / "mine.json")
    with pytest.raises(UserError, match="auto is the captions file of an instances file, and there is ann"):
        module(folder, captions="auto")


def test_each_instances_file_has_its_captions_beside_it(folder):
    content = json.loads((folder / "annotations" / "instances.json").read_text())
    for part, chosen in (("train", content["images"][:55]), ("test", content["images"][55:])):
        (folder / "annotations" / f"instances_{part}.json").write_text(json.dumps(content | {"images": chosen}))
        rows = [(image["id"], image["id"], f"{part} {image['id']}") for image in chosen]
        write(folder, rows, f"captions_{part}.json", images=chosen)
    (folder / "annotations" / "instances.json").unlink()
    data = module(folder, captions="auto")
    assert texts_by_id(data) == {
        id_: f"{'test' if part == 'test' else 'train'} {id_}" for part, ids in data.split.items() for id_ in ids
    }
    assert data.facts.labels == 80


def test_a_plain_folder_of_pictures_has_captions_by_their_names(folder, tmp_path):
    (folder / "annotations" / "instances.json").rename(tmp_path / "instances.json")
    data = module(folder, captions="annotations/captions.json", image_dir="images")
    said = json.loads((folder / "annotations" / "captions.json").read_text())["annotations"]
    truth = {f"{row['image_id']:06d}.jpg": row["caption"] for row in said}
    found = texts_by_id(data)
    assert len(found) == 70 and found.items() <= truth.items()


def test_captions_in_a_zip_are_those_of_the_folder(folder, tmp_path):
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for path in sorted(folder.rglob("*.*")):
            archive.write(path, path.relative_to(folder))
    data = module(tmp_path / "all.zip", captions="auto")
    assert data.facts == module(folder, captions="auto").facts and texts_by_id(data)


def test_official_captions():
    root = shared("coco_open/annotations/captions.json").parents[1]
    content = json.loads((root / "annotations" / "captions.json").read_text())
    first = {}
    for row in content["annotations"]:
        id_, caption = first.get(row["image_id"], (row["id"], row["caption"]))
        first[row["image_id"]] = min((id_, caption), (row["id"], row["caption"]))
    with pytest.warns(UserWarning, match="captions.json describes 62 of 110 pictures"):
        data = module(root, captions="auto", n_train=70, n_test=30, n_val=10)
    found = texts_by_id(data)
    assert len(found) == 110 and len(first) == 62
    for id_, text in found.items():
        if id_ in first:
            assert text == re.sub(r"\s+", " ", first[id_][1]).strip()
        else:
            assert re.match("a photo( of an? .+)?$", text)


def test_a_photos_label_is_a_sentence():
    root = shared("photos_10k2k.zip")
    data = module(root, captions="categories")
    assert data.facts.labels == 200 and "a photo of an Egyptian cat" in data.facts.captions


# --- facts of a model


@pytest.mark.slow
def test_a_model_is_told_the_captions_and_keeps_them(folder, told, tmp_path, capsys):
    (tmp_path / "told.yaml").write_text("model: {class_path: told.Told}\ndata: {class_path: COCODataModule}")
    words = ["--config", "told.yaml", *options(RUN, data__root=folder, images__epochs="[0]")]
    assert call("fit", *words) == 1
    said = capsys.readouterr().err
    assert "the data have no captions, which Told needs; of pictures, ask for them with --data.captions auto" in said
    assert not list(tmp_path.glob("runs/*/*")) and call("fit", *words, "--data.captions", "auto") == 0
    texts = module(folder, captions="auto").facts.captions
    model = vae_zoo.load(only_run(tmp_path) / "checkpoints" / "last.ckpt", trust=["told"])
    assert model.hparams.captions == texts and model.labels == len(texts)
    assert "captions: auto" in (only_run(tmp_path) / "config.yaml").read_text()
    assert texts[3] not in (only_run(tmp_path) / "config.yaml").read_text()  # the data tell them
    assert call("test", "--trust", "told", "--data.n_test", "9") == 0
    capsys.readouterr()
    assert call("test", "--trust", "told", "--data.captions", "categories") == 1
    said = capsys.readouterr().err
    assert "the checkpoint was trained with the labels" in said and len(said) < 3000
    assert f"and {len(texts) - 10} more; the data have a photo of a" in said
    path = folder / "annotations" / "captions.json"
    path.write_text(path.read_text().replace("a red", "a scarlet"))
    assert call("test", "--trust", "told") == 1


def test_other_captions_are_refused(folder):
    facts = module(folder, captions="auto").facts
    refuse_other_data(facts, {"hyper_parameters": {"captions": facts.captions}})
    for other in (facts.captions[:-1], (*facts.captions[:-1], "another"), facts.captions[::-1]):
        with pytest.raises(UserError, match="the checkpoint was trained with the labels"):
            refuse_other_data(facts, {"hyper_parameters": {"captions": other}})
    refuse_other_data(facts, {"hyper_parameters": {}})  # of a model without labels


def test_the_captions_of_a_large_data_set_are_handed_on(told, tmp_path):
    texts = tuple(f"picture {n} of all, which shows what no other picture shows" for n in range(13_000))
    export(told.Told(captions=texts), tmp_path / "out")
    assert vae_zoo.load(tmp_path / "out", trust=["told"]).hparams.captions == texts
    assert len((tmp_path / "out" / "README.md").read_text()) < 20_000
    with pytest.raises(UserError, match="cannot be exported: it has .* bytes, more than"):
        export(told.Told(captions=tuple("x" * 1000 + str(n) for n in range(5000))), tmp_path / "more")


def test_only_a_tuple_of_texts_may_be_long(monkeypatch):
    texts = [str(n) for n in range(1000)]
    trust.refuse_untrusted(texts, tuple[str, ...], "a.ckpt")
    for value, annotation in ((texts, list[str]), ([*texts, 1], tuple[str, ...]), (texts, tuple[int, ...])):
        with pytest.raises(UserError, match="a.ckpt has 100[01] values; in a file that was only found, 300 are"):
            trust.refuse_untrusted(value, annotation, "a.ckpt")
    monkeypatch.setattr(trust, "MOST_TEXTS", 999)
    with pytest.raises(UserError, match="999 are allowed"):
        trust.refuse_untrusted(texts, tuple[str, ...], "a.ckpt")
