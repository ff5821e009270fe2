"""Files that are read whole: ordinary ones, of a bounded size."""

import os
import stat
from pathlib import Path

LARGEST = 2**31  # bytes: a pipe or a device may have no end, and a small archive can unpack to more than fits in memory


def read_file(path: str | Path, largest: int = LARGEST) -> bytes:
    """Return the content of an ordinary file.

    Raises:
        OSError: if it is not there, or cannot be read.
        ValueError: if it is a pipe or a device, which may have no end, or has more than `largest` bytes.
    """
    found = os.stat(path)
    if not stat.S_ISREG(found.st_mode):
        raise ValueError("it is not an ordinary file")
    require_size(found.st_size, largest)
    return Path(path).read_bytes()


def require_size(size: int, largest: int) -> None:
    """Raise a ValueError if a file has more bytes than are read."""
    if size > largest:
        raise ValueError(f"it has {size} bytes, more than the {largest} that are read")
