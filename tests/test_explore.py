"""What stands behind the page of ``vae-zoo explore``, without a browser: which models, their files, places on maps."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import vae_zoo
from tests.conftest import call
from tests.running import checkpoint
from tests.zoo import models_that, small
from vae_zoo import latent
from vae_zoo.checkpoints import checksum
from vae_zoo.cli import explore
from vae_zoo.compare import charts
from vae_zoo.compare.columns import further
from vae_zoo.curves import Point, figures_of
from vae_zoo.errors import UserError
from vae_zoo.explore.session import Explored, Picture, Session
from vae_zoo.models import CVAE, DCGAN, VAE
from vae_zoo.models.decoding import Decoding

pytest_plugins = ["tests.trained_runs"]
OPTIONS = SimpleNamespace(trust=[], allow_nonfinite=False, seed=0)


# ---- what is new in vae_zoo.latent


@models_that(Decoding)
def test_a_temperature_scales_the_distance_from_the_priors_mean(cls):
    model = small(cls)
    y = torch.zeros(1, dtype=torch.int64) if model.labels else None
    z = model.sample_prior(4, None if y is None else y.expand(4))
    with torch.no_grad():
        mean = model.prior(y).mean
    assert latent.spread(model, z, 1.0, y) is z
    assert torch.equal(latent.spread(model, z, 0.0, y), mean.expand_as(z))
    torch.testing.assert_close(latent.spread(model, z, 0.5, y), (z + mean) / 2)
    with pytest.raises(UserError, match="scale must be at least 0"):
        latent.spread(model, z, -1.0, y)


def test_a_temperature_is_around_the_mean_of_the_labels_own_prior():
    model = small(CVAE, labels=2, learned_prior=True)
    with torch.no_grad():
        model.prior.embedding.weight[1, : model.code_shape[0]] = 3.0
    z = torch.zeros(1, *model.code_shape)
    assert torch.equal(latent.spread(model, z, 0.5, torch.tensor([1])), z + 1.5)
    assert torch.equal(latent.spread(model, z, 0.5, torch.tensor([0])), z)


def test_the_extent_is_that_of_the_prior_and_of_codes_outside_of_it():
    low, high = latent.extent(small(DCGAN))
    assert (-1 <= low).all() and (low < -0.98).all() and (high <= 1).all() and (high > 0.98).all()
    codes = torch.tensor([[9.0, 0, 0, 0, 0], [-7.0, 0, 0, 0, 0]])
    low, high = latent.extent(small(VAE), codes)
    assert (low[0], high[0]) == (-7, 9) and (low[1:] > -6).all() and (high[1:] < 6).all()


def test_a_place_on_a_map_stands_for_the_code_nearest_to_the_mean():
    codes = np.random.default_rng(0).normal(size=(300, 6)) * [5, 4, 1, 1, 1, 1] + 3
    found = latent.project(codes)
    places = np.array([[0.0, 0.0], [8.0, -3.0]])
    z = latent.lifted(found, places, codes)
    np.testing.assert_allclose(z @ found.rows.T, places, atol=1e-9)  # it lies there
    # The plane through the mean is what is nearest to it: the rest of z - mean has no part across the directions.
    across = np.eye(6) - found.rows.T @ found.rows
    np.testing.assert_allclose((z - codes.mean(0)) @ across, 0, atol=1e-9)
    flat = codes[:, :2]
    np.testing.assert_allclose(latent.lifted(latent.project(flat), flat[:5], flat), flat[:5])  # a map of two numbers
    of_maps = codes[:, :4].reshape(-1, 1, 2, 2)
    assert latent.lifted(latent.project(of_maps), places, of_maps).shape == (2, 1, 2, 2)
    with pytest.raises(UserError, match="a place on a map by umap stands for no code"):
        latent.lifted(latent.Projection(flat, ("", ""), "umap", None), places, codes)


def test_ticks_say_where_they_are():
    curve = [Point(epoch, 11483 + epoch / 10, 1e5 + epoch) for epoch in range(5)]
    logged = {"train/nll": [], "val/nll": [curve]}
    svg = charts.curves_of([SimpleNamespace(setting="", label="mine", logged=logged)], "nll", "NLL, nats")
    assert ">11483.20<" in svg and ">100002.0<" in svg


def test_curves_of_runs_that_were_not_tested(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("epoch,train/loss,val/loss,val/mse\n0,1,2,3\n")
    assert figures_of(path) == ["loss", "mse"] and figures_of(tmp_path / "no.csv") == []
    curve = [Point(1, 0.5, 2.0), Point(2, 0.25, 4.0)]
    logged = {"train/loss": [], "val/loss": [curve]}
    other = SimpleNamespace(setting="another", label="other", logged=logged)
    both = charts.curves_of([SimpleNamespace(setting="one", label="mine", logged=logged), other], "loss", "loss, nats")
    assert ">mine<" in both and ">other<" in both  # though it is in another setting
    svg = charts.curves_of([SimpleNamespace(setting="", label="mine", logged=logged)], "loss", "loss, nats")
    assert ">mine<" in svg and 'aria-label="loss, nats, by epochs and by seconds' in svg
    (one,) = (
        found
        for panel in charts.PANELS
        if (found := charts.curves_of([SimpleNamespace(setting="", label="mine", logged=logged)], "loss", "", [panel]))
        and "by seconds of training" in found
    )
    assert "by epochs" not in one and one.count("validation") == 1 and further("d_g_z").title == "D(G(z))"


# ---- which models


def test_what_is_named_is_found(runs, tmp_path):
    images, samples = (runs / checkpoint(name) for name in ("images", "samples"))
    assert explore.find([str(images)]) == ([images], None)
    assert explore.find([str(runs / "images"), str(samples)]) == ([images, samples], None)
    assert explore.find([str(images), str(runs / "images")]) == ([images], None)  # once
    os.utime(samples, (2e9, 2e9))
    os.utime(images, (1e9, 1e9))
    found, folder = explore.find([str(runs)])
    assert folder == runs and len(found) == explore.MOST and found[0] == samples and images not in found
    (tmp_path / "empty").mkdir()
    shutil.copytree(runs / "images", tmp_path / "new")
    shutil.rmtree(tmp_path / "new" / "checkpoints")
    for words, message in (
        (["no"], "no: there is no such run folder, folder of runs or checkpoint"),
        ([str(tmp_path / "empty")], "there is no run with a checkpoint in it"),
        ([str(tmp_path / "new")], "this run has no checkpoint yet"),
        ([str(path) for path in runs.iterdir()], "5 models are too many"),
    ):
        with pytest.raises(UserError, match=message):
            explore.find(words)


def test_a_folder_shows_the_newest_run_of_each_model(runs, tmp_path):
    for version in range(2):
        shutil.copytree(runs / "images", tmp_path / "all" / "vae" / f"version_{version}")
        os.utime(tmp_path / "all" / "vae" / f"version_{version}" / "checkpoints" / "last.ckpt", (1e9, 1e9 + version))
    shutil.copytree(runs / "samples", tmp_path / "all" / "dcgan" / "version_0")
    found, _ = explore.find([str(tmp_path / "all")])
    assert [path.parts[-4:-2] for path in found] == [("dcgan", "version_0"), ("vae", "version_1")]
    assert explore._names(found) == ["dcgan/version_0", "vae/version_1"]


def test_the_newest_run_is_the_default(runs, tmp_path, monkeypatch, capsys):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    assert call("explore") == 1
    assert "there is no trained model in runs; train one with vae-zoo fit, or name a RUN" in capsys.readouterr().err
    shutil.copytree(runs / "images", tmp_path / "new" / "runs" / "vae" / "version_0")
    monkeypatch.chdir(tmp_path / "new")
    assert [str(path) for path in explore.find([])[0]] == ["runs/vae/version_0/checkpoints/last.ckpt"]


def test_without_gradio_it_is_told(runs, monkeypatch, capsys):
    monkeypatch.setattr(explore, "find_spec", lambda name: None)
    assert call("explore", runs / "images") == 1
    assert "pip install 'vae_zoo[explore]'" in capsys.readouterr().err


@pytest.mark.parametrize("words, message", [(["--port", "99999"], "port must be at most"), (["--seed", "-1"], "seed")])
def test_options_out_of_range(words, message, capsys):
    assert call("explore", *words) == 1 and message in capsys.readouterr().err


# ---- their files


def loaded(path):
    return Explored("it", path, vae_zoo.load)


def test_a_model_follows_its_checkpoint(runs):
    path = runs / checkpoint("images")
    explored, z = loaded(path), torch.zeros(1, *vae_zoo.load(path).code_shape)
    before = explored.model.decode(z)
    newer = torch.load(path, weights_only=True)
    newer["state_dict"] = {name: value + 0.1 for name, value in newer["state_dict"].items()}
    newer["checksum"] = checksum(newer)
    whole = path.read_bytes()

    path.write_bytes(whole[: len(whole) // 2])  # half of a file that is being written
    assert torch.equal(explored.model.decode(z), before)
    assert "was changed and cannot be used; the model is the one before" in explored.trouble
    torch.save(newer, path)
    assert not torch.equal(explored.model.decode(z), before)
    assert explored.trouble == "" and explored.loaded == 2
    assert torch.equal(explored.model.decode(z), vae_zoo.load(path).decode(z))
    path.unlink()
    kept = explored.model.decode(z)
    assert "is no longer there; the model is the last one that was read" in explored.trouble
    path.write_bytes(whole)  # it comes back
    assert torch.equal(explored.model.decode(z), before) and not explored.trouble and not torch.equal(kept, before)
    shutil.copy(runs / checkpoint("samples"), path)
    assert torch.equal(explored.model.decode(z), before) and "it holds another model now" in explored.trouble


def test_a_code_is_computed_once_for_each_state_of_the_file(runs):
    (explored,) = explore.session([runs / checkpoint("images")], None, OPTIONS).models
    encoded, encode = [], explored.model.encode
    explored.model.encode = lambda *given: encoded.append(given) or encode(*given)
    x, _ = next(explored.data.batches("test", 2))
    for _ in range(3):
        for number in range(2):
            assert torch.equal(explored.code(Picture(number)), encode(x[number][None]))
    assert len(encoded) == 2
    path = runs / checkpoint("images")
    newer = torch.load(path, weights_only=True)
    newer["state_dict"] = {name: value * 0.5 for name, value in newer["state_dict"].items()}
    newer["checksum"] = checksum(newer)
    torch.save(newer, path)
    after = explored.code(Picture(1))
    assert not torch.equal(after, encode(x[1:])) and torch.equal(after, vae_zoo.load(path).encode(x[1:]))


def test_a_session_has_models_and_their_data(runs):
    (runs / "sketches" / "config.yaml").unlink()
    paths = [runs / checkpoint(name) for name in ("images", "labelled", "sketches")]
    session = explore.session(paths, None, OPTIONS)
    images, labelled, sketches = session.models
    assert session.test_pictures == 20 and session.that(CVAE) == [labelled] and not session.differs
    x, y = images.read(Picture(3))
    assert torch.equal(x, next(images.data.batches("test", 4))[0][3:]) and y is None
    assert (
        labelled.read(Picture(3))[1] == labelled.own_label(Picture(3)) == next(labelled.data.batches("test", 4))[1][3]
    )
    assert labelled.read(Picture(3), 1)[1] == 1
    for explored, picture, label, message in (
        (images, Picture(20), None, "has test pictures 0 to 19, no 20"),
        (images, Picture(lines=(((0, 0), (9, 9)),)), None, "knows pictures, and no sketches"),
        (images, Picture(content=b"GIF89a"), None, "is not a picture that can be read"),
        (labelled, Picture(0), 99, "has labels 0 to "),
        (sketches, Picture(content=b"x"), None, "knows sketches, and no pictures"),
        (sketches, Picture(0), None, "has no test pictures here. .* is not in a run folder with a config.yaml"),
        (sketches, Picture(lines=()), None, "reads drawings of 1 to"),
    ):
        with pytest.raises(UserError, match=message):
            explored.read(picture, label)


def test_a_drawing_is_the_sketch_that_was_drawn(runs):
    (explored,) = explore.session([runs / checkpoint("sketch_samples")], None, OPTIONS).models
    straight = tuple((float(x), 10.0 + x % 2) for x in range(10, 101))  # but for the hand's trembling
    x, _ = explored.read(Picture(lines=(straight, ((100.0, 50.0), (110.0, 65.0), (100.0, 80.0)))))
    places = x[0, :-1, :2].cumsum(0) * explored.data.scale + torch.tensor([10.0, 10.0])
    torch.testing.assert_close(
        places, torch.tensor([[100.0, 10.0], [100.0, 50.0], [110.0, 65.0], [100.0, 80.0]]), atol=1e-3, rtol=0
    )
    assert x[0, :, 3].tolist() == [1, 0, 0, 1, 0] and x[0, -1, 4] == 1  # the pen is lifted between the lines


def test_noise_of_two_threads_is_each_ones_own(runs):
    session = Session([loaded(runs / checkpoint("images"))])
    found = {}

    def draw(seed):
        for _ in range(50):
            with session.noise(seed):
                found.setdefault(seed, []).append(torch.randn(9))

    state = torch.random.get_rng_state()
    threads = [threading.Thread(target=draw, args=[seed]) for seed in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed in range(2):
        torch.manual_seed(seed)
        expected = torch.randn(9)
        assert all(torch.equal(each, expected) for each in found[seed])
    torch.random.set_rng_state(state)


# ---- the tabs' own calculations


def test_a_slider_that_was_not_moved_stands_for_the_codes_own_number():
    pytest.importorskip("gradio", reason="needs gradio")
    from vae_zoo.explore.walk import Numbers

    numbers = Numbers("", [2, 0], ["", ""], [-1.0, -1.0], [1.0, 1.0])
    z = torch.tensor([[0.123456, 5.0, 7.0]])
    start = numbers.start(z)
    assert start.shown == (1.0, 0.12)  # cut off, and rounded
    assert torch.equal(numbers.moved(start, start.shown), z)
    assert torch.equal(numbers.moved(start, (1.0, -0.5)), torch.tensor([[-0.5, 5.0, 7.0]]))
    maps = numbers.start(z.view(1, 3, 1, 1))
    assert numbers.moved(maps, (0.5, 0.12)).flatten().tolist() == [pytest.approx(0.123456), 5.0, 0.5]


def test_a_dot_of_the_map_lies_where_the_map_says(runs):
    pytest.importorskip("gradio", reason="needs gradio")
    import html
    import json
    import re

    from vae_zoo.explore import map as tab

    session = explore.session([runs / checkpoint("images")], None, OPTIONS)
    drawn, shown = tab._drawn(session, session.models[0], 12)
    points = json.loads(html.unescape(re.search('data-points="(.*?)"', shown)[1]))
    assert len(points) == 12 and len({number for _, _, number, _ in points}) == 12
    span = drawn.limits[1] - drawn.limits[0]  # of which a dot's place is told in ten thousandths
    for (x, y, number, _), place, code in zip(points, drawn.projection.points, drawn.codes, strict=True):
        np.testing.assert_allclose(drawn.at(x, y)[0], place, atol=span / 5000)
        own = session.models[0].model.encode(session.models[0].read(Picture(number))[0])
        np.testing.assert_allclose(code, own[0], atol=1e-5)
    assert drawn.at(0.0, 0.5) is None  # the axis's name is no place


# ---- the server


def test_it_listens_on_this_machine_alone_and_waits_for_no_further_bytes():
    from vae_zoo.explore import server

    with server._listening(0) as listening:
        assert listening.getsockname()[0] == "127.0.0.1"
        assert listening.proto == socket.IPPROTO_TCP  # or asyncio leaves Nagle's algorithm on: 40 ms an answer
        with pytest.raises(UserError, match="--port .*: Address already in use; give another one"):
            port = listening.getsockname()[1]
            listening.listen()
            with server._listening(port):
                pass


@pytest.mark.slow
def test_ctrl_c_ends_it_and_leaves_nothing(runs, tmp_path):
    pytest.importorskip("gradio", reason="needs gradio")
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    words = [sys.executable, "-m", "vae_zoo.cli", "explore", "images", "--no-browser"]
    started = subprocess.Popen(
        words, cwd=runs, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        address = next(line.strip() for line in started.stdout if line.startswith("http"))
        import httpx

        assert address.startswith("http://127.0.0.1:")
        answer = httpx.get(address)
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        assert "fonts.g" not in answer.text and "cdn" not in answer.text
        assert httpx.get(address, headers={"host": "evil.example"}).status_code == 400
        assert httpx.get(f"{address}report.html").status_code == 404
        port = address.split(":")[-1].strip("/")
        again = subprocess.run([*words, "--port", port], cwd=runs, capture_output=True, text=True, timeout=100)
        assert again.returncode == 1 and f"--port {port}: Address already in use" in again.stderr
        assert any(path.name.startswith("vae_zoo_explore_") for path in tmp_path.iterdir())
        started.send_signal(signal.SIGINT)
        assert started.wait(15) == 130
        said = started.stderr.read()
        assert "vae-zoo explore: stopped" in said and "Traceback" not in said
        assert not any(path.name.startswith("vae_zoo_explore_") for path in tmp_path.iterdir())
    finally:
        started.kill()


def test_what_a_tab_has_shown_is_not_kept(runs):
    pytest.importorskip("gradio", reason="needs gradio")
    import asyncio

    import gradio as gr
    from gradio.state_holder import SessionState

    from vae_zoo.explore import page

    blocks = page.build(explore.session([runs / checkpoint("images")], None, OPTIONS))
    reads_files = [fn for fn in blocks.fns.values() if fn.preprocess and fn.inputs]
    state = SessionState(blocks)

    def places():
        return sum(isinstance(each, gr.HTML) for each in state.blocks_config.blocks.values())

    at_first = places()
    assert len(reads_files) == 6  # two of the bar's box, and one of each of the four others
    for _ in range(3):
        for fn in blocks.fns.values():
            if fn not in reads_files and "on_click" not in fn.name:
                values = [None if each.stateful else each.value for each in fn.inputs]
                asyncio.run(blocks.process_api(fn, values, state=state))
    assert places() == at_first


# Tensors of 10 MB that are freed, between objects of 1 kB that are not, after one of 30 MB was.
FREED = """
import re, sys, torch
from vae_zoo.cli.process import give_back_freed_memory
def size():
    return int(re.search(r"VmRSS:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024
if sys.argv[1] == "given back":
    give_back_freed_memory()
del_first = torch.ones(30, 2**18)
del del_first
before = size()
tensors, kept = [], []
for _ in range(20):
    tensors.append(torch.ones(10, 2**18))
    kept += [bytearray(1000) for _ in range(1000)]
tensors.clear()
print(size() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it is what glibc does")
def test_memory_that_is_freed_is_given_back():
    kept, given_back = (
        float(subprocess.run([sys.executable, "-c", FREED, word], capture_output=True, text=True, check=True).stdout)
        for word in ("kept", "given back")
    )
    assert given_back < 60 < 150 < kept  # MB; what lives is 20, and what is freed 200
