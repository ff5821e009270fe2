"""Part of COCO: the annotations, and only as many of the 18 GB of pictures as are wanted."""

import http.client
import io
import json
import os
import random
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image
from rich.console import Console
from rich.progress import track

from vae_zoo.errors import UserError, require

COCO = "http://images.cocodataset.org"
ATTEMPTS = 4


def download_coco(out: Path, n: int, seed: int = 0, url: str = COCO, jobs: int = 16) -> None:
    """Download `n` pictures of COCO train2017, chosen by seed, to ``out/images``, with their instance annotations.

    Pictures come `jobs` at a time, each under a temporary name until it is complete and has been decoded. Existing
    files are not fetched again, so the same command continues an interrupted download;
    ``out/annotations/instances_train2017.json``, which makes the folder a data set, is written last.

    Args:
        out: the folder to make or complete.
        n: how many pictures.
        seed: of the choice.
        url: of the server; the layout is that of COCO's own.
        jobs: connections at a time.

    Raises:
        UserError: if `n` is less than 1 or more than there are, or if anything cannot be fetched.
    """
    require(1, n=n, jobs=jobs)
    archive = out / "annotations_trainval2017.zip"
    _fetch(f"{url}/annotations/{archive.name}", archive, check=_check_annotations)
    with zipfile.ZipFile(archive) as opened:
        content = json.loads(opened.read("annotations/instances_train2017.json"))
    images = sorted(content["images"], key=lambda image: image["id"])
    if n > len(images):
        raise UserError(f"n = {n} pictures asked for, COCO train2017 has {len(images)}")
    chosen = random.Random(seed).sample(images, n)

    def fetch(image: dict[str, str]) -> None:
        name = image["file_name"]
        _fetch(f"{url}/train2017/{name}", out / "images" / name, check=_check_picture)

    pool = ThreadPoolExecutor(jobs)
    try:
        for _ in track(pool.map(fetch, chosen), "downloading pictures", total=n, console=Console(stderr=True)):
            pass
    finally:
        pool.shutdown(cancel_futures=True)
    ids = {image["id"] for image in chosen}
    content["images"] = chosen
    content["annotations"] = [a for a in content["annotations"] if a["image_id"] in ids]
    _write(out / "annotations" / "instances_train2017.json", json.dumps(content).encode())


def _fetch(url: str, path: Path, check: Callable[[bytes], None]) -> None:
    """Fetch a file, unless it exists, and retry if the network or the content is at fault."""
    if path.exists():
        return
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with urllib.request.urlopen(url, timeout=60) as response:
                content = response.read()  # raises IncompleteRead if the connection ends early
            check(content)
            return _write(path, content)
        except (OSError, http.client.HTTPException, ValueError, zipfile.BadZipFile, KeyError) as error:
            gone = isinstance(error, urllib.error.HTTPError) and error.code in (403, 404)
            if gone or attempt == ATTEMPTS:
                raise UserError(
                    f"{url} cannot be fetched ({error}); what has come so far is kept, the same command goes on with it"
                ) from error
            time.sleep(2 ** (attempt - 1) * 0.5)


def _check_picture(content: bytes) -> None:
    Image.open(io.BytesIO(content)).load()


def _check_annotations(content: bytes) -> None:
    zipfile.ZipFile(io.BytesIO(content)).getinfo("annotations/instances_train2017.json")


def _write(path: Path, content: bytes) -> None:
    """Write a file under a temporary name and rename it when it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(content)
    temporary.replace(path)
