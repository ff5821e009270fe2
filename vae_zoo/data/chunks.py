"""Chunks of shards, opened as arrays: looked at once, read ahead, and only a few at a time."""

import mmap
import os
import sys
import threading
import zlib
from abc import ABC, abstractmethod
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vae_zoo.data.pictures import Shape, decoded
from vae_zoo.data.places import Place
from vae_zoo.data.shards import ChunkFile

HEAD = 20  # bytes of an item before its id: the sizes of label, id and picture, and the label
AHEAD = 2  # chunks that are fetched at a time


class Chunk(ABC):
    """An open chunk.

    Args:
        labels: (n,) their numbers.
        ids: (n,) bytes.
    """

    def __init__(self, labels: np.ndarray, ids: np.ndarray) -> None:
        self.labels: list[int] = labels.tolist()
        self.ids = ids

    @abstractmethod
    def pictures(self, shape: Shape) -> "np.ndarray | Decoded":
        """Return what has, by row, the pixels of each picture (H * W * C,) uint8."""


class PixelChunk(Chunk):
    """A chunk of decoded pictures.

    Args:
        labels: (n,) their numbers.
        ids: (n,) bytes.
        rows: (n, H * W * C) uint8.
    """

    def __init__(self, labels: np.ndarray, ids: np.ndarray, rows: np.ndarray) -> None:
        super().__init__(labels, ids)
        self.rows = rows

    def pictures(self, shape: Shape) -> np.ndarray:
        """Return the rows, which are not copied."""
        return self.rows


class FileChunk(Chunk):
    """A chunk of picture files.

    Args:
        labels: (n,) their numbers.
        ids: (n,) bytes.
        content: all bytes.
        places: (n, 2) where in them each file begins and ends.
    """

    def __init__(self, labels: np.ndarray, ids: np.ndarray, content: np.ndarray, places: np.ndarray) -> None:
        super().__init__(labels, ids)
        self.content, self.places = content, places

    def pictures(self, shape: Shape) -> "Decoded":
        """Return the files, each of which is decoded when it is asked for."""
        return Decoded(self, shape)


@dataclass(frozen=True)
class Decoded:
    """The files of a chunk as pixels."""

    chunk: FileChunk
    shape: Shape

    def __getitem__(self, row: int) -> np.ndarray:
        begin, end = self.chunk.places[row]
        return decoded(text(self.chunk.ids[row]), self.chunk.content[begin:end].tobytes, self.shape).reshape(-1)


def text(id_: bytes) -> str:
    """Return an id as a text."""
    return bytes(id_).decode(errors="surrogateescape")


class Chunks:
    """The chunks of a part, by number. Those opened last stay open, and it is the system that keeps their pages.

    A chunk is compared with its checksum when a process opens it for the first time, by a thread that thereby reads it
    before it is needed.

    Args:
        place: where they are.
        files: what there is to know about each.
        labels: how many labels there are.
        size: bytes of a picture's pixels; None if files are kept.
        most: how many stay open.
    """

    def __init__(self, place: Place, files: list[ChunkFile], labels: int, size: int | None, most: int) -> None:
        self.place, self.files, self.labels, self.size, self.most = place, files, labels, size, most
        self._known: set[int] = set()
        self._begin()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._lock, self._open = threading.Lock(), OrderedDict[int, Future[Chunk]]()
        self._pool = ThreadPoolExecutor(AHEAD, "chunks")
        self._ready: dict[int, Chunk] = {}

    def __getstate__(self) -> dict[str, Any]:
        own = ("_lock", "_open", "_pool", "_ready", "_process")
        return {name: value for name, value in vars(self).items() if name not in own}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._begin()

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, number: int) -> Chunk:
        """Return a chunk, when it is there.

        Raises:
            UserError: if it is not, or damaged.
        """
        found = self._ready.get(number)  # without a lock, which a batch would take for each of its chunks
        if found is None:
            found = self._ready[number] = self.ahead(number).result()
        return found

    def ahead(self, number: int) -> "Future[Chunk]":
        """Begin to open a chunk."""
        if self._process != os.getpid():  # a forked worker has no threads, and maybe a lock that was held
            self._begin()
        with self._lock:
            found = self._open.get(number)
            if found is None or (found.done() and found.exception()):
                found = self._open[number] = self._pool.submit(self._opened, number)
            self._open.move_to_end(number)
            while len(self._open) > self.most:
                self._open.popitem(last=False)
                self._ready = {each: chunk for each, chunk in self._ready.items() if each in self._open}
        return found

    def _opened(self, number: int) -> Chunk:
        file = self.files[number]
        known = number in self._known

        def check(path: Path) -> None:
            if path.stat().st_size != file.bytes:
                raise ValueError(f"it has {path.stat().st_size} bytes, not {file.bytes}")
            if not known:
                content = np.memmap(path, np.uint8, "r")
                if zlib.crc32(content.data) != file.crc32:
                    raise ValueError("its bytes do not fit their checksum")
                labels = _chunk(content, file.n, self.size).labels
                if not (0 <= min(labels) and max(labels) < self.labels):
                    raise ValueError(f"it has labels from {min(labels)} to {max(labels)}, of {self.labels} names")

        while True:
            path = self.place.get(file.file, file.bytes, check)
            try:
                opened = open(path, "rb")
                break
            except FileNotFoundError:  # another process has made room since
                continue
        self._known.add(number)
        with opened:
            if sys.platform == "linux":
                os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_WILLNEED)
            content = np.frombuffer(mmap.mmap(opened.fileno(), file.bytes, access=mmap.ACCESS_READ), np.uint8)
        content[:: mmap.PAGESIZE].max()  # each page once: a batch that touched it first would wait for it
        return _chunk(content, file.n, self.size)


def _chunk(content: np.ndarray, n: int, size: int | None) -> Chunk:
    """Look at a chunk's bytes. Raises ValueError if it is none of `n` items, each with `size` bytes of pixels."""
    begin = 4 + 4 * (n + 1)
    if len(content) < begin + n * (HEAD + 1) or int(content[:4].view("<u4")[0]) != n:
        raise ValueError(f"it is no chunk of {n} pictures")
    if size is not None:
        each, rest = divmod(len(content) - begin, n)
        longest = each - HEAD - size
        if rest or longest < 1:
            raise ValueError(f"its {n} pictures do not have {size} bytes each")
        fields = {"sizes": "(3,)<u4", "label": "<i8", "id": f"S{longest}", "pixels": f"({size},)u1"}
        items = np.ndarray((n,), np.dtype(list(fields.items())), content.data, begin)
        return PixelChunk(items["label"], items["id"], items["pixels"])
    offsets = content[4:begin].view("<u4").astype(np.int64)
    longest = int(content[begin + 4 : begin + 8].view("<u4")[0])
    first = offsets[:-1] + HEAD + longest
    if offsets[0] != begin or offsets[-1] != len(content) or longest < 1 or (first > offsets[1:]).any():
        raise ValueError("its pictures do not follow each other")
    heads = offsets[:-1, None] + np.arange(12, HEAD + longest)  # n x (8 + longest), where labels and ids are
    found = np.ascontiguousarray(content[heads])
    labels, ids = found[:, :8].copy().view("<i8")[:, 0], found[:, 8:].copy().view(f"S{longest}")[:, 0]
    return FileChunk(labels, ids, content, np.stack([first, offsets[1:]], 1))
