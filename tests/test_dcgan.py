"""DCGAN: the paper's rules, two turns that leave each other alone, and a model without an encoder everywhere else."""

import copy
import csv
import functools
import json
import warnings

import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from torch import nn
from torch.nn.functional import softplus
from torch.optim import SGD, Adam, AdamW
from torch.utils.data import DataLoader, TensorDataset

from tests.conftest import REPOSITORY, call, options
from tests.forking import forks
from tests.zoo import loader, small, trainer
from vae_zoo.errors import UserError
from vae_zoo.executors import local, worker
from vae_zoo.models import DCGAN
from vae_zoo.networks import DCGANDiscriminator, DCGANGenerator


@pytest.mark.parametrize("side", [8, 16, 64, 128])
def test_the_papers_rules(side):
    model = DCGAN(shape=(3, side, side), width=8)
    generator, discriminator = list(model.generator), list(model.discriminator)
    for network in (generator, discriminator):
        assert not any(isinstance(layer, (nn.Linear, nn.MaxPool2d, nn.AvgPool2d, nn.Upsample)) for layer in network)
    up = [i for i, layer in enumerate(generator) if isinstance(layer, nn.ConvTranspose2d)]
    down = [i for i, layer in enumerate(discriminator) if isinstance(layer, nn.Conv2d)]
    assert len(up) == len(down) == side.bit_length() - 2  # 4 x 4 doubled up to the side, and the layer to 4 x 4
    for i in up[:-1]:
        assert isinstance(generator[i + 1], nn.BatchNorm2d) and isinstance(generator[i + 2], nn.ReLU)
    assert [type(layer) for layer in generator[up[-1] :]] == [nn.ConvTranspose2d, nn.Tanh]
    assert isinstance(discriminator[down[0] + 1], nn.LeakyReLU)
    for i in down[1:-1]:
        assert isinstance(discriminator[i + 1], nn.BatchNorm2d) and discriminator[i + 2].negative_slope == 0.2
    assert [type(layer) for layer in discriminator[down[-1] :]] == [nn.Conv2d, nn.Flatten]
    assert all(generator[i].stride == (2, 2) for i in up[1:]) and all(
        discriminator[i].stride == (2, 2) for i in down[:-1]
    )
    weights = torch.cat(
        [layer.weight.flatten() for layer in [*(generator[i] for i in up), *(discriminator[i] for i in down)]]
    )
    assert weights.mean().abs() < 1e-3 and weights.std().item() == pytest.approx(0.02, rel=0.02)
    for optimizer in model.configure_optimizers():
        assert isinstance(optimizer, torch.optim.Adam)
        assert optimizer.defaults["lr"] == 2e-4 and optimizer.defaults["betas"] == (0.5, 0.999)


def test_the_papers_generator_has_its_channels():
    """Radford et al. 2015, figure 1: 1024, 512, 256, 128, 3 on sides of 4, 8, 16, 32, 64."""
    maps = []
    with torch.device("meta"):  # shapes alone
        model, z = DCGANGenerator(100, (3, 64, 64), width=128), torch.rand(2, 100)
    for layer in model:
        if isinstance(layer, nn.ConvTranspose2d):
            layer.register_forward_hook(lambda module, given, out: maps.append(tuple(out.shape[1:])))
    model(z)
    assert maps == [(1024, 4, 4), (512, 8, 8), (256, 16, 16), (128, 32, 32), (3, 64, 64)]
    assert DCGAN().code_shape == (100,)


@pytest.mark.parametrize("shape", [(3, 48, 48), (3, 32, 64), (3, 4, 4)])
def test_other_sizes_are_refused(shape):
    for network in (functools.partial(DCGANGenerator, 5), DCGANDiscriminator, DCGAN):
        with pytest.raises(UserError, match="a DCGAN makes squares whose side is a power of two"):
            network(shape)


def plain_step(model, x, z, lrs):
    """Both turns with gradients by autograd.grad and updates by hand; returns all parameters and buffers after them."""
    model = copy.deepcopy(model)
    fake = (model.generator(z) + 1) / 2

    def score(images):
        return model.discriminator(2 * images - 1)

    loss = softplus(-score(x)).mean() + softplus(score(fake.detach())).mean()
    parameters = list(model.discriminator.parameters())
    gradients = torch.autograd.grad(loss, parameters)
    with torch.no_grad():
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter -= lrs[0] * gradient
    running = {name: buffer.clone() for name, buffer in model.discriminator.named_buffers()}
    parameters = list(model.generator.parameters())
    gradients = torch.autograd.grad(softplus(-score(fake)).mean(), parameters)
    with torch.no_grad():
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter -= lrs[1] * gradient
    model.discriminator.load_state_dict(running, strict=False)  # the generator's turn does not move them
    return model.state_dict()


