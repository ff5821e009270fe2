"""The mark by which a file of this package is known, so that no command replaces another's."""

import os
from pathlib import Path

from vae_zoo.errors import UserError

WRITTEN = "Written by vae-zoo."  # in each file but tables, which begin with their header
TABLE = b"likelihood,model,seed,epochs,"
NEAR = 4096  # bytes of the beginning and of the end, where the mark is


def refuse_foreign(*paths: Path) -> None:
    """Refuse to replace what this package did not write: a file without its mark, a folder, a link.

    Raises:
        UserError: that names one.
    """
    for path in paths:
        if path.is_symlink() or (path.exists() and not is_own(path)):
            raise UserError(
                f"{path} is there, without the mark of a file that vae-zoo wrote; move it away, or choose another name"
            )


def is_own(path: Path) -> bool:
    """Whether this package wrote a file."""
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        near = file.read(NEAR)
        file.seek(max(file.tell(), file.seek(0, os.SEEK_END) - NEAR))
        near += b"\n" + file.read()
    return near.startswith(TABLE) if path.suffix.lower() == ".csv" else WRITTEN.encode() in near
