"""Decode once: pictures of any size and kind to one memory-mapped array of uint8, (N, H, W, C).

A cache is one file: a ``.npy`` of the pixels, and after them a report, JSON with a checksum before it, which has the
reasons why pictures could not be read, and a checksum of each block of rows. Beside it stands a note of the file's size
and times when these checksums were last compared. While it fits, the pixels need not be read to be known as whole: no
program can write to the file and leave its time of change (ctime) as it was.
"""

import errno
import hashlib
import io
import json
import math
import os
import re
import shutil
import sys
import time
import uuid
import warnings
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import chain, repeat
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from filelock import FileLock, Timeout
from PIL import UnidentifiedImageError
from rich.console import Console
from rich.progress import track
from torch.utils.data import DataLoader, Dataset

from vae_zoo.data.files import Files
from vae_zoo.data.pictures import Shape, decode
from vae_zoo.errors import UserError
from vae_zoo.reading import require_ordinary
from vae_zoo.writing import whole

VERSION = 3  # of the file and of what decode() makes: raise it with any change, and old caches are left alone
BLOCK = 2**22  # bytes of pixels, about, that have one checksum
TICK = 20_000_000  # nanoseconds, more than a file system's clock needs to move on
UNFINISHED = re.compile(r"[0-9a-f]{24}\.[0-9a-f]{32}\.vae_zoo-unfinished")  # nobody else names a file like this


class Cache(NamedTuple):
    """Decoded pictures.

    Attributes:
        pixels: (N, H, W, C) uint8, memory-mapped; the rows of unreadable pictures are zero.
        unreadable: by row number, why a picture could not be read.
        checksum: of all pixels.
    """

    pixels: np.ndarray
    unreadable: dict[int, str]
    checksum: int


class _Decoder(Dataset):
    """Row by row, the decoded picture, or the reason why there is none."""

    def __init__(self, pictures: Sequence[tuple[Files, Sequence[str]]], shape: Shape) -> None:
        self.pictures, self.shape = [(files, name) for files, names in pictures for name in names], shape
        channels, height, width = shape
        self.pixels = (len(self.pictures), height, width, channels)

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
        except Exception as error:  # a damaged file can make a decoder raise anything; the user gets the reason
            return f"{type(error).__name__}: {error}".split("\n")[0][:200]


def open_cache(
    pictures: Sequence[tuple[Files, Sequence[str]]], shape: Shape, directory: Path, workers: int | None = None
) -> Cache:
    """Open the cache of these pictures, after decoding them into it if this is the first time.

    The file's name is a fingerprint of all that determines its content: names, sizes and times of the pictures, the
    shape and the version of the decoder. It is written under another name and renamed when it is whole. Of several
    processes that want it at once one builds it, and the others wait. One that is damaged is reported, and made anew.

    Args:
        pictures: where and by which names to find them.
        shape: (C, H, W) out; C is 1 (grey) or 3 (RGB).
        directory: where caches are kept; made if need be.
        workers: processes that decode, by default as many as there are cores.

    Raises:
        UserError: if `directory` cannot be written, or has too little space.
    """
    key = [f"{VERSION} {tuple(shape)}"]
    for files, names in pictures:  # a row of texts: the garbage collector would walk through 100,000 tuples
        key += chain.from_iterable(zip(repeat(str(files)), names, files.stamps(names), strict=False))
    fingerprint = hashlib.sha256("\0".join(key).encode(errors="surrogatepass"))  # a name may be no UTF-8
    path = directory / f"{fingerprint.hexdigest()[:24]}.npy"
    decoder = _Decoder(pictures, shape)
    damaged = path.exists()
    if damaged:
        try:
            return _open(path, decoder.pixels)
        except (OSError, ValueError) as damage:
            warnings.warn(f"the cache {path} is damaged ({damage}); it is made anew", stacklevel=2)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with _one_at_a_time(path) as waited:
            if not path.exists() or (damaged and not waited):
                _build(decoder, path, workers)
        return _open(path, decoder.pixels)  # what was written is read once, and compared
    except RuntimeError as error:  # a DataLoader's, whose process was killed
        raise UserError(f"decoding stopped ({error}); if memory ran out, try --data.workers 1") from error
    except (OSError, ValueError) as error:
        room = ""
        with suppress(OSError):
            free = shutil.disk_usage(directory).free
            room = f"; it needs {math.prod(decoder.pixels) / 1e6:,.1f} MB, its folder has {free / 1e6:,.1f} MB"
        raise UserError(f"the cache {path} cannot be written ({error}){room}; choose another data.cache_dir") from error


