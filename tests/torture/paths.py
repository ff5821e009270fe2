"""Names from data, archives, yamls and options that lead out of their folder."""

import json
import os
import shutil
import stat
import zipfile

import torch
import yaml
from PIL import Image

from tests.torture.generate import dice
from tests.torture.harness import case, expect
from tests.torture.templates import fit, template, trained
from vae_zoo.data import COCODataModule

SECRET = (250, 3, 251)  # a colour that no other picture is full of
SIZES = {"n_train": 6, "n_test": 3, "n_val": 1, "image_size": 16, "batch_size": 4, "workers": 0, "max_unreadable": 1.0}


def data_set(place):
    """A data set of twelve pictures in the work folder, and pictures of one colour outside."""
    root = place.work / "coco"
    shutil.copytree(template("shapes/images"), root / "images")
    content = json.loads(next(template("shapes/annotations").glob("instances*.json")).read_text())
    content["images"] = content["images"][:12]
    (root / "annotations").mkdir()
    (root / "annotations" / "instances.json").write_text(json.dumps(content))
    for path in (place.outside / "secret.png", place.work / "secret.png"):
        Image.new("RGB", (40, 40), SECRET).save(path)
    for image in content["images"]:
        shutil.copy(place.outside / "secret.png", place.outside / image["file_name"])
    return root


def rename(root, change, some=12):
    """Change the first file names in the annotations."""
    path = root / "annotations" / "instances.json"
    content = json.loads(path.read_text())
    for image in content["images"][:some]:
        image["file_name"] = change(image["file_name"])
    path.write_text(json.dumps(content))


def unseen(root, **options):
    """Read all pictures; none may be the secret one."""
    data = COCODataModule(str(root), **SIZES | options)
    data.setup()
    secret = torch.tensor(SECRET).view(3, 1, 1) / 255
    for part in ("train", "val", "test"):
        for x, _ in data.batches(part, 4):
            shown = (x - secret).abs().flatten(1).amax(1) < 0.05
            expect(not shown.any(), "a picture outside of the folder was read")


@case
def named(place, what, name, some=12):
    """Pictures whose names in the annotations lead elsewhere."""
    root = data_set(place)
    rename(root, lambda old: name(place, old), some)
    place.load(lambda: unseen(root))


@case
def linked(place, what, link, allowed=False):
    """Links inside of a data set, or at its root."""
    root = data_set(place)
    link(place, root)
    done = place.load(lambda: unseen(root))
    expect(not allowed or done.status == 0, f"refused: {done.said}")


@case
def in_zip(place, what, member, link=False):
    """A zip with a member of such a name, or a link to one: what is in a zip stays there."""
    root = data_set(place)
    archive = place.work / "data.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted((root / "images").rglob("*.*"))[:12]:
            file.write(path, f"images/{path.name}")
        info = zipfile.ZipInfo(member(place) if not link else "images/a.png")
        if link:
            info.external_attr = (stat.S_IFLNK | 0o777) << 16
        file.writestr(info, member(place) if link else path.read_bytes())
    place.load(lambda: unseen(archive))
    model = template("runs/vae/checkpoints/last.ckpt")
    place.zoo("reconstruct", "--ckpt_path", model, "--images", "data.zip", "--out", "x.png")


@case
def annotation_file(place, what, option):
    """An annotation file or folder of pictures, named by a yaml that was found, that lies elsewhere."""
    checkpoint = trained(place)
    data_set(place)
    path = place.work / "run" / "config.yaml"
    settings = yaml.safe_load(path.read_text())
    settings["data"]["init_args"].update(option(place))
    path.write_text(yaml.safe_dump(settings))
    place.zoo("test", "--ckpt_path", checkpoint)


@case
def written(place, what, command, refused=True):
    """A command with an option from which a path is made; nothing is written elsewhere."""
    place.allowed = ("work/*", "home/.cache/*", "tmp/*")
    done = place.zoo(*command(place), wall=60)
    expect(done.status or not refused, f"taken: {what}")


def compare(place, **changes):
    options = {
        "configs": "vae",
        "likelihoods": "Gaussian",
        "epochs": 1,
        "out": "made/here",
        "data.root": template("shapes"),
    } | changes
    return ["compare", *(word for name, value in options.items() for word in (f"--{name}", value))]


@case
def inside(place, name):
    """A comparison may write in its folder alone; a likelihood's name is a part of a path."""
    place.allowed = ("work/made/here/*", "home/.cache/*", "tmp/*")
    done = place.zoo(*compare(place, likelihoods=name), wall=60)
    expect(done.status, f"a likelihood of the name {name} was taken")


