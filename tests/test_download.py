"""`vae-zoo data coco` against a server on this machine that behaves like COCO's, and like a bad one."""

import functools
import http.server
import json
import os
import threading
import time
import zipfile
from collections.abc import Callable

import numpy as np
import pytest
from filelock import FileLock

from tests.data_sets import jpeg, module
from vae_zoo import fetch
from vae_zoo.cli import main
from vae_zoo.data import download


class Server(http.server.SimpleHTTPRequestHandler):
    asked: list[str] = []
    breaks: dict[str, int] = {}  # how many answers for a path are cut short

    answers: dict[str, Callable] = {}  # what a path does instead
    ranges: list[str] = []  # which parts were asked for

    def do_GET(self):
        self.asked.append(self.path)
        if "Range" in self.headers:
            self.ranges.append(self.headers["Range"])
        if self.path in self.answers:
            self.answers[self.path](self)
        elif self.breaks.get(self.path, 0) > 0:
            self.breaks[self.path] -= 1
            self.send_response(200)
            self.send_header("Content-Length", "100000")
            self.end_headers()
            self.wfile.write(b"\xff\xd8 a part")
        else:
            super().do_GET()

    def log_message(self, *_):
        pass


@pytest.fixture
def server(shapes, tmp_path, monkeypatch):
    site = tmp_path / "site"
    (site / "annotations").mkdir(parents=True)
    with zipfile.ZipFile(site / "annotations" / "annotations_trainval2017.zip", "w") as archive:
        for what in ("instances", "captions"):
            archive.write(shapes / "annotations" / f"{what}.json", f"annotations/{what}_train2017.json")
    (site / "train2017").symlink_to(shapes / "images")
    monkeypatch.setattr(fetch, "PAUSE", 0.0)
    Server.asked, Server.breaks, Server.answers, Server.ranges = [], {}, {}, []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Server, directory=str(site))) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def coco(server, out, n, *more):
    return main(["data", "coco", "--url", server, "--out", str(out), "--n", str(n), *more])


@pytest.mark.slow
def test_only_the_chosen_pictures_are_fetched_and_make_a_data_set(server, shapes, tmp_path):
    assert coco(server, tmp_path / "coco", 30) == 0
    names = {path.name for path in (tmp_path / "coco" / "images").iterdir()}
    assert len(names) == 30 == sum(path.startswith("/train2017/") for path in Server.asked)
    assert all((shapes / "images" / n).read_bytes() == (tmp_path / "coco" / "images" / n).read_bytes() for n in names)
    content = json.loads((tmp_path / "coco" / "annotations" / "instances_train2017.json").read_text())
    assert {image["file_name"] for image in content["images"]} == names
    assert {a["image_id"] for a in content["annotations"]} == {image["id"] for image in content["images"]}
    captions = json.loads((tmp_path / "coco" / "annotations" / "captions_train2017.json").read_text())
    assert captions["images"] == content["images"]
    texts = {a["image_id"]: a["caption"] for a in captions["annotations"]}
    assert texts.keys() == {image["id"] for image in content["images"]}
    data = module(tmp_path / "coco", n_train=15, n_test=10, n_val=5, captions="auto")
    assert data.facts.captions == tuple(dict.fromkeys(text for _, text in sorted(texts.items())))
    coco(server, tmp_path / "other", 30, "--seed", "1")
    assert {path.name for path in (tmp_path / "other" / "images").iterdir()} != names


def test_a_download_that_was_cut_off_goes_on(server, tmp_path, capsys):
    coco(server, tmp_path / "whole", 20)
    name = sorted(path.name for path in (tmp_path / "whole" / "images").iterdir())[7]
    Server.breaks[f"/train2017/{name}"] = 100
    assert coco(server, tmp_path / "coco", 20, "--jobs", "1") == 1
    said = capsys.readouterr().err
    assert name in said and "the same command goes on" in said and "Traceback" not in said
    assert not (tmp_path / "coco" / "annotations").exists()  # so nothing takes the part for the whole
    assert not (tmp_path / "coco" / "images" / name).exists()
    before = len(list((tmp_path / "coco" / "images").glob("*.jpg")))
    Server.breaks.clear()
    Server.asked.clear()
    assert coco(server, tmp_path / "coco", 20) == 0
    assert len(Server.asked) == 20 - before
    assert len(list((tmp_path / "coco" / "images").glob("*.jpg"))) == 20


