"""COCO's annotation files: read, and checked entry by entry, since anybody may have written them."""

import contextlib
import io
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from reprlib import repr  # which is short, whatever stands in a file
from typing import Any, NamedTuple

from pycocotools.coco import COCO

from vae_zoo.data.arguments import given_path, is_text
from vae_zoo.data.files import Files, clean_name
from vae_zoo.errors import UserError
from vae_zoo.reading import LARGEST, read_file


class _Field(NamedTuple):
    """What the field of an entry must be: a test, the same in words, and whether it may be missing."""

    fits: Callable[[Any], bool]
    words: str
    optional: bool = False


Fields = dict[str, dict[str, _Field]]


def _is_whole(value: Any) -> bool:
    return type(value) is int and -(2**63) <= value < 2**63


def _is_size(value: Any) -> bool:
    return value is None or (type(value) in (int, float) and 0 <= value < math.inf)  # NaN is neither


def _is_name(value: Any) -> bool:
    try:
        return type(value) is str and bool(clean_name(value))
    except UserError:
        return False


_WHOLE = _Field(_is_whole, "a whole number of at most 64 bits")
_SIZE = _Field(_is_size, "a number that is not negative, or null")
_SIDE = _SIZE._replace(optional=True)
FIELDS: Fields = {
    "images": {
        "id": _WHOLE,
        "file_name": _Field(_is_name, "the name of a file that does not lead out of its folder"),
        "width": _SIDE,
        "height": _SIDE,
    },
    "annotations": {
        "id": _Field(lambda value: _is_whole(value) or is_text(value), "a whole number or a text", optional=True),
        "image_id": _WHOLE,
        "category_id": _WHOLE,
        "area": _SIZE,
    },
    "categories": {"id": _WHOLE, "name": _Field(is_text, "a text of printable characters")},
}
LONGEST_CAPTION = 1000  # characters
CAPTIONS: Fields = {
    "images": {name: FIELDS["images"][name] for name in ("id", "file_name")},
    "annotations": {
        "id": _WHOLE,
        "image_id": _WHOLE,
        "caption": _Field(
            lambda value: type(value) is str and len(value) <= LONGEST_CAPTION,
            f"a text of at most {LONGEST_CAPTION} characters",
        ),
    },
}


_MISSING = object()


def _wrong(rows: list[dict[str, Any]], name: str, field: _Field) -> Iterator[tuple[int, Any]]:
    """Yield the numbers and values of entries whose field is missing or none."""
    column = [row.get(name, _MISSING) for row in rows]
    if not all(map(field.fits, column)):  # a million entries are told right in half a second
        for number, value in enumerate(column):
            if not (field.optional if value is _MISSING else field.fits(value)):
                yield number, value


def open_coco(files: Files, annotations: str) -> COCO:
    """Read a COCO instances file, as `read_coco` does, into pycocotools' index."""
    coco = COCO()
    coco.dataset = read_coco(files, annotations, FIELDS, "data.annotations")
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        coco.createIndex()
    return coco


def read_coco(files: Files, annotations: str, fields: Fields, argument: str) -> dict[str, Any]:
    """Read a file in COCO's format.

    Args:
        files: a relative name is one in here, and must not lead out of it.
        annotations: the file's name; one that is absolute or begins with ~ was typed by a user, and may be anywhere.
        fields: that its entries must have, `FIELDS` or `CAPTIONS`.
        argument: that named it.

    Raises:
        UserError: if it is missing or no such file.
    """
    typed = Path(annotations).is_absolute() or annotations.startswith("~")
    where = f"the annotation file {annotations if typed else f'{files}/{annotations}'}"
    try:
        if typed:
            content = read_file(given_path(argument, annotations))
        else:
            content = files.read(annotations, LARGEST)
    except (FileNotFoundError, KeyError):
        raise UserError(f"{where} does not exist") from None
    except UserError:
        raise
    except Exception as error:  # a damaged zip can make zipfile raise anything
        raise UserError(f"{where} cannot be read: {error}") from None
    return parse(content, where, fields)


def parse(content: bytes, where: str, fields: Fields) -> dict[str, Any]:
    """Return what stands in such a file, each of whose entries has the fields that are needed, of their types.

    Args:
        content: of the file.
        where: names it, for errors.
        fields: of the entries of each list, `FIELDS` of an instances file, `CAPTIONS` of a captions file.

    Raises:
        UserError: if it is no such file; the message says which entry is none.
    """
    if not content.strip():
        raise UserError(f"{where} is empty")
    try:
        dataset = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where} is not JSON: {error}") from None
    for key, own in fields.items():
        rows = dataset.get(key) if isinstance(dataset, dict) else None
        needed = ", ".join(name for name, field in own.items() if not field.optional)
        if not isinstance(rows, list):
            raise UserError(f"{where} is not in COCO format: it needs a list {key!r} of entries with {needed}")
        for number, row in enumerate(rows):
            if not isinstance(row, dict):
                raise UserError(f"{where} is not in COCO format: entry {number} of {key!r} is {repr(row)}, not a group")
        for name, field in own.items():
            for number, value in _wrong(rows, name, field):
                missing = f"no {name}, it needs {needed}"
                wrong = f"the {name} {repr(value)}, which must be {field.words}"
                raise UserError(
                    f"{where} is not in COCO format: entry {number} of {key!r} has "
                    f"{missing if value is _MISSING else wrong}"
                )
    if not dataset["images"]:
        raise UserError(f"{where} names no image")
    for key, name in (("images", "file_name"), ("categories", "name")):
        if key not in fields:
            continue
        seen: dict[int, str] = {}
        for row in dataset[key]:
            if seen.setdefault(row["id"], row[name]) != row[name]:
                raise UserError(
                    f"{where}: two entries of {key!r} have the id {row['id']}, {seen[row['id']]} and {row[name]}"
                )
    for number, annotation in enumerate(dataset["annotations"]):
        annotation.setdefault("id", number)  # only pycocotools' index needs it
    return dataset
