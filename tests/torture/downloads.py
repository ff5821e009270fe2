"""Downloads from servers that are slow, endless, lying or hostile, and what was left from before."""

import http.server
import json
import os
import signal
import time
import zipfile
from collections.abc import Callable
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

from tests.torture.generate import damage_file, dice
from tests.torture.harness import Case, case, expect
from tests.torture.kills import end_at
from tests.torture.templates import template

ARCHIVE = "/annotations/annotations_trainval2017.zip"
N = 5


def archive(change=lambda content: None, outside=""):
    """The annotations as COCO has them, of twelve of the pictures, OUTSIDE in them being a folder."""
    content = json.loads(next(template("shapes/annotations").glob("instances*.json")).read_text())
    content["images"] = content["images"][:12]
    change(content)
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("annotations/instances_train2017.json", json.dumps(content).replace("OUTSIDE", outside))
        file.write(template("shapes/annotations/captions.json"), "annotations/captions_train2017.json")
    return buffer.getvalue()


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves the archive and the pictures, but for some paths, as `behave` does."""

    behave: Callable[["Handler", bytes], bool]
    annotations: bytes

    def do_GET(self):
        if self.path == ARCHIVE:
            content = self.annotations
        else:
            path = template("shapes/images") / Path(self.path).name
            if not path.is_file():
                return self.send_error(404)
            content = path.read_bytes()
        try:
            if not type(self).behave(self, content):
                self.answer(content)
        except OSError:
            pass

    def answer(self, content, length=None, status=200, **headers):
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content) if length is None else length), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


def slowly(handler, content):
    handler.answer(b"", len(content))

    for byte in content:
        handler.wfile.write(bytes([byte]))
        handler.wfile.flush()
        time.sleep(0.3)  # of a clock that goes 40 times as fast: a byte in twelve seconds


def led_on(to, drip):
    """A redirection with a body that does not end, a byte or a megabyte at a time."""

    def behave(handler, content):
        handler.send_response(302)
        handler.send_header("Location", to)
        handler.end_headers()
        while True:
            handler.wfile.write(b"x" if drip else bytes(1 << 20))
            time.sleep(0.3 * drip)

    return behave


def endlessly(handler, content):
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(content[:1] + bytes(1 << 20))


def silently(handler, content):

    time.sleep(3600)


BEHAVIOURS = {
    "a byte now and then": slowly,
    "a body without an end": endlessly,
    "no answer": silently,
    "cut off": lambda handler, content: handler.answer(content[: len(content) // 2], len(content)),
    "a length that is too long": lambda handler, content: handler.answer(content, len(content) + 1000),
    "a length that is too short": lambda handler, content: handler.answer(content, len(content) // 2),
    "a length that is no number": lambda handler, content: handler.answer(content, Content_Length="x"),
    "a length that is negative": lambda handler, content: handler.answer(content, -5),
    "a length of a terabyte": lambda handler, content: handler.answer(content, 10**12),
    "not found": lambda handler, content: handler.send_error(404),
    "an error": lambda handler, content: handler.send_error(503),
    "nothing": lambda handler, content: handler.answer(b""),
    "a page": lambda handler, content: handler.answer(b"<html>no such thing</html>"),
    "no HTTP": lambda handler, content: handler.wfile.write(b"\x00\xff" * 100),
    "a redirection to itself": lambda handler, content: handler.answer(b"", status=302, Location=handler.path),
    "a redirection to a file": lambda handler, content: handler.answer(b"", status=302, Location="file:///etc/passwd"),
    "a redirection that drips": led_on("/nowhere", True),
    "a redirection that floods": led_on("/nowhere", False),
    "a redirection to FTP": led_on("ftp://127.0.0.1/x", True),
    "zeros": lambda handler, content: handler.answer(bytes(len(content))),
    "endless headers": lambda handler, content: [handler.wfile.write(b"x: y\r\n" * 1000) for _ in range(10_000)],
}


@contextmanager
def serving(behave, annotations=None):
    """A server in a process of its own; yields its address."""
    Handler.behave, Handler.annotations = staticmethod(behave), annotations or archive()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if (pid := os.fork()) == 0:
        server.serve_forever()
    port = server.server_port
    server.socket.close()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def download(place, url, **limits):
    """Five pictures, with a clock that goes faster."""
    return place.zoo("data", "coco", "--url", url, "--out", "coco", "--n", N, "--jobs", 2, clock=40, wall=60, **limits)


def right(place):
    """What is there is what was served, all of it."""
    folder = place.work / "coco"
    content = json.loads((folder / "annotations" / "instances_train2017.json").read_text())
    expect(len(content["images"]) == N, "not so many pictures")
    for image in content["images"]:
        there, here = template("shapes/images") / image["file_name"], folder / "images" / image["file_name"]
        expect(
            here.is_file() and here.read_bytes() == there.read_bytes(), f"{here.name} is not the picture that there is"
        )


@case
def from_server(place, what, which, often):
    """A server that misbehaves for the archive, or for some pictures, the first times or always."""
    asked = {}

    def behave(handler, content):
        asked[handler.path] = asked.get(handler.path, 0) + 1
        hit = (handler.path == ARCHIVE) == (which == "the archive") and asked[handler.path] <= often
        if hit:
            BEHAVIOURS[what](handler, content)
        return hit

    place.allowed = ("work/coco/*", "home/.cache/*", "tmp/*")
    with serving(behave) as url:
        if download(place, url).status == 0:
            right(place)


@case
def hostile(place, what, change):
    """An archive that says something else than COCO's."""
    place.allowed = ("work/coco/*", "home/.cache/*", "tmp/*")
    annotations = archive(change, str(place.outside))
    with serving(lambda handler, content: False, annotations) as url:
        download(place, url)