@pytest.mark.slow
@pytest.mark.parametrize("lrs", [(0.1, 0.1), (0.1, 0.0), (0.0, 0.1)])
def test_a_step_is_the_two_turns_and_each_touches_its_own_side(lrs, tmp_path, monkeypatch):
    model = small(DCGAN).double()
    x, z = torch.rand(8, 3, 16, 16, dtype=torch.float64), torch.rand(8, 5, dtype=torch.float64)
    monkeypatch.setattr(model, "_generate", lambda n: (model.generator(z) + 1) / 2)
    sides = (model.discriminator, model.generator)
    optimizers = [SGD(side.parameters(), lr=lr) for side, lr in zip(sides, lrs, strict=True)]
    monkeypatch.setattr(model, "configure_optimizers", lambda: optimizers)
    before, expected = copy.deepcopy(model.state_dict()), plain_step(model, x, z, lrs)
    data = DataLoader(TensorDataset(x, torch.zeros(8).long()), 8)
    trainer(tmp_path, precision="64-true").fit(model, data)
    parameters = dict(model.named_parameters())
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, expected[name], rtol=1e-9, atol=1e-12, msg=name)
        if name in parameters:
            assert torch.equal(value, before[name]) is not (lrs[name.startswith("generator")] > 0), name
    tracked = {name: int(v - before[name]) for name, v in model.state_dict().items() if "num_batches" in name}
    assert {count for name, count in tracked.items() if name.startswith("generator")} == {1}
    assert {count for name, count in tracked.items() if name.startswith("discriminator")} == {2}  # real, and fake


