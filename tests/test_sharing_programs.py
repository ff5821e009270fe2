"""Encoders and decoders as ONNX and as programs of torch.export: the same pictures as the model's."""

import json
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torch

import vae_zoo
from tests.conftest import REPOSITORY, call
from tests.zoo import batch, every_model, models_that, sketches, small
from vae_zoo.errors import UserError
from vae_zoo.models import AE, DCGAN, VAE, SketchDecoder, SketchRNN
from vae_zoo.sharing import export, programs
from vae_zoo.sharing.graphs import graphs_of

onnxruntime = pytest.importorskip("onnxruntime")
pytest_plugins = ["tests.trained_runs"]
pytestmark = pytest.mark.slow
CLOSE = 1e-4


def made(cls, folder, formats, **options):
    """A model whose weights are no longer those of a beginning, exported."""
    model = small(cls)
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and "running_var" not in name:
            tensor.add_(0.1 * torch.randn_like(tensor))
    model.eval()
    return model, export(model, folder, formats, **options)


def session(path):
    """The file as a function of named arrays."""
    opened = onnxruntime.InferenceSession(path)
    names = [each.name for each in opened.get_outputs()]
    return lambda **given: dict(zip(names, opened.run(None, given), strict=True))


def numpy(**tensors):
    return {name: value.numpy() for name, value in tensors.items() if value is not None}


@every_model
def test_programs_give_what_the_model_gives(cls, tmp_path):
    """On batches of sizes that they were not traced with; the check is not the exporter's own."""
    model, done = made(cls, tmp_path / "out", ["onnx", "torch"])
    assert all(value <= 1e-5 for value in done.differences.values())
    here = {path.name for path in (tmp_path / "out").iterdir()}
    assert here >= {"decoder.onnx", "decoder.pt2"} and ("encoder.onnx" in here) == model.encodes
    for n in (1, 2, 7):
        x, y = batch(model, n)
        y = y if model.labels else None
        if model.encodes:
            encoder = session(tmp_path / "out" / "encoder.onnx")
            q = model.posterior(x, y)
            found = encoder(**numpy(x=x, y=y))
            assert np.abs(found["mean"] - q.mean.detach().numpy()).max() < CLOSE
            if "stddev" in found:
                assert np.abs(found["stddev"] - q.stddev.detach().numpy()).max() < CLOSE
            program = torch.export.load(tmp_path / "out" / "encoder.pt2").module()
            assert (program(*([x] if y is None else [x, y]))[0] - q.mean).abs().max() < CLOSE
        if model.pixels:
            z = 2 * model.sample_prior(n, y)
            wanted = model.decode(z, y)
            assert wanted.std() > 0.01
            found = session(tmp_path / "out" / "decoder.onnx")(**numpy(z=z, y=y))["x"]
            assert found.shape == wanted.shape and np.abs(found - wanted.numpy()).max() < CLOSE
            program = torch.export.load(tmp_path / "out" / "decoder.pt2").module()
            assert (program(*([z] if y is None else [z, y]))[0] - wanted).abs().max() < CLOSE


@models_that(pixels=True, encodes=True, conditional=False)
def test_a_program_of_torch_can_be_differentiated_and_has_only_its_own_weights(cls, tmp_path):
    model, _ = made(cls, tmp_path / "out", ["torch"])
    program = torch.export.load(tmp_path / "out" / "decoder.pt2")
    z = model.sample_prior(2).requires_grad_()
    (x,) = program.module()(z)
    x.sum().backward()
    again = z.detach().clone().requires_grad_()
    model.likelihood(again).mean.sum().backward()
    assert z.grad.abs().max() > 0 and torch.allclose(z.grad, again.grad, atol=1e-5)
    held = sum(value.numel() for value in [*program.constants.values(), *program.state_dict.values()])
    assert held <= sum(value.numel() for value in model.likelihood.state_dict().values()) + 2 * 5  # and the prior's


def test_nothing_of_this_machine_is_in_the_files(tmp_path):
    made(VAE, tmp_path / "out", ["safetensors", "onnx", "torch"])
    places = [str(REPOSITORY).encode(), b"site-packages", b"graphs.py", str(tmp_path).encode()]
    for path in (tmp_path / "out").iterdir():
        content = [path.read_bytes()]
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as members:
                content = [members.read(name) for name in members.namelist()]
        assert not [place for place in places for part in content if place in part], path


