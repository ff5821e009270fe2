"""A folder or a zip file, read alike; nothing outside of it is read, whatever names and links say."""

import os
import re
import zipfile
from collections.abc import Iterator, Sequence
from functools import cached_property, lru_cache
from pathlib import Path, PurePath
from typing import NamedTuple

from vae_zoo.errors import UserError
from vae_zoo.reading import LARGEST, read_file, require_size

PICTURES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp"}
HIDDEN = (".", "__MACOSX")
LARGEST_PICTURE = 2**28
PLAIN = re.compile(r"\w[\w .()+-]*", re.ASCII)  # the names of nearly all pictures, which a pattern tells quickly


def clean_name(name: str) -> str:
    """Return a name from annotations, an archive or an option, relative to its folder and without ``./``.

    Raises:
        UserError: if it is no name, or leads out of the folder.
    """
    if PLAIN.fullmatch(name):
        return name
    path = PurePath(name)
    if path.anchor or ".." in path.parts:
        raise UserError(f"the file name {name!r} leads out of its folder")
    try:
        os.fsencode(name)
    except ValueError:
        raise UserError(f"{name!r} is no name of a file") from None
    if "\0" in name or not path.parts:
        raise UserError(f"{name!r} is no name of a file")
    return path.as_posix()


def read_member(archive: zipfile.ZipFile, name: str, largest: int = LARGEST) -> bytes:
    """Return the content of a file in a zip, after its checksum has been compared.

    Raises:
        KeyError: if it is not there.
        Exception: of any kind that zipfile raises for what is damaged.
        ValueError: if it has more than `largest` bytes.
    """
    member = archive.getinfo(name)
    require_size(member.file_size, largest)
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # others unpack without a limit
        raise ValueError(f"it is compressed by method {member.compress_type}; only stored or deflated files are read")
    with archive.open(member) as file:
        content = file.read(member.file_size)  # no more, whatever its stream unpacks to
    if len(content) != member.file_size:
        raise ValueError(f"it ends after {len(content)} of {member.file_size} bytes")
    return content


@lru_cache(maxsize=8)
def _open_zip(root: Path, modified: int, process: int) -> zipfile.ZipFile:
    """Open a zip once in each process: a forked worker that shared its parent's would move the parent's position."""
    return zipfile.ZipFile(root)


class _Folder(NamedTuple):
    """A folder: where it is in the end, the files and folders in it, which names are links, whether that is known."""

    place: str
    files: list[str]
    folders: list[str]
    links: set[str]
    listed: bool = True


