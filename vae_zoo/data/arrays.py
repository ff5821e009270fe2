"""Arrays of numbers in ``.npy`` and ``.npz`` files, read without executing anything or trusting what a file claims."""

import io
import zipfile
from pathlib import Path
from typing import IO

import numpy as np

from vae_zoo.data.files import read_member
from vae_zoo.reading import read_file, require_ordinary


def read_npy(path: Path) -> np.ndarray:
    """Read a ``.npy`` file.

    Raises:
        Exception: of any kind, if it is damaged or something else.
    """
    return numbers(read_file(path))


def read_npz(path: Path, name: str) -> np.ndarray:
    """Read the array of this name in a ``.npz`` file.

    Raises:
        Exception: of any kind, if it is damaged, something else, or has no such array.
    """
    require_ordinary(path)
    with zipfile.ZipFile(path) as members:
        return numbers(read_member(members, f"{name}.npy"))


def read_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Read the shape, whether it is in Fortran's order, and the type."""
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    return readers[np.lib.format.read_magic(file)](file)


def numbers(content: bytes) -> np.ndarray:
    """Return the array of a ``.npy``, which is not copied: an array larger than its content has no memory to take."""
    file = io.BytesIO(content)
    shape, fortran, dtype = read_header(file)
    if dtype.hasobject:
        raise ValueError("it is pickled, not an array of numbers")
    return np.frombuffer(content, dtype, offset=file.tell()).reshape(shape, order="F" if fortran else "C")