@pytest.mark.parametrize("layout", ["nhwc", "nchw"])
@pytest.mark.parametrize("cls", [VAE, DCGAN])
def test_pictures_of_8_bits(cls, layout, tmp_path):
    model, _ = made(cls, tmp_path / "out", ["onnx", "torch"], uint8=layout)
    z = model.sample_prior(5)
    levels = session(tmp_path / "out" / "decoder.onnx")(z=z.numpy())["x"]
    assert levels.dtype == np.uint8 and levels.shape == ((5, 16, 16, 3) if layout == "nhwc" else (5, 3, 16, 16))
    upright = levels.transpose(0, 3, 1, 2) if layout == "nhwc" else levels
    assert np.abs(upright / 255 - model.decode(z).numpy()).max() < 0.5 / 255 + CLOSE
    program = torch.export.load(tmp_path / "out" / "decoder.pt2").module()
    assert np.abs(program(z)[0].numpy().astype(int) - levels).max() <= 1
    if model.encodes:
        x = torch.randint(0, 256, (5, 3, 16, 16), dtype=torch.uint8)
        given = x.permute(0, 2, 3, 1) if layout == "nhwc" else x
        found = session(tmp_path / "out" / "encoder.onnx")(x=given.numpy())["mean"]
        assert np.abs(found - model.encode(x / 255).numpy()).max() < CLOSE


def log_density(points, row):
    """log p of one row, from the formulas of Ha & Eck 2017, eq. 3 to 7, in numpy: of the offset, and of the pen."""
    log_weight, mean, log_sigma, r, log_pen = (points[name].astype(np.float64) for name in programs_points)
    rho, sigma = np.tanh(r), np.exp(log_sigma)
    u, v = ((row[:2] - mean[0]) / sigma[0]).T
    squares = (u**2 + v**2 - 2 * rho[0] * u * v) / (1 - rho[0] ** 2)
    log_normal = -squares / 2 - np.log(2 * np.pi * sigma[0].prod(-1) * np.sqrt(1 - rho[0] ** 2))
    return np.logaddexp.reduce(log_weight[0] + log_normal), log_pen[0] @ row[2:]


programs_points = ("log_weight", "mean", "log_sigma", "r", "log_pen")


@pytest.mark.parametrize("cls", [SketchDecoder, SketchRNN])
def test_a_loop_in_numpy_is_the_models_own_distribution_of_a_sketch(cls, tmp_path):
    """One step after the other, its state fed back: log p(x|z) is the model's, and so is what is likeliest."""
    model, _ = made(cls, tmp_path / "out", ["onnx"])
    step = session(tmp_path / "out" / "decoder.onnx")
    for x in sketches(4).unbind(0):
        z, given = model.codes_of(x[None]), {}
        state = {name: np.zeros((1, 8), np.float32) for name in ("h", "c")}
        if model.encodes:
            given, state = {"z": z.numpy()}, session(tmp_path / "out" / "start.onnx")(z=z.numpy())
        last, total = np.array([[0, 0, 1, 0, 0]], np.float32), []
        for row in x.numpy():
            points = step(point=last, **state, **given)
            offset, pen = log_density(points, row)
            total.append(pen if row[4] else offset + pen)
            if row[4]:  # what comes after the end has probability one
                break
            last, state = row[None], {"h": points["next_h"], "c": points["next_c"]}
        steps = model.likelihood(z).log_prob_steps(x[None])[0].detach().numpy()
        assert np.abs(np.array(total) - steps[: len(total)]).max() < 1e-4
    program = zip(programs_points, model.likelihood.points(torch.from_numpy(last)[:, None], z, None)[0], strict=True)
    assert [name for name, _ in program] == list(programs_points)


def test_ten_lines_without_vae_zoo(tmp_path):
    """What a colleague runs who has onnxruntime and numpy alone: neither torch nor vae_zoo can be imported there."""
    model, _ = made(VAE, tmp_path / "out", ["onnx"], uint8="nhwc")
    (tmp_path / "colleague.py").write_text(
        "import sys\n"
        "for name in ('torch', 'vae_zoo', 'lightning'):\n"
        "    sys.modules[name] = None\n"
        "import numpy as np\n"
        "import onnxruntime\n"
        "encoder = onnxruntime.InferenceSession('out/encoder.onnx')\n"
        "decoder = onnxruntime.InferenceSession('out/decoder.onnx')\n"
        "x = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), dtype=np.uint8)\n"
        "mean, stddev = encoder.run(None, {'x': x})\n"
        "z = np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32)\n"
        "np.savez('made.npz', x=x, mean=mean, z=z, again=decoder.run(None, {'z': z})[0])\n"
    )
    subprocess.run([sys.executable, "-I", "colleague.py"], cwd=tmp_path, check=True)
    with np.load(tmp_path / "made.npz") as found:
        x = torch.from_numpy(found["x"]).permute(0, 3, 1, 2) / 255
        assert np.abs(found["mean"] - model.encode(x).numpy()).max() < CLOSE
        again = model.decode(torch.from_numpy(found["z"])).permute(0, 2, 3, 1).numpy()
        assert np.abs(found["again"] / 255 - again).max() < 0.5 / 255 + CLOSE


