"""Write pictures into shards: litdata's chunks, a folder for each part, and beside them what a training needs to know.

An item of a chunk is (label, id, picture): an int64, the id's bytes filled up with zeros to one length in its chunk,
and the pixels (H, W, C) uint8 or the picture file's bytes. So the pixels of a chunk are one array, which is read
without looking at each item; ``litdata.StreamingDataset("shards/train")`` reads them, too.
"""

import tempfile
import warnings
import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

from vae_zoo.data.module import Part
from vae_zoo.data.pictures import Shape, decoded
from vae_zoo.data.places import CLOUDS, is_url
from vae_zoo.data.shards import INDEX, VERSION
from vae_zoo.data.sources import Picture
from vae_zoo.errors import UserError, require, require_share
from vae_zoo.ids import Sampler, place_of
from vae_zoo.writing import whole_folder, write_json

SMALL = (3, 8, 8)  # what pictures that are kept as files are decoded to, to see whether they can be
LONGEST_ID = 2**12  # bytes


def write_shards(
    pictures: Iterable[Picture],
    out: str,
    shape: Shape | None,
    val: float = 0.05,
    test: float = 0.05,
    seed: int = 0,
    chunk_mb: int = 16,
    max_unreadable: float = 0.05,
    total: int | None = None,
) -> dict[Part, int]:
    """Write shards, which are there when they are whole, and return how many pictures each part has.

    The part of a picture follows from its id and the seed alone, so it stays the same if others come or go.

    Args:
        pictures: in the order in which they are written.
        out: a folder to make, or the address of one in the cloud.
        shape: (C, H, W) to decode to; None keeps the files as they are.
        val: the share of pictures to validate on, by a hash of their ids.
        test: the share to test on.
        seed: of the split.
        chunk_mb: megabytes of a chunk.
        max_unreadable: up to this share of pictures may be unreadable: they are left out, and the first ones named.
        total: how many pictures there are, if it is known.

    Raises:
        UserError: if there is something in `out`, nothing to train on, or too much is unreadable.
        ModuleNotFoundError: if litdata is not installed.
    """
    require(0, seed=seed)
    require(1, 1024, chunk_mb=chunk_mb)
    require_share(val=val, test=test, max_unreadable=max_unreadable)
    if val + test >= 1:
        raise UserError(f"val {val} and test {test} leave nothing to train on; together they must be below 1")
    with _target(out) as target:
        labels: dict[str, int] = {}
        shares: dict[Part, float] = {"test": test, "val": test + val, "train": 1.0}
        names: tuple[Part, ...] = ("train", "val", "test")
        parts = {part: _Part(target, part, chunk_mb * 10**6) for part in names}
        bad: list[str] = []
        for picture, content in _decoded(pictures, shape, total):
            if isinstance(content, UserError):
                bad.append(str(content)) if len(bad) < 20 else bad.append("")
                continue
            place = place_of(picture.id, seed)
            part = next(part for part, below in shares.items() if place < below)
            parts[part].add(labels.setdefault(picture.label, len(labels)), picture.id, content)
        _tell_unreadable(bad, sum(part.sampler.n for part in parts.values()) + len(bad), max_unreadable)
        found = {name: part.close() for name, part in parts.items()}
        for name in ("train", "test"):
            if not found[name]["chunks"]:
                raise UserError(f"no picture falls to the part {name!r}; there are too few, or its share is too small")
        target.write(
            INDEX,
            {
                "version": VERSION,
                "shape": None if shape is None else list(shape),
                "split": {"seed": seed, "val": val, "test": test},
                "labels": list(labels),
                "parts": found,
            },
        )
    return {name: part.sampler.n for name, part in parts.items()}


class _Target:
    """Where shards are written: a folder, from which each file is put into the cloud if there is an address."""

    def __init__(self, folder: Path, url: str | None = None) -> None:
        self.folder, self.url = folder, url
        self._provider: Any = None
        if url:
            from litdata.streaming.fs_provider import _get_fs_provider  # litdata's own commands use it alike

            with _told(url):
                self._provider = _get_fs_provider(url)
                if not self._provider.is_empty(url):
                    raise UserError(f"{url} has something in it already; remove it or choose another place")

    def write(self, name: str, content: dict[str, Any]) -> None:
        """Write a JSON file."""
        write_json(self.folder / name, content, indent=None)
        self.sent(name)

    def sent(self, name: str) -> None:
        """Send a file that is complete, and keep no copy."""
        if self.url:
            with _told(self.url):
                self._provider.upload_file(str(self.folder / name), f"{self.url}/{name}")
            (self.folder / name).unlink()