def test_a_cut_connection_is_tried_again(server, tmp_path):
    Server.breaks["/annotations/annotations_trainval2017.zip"] = 2
    assert coco(server, tmp_path / "coco", 5) == 0


def test_what_cannot_be_had_is_said(server, tmp_path, capsys):
    assert coco(server, tmp_path / "coco", 81) == 1
    assert "n = 81 pictures asked for, COCO train2017 has 80" in capsys.readouterr().err
    assert coco(server + "/nowhere", tmp_path / "other", 5) == 1
    assert "404" in capsys.readouterr().err
    assert len([path for path in Server.asked if path.startswith("/nowhere")]) == 1  # no use trying again


ARCHIVE = "/annotations/annotations_trainval2017.zip"


def sends(pieces, wait=0.0, status=200, **headers):
    """An answer of these pieces, one after the other."""

    def answer(request):
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name.replace("_", "-"), str(value))
        request.end_headers()
        try:
            for piece in pieces:
                request.wfile.write(piece)
                request.wfile.flush()
                time.sleep(wait)
        except OSError:  # the other side has hung up
            pass

    return answer


def endless(piece=b"x" * 2**16):
    while True:
        yield piece


def slow_head(request):
    try:
        for letter in endless(b"H"):
            request.wfile.write(letter)
            time.sleep(0.02)
    except OSError:
        pass


def test_the_default_is_encrypted_and_other_protocols_are_refused(tmp_path, capsys):
    assert download.COCO.startswith("https://")
    for url in ("ftp://x", "file:///etc", "images.cocodataset.org"):
        assert coco(url, tmp_path / "out", 1) == 1
        assert f"url must begin with https://, or with http://, which nothing protects; got {url}" in (
            capsys.readouterr().err
        )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["body", "head"])
def test_a_byte_now_and_then_has_an_end(server, tmp_path, capsys, monkeypatch, name):
    monkeypatch.setattr(fetch, "SECONDS", 0.3)
    monkeypatch.setattr(fetch, "ATTEMPTS", 2)
    Server.answers[ARCHIVE] = slow_head if name == "head" else sends(endless(b"x"), wait=0.02)
    begin = time.monotonic()
    assert coco(server, tmp_path / "coco", 1) == 1
    said = capsys.readouterr().err
    assert time.monotonic() - begin < 10 and f"{ARCHIVE} cannot be fetched (" in said
    assert name == "head" or "bytes came in 0 seconds" in said


@pytest.mark.parametrize("to, said", [("/elsewhere", "404"), ("ftp://127.0.0.1/x", "which is not https")])
def test_what_comes_with_a_redirection_is_not_waited_for(server, tmp_path, capsys, to, said):
    Server.answers[ARCHIVE] = sends(endless(b"x"), wait=0.02, status=302, Location=to)
    assert coco(server, tmp_path / "coco", 5) == 1
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("length", [{}, {"Content_Length": 10**12}])
def test_a_body_that_is_too_large_is_not_kept(server, tmp_path, capsys, monkeypatch, length):
    monkeypatch.setattr(download, "LARGEST_ARCHIVE", 2**20)
    Server.answers[ARCHIVE] = sends(endless(), **length)
    assert coco(server, tmp_path / "coco", 1) == 1
    assert f"{ARCHIVE} has more than the 1048576 bytes that such a file may have" in capsys.readouterr().err
    assert not list((tmp_path / "coco").glob(".*partial")) and len(Server.asked) == 1


@pytest.mark.parametrize("can", ["range", "whole", "other part"])
def test_an_archive_that_was_cut_off_is_resumed_where_the_server_can(server, tmp_path, can):
    content = (tmp_path / "site" / ARCHIVE[1:]).read_bytes()
    (tmp_path / "coco").mkdir()
    (tmp_path / "coco" / ".annotations_trainval2017.zip.partial").write_bytes(content[:1000])

    def part(begin):
        rest = content[begin:]
        length = {"Content_Length": len(rest), "Content_Range": f"bytes {begin}-{len(content) - 1}/{len(content)}"}

        def once(request):
            Server.answers.clear()
            sends([rest], status=206, **length)(request)

        return once

    if can != "whole":
        Server.answers[ARCHIVE] = part(1000 if can == "range" else 7)
    assert coco(server, tmp_path / "coco", 3) == 0
    assert Server.ranges == ["bytes=1000-"]
    assert Server.asked.count(ARCHIVE) == (2 if can == "other part" else 1)
    assert (tmp_path / "coco" / "annotations_trainval2017.zip").read_bytes() == content