@pytest.mark.slow
def test_both_beliefs_are_logged(tmp_path):
    model = small(DCGAN, generator_lr=1e-12, discriminator_lr=1e-12)
    last = model.discriminator[-2]
    nn.init.zeros_(last.weight)
    nn.init.constant_(last.bias, 1.0)
    logger = CSVLogger(str(tmp_path), name="", version="")
    trainer(tmp_path, max_epochs=2, logger=logger, log_every_n_steps=2).fit(model, loader(), loader())
    rows = list(csv.DictReader((tmp_path / "metrics.csv").open()))
    steps = [row for row in rows if row["train/d_x"]]
    assert [row["step"] for row in steps] == ["1", "3", "5"]
    certain = torch.tensor(1.0).sigmoid().item()
    for row in [*(row for row in rows if row["val/d_x"]), *steps]:
        stage = "train" if row["train/d_x"] else "val"
        assert float(row[f"{stage}/d_x"]) == pytest.approx(certain, rel=1e-4)
        assert float(row[f"{stage}/d_g_z"]) == pytest.approx(certain, rel=1e-4)
        loss = softplus(torch.tensor(-1.0)) + softplus(torch.tensor(1.0))
        assert float(row[f"{stage}/discriminator_loss"]) == pytest.approx(loss.item(), rel=1e-4)
        assert float(row[f"{stage}/generator_loss"]) == pytest.approx(softplus(torch.tensor(-1.0)).item(), rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("bias, said", [(9.0, "the generator has won"), (-9.0, "the generator has won"), (0.0, None)])
def test_it_warns_when_the_discriminator_tells_nothing_apart(bias, said, tmp_path):
    model = small(DCGAN, generator_lr=1e-12, discriminator_lr=1e-12)
    nn.init.zeros_(model.discriminator[-2].weight)
    nn.init.constant_(model.discriminator[-2].bias, bias)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer(tmp_path).fit(model, loader())
    texts = [str(warning.message) for warning in caught if "has won" in str(warning.message)]
    assert (said is None and not texts) or (said in texts[0] and texts[0].startswith("epoch 1: D(x) is "))


@pytest.mark.slow
def test_a_run_goes_on_from_inside_an_epoch(tmp_path):
    stopped = trainer(tmp_path, max_epochs=-1, max_steps=2)
    stopped.fit(small(DCGAN), loader())
    stopped.save_checkpoint(tmp_path / "x.ckpt")
    going = trainer(tmp_path, max_epochs=3)
    going.fit(small(DCGAN), loader(), ckpt_path=tmp_path / "x.ckpt", weights_only=True)
    assert going.current_epoch == 3


@pytest.mark.slow
def test_it_warns_when_the_discriminator_has_won(tmp_path):
    """The generator does not learn, and white is not what it draws."""
    model = small(DCGAN, generator_lr=1e-12, discriminator_lr=1e-2)
    white = DataLoader(TensorDataset(torch.ones(64, 3, 16, 16), torch.zeros(64).long()), 16)
    with pytest.warns(UserWarning, match="the discriminator has won, the generator learns no more"):
        trainer(tmp_path, max_epochs=15).fit(model, white)


@pytest.mark.slow
def test_samples_come_to_look_like_the_data(tmp_path):
    colour = torch.tensor([0.9, 0.1, 0.5])[:, None, None]
    x = (colour + 0.05 * torch.randn(256, 3, 16, 16)).clamp(0, 1)
    model = small(DCGAN, width=16, generator_lr=1e-3, discriminator_lr=1e-3)

    def away():
        torch.manual_seed(1)
        return (model.sample(64).mean((0, 2, 3)) - colour.flatten()).abs().max()

    before = away()
    data = DataLoader(TensorDataset(x, torch.zeros(256).long()), 32)
    trainer(tmp_path, max_epochs=12).fit(model, data)
    assert before > 0.35 and away() < 0.2


def test_tanh_is_mapped_to_colours_and_samples_do_not_see_each_other():
    model = small(DCGAN)
    model.generator(torch.rand(64, 5))  # moves the running statistics
    running = copy.deepcopy(dict(model.named_buffers()))
    torch.manual_seed(1)
    images = model.sample(6)
    torch.manual_seed(1)
    z = torch.empty(6, 5).uniform_(-1, 1)
    assert z.min() < -0.5 and z.max() > 0.5
    with torch.no_grad():
        alone = torch.cat([(model.generator.eval()(row[None]) + 1) / 2 for row in z])
    torch.testing.assert_close(images, alone)
    model.train()
    assert all(torch.equal(running[name], buffer) for name, buffer in model.named_buffers())
    nn.init.constant_(model.generator[-2].bias, 100.0)
    assert (model.sample(2) == 1).all()
    nn.init.constant_(model.generator[-2].bias, -100.0)
    assert (model.sample(2) == 0).all()


def test_features_are_all_maps_pooled_to_4_by_4():
    model = DCGAN(shape=(3, 32, 32), width=4)
    x = torch.rand(2, 3, 32, 32)
    features = model.features(x)
    assert features.shape == (2, 16 * (4 + 8 + 16)) and not features.requires_grad
    first = nn.functional.leaky_relu(model.discriminator[1](2 * x - 1), 0.2)  # B 4 16 16
    corner = first[:, :, :4, :4].amax((2, 3))
    torch.testing.assert_close(features[:, : 4 * 16].unflatten(1, (4, 16))[..., 0], corner)
    torch.testing.assert_close(model.features(x)[:1], model.features(x[:1]))  # running statistics


@pytest.mark.slow
def test_it_stands_in_a_comparison_with_what_it_has(shapes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for module in (local, worker):
        monkeypatch.setattr(module, "subprocess", forks)
    given = zip(*[iter(options(data__root=shapes))] * 2, strict=True)
    words = [f"{name}={value}" for name, value in given if name != "--trainer.max_epochs"]
    command = ["compare", "--configs", REPOSITORY / "configs" / "dcgan.yaml", "--seeds", "0", "--epochs", "1"]
    assert call(*command, "--out", "c", *words, monkeypatch=monkeypatch) == 0
    with open("c/results.csv") as file:
        rows = {row["model"]: row for row in csv.DictReader(file)}
    assert rows["DCGAN"]["mse"] == "" and float(rows["DCGAN"]["seconds_per_epoch"]) > 0
    assert float(rows["DCGAN"]["peak_memory_mb"]) > 0
    report = (tmp_path / "c" / "report.md").read_text()
    (line,) = [line for line in report.splitlines() if line.startswith("| DCGAN")][:1]
    assert line.count("n/a") >= 4
    results = json.loads(next(tmp_path.glob("c/**/dcgan/seed_0/results.json")).read_text())
    for name in ("mse", "psnr", "code_mmd", "elbo", "kl", "nll", "active_units"):
        assert results[name] is None and results["reasons"][name], name


@pytest.mark.slow
def test_what_it_cannot_do_is_said(shapes, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    config = REPOSITORY / "configs" / "dcgan.yaml"
    assert call("fit", "--config", config, *options(data__root=shapes), monkeypatch=monkeypatch) == 0
    assert [path.name for path in tmp_path.glob("runs/dcgan/version_0/checkpoints/*")] == ["last.ckpt"]  # no best
    for command in ("reconstruct", "predict"):
        assert call(command, monkeypatch=monkeypatch) == 1
        assert "DCGAN has no encoder" in capsys.readouterr().err
    words = options(data__root=shapes, data__image_size=48)
    assert call("fit", "--config", config, *words, monkeypatch=monkeypatch) == 1
    assert "squares whose side is a power of two" in capsys.readouterr().err
    words = options(data__root=shapes, trainer__gradient_clip_val=1.0)
    assert call("fit", "--config", config, *words, monkeypatch=monkeypatch) == 1
    assert "DCGAN steps its optimizers itself" in capsys.readouterr().err


def test_each_side_has_an_optimizer_of_its_own():
    given = {"generator_optimizer": functools.partial(AdamW, lr=0.5), "discriminator_lr": 0.2}
    discrimination, generation = small(DCGAN, **given).configure_optimizers()
    assert isinstance(discrimination, Adam) and isinstance(generation, AdamW)
    assert [each.param_groups[0]["lr"] for each in (discrimination, generation)] == [0.2, 0.5]
    (generation,) = small(DCGAN, generator_optimizer=SGD, generator_lr=0.3).configure_optimizers()[1:]
    assert isinstance(generation, SGD) and generation.param_groups[0]["lr"] == 0.3
    model = small(DCGAN)
    for optimizer, side in zip(model.configure_optimizers(), (model.discriminator, model.generator), strict=True):
        assert list(map(id, optimizer.param_groups[0]["params"])) == list(map(id, side.parameters()))
