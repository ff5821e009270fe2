"""Where pictures to be sharded come from: a folder or zip, WebDataset's tar files, or a data set of Hugging Face's."""

import os
import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vae_zoo.data.arguments import given_path
from vae_zoo.data.files import LARGEST_PICTURE, PICTURES
from vae_zoo.data.index import NO_LABEL, PictureIndex
from vae_zoo.errors import UserError
from vae_zoo.reading import require_size

HUGGING_FACE = "hf:"
TARS = re.compile(r"https?://[\w./:%{}~?=&+,-]+\.tar", re.ASCII)  # WebDataset gives an address to a shell
PACKED = b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd"  # what unpacks without a limit begins so


END = bytes(1024)  # of a tar file


class Picture(NamedTuple):
    """A picture that is not read yet.

    Attributes:
        id: different for each.
        label: the name of its label.
        read: returns the content of its file.
    """

    id: str
    label: str
    read: Callable[[], bytes]


class Source(NamedTuple):
    """Pictures, in the order in which they are best written, and how many they are, if that is known."""

    pictures: Iterable[Picture]
    total: int | None


def find_source(
    root: str,
    annotations: str | None = None,
    split: str = "train",
    image: str | None = None,
    label: str | None = None,
    seed: int = 0,
) -> Source:
    """Return the pictures of a source, of which no list is made where it is a stream.

    Args:
        root: a folder or zip of pictures, COCO or not; a ``.tar``, a folder of them, or their address, with
            ``{00..99}`` for several; or ``hf:`` and the name or folder of a data set of Hugging Face's.
        annotations: a COCO file, by default the one that is found.
        split: of a data set of Hugging Face's.
        image: its column with pictures, by default the only one.
        label: its column with labels, by default the only one of classes; of tar files the ending of a label's file, by
            default ``cls``.
        seed: of the order, in which pictures that can be had in any order are written.

    Raises:
        UserError: if there is no picture, or it is not clear which are meant.
        ModuleNotFoundError: if the library that reads them is not installed.
    """
    if root.startswith(HUGGING_FACE):
        return _hugging_face(root.removeprefix(HUGGING_FACE), split, image, label, seed)
    if "://" in root:
        if not TARS.fullmatch(root):
            raise UserError(
                f"{root!r} is no address of tar files that is read, as https://host/name-{{000..099}}.tar is"
            )
        return Source(_tar_pictures(_expanded(root), label or "cls"), None)
    path = given_path("ROOT", root)
    if not path.exists():
        raise UserError(f"ROOT {root} does not exist; give a folder or zip of pictures, .tar files, or hf:NAME")
    tars = [path] if path.suffix == ".tar" else sorted(path.glob("*.tar")) if path.is_dir() else []
    if tars:
        for tar in tars:
            _refuse_cut_off(tar)
        return Source(_tar_pictures([str(tar) for tar in tars], label or "cls"), None)
    return _folder(path, annotations, seed)


def _folder(root: Path, annotations: str | None, seed: int) -> Source:
    """A folder or zip. The order is random, since a folder's is often by label."""
    index = PictureIndex(root, None, set(), 0)
    pictures, _ = index.read(annotations or index.find_annotations()[0])
    pictures = pictures[np.random.default_rng(seed).permutation(len(pictures))]
    columns = zip(pictures.ids, pictures.labels, pictures.names, strict=True)
    found = (Picture(str(id_), label, partial(pictures.files.read, name)) for id_, label, name in columns)
    return Source(found, len(pictures))


def _refuse_cut_off(tar: Path) -> None:
    """Raise a UserError for a tar file that is compressed, or ends too soon, which readers take for its end."""
    with open(tar, "rb") as file:
        if file.read(6).startswith(PACKED):
            raise UserError(f"{tar} is compressed; unpack it to a .tar, which pictures hardly make larger")
        file.seek(max(0, os.fstat(file.fileno()).st_size - len(END)))
        if file.read() != END:
            raise UserError(f"{tar} cannot be read: it is cut off, or no tar file; fetch it again")