@contextmanager
def _told(url: str) -> Iterator[None]:
    """Say in a sentence what the cloud's own library refuses, by errors of any kind."""
    try:
        yield
    except (UserError, ModuleNotFoundError):
        raise
    except Exception as error:
        raise UserError(f"{url} cannot be written ({' '.join(str(error).split())[:300]})") from error


@contextmanager
def _target(out: str) -> Iterator[_Target]:
    """A place that has nothing in it; a folder appears when it is whole, in the cloud the index comes last."""
    if is_url(out):
        if not out.startswith(CLOUDS):
            raise UserError(f"{out}: shards are written to a folder or to {', '.join(CLOUDS)}")
        with tempfile.TemporaryDirectory() as temporary:
            yield _Target(Path(temporary), out.rstrip("/"))
        return
    folder = Path(out).expanduser()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{out} is there already; remove it or choose another folder")
    with whole_folder(folder) as temporary:
        yield _Target(temporary)


class _Part:
    """The chunks of one part; the items of the next one are in memory."""

    def __init__(self, target: _Target, name: str, size: int) -> None:
        from litdata.streaming.writer import BinaryWriter

        self.target, self.name, self.size, self.sampler = target, name, size, Sampler()
        self._writer = BinaryWriter(str(target.folder / name), chunk_size=2**31)
        self._items: list[tuple[int, bytes, bytes]] = []
        self._bytes = 0
        self._chunks: list[dict[str, Any]] = []

    def add(self, label: int, id_: str, picture: bytes) -> None:
        """Add a picture; a chunk that is full is written."""
        name = id_.encode(errors="surrogateescape")
        if not 0 < len(name) <= LONGEST_ID or b"\0" in name:
            raise UserError(f"the id {id_[:100]!r} has no letters, a NUL, or more than {LONGEST_ID} bytes")
        self.sampler.add(id_)
        self._items.append((label, name, picture))
        self._bytes += len(picture)
        if self._bytes >= self.size:
            self._flush()

    def close(self) -> dict[str, Any]:
        """Write the last chunk and litdata's own index, and return what there is to know."""
        if self._items:
            self._flush()
        if self._chunks:
            self._writer.done()
            self._writer.merge()
            self.target.sent(f"{self.name}/index.json")
        return {**self.sampler.sample, "chunks": self._chunks}

    def _flush(self) -> None:
        longest, first = max(len(id_) for _, id_, _ in self._items), sum(chunk["n"] for chunk in self._chunks)
        for number, (label, id_, picture) in enumerate(self._items, first):
            self._writer.add_item(number, (label, id_.ljust(longest, b"\0"), picture))
        path = Path(self._writer.write_chunk(on_done=True))
        content = path.read_bytes()
        name = f"{self.name}/{path.name}"
        self._chunks.append({"file": name, "n": len(self._items), "bytes": len(content), "crc32": zlib.crc32(content)})
        self.target.sent(name)
        self._items, self._bytes = [], 0


def _decoded(
    pictures: Iterable[Picture], shape: Shape | None, total: int | None
) -> Iterator[tuple[Picture, bytes | UserError]]:
    """Each picture, and what is kept of it, or why it cannot be read; threads decode the next ones."""

    def decode(picture: Picture) -> bytes | UserError:
        try:
            content = picture.read()
            pixels = decoded(picture.id, lambda: content, shape or SMALL)
            return pixels.tobytes() if shape else content
        except UserError as error:
            return error
        except Exception as error:  # of any kind, by a zip that is damaged
            return UserError(f"{picture.id}: {error}")

    waiting: deque[tuple[Picture, Future[bytes | UserError]]] = deque()
    shown = iter(track(pictures, "sharding", total=total, console=Console(stderr=True), transient=True))
    with ThreadPoolExecutor() as pool:
        try:
            while True:
                for picture in islice(shown, 64 - len(waiting)):
                    waiting.append((picture, pool.submit(decode, picture)))
                if not waiting:
                    return
                picture, result = waiting.popleft()
                yield picture, result.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _tell_unreadable(bad: list[str], total: int, most: float) -> None:
    if not bad:
        return
    listed = "; ".join(filter(None, bad)) + (f"; and {len(bad) - 20} more" if len(bad) > 20 else "")
    if len(bad) > most * total:
        raise UserError(f"{len(bad)} of {total} pictures cannot be read, more than max_unreadable {most:.1%}: {listed}")
    warnings.warn(f"left out {len(bad)} of {total} pictures that cannot be read: {listed}", stacklevel=3)