@case
def user_name(place, name):
    """A run folder of any name that a file system has is the user's to choose."""
    place.allowed = ("work/*", "home/.cache/*", "tmp/*")
    done = fit(place, "vae", "--trainer.max_epochs", 1, "--run_dir", name)
    if done.status == 0:
        place.zoo("sample", "--ckpt_path", f"{name}/checkpoints/last.ckpt", "--out", f"{name}/x.png")
        place.zoo("report", ".")


def spelling(number):
    """A way of saying where the secret picture is, made at random."""
    dice_ = dice("paths", number)
    ups = dice_.randrange(1, 6)
    parts = ["x/.."] * dice_.randrange(3) + [".."] * ups
    dice_.shuffle(parts)
    where = dice_.choice(["outside/secret.png", "secret.png", "work/secret.png", "work/coco/../../outside/secret.png"])
    slash = dice_.choice(["/", "//", "/./"])
    start = dice_.choice(["", "", "images/", "./", "absolute", "file://", "~/"])

    def name(place, old):
        if start in ("absolute", "file://"):
            return start.replace("absolute", "") + str(place.outside / "secret.png").replace("/", slash)
        return start + slash.join([*parts, where])

    if number % 3 == 0:
        return in_zip("a name that leads out", lambda place: name(place, ""))
    if number % 3 == 1:
        return linked("a link that leads out", lambda place, root: _link(root, name(place, "")))
    return named("a name that leads out", name, some=dice_.choice([1, 12]))


def _link(root, target):
    path = sorted((root / "images").rglob("*.*"))[2]
    path.unlink()
    path.symlink_to(target if "\0" not in target else "x")


def cases(count):
    """What is named in the issue, then spellings."""

    def move(place, root):
        root.rename(place.outside / "coco")
        root.symlink_to(place.outside / "coco")

    def folder(place, root):
        shutil.rmtree(root / "images")
        (place.outside / "images").mkdir()
        for path in template("shapes/images").rglob("*.*"):
            shutil.copy(place.outside / "secret.png", place.outside / "images" / path.name)
        (root / "images").symlink_to(place.outside / "images")

    found = [
        named("..", lambda place, old: f"../../../outside/{old}"),
        named(".. for one", lambda place, old: "../../../outside/secret.png", 1),
        named("an absolute path", lambda place, old: str(place.outside / old)),
        named("an absolute path for one", lambda place, old: str(place.outside / "secret.png"), 1),
        named("a path beside the root", lambda place, old: "../../secret.png", 1),
        named("a device", lambda place, old: "/dev/zero", 1),
        named("a folder", lambda place, old: ".", 1),
        named("an empty name", lambda place, old: "", 1),
        linked("a link to a picture outside", lambda place, root: _link(root, str(place.outside / "secret.png"))),
        linked("a link to a folder outside", folder),
        linked("a link to a device", lambda place, root: _link(root, "/dev/zero")),
        linked("a pipe", lambda place, root: os.mkfifo(root / "images" / "zzz.png")),
        linked("a link at the root itself", move, allowed=True),
        in_zip("..", lambda place: "../outside/secret.png"),
        in_zip("an absolute path", lambda place: str(place.outside / "secret.png")),
        in_zip("a backslash", lambda place: "..\\secret.png"),
        in_zip("a link", lambda place: str(place.outside / "secret.png"), link=True),
        annotation_file("annotations elsewhere", lambda place: {"annotations": "/etc/passwd"}),
        annotation_file("pictures elsewhere", lambda place: {"root": "/etc"}),
        annotation_file("a cache that leads out", lambda place: {"cache_dir": "../../../outside"}),
        *(inside(name) for name in ("../../../x", "../x", "/x", "..", ".", "a/b", "Gaussian/../../../x", "~", "a\\b")),
        *(
            user_name(name)
            for name in (
                r"$\frac{1{$",
                "a b",
                "<script>alert(1)</script>",
                "ä",
                "*",
                "[x]",
                "a\nb",
                "-x",
                "%s",
                "{x}",
                "'",
                '"',
                "#",
                "é" * 100,
            )
        ),
        written("a seed that leads out", lambda place: compare(place, seeds="../x")),
        written("a base that leads out", lambda place: compare(place, base="../x")),
        written("a config that leads out", lambda place: compare(place, configs="../../outside/precious.txt")),
        written(
            "data shapes over a file", lambda place: ["data", "shapes", "--out", template("sketches.ndjson"), "--n", 3]
        ),
        written("sketches into a folder", lambda place: ["data", "sketches", "--out", template("shapes"), "--n", 3]),
    ]
    return found + [spelling(number) for number in range(count - len(found))]