def test_eight_bits_cost_what_is_said(runs, shapes, monkeypatch, capsys):
    monkeypatch.chdir(runs)
    given = ["--ckpt_path", "images/checkpoints/last.ckpt", "--format", "onnx", "--quantise", "--out", "small"]
    assert call("export", *given) == 0
    said = capsys.readouterr().out
    model = vae_zoo.load("images/checkpoints/last.ckpt")
    from vae_zoo.cli.trained import read_data, settings_of
    from vae_zoo.runs import Run

    data = read_data(settings_of(Run(runs / "images"), []))
    x = next(data.batches("test", 256))[0]
    x = x[len(x) // 2 :]
    mse = {}
    for suffix in ("", "_int8"):
        mean = session(f"small/encoder{suffix}.onnx")(x=x.numpy())["mean"]
        mse[suffix] = session(f"small/decoder{suffix}.onnx")(z=mean)["x"]
    float_, int8 = (float(np.square(mse[suffix] - x.numpy()).mean()) for suffix in ("", "_int8"))
    assert float_ == pytest.approx(float((model.reconstruct(x) - x).square().mean()), rel=1e-4)
    assert f"mean squared error of the reconstructions {float_:.5f} -> {int8:.5f}" in said
    apart = float(np.square(mse[""] - mse["_int8"]).mean())
    assert f"8 bits: {apart:.1e} between the pictures of both, of {len(x)} test pictures" in said
    assert "encoder.onnx    differs from the model by" in said
    assert 0 < apart < 1e-2 and abs(int8 - float_) < 0.1 * float_


def test_eight_bits_of_a_model_without_an_encoder_and_of_another_layout(tmp_path):
    _, done = made(DCGAN, tmp_path / "gan", ["onnx"], int8=True)
    assert done.cost.before is None and 0 < done.cost.apart < 1e-2 and done.cost.pictures == 32
    _, done = made(AE, tmp_path / "ae", ["onnx"], int8=True, uint8="nchw")
    assert abs(done.cost.after - done.cost.before) < 1e-2 and 0 < done.cost.apart < 1e-2


def test_what_differs_is_not_written(tmp_path, monkeypatch, capsys):
    real = programs.onnx_run

    def off(by):
        monkeypatch.setattr(programs, "onnx_run", lambda path: lambda given: [part + by for part in real(path)(given)])

    off(2e-4)
    with pytest.raises(UserError, match="encoder.onnx differs from the model by 0.0002, more than 0.0001, so it is"):
        made(VAE, tmp_path / "out", ["onnx"])
    off(torch.nan)
    with pytest.raises(UserError, match="encoder.onnx differs from the model by inf"):
        made(VAE, tmp_path / "out", ["onnx"])
    assert not list(tmp_path.iterdir())


def test_a_rounding_is_no_difference_and_a_level_is():
    model = small(VAE).eval()
    _, graph = graphs_of(model, "nhwc")
    (z,) = graph.batches[0]
    (levels,) = graph.part(z)
    assert graph.difference([levels], [z]) < 1e-6
    assert graph.difference([levels + 1], [z]) > 1e-3


def test_options_that_cannot_be(runs, monkeypatch, capsys):
    monkeypatch.chdir(runs)
    for words, message in (
        (["--uint8", "nhwc"], "--uint8 is for --format onnx or torch"),
        (["--quantise", "--format", "torch"], "--quantise is for --format onnx"),
        (["--format", "onnx", "--quantise", "--ckpt_path", "sketches/checkpoints/last.ckpt"], "--quantise: SketchRNN"),
        (["--format", "onnx", "--uint8", "nhwc", "--ckpt_path", "sketches/checkpoints/last.ckpt"], "have no pixels"),
    ):
        given = words if "--ckpt_path" in words else [*words, "--ckpt_path", "images/checkpoints/last.ckpt"]
        assert call("export", *given, "--out", "nothing") == 1
        assert message in capsys.readouterr().err
    assert not (runs / "nothing").exists()


def test_test_pictures_of_each_kind_are_tried(runs, monkeypatch, capsys):
    monkeypatch.chdir(runs)
    for kind in ("labelled", "sketch_samples", "samples"):
        words = ["--format", "torch", "--out", f"{kind}_out", "--ckpt_path", f"{kind}/checkpoints/last.ckpt"]
        assert call("export", *words) == 0
        said = capsys.readouterr()
        assert "no test pictures" not in said.err and "decoder.pt2     differs from the model by" in said.out
    config = json.dumps({})
    (runs / "labelled" / "config.yaml").write_text(config)
    words = ["--format", "torch", "--out", "other", "--ckpt_path", "labelled/checkpoints/last.ckpt"]
    assert call("export", *words) == 0
    assert "no test pictures: " in capsys.readouterr().err
