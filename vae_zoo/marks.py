"""Marks by which a file of this package is known, so that no command replaces another's."""

import os
from pathlib import Path

from vae_zoo.errors import UserError

WRITTEN = "Written by vae-zoo."
# What stands near the beginning or the end of a file, by the ending of its name; else WRITTEN.
MARKS = {
    ".json": b'{\n  "command": "',
    ".csv": b"likelihood,model,seed,epochs,",
    ".npz": b"weights.npy",
    ".parquet": b"weights",
}
NEAR = 4096  # bytes


def refuse_foreign(*paths: Path) -> None:
    """Refuse to replace files that this package did not write.

    Raises:
        UserError: that names one.
    """
    for path in paths:
        if path.is_file() and not is_own(path):
            raise UserError(f"{path} is there, and vae-zoo did not write it; move it away, or choose another name")


def is_own(path: Path) -> bool:
    """Whether this package wrote the file."""
    with open(path, "rb") as file:
        near = file.read(NEAR)
        file.seek(max(file.tell(), file.seek(0, os.SEEK_END) - NEAR))
        near += b"\n" + file.read()
    return MARKS.get(path.suffix.lower(), WRITTEN.encode()) in near
