"""Every model through its public face, as a notebook user calls it."""

import csv
import functools
import inspect
import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import CSVLogger
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import vae_zoo
from vae_zoo import models, objectives
from vae_zoo.data.sketches import stroke5
from vae_zoo.distributions import Bernoulli, DiscretisedLogistic, Gaussian, LearnedGaussian, OptimalGaussian
from vae_zoo.errors import UserError
from vae_zoo.models import VAE, Autoencoder, LatentVariableModel
from vae_zoo.models.base import EvidenceModel, SketchModel, spherical
from vae_zoo.networks import ConvDecoder, ConvEncoder, Network

FINALS = [c for c in vars(models).values() if inspect.isclass(c) and not inspect.isabstract(c)]
LIKELIHOODS = [Gaussian, LearnedGaussian, OptimalGaussian, Bernoulli, DiscretisedLogistic]
SMALL = {
    "shape": (3, 16, 16),
    "latent": 5,
    "encoder": functools.partial(ConvEncoder, width=4, depth=2),
    "decoder": functools.partial(ConvDecoder, width=4, depth=2),
}


STROKES = {"decoder_width": 8, "mixtures": 3, "shape": (20, 5)}
SIZES = {"DCGAN": {"shape": (3, 16, 16), "latent": 5, "width": 4}, "SketchDecoder": STROKES}
SIZES["SketchRNN"] = STROKES | {"latent": 5, "encoder_width": 8}
OF_IMAGES = [c for c in FINALS if not issubclass(c, SketchModel)]


def small(cls):
    """Arguments for a model of seconds."""
    return SIZES.get(cls.__name__, SMALL)


def each(cls, base):
    return pytest.mark.parametrize("cls", [c for c in cls if issubclass(c, base)])


every_model = pytest.mark.parametrize("cls", FINALS)
autoencoders, densities = each(OF_IMAGES, Autoencoder), each(FINALS, LatentVariableModel)


def sketches(n=20, seed=0):
    """Sketches of 3 to 19 points."""
    rng = np.random.default_rng(seed)
    return stroke5([np.column_stack([rng.normal(size=(k, 2)), rng.random(k) < 0.3]) for k in rng.integers(3, 20, n)])


def batch(cls, n):
    """Data for a small model, and labels."""
    return sketches(n) if issubclass(cls, SketchModel) else torch.rand(n, 3, 16, 16), torch.arange(n) % 10


def loader_of(cls, n=20, size=8):
    return (
        DataLoader(TensorDataset(sketches(n), torch.zeros(n).long()), size)
        if issubclass(cls, SketchModel)
        else loader(n, size)
    )


def loader(n=20, batch=8, shape=(3, 16, 16)):
    """Images of one colour each."""
    x = torch.rand(n, shape[0], 1, 1).expand(n, *shape).clone()
    return DataLoader(TensorDataset(x, torch.zeros(n, dtype=torch.int64)), batch)


def trainer(folder, **changes):
    settings = {"max_epochs": 1, "accelerator": "cpu", "logger": False, "enable_progress_bar": False}
    return Trainer(default_root_dir=folder, **settings | changes)


@autoencoders
def test_without_arguments_for_64_pixels_in_colour(cls):
    model = cls()
    x = torch.rand(2, 3, 64, 64)
    y = torch.tensor([0, 9])  # a model without labels takes them and does not look
    assert model.sample(3).shape == model.sample(3, torch.tensor([0, 9, 1])).shape == (3, 3, 64, 64)
    assert model.encode(x, y).shape == (2, 64)
    assert model.decode(model.encode(x, y), y).shape == model.reconstruct(x, y).shape == x.shape
    for images in (model.sample(16), model.reconstruct(x, y)):
        assert 0 <= images.min() and images.max() <= 1 and not images.requires_grad
    torch.testing.assert_close(model.reconstruct(x, y), model.decode(model.encode(x, y), y), rtol=0, atol=0)
    assert model.training  # the calls put the mode back


