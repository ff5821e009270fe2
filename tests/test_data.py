"""The data module as a user meets it: folders, zips, splits, labels and damaged pictures."""

import io
import json
import multiprocessing
import os
import shutil
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools.coco import COCO

from tests.conftest import shared
from vae_zoo.data import COCODataModule, cache
from vae_zoo.data.cache import open_cache
from vae_zoo.data.files import Files
from vae_zoo.data.pictures import decode
from vae_zoo.data.shapes import generate_shapes
from vae_zoo.errors import UserError

SMALL = {"n_train": 40, "n_test": 20, "n_val": 10, "image_size": 16, "batch_size": 16}


def module(root, **changes):
    data = COCODataModule(str(root), **{**SMALL, **changes})
    data.setup()
    return data


def images(data, part):
    loader = getattr(data, f"{part}_dataloader")()
    batches = [data.on_after_batch_transfer(batch, 0) for batch in loader]
    return torch.cat([x for x, _ in batches]), torch.cat([y for _, y in batches])


def jpeg(array, **options):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "JPEG", quality=95, **options)
    return buffer.getvalue()


def gradient(height, width):
    """Dark at the left, light at the right."""
    return np.broadcast_to(np.linspace(0, 255, width).astype(np.uint8)[None, :, None], (height, width, 3)).copy()


@pytest.fixture
def folder(shapes, tmp_path):
    """A copy of the drawn data set that a test may damage."""
    return shutil.copytree(shapes, tmp_path / "shapes")


# --- the split


def test_split_is_disjoint_by_id_and_complete_and_set_by_the_seed(shapes):
    data = module(shapes)
    assert {part: len(ids) for part, ids in data.split.items()} == {"train": 40, "val": 10, "test": 20}
    assert len(set().union(*data.split.values())) == 70
    again, other = module(shapes), module(shapes, seed=1)
    assert again.split == data.split and again.split_sha256 == data.split_sha256
    assert other.split != data.split and other.split_sha256 != data.split_sha256


def test_split_does_not_depend_on_where_the_data_are(shapes, folder):
    assert module(shapes).split_sha256 == module(folder).split_sha256


def test_test_images_do_not_depend_on_how_many_are_trained_on(shapes):
    assert module(shapes).split["test"] == module(shapes, n_train=5, n_val=1).split["test"]


def test_training_images_do_not_depend_on_how_many_are_validated_on(shapes):
    assert module(shapes).split["train"] == module(shapes, n_val=1).split["train"]


def test_batches_hold_every_image_once_with_a_ragged_last_batch(shapes):
    data = module(shapes)
    assert [len(x) for x, _ in data.train_dataloader()] == [16, 16, 8]
    assert [len(x) for x, _ in data.test_dataloader()] == [16, 4]
    x, _ = images(data, "train")
    assert len(x.flatten(1).unique(dim=0)) == 40


def test_order_follows_the_global_seed_and_the_epoch_and_nothing_else(shapes):
    data = module(shapes)

    def order(seed, epoch, noise=0):
        torch.manual_seed(seed)
        torch.randn(noise)
        loader = data.train_dataloader()
        loader.sampler.set_epoch(epoch)
        return list(loader.sampler)

    assert order(0, 0) == order(0, 0, noise=100)
    assert order(0, 0) != order(0, 1) and order(0, 0) != order(1, 0)
    assert sorted(order(0, 0)) == list(range(40))


def test_validation_takes_what_is_left_by_default(shapes):
    assert len(module(shapes, n_val=None).split["val"]) == 20
    empty = module(shapes, n_train=60, n_val=None)
    assert empty.split["val"] == [] and empty.val_dataloader() == []