def names(*odd):
    def change(content):
        for image in content["images"]:
            image["file_name"] = "".join(odd) + image["file_name"]

    return change


def linked(content):
    for image in content["images"]:
        image["file_name"] = f"../images/../../../outside/{image['file_name']}"


@case
def left_before(place, what, leave, number):
    """A folder in which something was left, and a good server."""
    place.own = ("work/coco/*",)
    with serving(lambda handler, content: False) as url:
        assert download(place, url, expected=True).status == 0
        leave(place.work / "coco", dice("left", number))
        done = download(place, url)
        if done.status == 0:
            right(place)


def _damaged(pattern):
    def leave(folder, dice_):
        files = sorted(folder.glob(pattern))
        return damage_file(dice_.choice(files), dice_, "cut zeros text empty swap flip") if files else None

    return leave


@case
def killed(place, number):
    place.own = ("work/coco/*",)
    with serving(lambda handler, content: False) as url:
        download(place, url, expected=True, kill=end_at(place, number, [0, 0.0005][number % 2]))
        expect(download(place, url).status == 0, "it does not go on")
        right(place)


def cases(count):
    """Each behaviour for archive and pictures, hostile archives, and what was left."""

    def help_(place):
        said = place.zoo("data", "coco", "--help").said
        expect("https://" in said and "http://" not in said, "the address of the server is no https")

    found = [Case("the address that is meant by default", help_)]
    found += [
        from_server(what, which, often)
        for what in BEHAVIOURS
        for which in ("the archive", "pictures")
        for often in (99, 1)
    ]
    found += [
        hostile("names that lead out", names("../../")),
        hostile("names that lead out far", linked),
        hostile("names that are absolute", names("OUTSIDE/")),
        hostile("names with a backslash", names("..\\..\\")),
        hostile("names with NUL", names("a\0")),
        hostile("names that are long", names("x" * 5000)),
        hostile("an empty name", lambda content: [image.update(file_name="") for image in content["images"]]),
        hostile("numbers for names", lambda content: [image.update(file_name=5) for image in content["images"]]),
        hostile("no ids", lambda content: [image.pop("id") for image in content["images"]]),
        hostile("ids that are no numbers", lambda content: [image.update(id=[1]) for image in content["images"]]),
        hostile("no images", lambda content: content.pop("images")),
        hostile("no annotations", lambda content: content.pop("annotations")),
        hostile("images that are no list", lambda content: content.update(images=5)),
        hostile("annotations that are no list", lambda content: content.update(annotations="x")),
    ]
    number = 0
    while len(found) < count:
        found += [
            left_before("a damaged picture", _damaged("images/*.*"), number),
            left_before("a damaged archive", _damaged("*.zip"), number),
        ]
        found += [killed(number)]
        number += 1
    return found[:count]
