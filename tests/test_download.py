"""`vae-zoo data coco` against a server on this machine that behaves like COCO's, and like a bad one."""

import functools
import http.server
import json
import threading
import zipfile

import pytest

from tests.data_sets import module
from vae_zoo.cli import main
from vae_zoo.data import download


class Server(http.server.SimpleHTTPRequestHandler):
    asked: list[str] = []
    breaks: dict[str, int] = {}  # how many answers for a path are cut short

    def do_GET(self):
        self.asked.append(self.path)
        if self.breaks.get(self.path, 0) > 0:
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
        archive.write(shapes / "annotations" / "instances.json", "annotations/instances_train2017.json")
    (site / "train2017").symlink_to(shapes / "images")
    monkeypatch.setattr(download.time, "sleep", lambda _: None)
    Server.asked, Server.breaks = [], {}
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
    module(tmp_path / "coco", n_train=15, n_test=10, n_val=5)
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