@contextmanager
def _one_at_a_time(path: Path) -> Iterator[bool]:
    """Let one process build what belongs at a path, and tell the others afterwards that they had to wait for it.

    The lock's file goes with the one that built.
    """
    lock = FileLock(path.with_suffix(".lock"))
    waited = False
    try:
        lock.acquire(timeout=0)
    except Timeout:
        waited = True
        lock.acquire()
    except NotImplementedError:  # the folder's file system knows no locks
        yield False
        return
    try:
        yield waited
    finally:
        with suppress(OSError):
            path.with_suffix(".lock").unlink()
        lock.release()


def _header(pixels: Shape) -> bytes:
    """The beginning of a ``.npy`` of bytes in this shape."""
    header = io.BytesIO()
    content = {"descr": "|u1", "fortran_order": False, "shape": pixels}
    np.lib.format.write_array_header_1_0(header, content)
    return header.getvalue()


def _rows_of_block(pixels: Shape) -> int:
    return max(1, BLOCK // math.prod(pixels[1:]))


def _open(path: Path, shape: Shape) -> Cache:
    """Open a cache of pixels in this shape. Raises OSError or ValueError if it is damaged."""
    header = _header(shape)
    end = len(header) + math.prod(shape)
    require_ordinary(path)
    with open(path, "rb") as file:
        status = os.fstat(file.fileno())
        if file.read(len(header)) != header:
            raise ValueError(f"it does not begin as an array of {shape} bytes does")
        file.seek(end)
        checksum, _, content = file.read().partition(b"\n")
        if checksum != _checksum(content):
            raise ValueError("its report is missing or has changed")
        pixels = np.memmap(file, np.uint8, "r", len(header), shape)
    report, stamp = json.loads(content), [status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns]
    note = path.with_suffix(".verified")
    if stamp != _noted(note):
        step = _rows_of_block(shape)
        with ThreadPoolExecutor() as pool:  # a checksum does not hold other threads up
            found = list(pool.map(lambda row: zlib.crc32(pixels[row : row + step].data), range(0, len(pixels), step)))
        if found != report["checksums"]:
            raise ValueError("pixels do not fit their checksums")
        if time.time_ns() - status.st_ctime_ns < TICK:  # a change in this very tick would leave the times as they are
            time.sleep(TICK / 1e9)
        with suppress(OSError), whole(note) as temporary:  # without it, the next start compares again
            temporary.write_text(json.dumps(stamp))
    unreadable = {int(row): reason for row, reason in report["unreadable"].items()}
    return Cache(pixels, unreadable, zlib.crc32(json.dumps(report["checksums"]).encode()))


def _noted(note: Path) -> list[int] | None:
    """What a cache's size and times were when its checksums were last compared, None if nobody can say."""
    try:
        return json.loads(note.read_bytes())
    except (OSError, ValueError):
        return None


def _checksum(content: bytes) -> bytes:
    return b"%08x" % zlib.crc32(content)


def _build(decoder: _Decoder, path: Path, workers: int | None) -> None:
    """Decode all pictures into the file. Raises OSError if there is no space for it."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    workers = cores if workers is None else workers
    few = len(decoder) < 256  # then starting processes takes longer than it saves
    # A DataLoader draws a seed, which must not move the global generator on: the weights would depend on the cache.
    own = torch.Generator()
    loader = DataLoader(decoder, batch_size=64, num_workers=0 if few else workers, collate_fn=list, generator=own)
    batches = track(loader, "decoding pictures", console=Console(stderr=True), transient=True, disable=few)

    for left in path.parent.iterdir():  # by a process that was killed
        if UNFINISHED.fullmatch(left.name) and time.time() - left.lstat().st_mtime > 86_400:
            left.unlink(missing_ok=True)
    temporary = path.parent / f"{path.stem}.{uuid.uuid4().hex}.vae_zoo-unfinished"
    header, step = _header(decoder.pixels), _rows_of_block(decoder.pixels)
    blank = np.zeros(decoder.pixels[1:], np.uint8)
    checksums: list[int] = []
    unreadable = {}
    try:
        with open(temporary, "xb") as file:
            # Before any work is done. A memory map of a file without space would end in SIGBUS instead of an error.
            _reserve(file.fileno(), len(header) + math.prod(decoder.pixels))
            file.write(header)
            for row, picture in enumerate(chain.from_iterable(batches)):
                if isinstance(picture, str):
                    unreadable[row], picture = picture, blank
                if row % step == 0:
                    checksums.append(0)
                checksums[-1] = zlib.crc32(picture, checksums[-1])
                file.write(picture)
            content = json.dumps({"unreadable": unreadable, "checksums": checksums}).encode()
            file.write(_checksum(content) + b"\n" + content)
            file.flush()
            os.fsync(file.fileno())  # else after a power cut the reserved space may be there without the pixels
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _reserve(file: int, size: int) -> None:
    """Reserve space for a file, where the system can. Raises OSError if there is too little."""
    try:
        os.posix_fallocate(file, 0, size)
    except AttributeError:  # on macOS and Windows; there a write fails
        pass
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):  # a file system that cannot
            raise
