"""COCO annotations with values of a wrong kind, and pictures that are damaged."""

import io
import json
import re
import shutil
import struct
import zlib
from collections import Counter

import torch
from PIL import Image

import vae_zoo
from tests.torture.generate import damage, damage_file, dice, mutants
from tests.torture.harness import Case, case, expect
from tests.torture.templates import template, trained, words
from vae_zoo.data import COCODataModule, COCOSketches

SIZES = {"n_train": 6, "n_test": 3, "n_val": 1, "image_size": 16, "batch_size": 4, "workers": 0, "max_unreadable": 0.5}


def base():
    """The annotations of twelve pictures."""
    content = json.loads(next(template("shapes/annotations").glob("instances*.json")).read_text())
    content["images"] = content["images"][:12]
    ids = {image["id"] for image in content["images"]}
    content["annotations"] = [each for each in content["annotations"] if each["image_id"] in ids]
    return content


def pictures(root):
    """A data module of a folder, set up, all of whose pictures were read."""
    data = COCODataModule(str(root), **SIZES)
    data.setup()
    for part in ("train", "val", "test"):
        for x, y in data.batches(part, 4):
            expect(torch.isfinite(x).all() and (y >= 0).all(), "a picture or label that is none")
    return data


@case
def read(place, what, content, check=lambda data: None):
    """A data set with these annotations, as pictures and as sketches."""
    root = place.work / "coco"
    shutil.copytree(template("shapes/images"), root / "images")
    (root / "annotations").mkdir()
    (root / "annotations" / "instances.json").write_bytes(content())

    def use():
        data = pictures(root)
        counts = Counter(id_ for part in data.split.values() for id_ in part)
        expect(max(counts.values()) == 1, "a picture is in two parts, or twice in one")
        check(data)

    place.load(use)

    def sketch():
        data = COCOSketches(str(root), n_train=5, n_test=2, n_val=1)
        data.setup()
        for x, _ in data.batches("train", 4):
            expect(torch.isfinite(x).all(), "a sketch that is no number")

    place.load(sketch)


def edited(what, change, check=lambda data: None):
    def content():
        tree = base()
        change(tree)
        return json.dumps(tree).encode()

    return read(what, content, check)


@case
def described(place, what, change):
    """A data set with these captions."""
    root = shutil.copytree(template("shapes"), place.work / "coco")
    path = root / "annotations" / "captions.json"
    tree = json.loads(path.read_text())
    path.write_text(json.dumps(change(tree) or tree))

    def use():
        data = COCODataModule(str(root), **SIZES, captions="auto")
        texts = data.facts.captions
        expect(all(0 < len(text) <= 1000 and text.isprintable() for text in texts), "a text that is none")
        expect(len(set(texts)) == len(texts) == data.facts.labels, "a label without a text of its own")
        for part in ("train", "val", "test"):
            expect(
                all((0 <= y).all() and (y < len(texts)).all() for _, y in data.batches(part, 4)), "a label of no text"
            )

    place.load(use)


def captions(field, value):
    """All captions with this value in a field."""
    return described(
        f"captions.{field} {str(value)[:30]!r}",
        lambda tree: [row.update({field: value}) for row in tree["annotations"]] and None,
    )


def sets(where, field, value):
    """All entries of a list with this value in a field."""
    return edited(
        f"{where}.{field} {str(value)[:30]!r}", lambda tree: [row.update({field: value}) for row in tree[where]]
    )


def doubled(tree):
    """The first picture's file under four further ids."""
    for number in range(4):
        tree["images"].append({**tree["images"][0], "id": 10_000 + number})


def once(data):
    rows = torch.cat([x for part in ("train", "val", "test") for x, _ in data.batches(part, 4)]).flatten(1)
    expect(len(rows.unique(dim=0)) == len(rows), "a file is several pictures")


def same_file(tree):
    """One file by several spellings of its name."""
    name = tree["images"][0]["file_name"]
    for number, spelling in enumerate((f"./{name}", f"x/../{name}", f".//{name}")):
        tree["images"].append({**tree["images"][0], "id": 10_000 + number, "file_name": spelling})