@pytest.mark.parametrize("damage", ["cut", "changed"])
def test_what_is_damaged_already_is_fetched_again_and_only_that(server, tmp_path, damage):
    out = tmp_path / "coco"
    assert coco(server, out, 10) == 0
    picture, archive = sorted((out / "images").glob("*.jpg"))[3], out / "annotations_trainval2017.zip"
    truth = {path: path.read_bytes() for path in (picture, archive)}
    for path, content in truth.items():
        middle = len(content) // 2
        path.write_bytes(content[:middle] if damage == "cut" else content[:middle] + bytes(9) + content[middle + 9 :])
    if damage == "changed":  # a few bytes of a JPEG may be others unseen, another size is not
        picture.write_bytes(jpeg(np.zeros((20, 20, 3), np.uint8)))
    (out / "mine.txt").write_text("mine")
    (out / "images" / "mine.jpg").write_text("no picture")
    Server.asked.clear()
    assert coco(server, out, 10) == 0
    assert Server.asked == [ARCHIVE, f"/train2017/{picture.name}"]
    assert all(path.read_bytes() == content for path, content in truth.items())
    assert (out / "mine.txt").read_text() == "mine" and (out / "images" / "mine.jpg").read_text() == "no picture"


def test_nothing_damaged_is_kept(server, tmp_path, capsys):
    assert coco(server, tmp_path / "coco", 3) == 0
    name = min(path.name for path in (tmp_path / "coco" / "images").iterdir())
    Server.answers[f"/train2017/{name}"] = sends([jpeg(np.zeros((20, 20, 3), np.uint8))])
    assert coco(server, tmp_path / "other", 3) == 1
    assert f"{name} cannot be fetched (what came is damaged: the picture has (20, 20) pixels" in capsys.readouterr().err
    assert not [path for path in (tmp_path / "other" / "images").iterdir() if name in path.name]


@pytest.mark.parametrize("name", ["../../victim.jpg", "/victim.jpg", "linked/victim.jpg", "x\0.jpg", 7, None])
def test_a_name_that_leads_out_of_the_folder_writes_nothing(server, shapes, tmp_path, capsys, name):
    content = json.loads((shapes / "annotations" / "instances.json").read_text())
    for image in content["images"]:
        image["file_name"] = name
    with zipfile.ZipFile(tmp_path / "site" / ARCHIVE[1:], "w") as archive:
        archive.writestr("annotations/instances_train2017.json", json.dumps(content))
        archive.write(shapes / "annotations" / "captions.json", "annotations/captions_train2017.json")
    (tmp_path / "coco" / "images").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "coco" / "images" / "linked").symlink_to(tmp_path / "elsewhere")
    assert coco(server, tmp_path / "coco", 1) == 1
    said = capsys.readouterr().err
    assert "leads out of" in said or "entry 0 of 'images' has the file_name" in said
    assert not list(tmp_path.rglob("victim.jpg")) and Server.asked == [ARCHIVE]


def test_two_downloads_to_one_folder_do_not_mix(server, tmp_path, capsys):
    (tmp_path / "coco").mkdir()
    with FileLock(tmp_path / "coco" / ".download.lock"):
        assert coco(server, tmp_path / "coco", 1) == 1
    assert "another process downloads to" in capsys.readouterr().err and Server.asked == []


def test_numbers_that_make_no_sense(tmp_path, capsys):
    for words in (["--n", "0"], ["--n", "1", "--jobs", "1000000"], ["--n", "1", "--seed", "-1"]):
        assert main(["data", "coco", "--out", str(tmp_path / "coco"), *words]) == 1
        assert "must be at " in capsys.readouterr().err
    assert os.listdir(tmp_path) == []