@densities
def test_log_prob_is_the_importance_weighted_bound(cls):
    model = cls(**small(cls))
    x, y = batch(cls, 3)
    assert model.log_prob(x, y, samples=100).shape == (3,)
    few, many = (torch.stack([model.log_prob(x, y, samples=k) for _ in range(30)]).mean(0) for k in (1, 50))
    assert (many > few).all()
    with pytest.raises(UserError, match="samples must be at least 1, got 0"):
        model.log_prob(x, y, samples=0)


@densities
def test_elbo_is_the_mean_of_one_sample_bounds(cls):
    model = cls(**small(cls)).double()
    x, y = batch(cls, 2)
    terms = model.terms(x.double(), y, samples=20_000)
    sampled, error = terms.log_w.mean(0), terms.log_w.std(0) / math.sqrt(20_000)
    assert ((objectives.elbo(terms) - sampled).abs() < 6 * error).all()


@every_model
def test_any_model_trains_and_its_checkpoint_loads_safely_to_the_bit(cls, tmp_path):
    model = cls(**small(cls))
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    fit = trainer(tmp_path, max_epochs=2)
    fit.fit(model, loader_of(cls), loader_of(cls))
    unmoved = [name for name, parameter in model.named_parameters() if torch.equal(parameter, before[name])]
    assert not unmoved
    fit.save_checkpoint(tmp_path / "x.ckpt")
    loaded = vae_zoo.load(tmp_path / "x.ckpt")
    assert type(loaded) is cls and not loaded.training
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), loaded.parameters(), strict=True))
    drawn = []
    for drawer in (model, loaded):
        torch.manual_seed(3)
        drawn.append(drawer.sample(4, torch.arange(4)))
    assert torch.equal(*drawn)
    assert 0 <= model.pictures(drawn[0]).min() and model.pictures(drawn[0]).max() <= 1
    assert cls().hparams["shape"] and len(model.pictures(drawn[0])) == 4


@each(FINALS, Autoencoder)
def test_interpolation_goes_from_one_reconstruction_to_the_other_on_a_great_circle(cls):
    model = cls(**small(cls)).double()
    (a, b), y = batch(cls, 4)[0].double().split(2), torch.tensor([1, 1])
    codes = []
    decode = model.decode
    model.decode = lambda z, y=None: codes.append(z) or decode(z, y)
    between = model.interpolate(a, b, y, steps=5)
    assert len(between) == 10
    z = codes[0].unflatten(0, (2, 5))  # 2 5 D
    torch.testing.assert_close(z[:, 0], model.encode(a, y))
    torch.testing.assert_close(z[:, -1], model.encode(b, y))
    torch.testing.assert_close(z, spherical(z[:, 0], z[:, -1], torch.linspace(0, 1, 5)).transpose(0, 1))
    with pytest.raises(UserError, match="steps must be at least 2, got 1"):
        model.interpolate(a, b, y, steps=1)


def test_spherical_is_the_great_circle_and_straight_where_there_is_none():
    a, b = torch.tensor([[1.0, 0.0], [2.0, 2.0], [0.0, 0.0]]), torch.tensor([[0.0, 1.0], [2.0, 2.0], [1.0, 0.0]])
    z = spherical(a, b, torch.tensor([0.0, 1 / 3, 1.0]))
    torch.testing.assert_close(z[1, 0], torch.tensor([math.cos(math.pi / 6), math.sin(math.pi / 6)]))
    torch.testing.assert_close(z[:, 1], b[1].expand(3, 2))
    torch.testing.assert_close(z[0], a)
    torch.testing.assert_close(z[2], b)


@autoencoders
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_one_step_moves_every_parameter(cls, likelihood, tmp_path):
    model = cls(**SMALL, likelihood=likelihood)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    trainer(tmp_path, enable_checkpointing=False).fit(model, loader(8, 8))
    for name, parameter in model.named_parameters():
        assert not torch.equal(parameter, before[name]), name


@autoencoders
def test_training_lowers_the_loss(cls, tmp_path):
    model = cls(**SMALL, lr=1e-2)
    data = loader(64, 16)
    before = trainer(tmp_path).validate(model, data, verbose=False)[0]["val/loss"]
    fit = trainer(tmp_path, max_epochs=5, enable_checkpointing=False)
    fit.fit(model, data)
    assert trainer(tmp_path).validate(model, data, verbose=False)[0]["val/loss"] < before - 1