def test_test_annotations_are_kept_and_never_trained_on(folder):
    annotations = folder / "annotations"
    full = json.loads((annotations / "instances.json").read_text())
    (annotations / "instances_test.json").write_text(json.dumps(full | {"images": full["images"][:25]}))
    (annotations / "instances.json").rename(annotations / "instances_train.json")  # still names all 80
    data = module(folder)  # both files are found by their names
    held_out = {image["id"] for image in full["images"][:25]}
    assert set(data.split["test"]) <= held_out and len(data.split["test"]) == 20
    assert not held_out & {*data.split["train"], *data.split["val"]}
    named = module(
        folder,
        annotations="annotations/instances_train.json",
        test_annotations=str(annotations / "instances_test.json"),
    )
    assert named.split == data.split


def edit(folder, change):
    path = folder / "annotations" / "instances.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_what_is_held_out_is_the_file_whatever_its_id_and_chosen_by_the_seed(folder):
    annotations = folder / "annotations"
    full = json.loads((annotations / "instances.json").read_text())
    tests = [image | {"id": image["id"] + 1000} for image in full["images"][:25]]
    (annotations / "instances_test.json").write_text(json.dumps(full | {"images": tests, "annotations": []}))
    (annotations / "instances.json").rename(annotations / "instances_train.json")
    data = module(folder)
    assert not set(range(1, 26)) & {*data.split["train"], *data.split["val"]}
    one, two = (set(module(folder, n_test=10, seed=seed).split["test"]) for seed in (0, 1))
    assert one != two


def test_a_file_listed_twice_is_one_picture_in_any_order(folder, shapes):
    edit(folder, lambda content: content["images"].reverse())
    assert module(folder).split == module(shapes).split
    edit(folder, lambda content: content["images"].extend([i | {"id": i["id"] + 1000} for i in content["images"]]))
    assert set().union(*module(folder, n_val=20).split.values()) == set(range(1, 81))


def test_validation_takes_no_more_than_a_thousand_by_default(tmp_path):
    for i in range(1_300):
        (tmp_path / f"{i}.jpg").touch()
    chosen = COCODataModule(str(tmp_path), n_train=100, n_test=100)._selection.parts
    assert {part: len(pictures) for part, pictures in chosen.items()} == {"train": 100, "val": 1_000, "test": 100}


# --- the pixels


def test_pixels_are_the_pictures(shapes):
    """Against an independent path: Pillow's own thumbnail of the upright picture, by id."""
    data = module(shapes)
    x, _ = images(data, "test")
    assert x.shape == (20, 3, 16, 16) and x.dtype == torch.float32 and 0 <= x.min() < x.max() <= 1
    assert x.is_contiguous(memory_format=torch.channels_last)
    for row, id_ in enumerate(data.split["test"]):
        picture = Image.open(shapes / "images" / f"{id_:06d}.jpg")
        side = min(picture.size)
        left, top = (picture.width - side) / 2, (picture.height - side) / 2
        crop = picture.resize((16, 16), Image.Resampling.BOX, box=(left, top, left + side, top + side))
        truth = torch.from_numpy(np.asarray(crop).copy()).permute(2, 0, 1) / 255
        assert (x[row] - truth).abs().mean() < 0.03


def test_zip_and_folder_give_the_same(shapes, tmp_path):
    packed = shutil.make_archive(str(tmp_path / "packed"), "zip", shapes)
    (a, la), (b, lb) = images(module(shapes), "test"), images(module(packed), "test")
    assert torch.equal(a, b) and torch.equal(la, lb)


def test_official_layout_with_pictures_in_a_zip(shapes, tmp_path):
    (tmp_path / "annotations").mkdir()
    shutil.copy(shapes / "annotations" / "instances.json", tmp_path / "annotations" / "instances_train2017.json")
    shutil.copy(shapes / "annotations" / "instances.json", tmp_path / "annotations" / "captions_train2017.json")
    with zipfile.ZipFile(tmp_path / "train2017.zip", "w") as archive:
        for picture in (shapes / "images").iterdir():
            archive.write(picture, f"train2017/{picture.name}")
    shutil.copytree(shapes / "images", tmp_path / "elsewhere")
    truth = images(module(shapes), "test")[0]
    assert torch.equal(images(module(tmp_path), "test")[0], truth)  # the captions are not taken for instances
    assert torch.equal(images(module(shapes, image_dir=str(tmp_path / "elsewhere")), "test")[0], truth)


