"""Sources of shards, WebDataset's tar files and Hugging Face's data sets; and their places, a web server, a cloud."""

import functools
import http.server
import io
import subprocess
import sys
import tarfile
import threading
import zipfile

import numpy as np
import pytest
import torch

from tests.data_sets import encoded, images
from tests.test_streaming import shard
from vae_zoo.data import StreamingImages
from vae_zoo.data.pictures import decode
from vae_zoo.data.sharding import write_shards
from vae_zoo.data.sources import find_source
from vae_zoo.errors import UserError

PICTURES = [
    encoded(np.random.default_rng(n).integers(0, 256, (9, 12, 3), np.uint8), "PNG" if n % 2 else "JPEG")
    for n in range(40)
]


def tar(path, numbers, **extra):
    with tarfile.open(path, "w") as file:
        for n in numbers:
            members = {f"{n:04d}.{'png' if n % 2 else 'jpg'}": PICTURES[n], f"{n:04d}.cls": str(n % 3).encode()}
            for name, content in (members | {f"{n:04d}.{end}": text for end, text in extra.items()}).items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                file.addfile(info, io.BytesIO(content))


def sharded(source, out, **settings):
    write_shards(source.pictures, str(out), (3, 8, 8), 0.2, 0.3, **settings)
    data = StreamingImages(str(out))
    data.setup()
    return data


def are(data, number_of):
    """Whether each image is that of the number in its id, with its label."""
    seen = set()
    for part, ids in data.split.items():
        for x, y in data.batches(part, 100):
            for image, label, id_ in zip(x, y, ids, strict=True):
                n = number_of(id_)
                truth = torch.from_numpy(decode(PICTURES[n], (3, 8, 8)).copy()).permute(2, 0, 1).float() / 255
                assert torch.equal(image, truth) and data.labels[label] == str(n % 3)
                seen.add(n)
    assert seen == set(range(40))


def test_tar_files(tmp_path, capfd):
    tar(tmp_path / "a-000.tar", range(20), json=b"{}", pyd=b"cos\nsystem\n")  # what is not asked for is not looked at
    tar(tmp_path / "a-001.tar", range(20, 40))
    are(sharded(find_source(str(tmp_path)), tmp_path / "out"), lambda id_: int(id_.split("/")[1]))
    (tmp_path / "one.tar.gz").write_bytes(b"\x1f\x8b")
    (tmp_path / "one.tar.gz").rename(tmp_path / "a-002.tar")
    with pytest.raises(UserError, match="is compressed; unpack it"):
        find_source(str(tmp_path))


@pytest.mark.parametrize(
    "root",
    [
        "pipe:touch /tmp/x",
        "https://host/a.tar; touch b",
        "https://host/$(b).tar",
        "ftp://host/a.tar",
        "https://h/`x`.tar",
    ],
)
def test_no_shell_is_asked(root, tmp_path):
    with pytest.raises(UserError, match="is no address of tar files|does not exist"):
        sharded(find_source(root), tmp_path / "out")


def test_a_damaged_tar_is_told(tmp_path):
    tar(tmp_path / "a.tar", range(20))
    content = (tmp_path / "a.tar").read_bytes()
    (tmp_path / "a.tar").write_bytes(content[: len(content) // 2 + 100])
    with pytest.raises(UserError, match=r"a\.tar cannot be read"):
        sharded(find_source(str(tmp_path / "a.tar")), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.fixture
def hub(tmp_path):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"picture": datasets.Image(), "kind": datasets.ClassLabel(names=["0", "1", "2"])})
    rows = {"picture": [{"bytes": each, "path": None} for each in PICTURES], "kind": [n % 3 for n in range(40)]}
    datasets.Dataset.from_dict(rows, features=features).save_to_disk(str(tmp_path / "hub"))
    return tmp_path / "hub"


def test_a_data_set_of_hugging_faces(hub, tmp_path):
    data = sharded(find_source(f"hf:{hub}"), tmp_path / "out")
    are(data, lambda id_: int(id_.split("/")[1]))
    with pytest.raises(UserError, match="--image kind: choose a column of pictures; there are .'picture'."):
        find_source(f"hf:{hub}", image="kind")
    with pytest.raises(UserError, match="cannot be read"):
        find_source(f"hf:{tmp_path / 'nothing'}")


def test_a_path_in_place_of_a_picture_is_not_followed(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    rows = {"picture": [{"bytes": None, "path": "/etc/hostname"}] * 20}
    features = datasets.Features({"picture": datasets.Image()})
    data = datasets.Dataset.from_dict(rows, features=features)
    monkeypatch.setattr(datasets, "load_from_disk", lambda path: data)  # what is saved by the library has the bytes
    with pytest.raises(UserError, match="has the path of a file in place of a picture"):
        sharded(find_source(f"hf:{tmp_path}"), tmp_path / "out")


@pytest.fixture
def served(shapes, tmp_path):
    """The address of shards, what was asked for, and a data module of the same on disk."""
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            asked.append(self.path)

    data = shard(shapes, tmp_path / "shards", n=60)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=tmp_path))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/shards", asked, data
    server.shutdown()


