"""One file from a web server: resumed, with limits in time and size, and kept only if it is whole.

Libraries that download limit the time until some bytes come, so that a server which sends a byte a second holds them up
for ever; the standard library's client is as good a foundation, and one dependency less.
"""

import http.client
import io
import re
import socket
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, TypeVar

from vae_zoo.errors import UserError

ATTEMPTS = 4
SECONDS = 30.0  # in which a server must answer, and thereafter send SLOWEST bytes, over and over
SLOWEST = 30_000
PAUSE = 0.5  # before the second attempt, and twice as long each time
CHUNK = 2**16

T = TypeVar("T")


def fetch(url: str, path: Path, largest: int, check: Callable[[Path], T], resume: bool = False) -> T:
    """Fetch a file, unless it is there and whole, and retry if the network or the content is at fault.

    It comes in pieces into ``.NAME.partial`` beside it, which becomes the file when it is complete and has been
    checked, and is removed if it is damaged.

    Args:
        url: of the file, https or http.
        path: where it goes.
        largest: bytes that it may have.
        check: reads a file and raises an error of any kind if it is damaged; a UserError says that no retry will help.
        resume: fetch only the rest of what is there, if the server can send it. Only where `check` compares checksums,
            since the parts may be of two versions.

    Returns:
        what `check` returned.

    Raises:
        UserError: if it cannot be fetched.
    """
    if path.exists():
        try:
            return check(path)
        except UserError:
            raise
        except Exception:  # of a damaged file, which is fetched again
            pass
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    for attempt in range(1, ATTEMPTS + 1):
        if not resume or partial.is_symlink():
            partial.unlink(missing_ok=True)
        resumed = partial.exists()
        try:
            _receive(url, partial, largest)
            try:
                result = check(partial)
            except UserError:
                raise
            except Exception as error:
                partial.unlink()
                raise OSError(f"what came is damaged: {error}") from error
            partial.replace(path)
            return result
        except UserError:
            partial.unlink(missing_ok=True)
            raise
        except (OSError, http.client.HTTPException, ValueError) as error:
            status = error.code if isinstance(error, urllib.error.HTTPError) else None
            if status == 416 and resumed:  # there is no rest
                partial.unlink(missing_ok=True)
            if status in (403, 404) or attempt == ATTEMPTS:
                raise UserError(
                    f"{url} cannot be fetched ({error}); what has come so far is kept, the same command goes on with it"
                ) from error
            time.sleep(2 ** (attempt - 1) * PAUSE)
    raise AssertionError  # not reached


def _receive(url: str, partial: Path, largest: int) -> None:
    """Receive the rest of a file, or all of it if the server cannot send a part."""
    there = partial.stat().st_size if partial.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={there}-"} if there else {})
    with _opener().open(request, timeout=SECONDS) as response:
        begins = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
        goes_on = response.status == 206 and begins is not None and int(begins[1]) == there
        if response.status == 206 and not goes_on:
            partial.unlink()
            raise OSError("the server sent another part than the one that was asked for")
        if not goes_on:
            there = 0
        length = response.headers.get("Content-Length")
        expected = there + int(length) if length else None
        _require_size(url, expected or 0, largest)
        with open(partial, "ab" if goes_on else "wb") as file:
            received = there + _copy(response, file, largest - there, url)
    if expected is not None and received != expected:
        raise OSError(f"the connection ended after {received} of {expected} bytes")


def _copy(response: Any, file: IO[bytes], left: int, url: str) -> int:
    """Write what comes, and return how many bytes did. Raises OSError if they come too slowly."""
    total = recent = 0
    since = time.monotonic()
    while True:
        with _hang_up_after(SECONDS, getattr(response, "sock", None)):  # it also reads lengths and what follows a body
            piece = response.read1(CHUNK)
        if not piece:
            break
        file.write(piece)
        total, recent = total + len(piece), recent + len(piece)
        _require_size(url, total, left)
        if (now := time.monotonic()) - since > SECONDS:
            if recent < SLOWEST:
                raise OSError(f"only {recent} bytes came in {now - since:.0f} seconds")
            since, recent = now, 0
    return total


def _require_size(url: str, size: int, largest: int) -> None:
    if size > largest:
        raise UserError(f"{url} has more than the {largest} bytes that such a file may have, so it is not kept")


@contextmanager
def _hang_up_after(seconds: float, sock: socket.socket | None) -> Iterator[None]:
    """End a connection unless what is done with it is done in time: its own timeout begins anew with each byte."""

    def hang_up() -> None:
        if sock:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    late = threading.Timer(seconds, hang_up)
    late.daemon = True
    late.start()
    try:
        yield
    finally:
        late.cancel()


class _Impatient:
    """A connection whose answer must begin in time, and knows its socket."""

    sock: socket.socket

    def getresponse(self) -> http.client.HTTPResponse:
        sock = self.sock
        with _hang_up_after(SECONDS, sock):
            answer = super().getresponse()  # type: ignore[misc]
        answer.sock = sock
        return answer


class _HTTP(_Impatient, http.client.HTTPConnection):
    pass


class _HTTPS(_Impatient, http.client.HTTPSConnection):
    pass


class _HTTPHandler(urllib.request.HTTPHandler):
    def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_HTTP, request)


class _HTTPSHandler(urllib.request.HTTPSHandler):
    def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_HTTPS, request)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Goes from https nowhere but to https, and nowhere by FTP. What comes with a redirection is not read."""

    def http_error_302(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: http.client.HTTPMessage
    ) -> Any:
        fp.close()
        return super().http_error_302(req, io.BytesIO(), code, msg, headers)

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302

    def redirect_request(self, request: urllib.request.Request, *rest: Any) -> urllib.request.Request | None:
        new = super().redirect_request(request, *rest)
        if new is not None and new.type not in ("https", request.type):
            raise OSError(f"the server leads to {new.full_url}, which is not https")
        return new


def _opener() -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(_HTTPHandler, _HTTPSHandler, _Redirects)
