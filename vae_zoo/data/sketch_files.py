"""Sketches on disk: QuickDraw's ``.ndjson`` and the published ``.npz``, read without executing what a file contains.

A sketch is an array (N, 3) of rows (dx, dy, lifted), "stroke-3": the offset from the point before, and 1 where the pen
is lifted after the point. The first point of all, from which the first offset goes, is the origin and has no row.
"""

import io
import json
import pickle
import re
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vae_zoo.data.arguments import is_text
from vae_zoo.data.arrays import numbers, read_header
from vae_zoo.data.files import read_member
from vae_zoo.data.module import PUBLISHED, Part
from vae_zoo.errors import UserError
from vae_zoo.reading import read_file

MOST_POINTS = 2**28  # of all sketches of a part


class Sketch(NamedTuple):
    """A drawing: its id, the name of its label, and its rows (N, 3) float32."""

    id: str
    label: str
    rows: np.ndarray


def from_lines(lines: Sequence[np.ndarray]) -> np.ndarray:
    """Return the rows (N, 3) of a drawing of lines (n, 2) in absolute places, one point fewer than the lines have."""
    lines = [line for line in lines if len(line)]
    if not lines:
        return np.empty((0, 3), np.float32)
    if len(lines[0]) == 1:
        lines[0] = np.repeat(lines[0], 2, 0)  # a dot where the drawing begins needs a row to lift the pen in
    points = np.concatenate([np.asarray(line, np.float32) for line in lines])
    lifted = np.zeros(len(points), np.float32)
    lifted[np.cumsum([len(line) for line in lines]) - 1] = 1
    return np.column_stack([np.diff(points, axis=0), lifted[1:]])