@autoencoders
def test_logged_figures_are_means_over_images_with_a_ragged_last_batch(cls, tmp_path):
    model = cls(**SMALL)
    data = loader(20, 8)
    logged = trainer(tmp_path).test(model, data, verbose=False)[0]
    x = data.dataset.tensors[0]
    mse = (x - model.reconstruct(x, torch.zeros(20, dtype=torch.int64))).square().mean().item()
    assert logged["test/mse"] == pytest.approx(mse, rel=1e-5)


def test_loss_is_minus_the_elbo_and_its_parts_add_up(tmp_path):
    logged = trainer(tmp_path).test(VAE(**SMALL), loader(), verbose=False)[0]
    assert logged["test/elbo"] == pytest.approx(-logged["test/loss"])
    assert logged["test/elbo"] == pytest.approx(logged["test/reconstruction"] - logged["test/kl"], rel=1e-6)


@densities
def test_training_and_validation_take_k_independent_draws(cls, monkeypatch):
    model = cls(**small(cls), samples=7)
    seen, objective = [], model.objective
    monkeypatch.setattr(model, "objective", lambda terms: seen.append(terms) or objective(terms))
    x, y = batch(cls, 2)
    model.training_step((x, y), 0)
    model.measure(x, y)
    for terms in seen:
        assert terms.log_px.shape == terms.log_qz.shape == (7, 2)
        assert len(terms.log_qz[:, 0].unique()) == len(terms.log_px[:, 0].unique()) == 7  # draws, not copies
    assert len(seen) == 2


@autoencoders
def test_inference_does_not_see_the_other_images_of_the_batch(cls):
    """Also for a network with batch normalisation, and also in training mode: the calls evaluate."""

    class Normalised(Network):
        def __init__(self, shape, features):
            super().__init__(nn.Flatten(), nn.LazyLinear(features), nn.BatchNorm1d(features))
            self(torch.rand(2, *shape))

    model = cls(**SMALL | {"encoder": Normalised})
    running = {name: buffer.clone() for name, buffer in model.named_buffers()}
    x, y = torch.rand(6, 3, 16, 16), torch.arange(6)
    torch.testing.assert_close(model.encode(x, y)[:1], model.encode(x[:1], y[:1]))
    model.sample(4)
    assert all(torch.equal(running[name], buffer) for name, buffer in model.named_buffers())


@autoencoders
def test_checkpoint_of_a_notebook_loads_safely_to_the_bit(cls, tmp_path):
    likelihood = functools.partial(Gaussian, sigma=0.3)
    model = cls(**SMALL, likelihood=likelihood)
    fit = trainer(tmp_path)
    fit.fit(model, loader())
    fit.save_checkpoint(tmp_path / "x.ckpt")
    loaded = vae_zoo.load(tmp_path / "x.ckpt")
    assert type(loaded) is cls and not loaded.training
    x, y = torch.rand(4, 3, 16, 16), torch.arange(4)
    assert torch.equal(loaded.reconstruct(x, y), model.reconstruct(x, y))
    (pixels,) = [module for module in loaded.modules() if isinstance(module, Gaussian)]
    assert pixels.log_sigma.exp() == pytest.approx(0.3)
    assert type(cls.load_from_checkpoint(tmp_path / "x.ckpt", weights_only=True)) is cls
    torch.load(tmp_path / "x.ckpt", weights_only=True)


def a_function(shape, features):
    return ConvEncoder(shape, features, depth=2)


