"""Files and folders that are written whole: whoever reads one, whenever its writer was killed, finds all of it."""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Make the folder, and yield another name in it to write under, which becomes `path` at the end.

    After an error what was written is removed, and a file that was there before stays as it was.

    Raises:
        OSError: if a file cannot be there.
    """
    if not path.name:
        raise OSError(f"{path} is a folder, and no file can be written in its place")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.partial")
    temporary.unlink(missing_ok=True)  # left by a process that was killed; or a link, which must not be followed
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        if error.errno and error.filename in (None, str(temporary)):  # a full disk names none
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder to fill, which becomes `path` at the end; after an error nothing is left of it.

    Raises:
        OSError: if a folder cannot be there, or there is one that has something in it.
    """
    temporary = path.with_name(f".{path.name}.partial")
    if temporary.is_dir():  # left by a process that was killed
        shutil.rmtree(temporary)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        temporary.replace(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def user_cache() -> Path:
    """Return the folder for what can be made or fetched anew: ``~/.cache/vae_zoo``."""
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "vae_zoo"


def write_json(path: Path, content: Mapping[Any, Any], indent: int | None = 2) -> None:
    """Write a JSON file.

    Raises:
        ValueError: if a number is infinite or not one, for which JSON has no word.
    """
    with whole(path) as temporary:
        temporary.write_text(json.dumps(content, indent=indent, allow_nan=False) + "\n")
