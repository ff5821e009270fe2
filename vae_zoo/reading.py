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
    require_size(require_ordinary(path).st_size, largest)
    return Path(path).read_bytes()


def require_ordinary(path: str | Path) -> os.stat_result:
    """Return the size and times of an ordinary file.

    Raises:
        OSError: if it is not there.
        ValueError: if it is a folder, a pipe or a device.
    """
    found = os.stat(path)
    if not stat.S_ISREG(found.st_mode):
        raise ValueError("it is not an ordinary file")
    return found


def require_size(size: int, largest: int) -> None:
    """Raise a ValueError if a file has more bytes than are read."""
    if size > largest:
        raise ValueError(f"it has {size} bytes, more than the {largest} that are read")
