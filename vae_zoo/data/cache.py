"""Decode once: pictures of any size and kind to one memory-mapped array of uint8, (N, H, W, C)."""

import hashlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import chain, repeat
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import UnidentifiedImageError
from rich.console import Console
from rich.progress import track
from torch.utils.data import DataLoader, Dataset

from vae_zoo.data.files import Files
from vae_zoo.data.pictures import Shape, decode
from vae_zoo.errors import UserError

VERSION = 2  # of what decode() makes: raise it with any change of pixels, and old caches are left alone


class Cache(NamedTuple):
    """Decoded pictures.

    Attributes:
        pixels: (N, H, W, C) uint8, memory-mapped; the rows of unreadable pictures are zero.
        unreadable: by row number, why a picture could not be read.
    """

    pixels: np.ndarray
    unreadable: dict[int, str]


class _Decoder(Dataset):
    """Row by row, the decoded picture, or the reason why there is none."""

    def __init__(self, pictures: Sequence[tuple[Files, Sequence[str]]], shape: Shape) -> None:
        self.pictures, self.shape = [(files, name) for files, names in pictures for name in names], shape

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, row: int) -> np.ndarray | str:
        files, name = self.pictures[row]
        try:
            return decode(files.read(name), self.shape)
        except (FileNotFoundError, KeyError):
            return "missing"
        except UnidentifiedImageError:
            return "not a picture"
        except Exception as error:  # a damaged file can make a decoder raise anything; the reason is told to the user
            return f"{type(error).__name__}: {error}".split("\n")[0]


def open_cache(
    pictures: Sequence[tuple[Files, Sequence[str]]], shape: Shape, directory: Path, workers: int | None = None
) -> Cache:
    """Open the cache of these pictures, after decoding them into it if this is the first time.

    The file's name is a fingerprint of all that determines its content: names, sizes and times of the pictures, the
    shape and the version of the decoder. It is written under a temporary name and renamed when it
    is whole; two processes that build it at once both succeed, and one result stays.

    Args:
        pictures: where and by which names to find them.
        shape: (C, H, W) out; C is 1 (grey) or 3 (RGB).
        directory: where caches are kept; made if need be.
        workers: processes that decode, by default as many as there are cores.

    Raises:
        UserError: if `directory` cannot be written.
    """
    key = [f"{VERSION} {tuple(shape)}"]
    for files, names in pictures:  # a row of texts: the garbage collector would walk through 100,000 tuples
        key += chain.from_iterable(zip(repeat(str(files)), names, files.stamps(names), strict=False))
    fingerprint = hashlib.sha256("\0".join(key).encode(errors="surrogatepass"))  # a name may be no UTF-8
    path = directory / f"{fingerprint.hexdigest()[:24]}.npy"
    report = path.with_suffix(".json")
    if not path.exists():  # the pixels are renamed last, after the report
        try:
            directory.mkdir(parents=True, exist_ok=True)
            _build(_Decoder(pictures, shape), path, report, workers)
        except OSError as error:
            raise UserError(f"the cache {path} cannot be written ({error}); choose another data.cache_dir") from error
    unreadable = {int(row): reason for row, reason in json.loads(report.read_text()).items()}
    return Cache(np.load(path, mmap_mode="r"), unreadable)


def _build(decoder: _Decoder, path: Path, report: Path, workers: int | None) -> None:
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    workers = cores if workers is None else workers
    few = len(decoder) < 256  # then starting processes takes longer than it saves
    # A DataLoader draws a seed, which must not move the global generator on: the weights would depend on the cache.
    own = torch.Generator()
    loader = DataLoader(decoder, batch_size=64, num_workers=0 if few else workers, collate_fn=list, generator=own)
    batches = track(loader, "decoding pictures", console=Console(stderr=True), transient=True, disable=few)

    for left in path.parent.glob("building-*"):  # left by a process that was killed
        if time.time() - left.stat().st_mtime > 86_400:
            shutil.rmtree(left, ignore_errors=True)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix="building-"))
    try:
        channels, height, width = decoder.shape
        shape = (len(decoder), height, width, channels)
        pixels = np.lib.format.open_memmap(temporary / "pixels", mode="w+", dtype=np.uint8, shape=shape)
        unreadable = {}
        row = 0
        for batch in batches:
            for picture in batch:
                if isinstance(picture, str):
                    unreadable[row] = picture
                else:
                    pixels[row] = picture
                row += 1
        pixels.flush()
        (temporary / "report").write_text(json.dumps(unreadable))
        os.replace(temporary / "report", report)
        os.replace(temporary / "pixels", path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