def _expanded(address: str) -> list[str]:
    from webdataset.shardlists import expand_urls

    return list(expand_urls(address))


def _tar_pictures(tars: list[str], ending: str) -> Iterator[Picture]:
    """Yield the pictures of tar files in their order, with the label of the file beside them."""
    from webdataset import WebDataset

    endings = tuple(suffix.removeprefix(".") for suffix in sorted(PICTURES))
    wanted = re.compile(rf".+\.({'|'.join(endings)}|{re.escape(ending)})", re.IGNORECASE)
    for tar in tars:
        samples = WebDataset([tar], shardshuffle=False, empty_check=False, select_files=wanted.fullmatch)
        try:
            for sample in samples:
                if picture := _of_sample(sample, endings, ending, Path(tar).name):
                    yield picture
        except UserError:
            raise
        except Exception as error:  # of any kind, by a tar file that is damaged
            raise UserError(f"{tar} cannot be read ({error}); fetch it again") from error


def _of_sample(sample: dict[str, Any], endings: tuple[str, ...], ending: str, tar: str) -> Picture | None:
    names = [name for name in sample if name.lower().rpartition(".")[2] in endings]
    if not names:
        return None
    told = sample.get(ending)
    label = NO_LABEL if told is None else told.decode(errors="replace").strip()[:200]
    if not label.isprintable() or not label:
        raise UserError(f"the {ending} of {sample['__key__']!r} in {tar} is no name of a label: {label!r}")
    require_size(len(sample[names[0]]), LARGEST_PICTURE)
    content = sample[names[0]]
    return Picture(f"{tar}/{sample['__key__']}", label, lambda: content)


def _hugging_face(name: str, split: str, image: str | None, label: str | None, seed: int) -> Source:
    import datasets

    path = Path(name).expanduser()
    try:
        data = datasets.load_from_disk(path) if path.is_dir() else datasets.load_dataset(name, split=split)
        data = data[split] if isinstance(data, datasets.DatasetDict) else data
    except Exception as error:  # of any kind, by the library
        raise UserError(f"hf:{name}, split {split!r}, cannot be read ({' '.join(str(error).split())[:300]})") from error
    column = _column(data, image, datasets.Image, "pictures", "--image")
    labels = _column(data, label, datasets.ClassLabel, "classes", "--label", optional=True)
    data = data.cast_column(column, datasets.Image(decode=False))
    names = data.features[labels].names if labels and isinstance(data.features[labels], datasets.ClassLabel) else None

    def pictures() -> Iterator[Picture]:
        for row in np.random.default_rng(seed).permutation(len(data)).tolist():
            item = data[row]
            told = item[labels] if labels else None
            said = NO_LABEL if told is None or told == -1 else names[told] if names else str(told)
            yield Picture(f"{split}/{row}", said, partial(_bytes_of, item[column], f"row {row} of hf:{name}"))

    return Source(pictures(), len(data))


def _bytes_of(given: dict[str, Any], where: str) -> bytes:
    if not given["bytes"]:
        raise UserError(f"{where} has the path of a file in place of a picture; shard the folder of these files")
    require_size(len(given["bytes"]), LARGEST_PICTURE)
    return given["bytes"]


def _column(data: Any, given: str | None, kind: type, what: str, option: str, optional: bool = False) -> str | None:
    """The column that is asked for, or the only one of a kind."""
    fitting = [name for name, feature in data.features.items() if isinstance(feature, kind)]
    if given is None and len(fitting) == 1:
        return fitting[0]
    if given is None and optional and not fitting:
        return None
    if given is None or given not in data.features or (option == "--image" and given not in fitting):
        raise UserError(f"{option} {given}: choose a column of {what}; there are {fitting or [*data.features]}")
    return given
