"""Part of COCO: the annotations, and only as many of the 18 GB of pictures as are wanted."""

import json
import random
import urllib.parse
import zipfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from PIL import Image
from rich.console import Console
from rich.progress import track

from vae_zoo.data.annotations import CAPTIONS, FIELDS, Fields, parse
from vae_zoo.data.files import Files, read_member
from vae_zoo.data.pictures import FORMATS
from vae_zoo.errors import UserError, require
from vae_zoo.fetch import fetch
from vae_zoo.writing import whole

# COCO's own bucket. By its other name, images.cocodataset.org, no certificate is valid for it.
COCO = "https://s3.amazonaws.com/images.cocodataset.org"
INSTANCES = "annotations/instances_train2017.json"
TEXTS = "annotations/captions_train2017.json"
LARGEST_ARCHIVE, LARGEST_PICTURE = 2**30, 2**25  # bytes: the archive has 2**28, the pictures at most 2**20
MOST_JOBS = 256


def download_coco(out: Path, n: int, seed: int = 0, url: str = COCO, jobs: int = 16) -> None:
    """Download `n` pictures of COCO train2017, chosen by seed, to ``out/images``, with their instances and captions.

    Pictures come `jobs` at a time, each under another name until it is complete, has been decoded and has the size that
    the annotations say. Existing files are checked, and not fetched again if they are whole, so the same command
    continues an interrupted download; ``out/annotations/instances_train2017.json``, which makes the folder a data set,
    is written last.

    Args:
        out: the folder to make or complete.
        n: how many pictures.
        seed: of the choice.
        url: of the server; the layout is that of COCO's own.
        jobs: connections at a time.

    Raises:
        UserError: if `n` is less than 1 or more than there are, if anything cannot be fetched, or if a name in the
            annotations leads out of the folder.
    """
    require(1, n=n)
    require(1, MOST_JOBS, jobs=jobs)
    require(0, seed=seed)
    if urllib.parse.urlsplit(url).scheme not in ("https", "http"):
        raise UserError(f"url must begin with https://, or with http://, which nothing protects; got {url}")
    images = out / "images"
    images.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(out / ".download.lock", timeout=0):
            _download(out, images, n, seed, url, jobs)
    except Timeout:
        raise UserError(f"another process downloads to {out}; wait for it, or choose another folder") from None


def _download(out: Path, images: Path, n: int, seed: int, url: str, jobs: int) -> None:
    archive = out / "annotations_trainval2017.zip"
    fetched = fetch(f"{url}/annotations/{archive.name}", archive, LARGEST_ARCHIVE, _annotations, resume=True)
    content = fetched[INSTANCES]
    entries = sorted(content["images"], key=lambda image: image["id"])
    if n > len(entries):
        raise UserError(f"n = {n} pictures asked for, COCO train2017 has {len(entries)}")
    chosen = random.Random(seed).sample(entries, n)
    places = Files(images).places([image["file_name"] for image in chosen])
    if len(set(places)) < n:
        raise UserError(f"{archive} names a picture twice, so it is not COCO's")

    def one(image: dict[str, Any], place: str) -> None:
        address = f"{url}/train2017/{urllib.parse.quote(image['file_name'])}"
        fetch(address, Path(place), LARGEST_PICTURE, partial(_check_picture, image))

    pool = ThreadPoolExecutor(jobs)
    try:
        done = pool.map(one, chosen, places)
        for _ in track(done, "downloading pictures", total=n, console=Console(stderr=True)):
            pass
    finally:
        pool.shutdown(cancel_futures=True)
    ids = {image["id"] for image in chosen}
    for name, content in reversed(fetched.items()):  # the instances last
        content["images"] = chosen
        content["annotations"] = [a for a in content["annotations"] if a["image_id"] in ids]
        with whole(out / name) as temporary:
            temporary.write_text(json.dumps(content))


def _annotations(archive: Path) -> dict[str, dict[str, Any]]:
    """What the archive's files say of the pictures. Raises an error of any kind if its checksums do not fit."""
    where = archive.name.removeprefix(".").removesuffix(".partial")
    needed: dict[str, Fields] = {INSTANCES: FIELDS, TEXTS: CAPTIONS}
    with zipfile.ZipFile(archive) as opened:
        return {name: parse(read_member(opened, name), f"{name} in {where}", fields) for name, fields in needed.items()}


def _check_picture(entry: dict[str, Any], path: Path) -> None:
    """Raise an error of any kind if the file is not the whole picture of this entry."""
    with Image.open(path, formats=FORMATS) as image:
        image.load()
        said = entry.get("width") or image.width, entry.get("height") or image.height
        if image.size != said:
            raise ValueError(f"the picture has {image.size} pixels, its annotation says {said}")