def test_worker_processes_read_one_zip_without_disturbing_each_other(tmp_path):
    """A zip handle shared by forked workers gives each other's bytes."""
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as archive:
        for i in range(600):
            archive.writestr(f"{i:03d}.jpg", jpeg(np.full((20, 20, 3), i % 256, np.uint8)))
    files = Files(tmp_path / "p.zip")
    pictures = [(files, name) for name in files.pictures()]  # this opens the zip before the workers fork
    done = open_cache(pictures, (1, 8, 8), tmp_path / "cache", workers=2)
    assert done.unreadable == {}
    assert np.abs(done.pixels.mean((1, 2, 3)) - np.arange(600) % 256).max() <= 1


def test_a_zip_of_one_folder_is_that_folder(shapes, tmp_path):
    (tmp_path / "site").mkdir()
    shutil.copytree(shapes, tmp_path / "site" / "shapes")
    packed = shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path / "site")
    data = module(packed)
    assert data.split == module(shapes).split and data.labels == module(shapes).labels


def test_missing_sizes_and_areas_are_no_matter(folder, shapes):
    def forget(content):
        for image in content["images"]:
            image["width"] = None
        for annotation in content["annotations"]:
            annotation["area"] = None

    edit(folder, forget)
    assert module(folder).split == module(shapes).split


def test_a_set_of_which_nothing_can_be_read(folder):
    for picture in (folder / "images").iterdir():
        picture.write_bytes(b"")
    with (
        pytest.raises(UserError, match="none of the 40 train pictures"),
        pytest.warns(UserWarning, match="left out 70"),
    ):
        module(folder, max_unreadable=1)


def test_resident_batches_are_the_same(shapes):
    torch.manual_seed(3)
    plain = images(module(shapes), "train")
    torch.manual_seed(3)
    resident = images(module(shapes, resident=True), "train")
    assert torch.equal(plain[0], resident[0]) and torch.equal(plain[1], resident[1])