@pytest.mark.parametrize("encoder", [lambda shape, features: a_function(shape, features), a_function])
def test_what_a_checkpoint_cannot_hold_is_refused_with_what_to_do(tmp_path, encoder):
    model = VAE(**SMALL | {"encoder": encoder})
    fit = trainer(tmp_path, enable_checkpointing=False)
    fit.fit(model, loader())
    with pytest.raises(UserError, match="argument 'encoder' is .*, which a checkpoint cannot hold; give a class, or"):
        fit.save_checkpoint(tmp_path / "x.ckpt")


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04 nor a whole zip"])
def test_a_file_that_is_no_checkpoint(tmp_path, content):
    (tmp_path / "x.ckpt").write_bytes(content)
    with pytest.raises(UserError, match="x.ckpt is not a checkpoint of a vae_zoo model"):
        vae_zoo.load(tmp_path / "x.ckpt")
    torch.save({"weights": torch.ones(1)}, tmp_path / "x.ckpt")
    with pytest.raises(UserError, match="x.ckpt is not a checkpoint of a vae_zoo model"):
        vae_zoo.load(tmp_path / "x.ckpt")
    with pytest.raises(UserError, match="there is no such checkpoint file"):
        vae_zoo.load(tmp_path / "nowhere.ckpt")


@densities
def test_gradient_reaches_the_encoder_through_the_draws(cls):
    model = cls(**small(cls))
    model.terms(*batch(cls, 4)).log_px.sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.posterior.parameters())


def test_training_and_measure_take_the_objective_of_the_same_draws():
    class Weighted(VAE):
        objective = staticmethod(objectives.iwae)

    model, x = Weighted(**SMALL, samples=7), torch.rand(2, 3, 16, 16)

    def seeded(function):
        torch.manual_seed(1)
        return function()

    terms = seeded(lambda: model.terms(x, samples=7))
    loss = seeded(lambda: model.training_step((x, None), 0))
    torch.testing.assert_close(loss, -objectives.iwae(terms).mean())
    measured = seeded(lambda: model.measure(x))["per_image"]
    drawn = seeded(lambda: model.likelihood(model.posterior(x).rsample((7,)))).mean
    torch.testing.assert_close(measured["loss"], -objectives.iwae(terms))
    torch.testing.assert_close(measured["elbo"], objectives.elbo(terms))
    torch.testing.assert_close(measured["mse_sampled"], (x - drawn).square().mean((-3, -2, -1)).mean(0))
    assert all(value.shape == (2,) for value in measured.values())


def test_log_prob_decodes_a_chunk_at_a_time():
    model, sizes = VAE(**SMALL), []
    model.likelihood.decoder.register_forward_hook(lambda module, given, out: sizes.append(len(out)))
    model.log_prob(torch.rand(5, 3, 16, 16), samples=7, chunk=15)
    assert sizes == [15, 15, 5]


def test_calls_put_either_mode_back_even_after_an_error():
    model = VAE(**SMALL).eval()
    model.sample(1)
    assert not model.training
    model.train()
    with pytest.raises(UserError):
        model.encode(torch.rand(1, 1, 16, 16))
    assert model.training


def test_training_figures_reach_the_logger_and_add_up(tmp_path):
    logger = CSVLogger(str(tmp_path), name="", version="")
    fit = trainer(tmp_path, max_epochs=2, logger=logger, log_every_n_steps=2, enable_checkpointing=False)
    fit.fit(VAE(**SMALL), loader())
    rows = [row for row in csv.DictReader((tmp_path / "metrics.csv").open()) if row["train/loss"]]
    assert [row["step"] for row in rows] == ["1", "3", "5"]
    for row in rows:
        parts = float(row["train/reconstruction"]) - float(row["train/kl"])
        assert -float(row["train/loss"]) == pytest.approx(parts, rel=1e-5)
    trainer(tmp_path, log_every_n_steps=0, enable_checkpointing=False).fit(VAE(**SMALL), loader())  # 0 is never


@autoencoders
def test_learning_rate_prior_and_width_of_the_codes(cls):
    model = cls(**SMALL, lr=0.5)
    optimizers = model.configure_optimizers()
    first = optimizers[0] if isinstance(optimizers, list) else optimizers
    assert first.param_groups[0]["lr"] == 0.5
    assert 0.95 < model.sample_prior(4000).std() < 1.05
    with torch.autocast("cpu", torch.bfloat16):
        assert model.encode(torch.rand(2, 3, 16, 16), torch.arange(2)).dtype == torch.float32