def read_ndjson(path: Path) -> list[Sketch]:
    """Read QuickDraw's file of one drawing a line: ``{"word": ..., "drawing": [[[x ...], [y ...]] ...]}``.

    Raises:
        UserError: if a line is something else.
    """
    sketches = []
    try:
        content = read_file(path)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}") from None
    for number, line in enumerate(content.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            drawing = json.loads(line.decode(errors="replace"))
            rows = from_lines([np.array([stroke[0], stroke[1]], np.float32).T for stroke in drawing["drawing"]])
            if not is_text(drawing["word"]):
                raise ValueError(f"the word is {drawing['word']!r}")
            check_rows(rows)
            sketches.append(Sketch(str(drawing.get("key_id", f"{path.name}/{number}")), drawing["word"], rows))
        except (ValueError, TypeError, KeyError, IndexError, OverflowError, RecursionError) as error:
            raise UserError(
                f"{path}, line {number}, is not a drawing of QuickDraw's, "
                f'{{"word": ..., "drawing": [[[x ...], [y ...]] ...]}}: {type(error).__name__}: {error}'
            ) from None
    return sketches


def check_rows(rows: np.ndarray) -> None:
    """Raise a ValueError if these are no rows (dx, dy, lifted) of a sketch."""
    if rows.ndim != 2 or rows.shape[1] != 3:
        raise ValueError(f"a sketch has the shape {rows.shape}, it must be (N, 3)")
    if not np.isfinite(rows).all() or not np.isin(rows[:, 2], (0, 1)).all():
        raise ValueError("a sketch must have finite offsets, and 0 or 1 for a pen that is lifted")


def read_npz(path: Path) -> dict[Part, list[Sketch]]:
    """Read a published file with the arrays `train`, `valid` and `test`, each of sketches (N, 3).

    They are pickled, and unpickling may run any command. Here only arrays of numbers come out: a file that asks for
    anything else is refused.

    Raises:
        UserError: if the file is something else.
    """
    found = {}
    try:
        with zipfile.ZipFile(io.BytesIO(read_file(path))) as members:
            for part, name in PUBLISHED.items():
                sketches, points = [], 0
                for array in _read_array(read_member(members, f"{name}.npy")):
                    rows = np.asarray(array, np.float32)
                    check_rows(rows)
                    if (points := points + len(rows)) > MOST_POINTS:  # one array may be in there a million times
                        raise ValueError(f"{name} has more than {MOST_POINTS} points")
                    sketches.append(rows)
                found[part] = [Sketch(f"{path.stem}/{name}/{i}", path.stem, rows) for i, rows in enumerate(sketches)]
    except _Refused as refused:
        raise UserError(
            f"{path} is refused: reading it would call {refused}, which no array of numbers needs"
        ) from None
    except Exception as error:  # a damaged file can make NumPy and pickle raise anything
        raise UserError(
            f"{path} is not a .npz of sketches, with the arrays train, valid and test: {type(error).__name__}: {error}"
        ) from None
    return found


class _Refused(Exception):
    """What a pickle asked for."""


def _read_array(content: bytes) -> Iterator[np.ndarray]:
    """The arrays in an array of objects, or along the first axis of an array of numbers."""
    file = io.BytesIO(content)
    if read_header(file)[2].hasobject:
        return (array.numbers() for array in _Unpickler(file, encoding="latin1").load().state[4])
    return iter(numbers(content))


class _Type:
    """Stands in for numpy.dtype."""

    order = "|"

    def __init__(self, name: str, *_: Any) -> None:
        if not re.fullmatch(r"[iufb][1248]|O8?", name):
            raise _Refused(f"numpy.dtype({name!r})")
        self.name = name

    def __setstate__(self, state: tuple) -> None:
        if state[1] not in ("<", ">", "|", "="):
            raise _Refused(f"numpy.dtype in the byte order {state[1]!r}")
        self.order = state[1]


class _Array:
    """Stands in for numpy.ndarray: remembers the state (version, shape, dtype, Fortran order, content)."""

    state: tuple

    def __setstate__(self, state: tuple) -> None:
        self.state = state

    def numbers(self) -> np.ndarray:
        """Make the array, which must be one of numbers."""
        _, shape, dtype, fortran, content = self.state
        content = content.encode("latin1") if isinstance(content, str) else content  # pickled by Python 2
        flat = np.frombuffer(content, np.dtype(dtype.order.replace("|", "=") + dtype.name))
        return flat.reshape(shape, order="F" if fortran else "C")


class _Function:
    """Stands in for a function: a pickle can call it, but set no attribute of it."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        raise _Refused("__setstate__ of a function")


class _Reconstruct(_Function):
    __slots__ = ()

    def __call__(self, *_: Any) -> _Array:
        return _Array()


class _Encode(_Function):
    """Encodes no more than a pickle of this size can have in it, though it may name one text many times.

    Args:
        left: how many characters.
    """

    __slots__ = ("left",)

    def __init__(self, left: int) -> None:
        self.left = left

    def __call__(self, text: str, encoding: str = "latin1") -> bytes:
        self.left -= len(text)
        if self.left < 0:
            raise _Refused("more content than the file has")
        return text.encode("latin1")


class _Unpickler(pickle._Unpickler):
    """Knows the names that a pickled array of arrays has, with stand-ins for them, and no others.

    It derives from the unpickler in Python, since the one in C allocates whatever size a file claims to need.
    """

    KNOWN = {
        ("numpy.core.multiarray", "_reconstruct"): _Reconstruct(),
        ("numpy._core.multiarray", "_reconstruct"): _Reconstruct(),
        ("numpy", "ndarray"): _Array,
        ("numpy", "dtype"): _Type,
    }

    def __init__(self, file: io.BytesIO, **options: Any) -> None:
        super().__init__(file, **options)
        self.known = self.KNOWN | {("_codecs", "encode"): _Encode(file.getbuffer().nbytes)}

    def find_class(self, module: str, name: str) -> Any:
        """Return the stand-in."""
        if (module, name) not in self.known:
            raise _Refused(f"{module}.{name}")
        return self.known[module, name]
