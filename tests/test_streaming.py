"""Pictures in shards: written whole, read as from the cache, and refused where they are damaged or foreign."""

import json
import threading
import zlib
from collections import Counter

import numpy as np
import pytest
import torch

from tests.conftest import call
from tests.data_sets import images, module
from vae_zoo.data import StreamingImages
from vae_zoo.data.module import fetched_ahead
from vae_zoo.data.sharding import write_shards
from vae_zoo.data.sources import find_source
from vae_zoo.errors import UserError
from vae_zoo.ids import place_of


def shard(root, out, files=False, n=None, **settings):
    """A data module of shards of these pictures, of which `n` are to train on."""
    source = find_source(str(root))
    pictures = list(source.pictures)
    if n is not None:  # pictures of which as many are to be had as one likes
        made = {p.id: p for p in pictures}
        pictures = [p._replace(id=f"{turn}/{p.id}") for turn in range(1 + 2 * n // len(made)) for p in pictures]
        train = [p for p in pictures if place_of(p.id, 0) >= 0.1][:n]
        pictures = train + [p for p in pictures if place_of(p.id, 0) < 0.1]
    write_shards(pictures, str(out), None if files else (3, 8, 8), **{"val": 0.05, "test": 0.05, **settings})
    split_chunks(out)
    data = StreamingImages(str(out), image_size=8)
    data.setup()
    return data


def split_chunks(folder, size=7):
    """Make many chunks of few, which takes fewer pictures than a megabyte has."""
    index = json.loads((folder / "shards.json").read_text())
    for part, told in index["parts"].items():
        chunks = []
        for chunk in told["chunks"]:
            content = (folder / chunk["file"]).read_bytes()
            offsets = np.frombuffer(content, "<u4", chunk["n"] + 1, 4)
            for first in range(0, chunk["n"], size):
                last = min(first + size, chunk["n"])
                begin = 4 + 4 * (last - first + 1)
                moved = offsets[first : last + 1].astype("<u4") - offsets[first] + np.uint32(begin)
                items = content[offsets[first] : offsets[last]]
                new = np.uint32(last - first).tobytes() + moved.astype("<u4").tobytes() + items
                name = f"{part}/chunk-1-{len(chunks)}.bin"
                (folder / name).write_bytes(new)
                chunks.append({"file": name, "n": last - first, "bytes": len(new), "crc32": zlib.crc32(new)})
        told["chunks"] = chunks
    (folder / "shards.json").write_text(json.dumps(index))


@pytest.mark.parametrize("files", [False, True])
@pytest.mark.parametrize("workers", [0, 2])
def test_each_picture_is_that_of_the_cache(files, workers, shapes, tmp_path):
    """The same pixels and labels, each id in the part that its hash says, and each image once an epoch."""
    data = shard(shapes, tmp_path / "shards", files=files, val=0.2, test=0.3)
    data.loading = workers
    whole = module(shapes, image_size=8, n_train=78, n_test=1, n_val=1)
    known = {}
    for part, ids in whole.split.items():
        x, y = (torch.cat(each) for each in zip(*whole.batches(part, 100), strict=True))
        known |= {str(id_): (x[row], whole.labels[y[row]]) for row, id_ in enumerate(ids)}
    assert sum(map(len, data.split.values())) == 80
    for part, ids in data.split.items():
        for id_ in ids:
            place = place_of(id_, 0)
            assert part == ("test" if place < 0.3 else "val" if place < 0.5 else "train")
        x, y = (torch.cat(each) for each in zip(*data.batches(part, 9), strict=True))
        for row, id_ in enumerate(ids):
            assert torch.equal(x[row], known[id_][0]) and data.labels[y[row]] == known[id_][1]
            assert ids[row] == id_
    x, _ = images(data, "train")
    every = Counter(image.numpy().tobytes() for image in x)
    assert every == Counter(known[id_][0].numpy().tobytes() for id_ in data.split["train"])


def test_epochs_and_seeds_have_orders_of_their_own(shapes, tmp_path):
    items = shard(shapes, tmp_path / "shards").parts["train"]

    def order(seed, epoch, start=0):
        found = items.order(1, 0, seed)
        found.set_epoch(epoch)
        found.start = start
        return list(found)

    assert sorted(order(1, 0)) == list(range(len(items)))
    assert order(1, 0) == order(1, 0) != order(1, 1) != order(2, 1)
    assert all(order(1, 0, start) == order(1, 0)[start:] for start in range(len(items) + 1))


def test_batches_are_fetched_ahead_by_a_thread_in_their_order():
    """While one is used the next two are fetched; an error is told where its batch was due; leaving ends the thread."""
    fetched, let = [], threading.Event()

    def batches():
        for number in range(6):
            fetched.append((number, threading.current_thread()))
            if number == 2:
                let.set()
            if number == 5:
                raise UserError("damaged")
            yield number

    ahead = fetched_ahead(batches(), 2)
    assert next(ahead) == 0 and let.wait(10)  # the third, before the second is asked for
    assert [next(ahead) for _ in range(4)] == [1, 2, 3, 4]
    with pytest.raises(UserError, match="damaged"):
        next(ahead)
    (thread,) = {thread for _, thread in fetched}
    assert thread is not threading.current_thread() and not thread.is_alive()
    assert list(fetched_ahead(iter(()), 2)) == []
    left = fetched_ahead(iter(range(10)), 2)
    assert next(left) == 0
    left.close()
    assert not [each for each in threading.enumerate() if each.name.startswith("batches")]


def test_only_a_few_chunks_are_open(shapes, tmp_path):
    data = shard(shapes, tmp_path / "shards", n=300)
    items = data.parts["train"]
    items.window = 2
    items.chunks.most = 6
    assert len(items.chunks) > 40
    for _ in data.train_dataloader():
        assert len(items.chunks._open) <= 6


def test_a_chunk_that_goes_before_it_is_opened_is_fetched_again(shapes, tmp_path, monkeypatch):
    """As where another process makes room for its own."""
    items = shard(shapes, tmp_path / "shards").parts["train"]
    get, asked = items.chunks.place.get, []

    def gone_at_first(*given):
        asked.append(given)
        return tmp_path / "gone" if len(asked) == 1 else get(*given)

    monkeypatch.setattr(items.chunks.place, "get", gone_at_first)
    assert len(items.__getitems__([0])[0]) == 1 and len(asked) == 2


def damage_bytes(folder):
    path = folder / "train" / "chunk-1-0.bin"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def cut_off(folder):
    path = folder / "train" / "chunk-1-0.bin"
    path.write_bytes(path.read_bytes()[:-1])


def remove(folder):
    (folder / "train" / "chunk-1-0.bin").unlink()


def lead_out(folder):
    path = folder / "train" / "chunk-1-0.bin"
    path.rename(folder.parent / "elsewhere.bin")
    path.symlink_to(folder.parent / "elsewhere.bin")


def with_index(change):
    def damage(folder):
        content = json.loads((folder / "shards.json").read_text())
        change(content)
        (folder / "shards.json").write_text(json.dumps(content))

    return damage


def rewritten(change):
    """Change a chunk, and the checksum with it."""

    def damage(folder):
        path = folder / "train" / "chunk-1-0.bin"
        content = change(bytearray(path.read_bytes()))
        path.write_bytes(content)
        told = {"bytes": len(content), "crc32": zlib.crc32(content)}
        with_index(lambda index: index["parts"]["train"]["chunks"][0].update(told))(folder)

    return damage


def label_of_none(content):
    begin = int(np.frombuffer(content, "<u4", 1, 4)[0])
    content[begin + 12 : begin + 20] = np.int64(99).tobytes()
    return content


def beyond(content):
    content[8:12] = np.uint32(2**31).tobytes()
    return content


def too_long_an_id(content):
    begin = int(np.frombuffer(content, "<u4", 1, 4)[0])
    content[begin + 4 : begin + 8] = np.uint32(2**31).tobytes()
    return content


DAMAGES = {
    "checksum": (damage_bytes, "bytes do not fit their checksum"),
    "cut off": (cut_off, "bytes, not"),
    "missing": (remove, "is not there"),
    "a link": (lead_out, "leads out"),
    "label": (rewritten(label_of_none), "labels from"),
    "number": (rewritten(lambda content: np.uint32(8).tobytes() + content[4:]), "it is no chunk of"),
    "a path": (with_index(lambda i: i["parts"]["train"]["chunks"][0].update(file="../x.bin")), "is called"),
    "no version": (with_index(lambda i: i.pop("version")), "cannot be read"),
    "counts": (with_index(lambda i: i["parts"]["train"].update(n=3)), "is not what its chunks have"),
    "huge": (with_index(lambda i: i["parts"]["train"]["chunks"][0].update(n=2**50)), "no whole number"),
    "labels": (with_index(lambda i: i.update(labels=[1, 2])), "no names"),
    "a text of labels": (with_index(lambda i: i.update(labels="abc")), "no names"),
    "no hashes": (with_index(lambda i: i["parts"]["test"].update(lowest=["z"])), "no sample of"),
    "no sample": (with_index(lambda i: i["parts"]["test"].update(lowest=[])), "no sample of"),
    "nothing to test on": (with_index(lambda i: i["parts"].update(test={"n": 0, "lowest": [], "chunks": []})), "test"),
}
OF_FILES = {
    "offsets": (rewritten(beyond), "do not follow each other"),
    "id": (rewritten(too_long_an_id), "do not follow each other"),
}


@pytest.mark.parametrize("files, name", [(f, name) for f in (0, 1) for name in {**DAMAGES, **(OF_FILES if f else {})}])
def test_what_is_damaged_or_foreign_is_refused(files, name, shapes, tmp_path):
    shard(shapes, tmp_path / "shards", files=bool(files))
    damage, message = {**DAMAGES, **OF_FILES}[name]
    damage(tmp_path / "shards")
    with pytest.raises(UserError, match=message):
        data = StreamingImages(str(tmp_path / "shards"), image_size=8)
        data.setup()
        for _ in data.train_dataloader():
            pass


def test_no_pickle_is_ever_read(shapes, tmp_path):
    """litdata's own index may name any format: it is not looked at, and a chunk of another one is none."""
    data = shard(shapes, tmp_path / "shards")
    index = tmp_path / "shards" / "train" / "index.json"
    index.write_text(index.read_text().replace('"bytes"', '"pickle"'))
    assert len(images(data, "train")[0]) == len(data.split["train"])


def test_shards_are_there_when_they_are_whole(shapes, tmp_path, monkeypatch):
    out = tmp_path / "shards"
    source = list(find_source(str(shapes)).pictures)

    def interrupted():
        yield from source[:40]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_shards(interrupted(), str(out), (3, 8, 8))
    assert not out.exists()
    (tmp_path / ".shards.partial").mkdir()  # which a process leaves that is killed
    (tmp_path / ".shards.partial" / "shards.json").write_text("{}")
    write_shards(source, str(out), (3, 8, 8))
    assert {path.name for path in out.iterdir()} == {"train", "val", "test", "shards.json"}
    before = (out / "shards.json").read_bytes()
    with pytest.raises(UserError, match="is there already"):
        write_shards(source, str(out), (3, 8, 8))
    assert (out / "shards.json").read_bytes() == before


@pytest.mark.slow
def test_the_command_shards_trains_tests_and_tells_other_data(shapes, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    split = ["--val", "0.2", "--test", "0.2"]
    assert call("data", "shard", shapes, "--out", "shards", "--image_size", "32", *split) == 0
    assert "pictures are in shards\ntrain on them with --data StreamingImages" in capsys.readouterr().out
    quick = [
        "--trainer.max_epochs=1",
        "--trainer.accelerator=cpu",
        "--model.encoder.width=4",
        "--model.decoder.width=4",
    ]
    words = ["--data", "StreamingImages", "--data.root", "shards", "--data.image_size", "32", *quick]
    assert call("fit", "--config", "vae", *words) == 0
    (run,) = tmp_path.glob("runs/vae/version_*")
    told = json.loads((run / "split.json").read_text())
    index = json.loads((tmp_path / "shards" / "shards.json").read_text())
    assert {part: told[part]["n"] for part in index["parts"]} == {p: each["n"] for p, each in index["parts"].items()}
    assert call("test", "--evaluation.nll_samples", "2") == 0
    assert json.loads((run / "results.json").read_text())["split_sha256"] == told["sha256"]
    # Other data, some of whose test images were trained on, in shards and by a list.
    assert call("data", "shard", shapes, "--out", "other", "--image_size", "32", *split, "--seed", "1") == 0
    known = [
        {i for i in map(str, range(1, 81)) if 0.4 <= place_of(i, 0)},
        {i for i in map(str, range(1, 81)) if place_of(i, 1) < 0.2},
    ]
    capsys.readouterr()
    assert (
        call("test", "--data.root", "other", "--run_dir", "elsewhere", "--ckpt_path", run / "checkpoints/last.ckpt")
        == 0
    )
    said = capsys.readouterr()
    assert f"about {len(known[0] & known[1])} of {len(known[1])} test images have the ids" in said.out + said.err


def test_a_checkpoint_goes_on_with_the_same_shards_alone(shapes, tmp_path):
    one, same = (shard(shapes, tmp_path / name) for name in ("one", "same"))
    other = shard(shapes, tmp_path / "other", seed=1)
    assert one.split_sha256 == same.split_sha256 != other.split_sha256
    changed = shard(shapes, tmp_path / "changed")
    with_index(lambda i: i["parts"]["train"]["chunks"][0].update(crc32=5))(tmp_path / "changed")
    changed = StreamingImages(str(tmp_path / "changed"))
    changed.setup()
    assert changed.split_listed == one.split_listed and changed.split_sha256 != one.split_sha256


def test_a_plain_folder_has_no_shards(tmp_path):
    with pytest.raises(UserError, match=f"{tmp_path} has no shards.json, so there are no shards; vae-zoo data shard"):
        StreamingImages(str(tmp_path)).setup()