def test_loss_of_an_autoencoder_is_the_mean_over_images():
    model, x = models.AE(**SMALL), torch.rand(4, 3, 16, 16)
    torch.testing.assert_close(model.training_step((x, None), 0), model.measure(x)["per_image"]["loss"].mean())


@autoencoders
def test_calls_leave_a_frozen_part_frozen_and_take_any_float(cls):
    model = cls(**SMALL).double()
    (decoder,) = [module for module in model.modules() if isinstance(module, ConvDecoder)]
    decoder.eval()
    assert model.sample(2).dtype == torch.float64
    assert model.training and not decoder.training


@pytest.mark.parametrize("cls", [c for c in OF_IMAGES if not issubclass(c, LatentVariableModel)])
def test_a_model_without_a_density_says_so(cls):
    with pytest.raises(UserError, match=f"{cls.__name__} has no density"):
        cls(**small(cls)).log_prob(torch.rand(1, 3, 16, 16), samples=100)


evidence = each(FINALS, EvidenceModel)


@evidence
def test_beta_and_free_bits_change_the_loss_and_no_reported_figure(cls):
    x, y = torch.rand(4, 3, 16, 16), torch.arange(4)
    torch.manual_seed(2)
    plain = cls(**SMALL)
    weighted = cls(**SMALL, beta=4.0, free_bits=0.5, warmup=3)
    weighted.load_state_dict(plain.state_dict())
    figures = []
    for model in (plain, weighted):
        torch.manual_seed(1)
        figures.append(model.measure(x, y)["per_image"])
    for name in ("elbo", "kl", "reconstruction", "mse", "mse_sampled"):
        assert torch.equal(figures[0][name], figures[1][name]), name
    torch.manual_seed(1)
    kl = plain.terms(x, y).kl.mean(0).clamp(min=0.5).sum()
    torch.testing.assert_close(figures[1]["loss"], 4 * kl - figures[0]["reconstruction"])
    torch.testing.assert_close(figures[0]["loss"], -figures[0]["elbo"])


@evidence
def test_warm_up_raises_the_weight_in_training_and_validation_has_it_whole(cls, tmp_path):
    model, weights = cls(**SMALL, beta=2.0, warmup=3), []

    class Weights(Callback):
        def on_train_batch_end(self, trainer, pl_module, *_):
            weights.append(weight(pl_module))

        def on_validation_batch_end(self, trainer, pl_module, *_):
            assert weight(pl_module) == 2

    def weight(model):
        kl = torch.ones(1, 1)
        return -model.objective(objectives.Terms(*torch.zeros(3, 1, 1), kl)).item()

    fit = trainer(tmp_path, max_epochs=5, enable_checkpointing=False, callbacks=[Weights()])
    fit.fit(model, loader(8, 8), loader(8, 8))
    assert weights == [0.5, 1, 1.5, 2, 2]
    assert weight(cls(**SMALL, beta=2.0, warmup=3)) == 2  # no epochs without a Trainer


def test_more_samples_of_a_vae_are_a_mean_and_of_an_iwae_a_tighter_bound():
    x = torch.rand(50, 3, 16, 16)
    vae, iwae = models.VAE(**SMALL, samples=20), models.IWAE(**SMALL, samples=20)
    iwae.load_state_dict(vae.state_dict())
    losses = {}
    for model in (vae, iwae):
        torch.manual_seed(1)
        losses[model] = model.measure(x)["per_image"]
    torch.testing.assert_close(losses[vae]["loss"], -losses[vae]["elbo"])
    torch.testing.assert_close(losses[vae]["elbo"], losses[iwae]["elbo"])
    assert (losses[iwae]["loss"] < losses[iwae]["elbo"].neg()).all()


def test_one_encoder_pass_and_k_draws_for_the_decoder():
    model, sizes = models.IWAE(**SMALL, samples=7), []
    for module in (model.posterior.encoder, model.likelihood.decoder):
        module.register_forward_hook(lambda module, given, out: sizes.append(len(out)))
    model.training_step((torch.rand(4, 3, 16, 16), None), 0)
    assert sizes == [4, 28]


# --- networks