def png(width, height, claimed=None):
    """A grey PNG that claims to be of another size."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", *(claimed or (width, height)), 8, 0, 0, 0, 0)
    rows = zlib.compress((b"\0" + bytes(width)) * height)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def _saved(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


ODD = {
    "a bomb": lambda: png(4, 4, (60_000, 60_000)),
    "a bomb of rows": lambda: png(40_000, 2000),
    "a line": lambda: png(4000, 1),
    "no height": lambda: png(4, 4, (4, 0)),
    "16 bits": lambda: _saved(Image.new("I;16", (20, 20), 7), "PNG"),
    "floats": lambda: _saved(Image.new("F", (20, 20), 0.5), "TIFF"),
    "CMYK": lambda: _saved(Image.new("CMYK", (20, 20), (9, 9, 9, 9)), "JPEG"),
    "a palette with transparency": lambda: _saved(Image.new("P", (20, 20)), "PNG", transparency=0),
    "a moving picture": lambda: _saved(
        Image.new("L", (20, 20)), "GIF", save_all=True, append_images=[Image.new("L", (20, 20), 200)] * 3
    ),
    "broken EXIF": lambda: _saved(Image.new("RGB", (20, 20)), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff"),
    "one pixel": lambda: _saved(Image.new("RGB", (1, 1)), "PNG"),
    "a text": lambda: b"no picture",
    "nothing": lambda: b"",
    "EPS": lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n",
    "SVG": lambda: b"<svg xmlns='http://www.w3.org/2000/svg'/>",
}


@case
def picture(place, what, make, number):
    """One picture of twelve that is something else; the others stay what they are."""
    root = place.work / "pictures"
    root.mkdir()
    for path in sorted(template("shapes/images").rglob("*.*"))[:12]:
        shutil.copy(path, root / path.name)
    which = sorted(root.iterdir())[number % 12]

    def rows():
        data = pictures(root)
        found = {}
        for part, ids in data.split.items():
            for id_, x in zip(ids, torch.cat([x for x, _ in data.batches(part, 4)]), strict=True):
                found[id_] = x
        return found

    kept = place.base / "tmp" / "rows"
    place.load(lambda: torch.save(rows(), kept))
    make(which, dice("pictures", number))
    place.own = (f"work/pictures/{which.name}",)

    def use():
        for id_, x in rows().items():
            before = torch.load(kept)[id_]
            expect(id_ == which.name or torch.equal(x, before), f"{id_} is another picture now")

    place.load(use)
    model = template("runs/vae/checkpoints/last.ckpt")
    place.load(lambda: expect(vae_zoo.load_images(which, vae_zoo.load(model)).isfinite().all(), "no numbers"))
    if number % 4 == 0:
        place.zoo("reconstruct", "--ckpt_path", model, "--images", "pictures", "--out", "out.png")


@case
def fitted(place, what, change):
    """A training on such annotations, by the command."""
    root = shutil.copytree(template("shapes"), place.work / "coco")
    path = next((root / "annotations").glob("instances*.json"))
    tree = json.loads(path.read_text())
    change(tree)
    path.write_text(json.dumps(tree))
    place.zoo("fit", "--config", "vae", *words("vae", data__root=root), "--trainer.max_epochs", 1, "--run_dir", "run")


def two_processes(place):
    """Fifteen images that two processes test: the figure is that of one."""
    checkpoint = trained(place)
    figures = []
    for devices in (1, 2):
        options = [
            "--trainer.devices",
            devices,
            "--trainer.strategy",
            "ddp" if devices > 1 else "auto",
            "--data.n_test",
            15,
        ]
        run = place.process if devices > 1 else place.zoo
        assert run("test", "--ckpt_path", checkpoint, *options).status == 0, place.done[-1].said
        figures.append(float(re.search(r"test/mse\W+([\d.]+)", place.done[-1].said)[1]))
    expect(
        abs(figures[0] - figures[1]) < 1e-6 * figures[0],
        f"an MSE of {figures[1]} by two processes, {figures[0]} by one",
    )


def cases(count):
    """What is named in the issue, then generated JSON, then pictures."""
    wrong = (None, "x", [1], {}, -1, 1e400, True, "a\0b", 10**30)
    found = [sets("images", field, value) for field in ("id", "width", "file_name") for value in wrong]
    found += [
        sets("annotations", field, value)
        for field in ("area", "image_id", "category_id", "segmentation")
        for value in wrong
    ]
    found += [sets("categories", field, value) for field in ("id", "name") for value in wrong]
    found += [
        edited("a doubled file_name", doubled, once),
        edited("a file by several spellings", same_file, once),
        edited("doubled ids", lambda tree: [row.update(id=1) for row in tree["images"]]),
        edited("doubled categories", lambda tree: tree["categories"].extend(tree["categories"])),
        read("deep nesting", lambda: b"[" * 100_000),
        read("deep mappings", lambda: b'{"a":' * 100_000),
        read("NaN", lambda: json.dumps(base()).replace('"area": ', '"area": NaN, "x": ').encode()),
        read(
            "a long number",
            lambda: json.dumps(base()).replace('"area": ', '"area": 1' + "0" * 5000 + ', "x": ').encode(),
        ),
        read("UTF-16", lambda: json.dumps(base()).encode("utf-16")),
        read("a byte order mark", lambda: b"\xef\xbb\xbf" + json.dumps(base()).encode()),
        read("two keys alike", lambda: json.dumps(base())[:-1].encode() + b', "images": []}'),
        fitted("a text for an area", lambda tree: [row.update(area="x") for row in tree["annotations"]]),
        fitted("null for a width", lambda tree: [row.update(width="x") for row in tree["images"]]),
        Case("fifteen images tested by two processes", two_processes),
    ]
    found += [
        picture(what, lambda path, _, make=make: path.write_bytes(make()), n)
        for n, (what, make) in enumerate(ODD.items())
    ]
    found += [captions(field, value) for field in ("id", "image_id", "caption") for value in wrong]
    found += [captions("caption", text) for text in ("", " \n", "\x1b[2J", "\ud800", "x" * 10**6, "\u202e")]
    found += [
        described(said, lambda tree, to=to: to) for said, to in (("no captions", {"images": []}), ("a list", [7]))
    ]
    left = count - len(found)
    found += [picture("damaged", lambda path, dice_: damage_file(path, dice_), n) for n in range(left // 3)]
    small = base_of_five()
    for number, (said, tree) in enumerate(mutants(small, left - left // 3, "annotations")):
        text = json.dumps(tree).encode()
        if number % 6 == 0:
            said, text = damage(text, dice("json", number))
        found.append(read(said, lambda text=text: text))
    return found


def base_of_five():
    """Annotations as the generated data set has them, written here since it is not made yet."""
    images = [{"id": n, "file_name": f"{n:06d}.jpg", "width": 64, "height": 64} for n in range(12)]
    square = [[0, 0, 9, 0, 9, 9, 0, 9]]
    instances = [
        {
            "id": n,
            "image_id": n,
            "category_id": 1 + n % 2,
            "area": 81.0,
            "bbox": [0, 0, 9, 9],
            "segmentation": square,
            "iscrowd": 0,
        }
        for n in range(12)
    ]
    return {"images": images, "annotations": instances, "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]}