def test_a_web_server(served, tmp_path):
    """Each chunk comes once; those used longest ago are removed, and the next epoch fetches them again."""
    url, asked, local = served
    data = StreamingImages(url, cache_dir=str(tmp_path / "cache"))
    data.setup()
    assert asked == ["/shards/shards.json"] and data.split_sha256 == local.split_sha256
    for part in ("train", "test"):
        for one, other in zip(images(data, part), images(local, part), strict=True):
            assert torch.equal(one, other)
    assert len(asked) == len(set(asked)) == 1 + sum(len(data.parts[part].chunks) for part in ("train", "test"))
    kept = list((tmp_path / "cache").rglob("chunk-*.bin"))
    assert len(kept) == len(asked) - 1
    few = StreamingImages(url, cache_dir=str(tmp_path / "cache"), cache_gb=kept[0].stat().st_size * 3.5 / 1e9, window=1)
    few.setup()
    images(few, "train")
    assert len(list((tmp_path / "cache").rglob("chunk-*.bin"))) <= 4
    kept[0].parent.mkdir(exist_ok=True)
    path = next((tmp_path / "cache").rglob("chunk-*.bin"))
    path.write_bytes(b"damaged" + path.read_bytes()[7:])
    again = StreamingImages(url, cache_dir=str(tmp_path / "cache"))
    again.setup()
    assert torch.equal(images(again, "train")[0], images(local, "train")[0])


def test_a_cloud(shapes, tmp_path, monkeypatch):
    """litdata's own client is replaced by one that copies files: what is sent last is the index."""
    pytest.importorskip("litdata")
    from litdata.streaming import downloader, fs_provider

    bucket, sent = tmp_path / "bucket", []

    class Provider:
        def is_empty(self, url):
            return not bucket.exists()

        def upload_file(self, path, url):
            name = url.removeprefix("s3://bucket/")
            sent.append(name)
            (bucket / name).parent.mkdir(parents=True, exist_ok=True)
            (bucket / name).write_bytes(open(path, "rb").read())

    class Downloader:
        def download_file(self, url, path):
            open(path, "wb").write((bucket / url.removeprefix("s3://bucket/")).read_bytes())

    monkeypatch.setattr(fs_provider, "_get_fs_provider", lambda url: Provider())
    monkeypatch.setattr(downloader, "get_downloader", lambda *_: Downloader())
    pictures = list(find_source(str(shapes)).pictures)
    write_shards(pictures, "s3://bucket/shards", (3, 8, 8))
    write_shards(pictures, str(tmp_path / "local"), (3, 8, 8))
    assert sent[-1] == "shards/shards.json" and len(sent) == 7
    cloud, local = (
        StreamingImages("s3://bucket/shards", cache_dir=str(tmp_path / "c")),
        StreamingImages(str(tmp_path / "local")),
    )
    for data in (cloud, local):
        data.setup()
    assert cloud.split_sha256 == local.split_sha256
    assert torch.equal(images(cloud, "train")[0], images(local, "train")[0])
    with pytest.raises(UserError, match="has something in it already"):
        write_shards(pictures, "s3://bucket/shards", (3, 8, 8))

    def refuse(*_):
        raise RuntimeError("no\n  credentials")

    monkeypatch.setattr(Provider, "is_empty", lambda *_: True)
    monkeypatch.setattr(Provider, "upload_file", refuse)
    with pytest.raises(UserError, match=r"^s3://bucket/others cannot be written \(no credentials\)$"):
        write_shards(pictures, "s3://bucket/others", (3, 8, 8))


ABSENT = """
import sys
for name in sys.argv.pop(1).split(","):
    sys.modules[name] = None
from vae_zoo.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_who_does_not_use_them_needs_none_of_the_libraries(shapes, tmp_path):
    """Shards in a folder and on a web server are read without litdata; an absent one is a sentence with the command."""
    shard(shapes, tmp_path / "shards")
    tar(tmp_path / "a.tar", range(4))

    def run(absent, *words):
        done = subprocess.run(
            [sys.executable, "-c", ABSENT, absent, *map(str, words)], capture_output=True, text=True, cwd=tmp_path
        )
        return done.returncode, done.stderr

    small = [f"--model.{net}.{size}" for net in ("encoder", "decoder") for size in ("width=4", "depth=2")]
    small += ["--trainer.max_epochs=1", "--trainer.accelerator=cpu"]
    words = ["--config", "vae", "--data=StreamingImages", "--data.root=shards", "--data.image_size=8", *small]
    code, said = run("litdata,webdataset,datasets,boto3", "fit", *words)
    assert code == 0, said
    for words, package in (
        (["data", "shard", shapes], "litdata"),
        (["data", "shard", "a.tar"], "webdataset"),
        (["data", "shard", "hf:mnist"], "datasets"),
    ):
        code, said = run(package, *words, "--out", "out")
        assert code == 1 and f"there is no module {package}; pip install {package}" in said, said
        assert "Traceback" not in said and not (tmp_path / "out").exists()


def test_a_member_of_a_zip_that_is_damaged_is_left_out(tmp_path):
    path = tmp_path / "pictures.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number, content in enumerate(PICTURES):
            archive.writestr(f"{number:02d}.{'png' if number % 2 else 'jpg'}", content)
        place = archive.getinfo("07.png").header_offset + 30 + len("07.png")
    whole = bytearray(path.read_bytes())
    whole[place + 20] ^= 1
    path.write_bytes(whole)
    with pytest.warns(UserWarning, match="left out 1 of 40 pictures that cannot be read: .*Bad CRC-32"):
        counts = write_shards(find_source(str(path)).pictures, str(tmp_path / "shards"), (3, 8, 8), 0.2, 0.2)
    assert sum(counts.values()) == 39
    with pytest.raises(UserError, match="1 of 40 pictures cannot be read, more than max_unreadable 1.0%"):
        write_shards(find_source(str(path)).pictures, str(tmp_path / "none"), (3, 8, 8), 0.2, 0.2, max_unreadable=0.01)
    assert not (tmp_path / "none").exists()