def test_grey_images_have_one_channel(shapes):
    grey = images(module(shapes, channels=1), "test")[0]
    colour = images(module(shapes), "test")[0]
    assert grey.shape == (20, 1, 16, 16)
    luma = (colour * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(1, keepdim=True)
    assert (grey - luma).abs().max() < 0.05


# --- labels


def test_label_is_the_category_with_the_largest_area(shapes):
    data = module(shapes)
    coco = COCO(str(shapes / "annotations" / "instances.json"))
    _, y = images(data, "test")
    for id_, label in zip(data.split["test"], y.tolist(), strict=True):
        areas = {}
        for instance in coco.loadAnns(coco.getAnnIds(id_)):
            areas[instance["category_id"]] = areas.get(instance["category_id"], 0) + instance["area"]
        assert data.labels[label] == coco.cats[max(areas, key=areas.get)]["name"]


def test_areas_of_one_category_add_up(folder):
    def two_small_and_one_large(content):
        sizes = ((1, 40), (4, 60), (1, 40))
        content["annotations"] = [
            {"image_id": image["id"], "category_id": category, "area": area}
            for image in content["images"]
            for category, area in sizes
        ]

    edit(folder, two_small_and_one_large)
    data = module(folder)
    assert {data.labels[y] for y in images(data, "test")[1]} == {"triangle"}


def test_images_without_a_label_are_none(folder):
    path = folder / "annotations" / "instances.json"
    content = json.loads(path.read_text())
    content["annotations"] = [a for a in content["annotations"] if a["image_id"] > 40]
    path.write_text(json.dumps(content))
    data = module(folder)
    _, y = images(data, "test")
    assert data.labels[-1] == "none"
    for id_, label in zip(data.split["test"], y.tolist(), strict=True):
        assert (data.labels[label] == "none") == (id_ <= 40)


def test_categories_and_size_select(shapes):
    content = json.loads((shapes / "annotations" / "instances.json").read_text())
    stars = {a["image_id"] for a in content["annotations"] if a["category_id"] == 4}
    large = {i["id"] for i in content["images"] if min(i["width"], i["height"]) >= 110}
    chosen = module(shapes, categories=["star"], n_train=5, n_test=5, n_val=None)
    assert set().union(*chosen.split.values()) == stars and chosen.labels == ["star"]
    chosen = module(shapes, min_size=110, n_train=5, n_test=5, n_val=None)
    assert set().union(*chosen.split.values()) == large


def test_a_plain_folder_has_its_subfolders_as_labels(shapes, tmp_path):
    for i, picture in enumerate(sorted((shapes / "images").iterdir())):
        target = tmp_path / ("cats" if i % 2 else "dogs/puppies") / picture.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(picture, target)
    data = module(tmp_path)
    assert data.labels == ["cats", "dogs"]
    _, y = images(data, "train")
    assert [id_.split("/")[0] for id_ in data.split["test"]] == [data.labels[i] for i in images(data, "test")[1]]
    assert set(y.tolist()) == {0, 1}
    flat = module(shapes / "images")
    assert flat.labels == ["none"]


# --- decode once


def test_second_start_decodes_nothing(shapes, tmp_path, monkeypatch):
    first = images(module(shapes, cache_dir=str(tmp_path)), "test")[0]
    monkeypatch.setattr(cache, "decode", lambda *_: pytest.fail("decoded again"))
    assert torch.equal(images(module(shapes, cache_dir=str(tmp_path)), "test")[0], first)


@pytest.mark.parametrize("change", ["picture", "size", "split"])
def test_cache_is_made_again_when_anything_that_determines_it_changes(folder, tmp_path, change):
    module(folder, cache_dir=str(tmp_path / "cache"))
    if change == "picture":
        for picture in (folder / "images").iterdir():
            picture.write_bytes(jpeg(np.zeros((30, 30, 3), np.uint8)))
    changes = {"size": {"image_size": 24}, "split": {"seed": 1}}.get(change, {})
    data = module(folder, cache_dir=str(tmp_path / "cache"), **changes)
    assert len(list((tmp_path / "cache").glob("*.npy"))) == 2
    if change == "picture":
        assert images(data, "test")[0].max() == 0


def test_cache_tells_two_folders_and_two_versions_apart(tmp_path, monkeypatch):
    means = []
    for name, value in (("a", 0), ("b", 255)):
        (tmp_path / name).mkdir()
        file = tmp_path / name / "x.bmp"
        Image.fromarray(np.full((8, 8, 3), value, np.uint8)).save(file)
        os.utime(file, (1, 1))
        pictures = [(Files(tmp_path / name), "x.bmp")]
        means.append(open_cache(pictures, (1, 8, 8), tmp_path / "cache").pixels.mean())
    assert means == [0, 255]
    monkeypatch.setattr(cache, "VERSION", -1)
    open_cache(pictures, (1, 8, 8), tmp_path / "cache")
    assert len(list((tmp_path / "cache").glob("*.npy"))) == 3


def test_a_zip_that_was_written_anew_is_read_anew(tmp_path):
    means = []
    for value in (10, 200):
        with zipfile.ZipFile(tmp_path / "p.zip", "w") as archive:
            archive.writestr("x.bmp", bmp(np.full((8, 8, 3), value, np.uint8)))
        means.append(open_cache([(Files(tmp_path / "p.zip"), "x.bmp")], (1, 8, 8), tmp_path / "cache").pixels.mean())
    assert means == [10, 200]


def bmp(array):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "BMP")
    return buffer.getvalue()


def _build(arguments):
    folder, directory = arguments
    return images(module(folder, cache_dir=directory), "test")[0].sum().item()