class Files:
    """The files below a folder, or in a zip file, by their names relative to it, with forward slashes.

    The folder itself may be a link, which a user has put there. What is found in it is not trusted: a name or a link
    that leads out of it is refused.

    Args:
        root: a folder or a ``.zip``.
        prefix: a folder inside it; names are relative to that.
        within: links may lead anywhere below this folder, by default `root`.

    Raises:
        UserError: if `root` does not exist, or is a file but no readable zip, or the prefix leads out of it.
    """

    def __init__(self, root: Path, prefix: str = "", within: Path | None = None) -> None:
        self.root, self.prefix = root, clean_name(prefix) if prefix else ""
        # Strings, since a Path takes ten times as long, and there may be a million names.
        self._base = f"{root}/{self.prefix}" if self.prefix else str(root)
        self._within = os.path.realpath(within or root)
        self._seen: dict[str, _Folder] = {}
        if not root.exists():
            raise UserError(f"{root} does not exist")
        self._zipped = root.is_file()
        if self._zipped:
            try:
                _ = self._zip
            except Exception:  # a damaged file can make zipfile raise anything
                raise UserError(f"{root} is neither a folder nor a readable zip file") from None

    def __str__(self) -> str:
        return self._base

    @property
    def _zip(self) -> zipfile.ZipFile | None:
        return _open_zip(self.root, self.root.stat().st_ctime_ns, os.getpid()) if self._zipped else None

    def below(self, folder: str) -> "Files":
        """Return the files of a folder inside."""
        return Files(self.root, "/".join(filter(None, (self.prefix, folder))), Path(self._within))

    def places(self, names: Sequence[str]) -> list[str]:
        """Return where each file is in the end, the same for two names of one file. It need not be there.

        Raises:
            UserError: for a name that leads out of the folder, by itself or through a link.
        """
        places = []
        for name in names:
            folder, _, last = clean_name(name).rpartition("/")
            found = self._seen.get(folder) or self._look(folder)
            place = f"{found.place}/{last}"
            if last in found.links or not found.listed:
                place = self._followed(place)
            places.append(place)
        return places

    def _look(self, folder: str) -> _Folder:
        """List a folder once. Without looking at each file, links are known from other names, and the rest are none."""
        path = f"{self._base}/{folder}" if folder else self._base
        found = _Folder(path if self._zipped else self._followed(path), [], [], set())
        if not self._zipped:
            try:
                with os.scandir(path) as entries:
                    for entry in entries:
                        if entry.is_symlink():
                            found.links.add(entry.name)
                            if os.path.isfile(entry.path):  # a link that leads to itself is no file
                                found.files.append(entry.name)
                        elif entry.is_dir():
                            found.folders.append(entry.name)
                        elif entry.is_file():
                            found.files.append(entry.name)
            except (FileNotFoundError, NotADirectoryError):
                pass
            except OSError:  # it may not be listed, though what is in it may be read
                found = found._replace(listed=False)
        self._seen[folder] = found
        return found

    def _followed(self, path: str) -> str:
        """Return where a path leads, through all links."""
        place = os.path.realpath(path)
        if place != self._within and not place.startswith(self._within.rstrip(os.sep) + os.sep):
            raise UserError(f"{path} is refused: it is, or is in, a link that leads out of {self._within}, to {place}")
        return place

    def read(self, name: str, largest: int = LARGEST_PICTURE) -> bytes:
        """Return a file's content, of at most so many bytes.

        Raises:
            OSError, KeyError: if it is not there.
            UserError: if the name leads out of the folder.
            Exception: of any kind that zipfile raises for what is damaged; ValueError for what is too large.
        """
        (place,) = self.places([name])
        if self._zip is None:
            return read_file(place, largest)
        return read_member(self._zip, self._member(place), largest)

    def stamps(self, names: Sequence[str]) -> list[str]:
        """Return of each what changes when the file does: size and times, in a zip its checksum; "" if it is missing.

        Raises:
            UserError: for a name that leads out of the folder.
        """
        archive, found = self._zip, []
        # A member's checksum is easily kept by who changes it; the zip's own second time is not.
        changed = self.root.stat().st_ctime_ns
        for place in self.places(names):
            try:
                if archive is None:
                    # The second time moves on whatever is done to the file, the first can be set to any value.
                    status = os.stat(place)
                    found.append(f"{status.st_size}:{status.st_mtime_ns}:{status.st_ctime_ns}")
                else:
                    member = archive.getinfo(self._member(place))
                    found.append(f"{member.file_size}:{member.CRC}:{changed}")
            except (OSError, KeyError):
                found.append("")
        return found

    def _member(self, place: str) -> str:
        """The name in the zip of what is at this place."""
        return place[len(str(self.root)) + 1 :]

    def names(self) -> list[str]:
        """Return the names of all files, sorted, hidden ones left out; they are listed once."""
        return self._names

    @cached_property
    def _names(self) -> list[str]:
        if self._zip is None:
            return sorted(self._walk(""))
        prefix = f"{self.prefix}/" if self.prefix else ""
        members = [name for name in self._zip.namelist() if not name.endswith("/")]
        found = [name.removeprefix(prefix) for name in members if name.startswith(prefix)]
        return sorted(name for name in found if not any(part.startswith(HIDDEN) for part in name.split("/")))

    def _walk(self, folder: str) -> Iterator[str]:
        """Yield the names of the files below a folder; what may not be read is passed over, as are links to folders."""
        found, before = self._look(folder), f"{folder}/" if folder else ""
        yield from (before + name for name in found.files if not name.startswith(HIDDEN))
        for name in found.folders:
            if not name.startswith(HIDDEN):
                yield from self._walk(before + name)

    def pictures(self) -> list[str]:
        """Return the names of all picture files, sorted."""
        endings = tuple(PICTURES)
        return [name for name in self.names() if name.lower().endswith(endings)]
