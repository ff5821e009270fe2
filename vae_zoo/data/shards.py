"""What ``shards.json`` says: the parts, their chunks with checksums, the labels, and how the pictures were split."""

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from vae_zoo.data.arguments import is_text
from vae_zoo.data.module import Part
from vae_zoo.data.pictures import MODES, Shape
from vae_zoo.errors import UserError
from vae_zoo.ids import is_sample
from vae_zoo.reading import read_file

INDEX = "shards.json"
VERSION = 1
LARGEST_INDEX = 2**28
LARGEST_CHUNK = 2**31
LARGEST_SIDE = 2**14
MOST = 2**40  # items of a part
FILE = re.compile(r"(train|val|test)/chunk-\d+-\d+\.bin", re.ASCII)


class ChunkFile(NamedTuple):
    """A chunk: its file's name, how many items and bytes it has, and a checksum of these."""

    file: str
    n: int
    bytes: int
    crc32: int


class Shards(NamedTuple):
    """What is in ``shards.json``.

    Attributes:
        shape: (C, H, W) of the pixels; None if the pictures were kept as files.
        labels: their names.
        chunks: of each part.
        samples: of the ids of each part, see `vae_zoo.ids`.
    """

    shape: Shape | None
    labels: list[str]
    chunks: dict[Part, list[ChunkFile]]
    samples: dict[Part, dict[str, Any]]


def read_shards(path: Path, where: str) -> Shards:
    """Read the file.

    Args:
        path: of the file on this machine.
        where: the shards are, for the error.

    Raises:
        UserError: if it is none that this version has written, or damaged.
    """
    try:
        given = json.loads(read_file(path, LARGEST_INDEX))
        if given["version"] != VERSION:
            raise UserError(f"{where} was written by another version of vae_zoo; shard it again")
        shape = None if given["shape"] is None else tuple(_whole(side, 1, LARGEST_SIDE) for side in given["shape"])
        if shape is not None and (len(shape) != 3 or shape[0] not in MODES):
            raise ValueError(f"its shape is {shape}")
        labels = given["labels"]
        if not isinstance(labels, list) or not labels or not all(map(is_text, labels)):
            raise ValueError("its labels are no names")
        chunks: dict[Part, list[ChunkFile]] = {}
        samples: dict[Part, dict[str, Any]] = {}
        for part in ("train", "val", "test"):
            chunks[part] = [_chunk(chunk, part) for chunk in given["parts"][part]["chunks"]]
            n, lowest = sum(chunk.n for chunk in chunks[part]), given["parts"][part]["lowest"]
            if n != given["parts"][part]["n"] or (not n and part != "val"):
                raise ValueError(f"its part {part} is not what its chunks have")
            if not is_sample(n, lowest) or lowest != sorted(lowest):
                raise ValueError(f"its part {part} has no sample of {n} ids")
            samples[part] = {"n": n, "lowest": lowest}
        return Shards(shape, labels, chunks, samples)
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(
            f"{where} has no {INDEX}, so there are no shards; vae-zoo data shard writes them, and COCODataModule takes "
            "a folder of pictures as it is"
        ) from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{where} is damaged: its {INDEX} cannot be read ({error!r}); shard it again") from None


def _chunk(given: Any, part: Part) -> ChunkFile:
    file = given["file"]
    if not isinstance(file, str) or not FILE.fullmatch(file) or not file.startswith(part):
        raise ValueError(f"a chunk of {part} is called {file!r}")
    n, size = _whole(given["n"], 1, MOST), _whole(given["bytes"], 1, LARGEST_CHUNK)
    return ChunkFile(file, n, size, _whole(given["crc32"], 0, 2**32 - 1))


def _whole(value: Any, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ValueError(f"{value!r} is no whole number from {low} to {high}")
    return value