def test_two_processes_build_at_once(shapes, tmp_path):
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        sums = pool.map(_build, [(str(shapes), str(tmp_path))] * 2, chunksize=1)
    assert sums[0] == sums[1]
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", ".npy"]


def test_an_interrupted_build_leaves_nothing_to_pick_up(shapes, tmp_path, monkeypatch):
    calls = []

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == 30:
            raise KeyboardInterrupt
        return decode(*arguments)

    monkeypatch.setattr(cache, "decode", interrupted)
    with pytest.raises(KeyboardInterrupt):
        module(shapes, cache_dir=str(tmp_path))
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    assert torch.equal(images(module(shapes, cache_dir=str(tmp_path)), "test")[0], images(module(shapes), "test")[0])


# --- pictures of all kinds


def test_decode_keeps_the_centre_and_the_short_side():
    picture = gradient(20, 60)
    out = decode(jpeg(picture), (3, 20, 20)).astype(float)
    assert out.shape == (20, 20, 3)
    assert np.abs(out - picture[:, 20:40]).mean() < 3
    assert np.abs(decode(jpeg(gradient(16, 32)), (3, 16, 32)).astype(float) - gradient(16, 32)).mean() < 3


def test_decode_is_antialiased():
    stripes = np.tile(np.array([0, 255], np.uint8), (64, 32))[:, :, None].repeat(3, 2)
    assert np.abs(decode(png(stripes), (3, 16, 16)).astype(float) - 127.5).max() < 12


def png(array, mode=None):
    buffer = io.BytesIO()
    Image.fromarray(array, mode).save(buffer, "PNG")
    return buffer.getvalue()


def test_decode_turns_upright():
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 90 degrees clockwise
    turned = decode(jpeg(gradient(32, 32), exif=exif), (3, 32, 32)).astype(float)
    assert np.abs(turned - gradient(32, 32).transpose(1, 0, 2)).mean() < 3


def test_decode_grey_cmyk_palette_alpha_and_tiny():
    grey = gradient(16, 16)[:, :, 0]
    truth = gradient(16, 16).astype(float)
    assert np.abs(decode(jpeg(grey), (3, 16, 16)) - truth).mean() < 3
    buffer = io.BytesIO()
    Image.fromarray(gradient(16, 16)).convert("CMYK").save(buffer, "JPEG", quality=95)
    assert np.abs(decode(buffer.getvalue(), (3, 16, 16)) - truth).mean() < 6
    buffer = io.BytesIO()
    Image.fromarray(gradient(16, 16)).convert("P", palette=Image.Palette.ADAPTIVE).save(buffer, "PNG")
    assert np.abs(decode(buffer.getvalue(), (3, 16, 16)) - truth).mean() < 6
    one = decode(png(np.full((1, 1, 3), 77, np.uint8)), (3, 16, 16))
    assert one.shape == (16, 16, 3) and (one == 77).all()
    strip = decode(png(np.full((1, 4000, 3), 77, np.uint8)), (3, 16, 16))
    assert (strip == 77).all()