@pytest.mark.parametrize("shape", [(1, 16, 16), (3, 32, 48), (3, 96, 32)])
@pytest.mark.parametrize("depth", [1, 2, 4])
def test_any_size_that_can_be_halved(shape, depth):
    x = torch.rand(2, *shape)
    features = ConvEncoder(shape, 7, width=4, depth=depth)(x)
    assert features.shape == (2, 7)
    assert ConvDecoder(7, shape, width=4, depth=depth)(features).shape == x.shape


@pytest.mark.parametrize(
    "shape, message",
    [
        ((3, 50, 64), "50 x 64 .* multiple of 16, such as 48 x 64 or 64 x 80"),
        ((3, 8, 8), "8 x 8 .* multiple of 16, such as 16 x 16 or 32 x 32"),
    ],
)
def test_other_sizes_are_refused_with_the_nearest_that_work(shape, message):
    for build in (lambda: ConvEncoder(shape, 7), lambda: ConvDecoder(7, shape), lambda: VAE(shape=shape)):
        with pytest.raises(UserError, match=message):
            build()


def test_images_of_another_shape_are_refused():
    with pytest.raises(UserError, match=r"built for images of shape \(3, 16, 16\).*got \(1, 16, 16\)"):
        VAE(**SMALL).encode(torch.rand(2, 1, 16, 16))
    with pytest.raises(UserError, match="got \\(3, 32, 16\\)"):
        VAE(**SMALL).encode(torch.rand(2, 3, 32, 16))


def test_images_are_floats_and_have_a_shape_of_three_numbers():
    with pytest.raises(UserError, match="must be float in .*, got torch.uint8; divide bytes by 255"):
        VAE(**SMALL).encode(torch.zeros(2, 3, 16, 16, dtype=torch.uint8))
    with pytest.raises(UserError, match=r"shape must be \(channels, height, width\), got \(32, 32\)"):
        VAE(shape=(32, 32))
    with pytest.raises(UserError, match=r"must be a batch \(B, C, H, W\), got \(3, 16, 16\); for one image, x\[None\]"):
        VAE(**SMALL).encode(torch.rand(3, 16, 16))
    with pytest.raises(UserError, match=r"y are labels, \(B,\), got 5000; .* log_prob\(x, samples=5000\)"):
        VAE(**SMALL).log_prob(torch.rand(1, 3, 16, 16), 5000)
    with pytest.raises(UserError, match="n must be at least 1, got -1"):
        VAE(**SMALL).sample(-1)


def test_noise_differs_between_epochs_seeds_and_processes():
    seeds = set()
    for seed, epoch, rank in itertools.product((0, 1, 2**63), (0, 1, 2), (0, 1)):
        model = VAE(**SMALL)
        model._trainer = SimpleNamespace(current_epoch=epoch, global_rank=rank)
        torch.manual_seed(seed)
        model.on_train_start()
        torch.manual_seed(5)  # whatever came before
        model.on_train_batch_start(None, 0)
        seeds.add(torch.initial_seed())
        state = torch.get_rng_state()
        model.on_train_batch_start(None, 1)
        assert torch.equal(torch.get_rng_state(), state)
    assert len(seeds) == 18


def test_only_finals_can_be_made():
    for cls in (models.GenerativeModel, Autoencoder, LatentVariableModel, EvidenceModel):
        with pytest.raises(TypeError, match="abstract"):
            cls()


def test_convolutions_are_channels_last_and_let_the_signal_through():
    encoder, decoder = ConvEncoder((3, 64, 64), 64), ConvDecoder(64, (3, 64, 64))
    for network in (encoder, decoder):
        weights = [layer.weight for layer in network if layer.__class__.__name__.startswith("Conv")]
        assert all(weight.is_contiguous(memory_format=torch.channels_last) for weight in weights)
    signal = nn.Sequential(*list(encoder)[:-2])(torch.randn(4, 3, 64, 64))
    assert 0.1 < signal.square().mean() < 2
    assert [m.in_channels for m in decoder if isinstance(m, nn.ConvTranspose2d)] == [256, 128, 64, 32]
    out = nn.Sequential(*list(decoder)[2:])(torch.randn(4, 256, 4, 4))
    assert 0.1 < out.square().mean() < 2
