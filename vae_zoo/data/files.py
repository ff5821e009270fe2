"""A folder or a zip file, read alike."""

import os
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cached_property, lru_cache
from pathlib import Path, PurePosixPath

from vae_zoo.errors import UserError

PICTURES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp"}
HIDDEN = (".", "__MACOSX")


@lru_cache(maxsize=8)
def _open_zip(root: Path, modified: int, process: int) -> zipfile.ZipFile:
    """Open a zip once in each process: a forked worker that shared its parent's would move the parent's position."""
    return zipfile.ZipFile(root)


class Files:
    """The files below a folder, or in a zip file, by their names relative to it, with forward slashes.

    Args:
        root: a folder or a ``.zip``.
        prefix: a folder inside it; names are relative to that.

    Raises:
        UserError: if `root` does not exist, or is a file but no readable zip.
    """

    def __init__(self, root: Path, prefix: str = "") -> None:
        # A string, since a Path takes ten times as long, and there may be a million names.
        self.root, self.prefix, self._base = root, prefix, str(root / prefix)
        if not root.exists():
            raise UserError(f"{root} does not exist")
        self._zipped = root.is_file()
        if self._zipped and not zipfile.is_zipfile(root):
            raise UserError(f"{root} is neither a folder nor a readable zip file")

    def __str__(self) -> str:
        return self._base

    @property
    def _zip(self) -> zipfile.ZipFile | None:
        return _open_zip(self.root, self.root.stat().st_mtime_ns, os.getpid()) if self._zipped else None

    def _name(self, name: str) -> str:
        return str(PurePosixPath(self.prefix) / name)

    def below(self, folder: str) -> "Files":
        """Return the files of a folder inside."""
        return Files(self.root, str(PurePosixPath(self.prefix) / folder).removeprefix("."))

    def read(self, name: str) -> bytes:
        """Return a file's content. Raises OSError or KeyError if it is not there, zipfile errors if it is damaged."""
        if self._zip is None:
            return Path(self._base, name).read_bytes()
        return self._zip.read(self._name(name))

    def stamps(self, names: Sequence[str]) -> list[str]:
        """Return of each what changes when the file does: size and time, or the zip's checksum; "" if it is missing."""
        archive, found, folder = self._zip, [], f"{self._base}/"
        for name in names:
            try:
                if archive is None:
                    # os.path.join, which says the same, takes a quarter of the time of os.stat.
                    stat = os.stat(name if name.startswith("/") else folder + name)
                    found.append(f"{stat.st_size}:{stat.st_mtime_ns}")
                else:
                    member = archive.getinfo(self._name(name))
                    found.append(f"{member.file_size}:{member.CRC}")
            except (OSError, KeyError):
                found.append("")
        return found

    def names(self) -> list[str]:
        """Return the names of all files, sorted, hidden ones left out; they are listed once."""
        return self._names

    @cached_property
    def _names(self) -> list[str]:
        if self._zip is None:
            return sorted(_walk(self._base, ""))
        prefix = f"{self.prefix}/" if self.prefix else ""
        members = [name for name in self._zip.namelist() if not name.endswith("/")]
        found = [name.removeprefix(prefix) for name in members if name.startswith(prefix)]
        return sorted(name for name in found if not any(part.startswith(HIDDEN) for part in name.split("/")))

    def pictures(self) -> list[str]:
        """Return the names of all picture files, sorted."""
        endings = tuple(PICTURES)
        return [name for name in self.names() if name.lower().endswith(endings)]


def _walk(folder: str, before: str) -> Iterator[str]:
    """Yield the names of the files below a folder, `before` put before each; what may not be read is passed over."""
    with suppress(PermissionError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(HIDDEN):
                continue
            if entry.is_file(follow_symlinks=False) or (entry.is_symlink() and os.path.isfile(entry.path)):
                yield before + entry.name  # a link that leads to itself is no file
            elif entry.is_dir(follow_symlinks=False):
                yield from _walk(entry.path, f"{before}{entry.name}/")