def test_damaged_pictures_are_named_and_left_out(folder):
    data = module(folder)
    chosen = [f"{id_:06d}.jpg" for id_ in data.split["train"][:3]]
    (folder / "images" / chosen[0]).write_bytes(b"")
    whole = (folder / "images" / chosen[1]).read_bytes()
    (folder / "images" / chosen[1]).write_bytes(whole[: len(whole) // 2])
    (folder / "images" / chosen[2]).unlink()
    with pytest.warns(UserWarning, match="left out 3 of 70") as said:
        damaged = module(folder)
    assert all(name in str(said[0].message) for name in chosen)
    assert damaged.split["train"] == data.split["train"][3:]
    assert damaged.split["test"] == data.split["test"]
    x, y = images(damaged, "train")
    assert len(x) == len(y) == 37
    assert images(data, "train")[0].flatten(1).unique(dim=0).shape[0] == 40


def test_pixels_and_labels_stay_together_when_a_picture_is_left_out(folder):
    whole = module(folder)
    for id_ in whole.split["test"][:3]:
        (folder / "images" / f"{id_:06d}.jpg").write_bytes(b"")
    with pytest.warns(UserWarning, match="left out 3 of 70"):
        damaged = module(folder)
    for after, before in zip(images(damaged, "test"), images(whole, "test"), strict=True):
        assert torch.equal(after, before[3:])


def test_too_many_damaged_pictures_stop_the_run(folder):
    for picture in sorted((folder / "images").iterdir())[:10]:
        picture.write_bytes(b"not a picture")
    with pytest.raises(UserError, match=r"pictures \(1\d\.\d%\) cannot be read, more than data.max_unreadable = 5.0%"):
        module(folder)
    with pytest.warns(UserWarning, match="left out"):
        module(folder, max_unreadable=0.5)


def test_sixteen_bit_pictures_are_not_clipped_in_silence(tmp_path):
    for i in range(10):
        Image.fromarray(np.full((8, 8), 30_000, np.uint16)).save(tmp_path / f"{i}.png")
    with pytest.raises(UserError, match="only 8-bit pictures are read"):
        module(tmp_path, n_train=5, n_test=5, n_val=0)


def test_bytes_become_the_whole_range(tmp_path):
    for i in range(2):
        Image.fromarray(np.full((8, 8, 3), 255 * i, np.uint8)).save(tmp_path / f"{i}.PNG")
    (tmp_path / "__MACOSX").mkdir()
    (tmp_path / "__MACOSX" / "x.png").touch()
    (tmp_path / "._1.png").touch()
    data = module(tmp_path, n_train=1, n_test=1, n_val=0)
    values = torch.cat([images(data, "train")[0], images(data, "test")[0]])
    assert sorted(values.flatten(1)[:, 0].tolist()) == [0, 1]


# --- what a user may get wrong


def broken(folder, content):
    (folder / "annotations" / "instances.json").write_text(content)


@pytest.mark.parametrize(
    "damage, changes, message",
    [
        (lambda f: shutil.rmtree(f), {}, "does not exist"),
        (lambda f: None, {"annotations": "nowhere.json"}, "nowhere.json does not exist"),
        (lambda f: broken(f, ""), {}, "instances.json is empty"),
        (lambda f: broken(f, "{'images'"), {}, "is not JSON"),
        (lambda f: broken(f, "[1, 2]"), {}, "not in COCO format.*'images'"),
        (lambda f: broken(f, '{"images": [{"id": 1}]}'), {}, "not in COCO format.*file_name"),
        (lambda f: broken(f, '{"images": [], "annotations": [], "categories": []}'), {}, "names no image"),
        (lambda f: shutil.rmtree(f / "images"), {}, "none of the pictures.*say where they are with --data.image_dir"),
        (lambda f: None, {"image_dir": "elsewhere"}, "data.image_dir.*elsewhere does not exist"),
        (lambda f: None, {"n_train": 100}, r"n_train = 100 .* of 80 in .*; ask for fewer, such as --data.n_train"),
        (lambda f: None, {"categories": ["zebra"]}, r"\['zebra'\] not in .*, which has circle, pentagon"),
        (lambda f: edit(f, lambda c: c["images"][0].update(id=[1])), {}, "not in COCO format.*id"),
        (lambda f: edit(f, lambda c: c["images"][0].update(file_name=7)), {}, "not in COCO format.*file_name 7"),
        (lambda f: None, {"n_train": 0}, "n_train must be at least 1, got 0"),
        (lambda f: None, {"channels": 2}, r"data.channels must be 1 \(grey\) or 3 \(RGB\), got 2"),
    ],
)
def test_mistakes_are_told_in_one_sentence(folder, damage, changes, message):
    damage(folder)
    with pytest.raises(UserError, match=message) as told:
        module(folder, **changes)
    assert "\n" not in str(told.value)


def test_the_numbers_that_are_proposed_fit(shapes):
    with pytest.raises(UserError) as told:
        module(shapes, n_train=10_000, n_test=2_000, n_val=1_000)
    words = str(told.value).split("such as ")[1].split()
    proposed = {name.removeprefix("--data."): int(n) for name, n in zip(words[::2], words[1::2], strict=True)}
    module(shapes, **proposed)
    with pytest.raises(UserError, match="--data.n_train 79 --data.n_test 1"):
        module(shapes, n_train=10_000, n_test=1, n_val=0)


def test_an_empty_folder_and_a_file_that_is_no_zip(tmp_path):
    with pytest.raises(UserError, match="neither a COCO annotation file nor a picture"):
        module(tmp_path)
    (tmp_path / "x.zip").write_bytes(b"PK")
    with pytest.raises(UserError, match="neither a folder nor a readable zip"):
        module(tmp_path / "x.zip")


def test_a_cache_that_cannot_be_written(shapes, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="choose another data.cache_dir"):
        module(shapes, cache_dir=str(tmp_path / "file" / "cache"))


# --- the drawn data set


def test_drawn_data_are_coco_and_their_polygons_are_where_the_colour_is(shapes):
    coco = COCO(str(shapes / "annotations" / "instances.json"))
    assert len(coco.imgs) == 80 and len(coco.cats) == 5
    for instance in coco.anns.values():
        image = coco.imgs[instance["image_id"]]
        x, y, width, height = instance["bbox"]
        assert 0 <= x and 0 <= y and x + width <= image["width"] and y + height <= image["height"]
        assert abs(coco.annToMask(instance).sum() / instance["area"] - 1) < 0.1
    for id_, image in list(coco.imgs.items())[:20]:
        pixels = np.asarray(Image.open(shapes / "images" / image["file_name"])).astype(float)
        assert pixels.shape == (image["height"], image["width"], 3)
        mask = coco.annToMask(coco.loadAnns(coco.getAnnIds(id_))[-1]).astype(bool)  # the one on top
        assert pixels[mask].std(0).max() < 30 and mask.any()


def test_drawing_is_set_by_the_seed(shapes, tmp_path):
    generate_shapes(tmp_path / "same", 5, seed=1)
    generate_shapes(tmp_path / "other", 5, seed=2)
    for i in range(1, 6):
        name = f"images/{i:06d}.jpg"
        assert (tmp_path / "same" / name).read_bytes() == (shapes / name).read_bytes()
        assert (tmp_path / "other" / name).read_bytes() != (shapes / name).read_bytes()


def test_drawing_does_not_touch_what_is_there(shapes, tmp_path):
    (tmp_path / "mine").write_text("precious")
    with pytest.raises(UserError, match="is there already"):
        generate_shapes(tmp_path, 5)
    with pytest.raises(UserError, match="n must be at least 1, got 0"):
        generate_shapes(tmp_path / "new", 0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine"]


# --- real data


def test_real_coco():
    root = shared("coco_open")
    data = module(root, n_train=60, n_test=30, n_val=20, image_size=64)
    x, y = images(data, "train")
    assert x.shape == (60, 3, 64, 64)
    assert len([label for label in data.labels if label != "none"]) == 80 and len(set(y.tolist())) > 10
    assert 0.3 < x.mean() < 0.6 and 0.15 < x.std() < 0.35


def test_photos_keep_their_official_split():
    data = COCODataModule(str(shared("photos_10k2k.zip")), image_size=16)
    chosen = data._selection.parts
    assert {part: len(pictures) for part, pictures in chosen.items()} == {"train": 10_000, "val": 0, "test": 2_000}
    assert {p.id for p in chosen["train"]} == set(range(1, 10_001))
    assert {p.id for p in chosen["test"]} == set(range(10_001, 12_001))
