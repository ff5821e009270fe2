"""Where shards are: a folder, a web server, or the cloud. Each gives a file as one on this machine."""

import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from vae_zoo.data.arguments import given_path
from vae_zoo.data.files import Files
from vae_zoo.errors import UserError
from vae_zoo.fetch import fetch

WEB = ("https://", "http://")
CLOUDS = ("s3://", "gs://", "r2://")  # that litdata reads and writes, with its own settings for keys

Check = Callable[[Path], None]


def is_url(place: str) -> bool:
    """Whether it is an address rather than a path."""
    return re.match(r"[a-z][a-z0-9+.-]+://", place) is not None


class Place(ABC):
    """A folder of files that are read whole, and checked."""

    @abstractmethod
    def get(self, name: str, largest: int, check: Check, fresh: bool = False) -> Path:
        """Return a file that is whole.

        Args:
            name: of the file.
            largest: bytes that it may have.
            check: reads a file, and raises an error of any kind if it is damaged.
            fresh: take no copy that was made earlier.

        Raises:
            UserError: if it is not there, or damaged.
        """


def place_at(given: str, cache_dir: Path, cache_bytes: int) -> Place:
    """Return the place of this path or address.

    Args:
        given: a folder, or an address.
        cache_dir: where files that come from elsewhere are kept.
        cache_bytes: how many of them; the files used longest ago are removed.

    Raises:
        UserError: if there is no such folder, or nothing is known that reads from there.
    """
    if given.startswith(WEB + CLOUDS):
        url = given.rstrip("/")
        return Remote(url, cache_dir / "shards" / hashlib.sha256(url.encode()).hexdigest()[:24], cache_bytes)
    if is_url(given):
        raise UserError(f"data.root: {given} is at none of the places that are read: {', '.join(WEB + CLOUDS)}")
    return Local(given_path("data.root", given))


class Local(Place):
    """A folder on this machine. No link in it may lead out of it."""

    def __init__(self, folder: Path) -> None:
        self._files = Files(folder)

    def get(self, name: str, largest: int, check: Check, fresh: bool = False) -> Path:
        """Return the file itself."""
        path = Path(self._files.places([name])[0])
        try:
            check(path)
        except UserError:
            raise
        except FileNotFoundError:
            raise UserError(
                f"{path} is not there; the shards are incomplete, or no shards: vae-zoo data shard"
            ) from None
        except (OSError, ValueError) as error:
            raise UserError(f"{path} is damaged ({error}); shard the pictures again") from error
        return path


class Remote(Place):
    """A folder on a web server, or in the cloud; files are copied to this machine, once for all its processes."""

    def __init__(self, url: str, folder: Path, most: int) -> None:
        self.url, self.folder, self.most = url, folder, most

    def get(self, name: str, largest: int, check: Check, fresh: bool = False) -> Path:
        """Return a copy."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{path.name}.lock")):
            if fresh:
                path.unlink(missing_ok=True)
            if self.url.startswith(WEB):
                fetch(f"{self.url}/{name}", path, largest, check)
            else:
                self._download(name, path, check)
            path.touch()  # it was used last
        self._make_room(path)
        return path

    def _download(self, name: str, path: Path, check: Check) -> None:
        from litdata.streaming.downloader import get_downloader

        for attempt in ("what is there", "what comes"):
            try:
                if not path.exists():
                    get_downloader(self.url, str(path.parent), []).download_file(f"{self.url}/{name}", str(path))
                return check(path)
            except (UserError, ModuleNotFoundError):
                raise
            except Exception as error:  # of any kind, by the cloud's own library
                path.unlink(missing_ok=True)
                if attempt == "what comes":
                    reason = " ".join(str(error).split())[:300]
                    raise UserError(f"{self.url}/{name} cannot be read ({reason})") from error
        return None

    def _make_room(self, kept: Path) -> None:
        """Remove the files that were used longest ago; who has one open, or wants it again, loses nothing."""
        files = []
        for path in self.folder.glob("*/chunk-*.bin"):
            try:
                files.append((path.stat().st_mtime, path.stat().st_size, path))
            except FileNotFoundError:  # another process was first
                continue
        left = sum(size for _, size, _ in files)
        for _, size, path in sorted(files):
            if left > self.most and path != kept:
                path.unlink(missing_ok=True)
                left -= size
