"""VAE, and what it shares with the models that are trained on a weighted bound: beta, free bits and warm-up."""

import csv
from functools import partial

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.loggers import CSVLogger
from torch import nn
from torch.distributions import Categorical, MixtureSameFamily, Normal

from tests.data_sets import module
from tests.zoo import asked, batch, loader, models_that, small, traces_of, trainer
from vae_zoo import objectives
from vae_zoo.distributions import InitialisedPrior, OptimalGaussian
from vae_zoo.errors import UserError
from vae_zoo.models import VAE
from vae_zoo.models.latent import EvidenceModel
from vae_zoo.networks import ConvEncoder, Network

evidence = models_that(EvidenceModel)


def test_codes_are_vectors():
    model = VAE()
    assert model.encode(torch.rand(2, 3, 64, 64)).shape == (2, 64)


def test_training_asks_for_the_bound_in_closed_form_and_nothing_else():
    model = small(VAE)
    traces = traces_of(model)
    model.training_step(batch(model, 4), 0)
    assert [asked(trace) for trace in traces] == [{"px", "log_px", "kl", "kl_per_dimension"}]


def test_the_loss_is_minus_the_bound_of_kingma_and_welling():
    """Eq. 10, with the draw's noise known: the KL by its formula, a Gaussian of unit variance by hand."""
    model = small(VAE).double()
    x = torch.rand(4, 3, 16, 16, dtype=torch.float64)
    mean, log_variance = model.posterior.encoder(x).chunk(2, -1)
    torch.manual_seed(1)
    loss = model.training_step((x, None), 0)
    torch.manual_seed(1)
    z = mean + (log_variance / 2).exp() * torch.randn(1, 4, 5, dtype=torch.float64)[0]
    log_px = Normal(model.likelihood.decoder(z).sigmoid(), 1.0).log_prob(x).sum((1, 2, 3))
    kl = (mean.square() + log_variance.exp() - log_variance - 1).sum(-1) / 2
    torch.testing.assert_close(loss, (kl - log_px).mean())


def test_loss_is_minus_the_elbo_and_its_parts_add_up(tmp_path):
    logged = trainer(tmp_path).test(small(VAE), loader(), verbose=False)[0]
    assert logged["test/elbo"] == pytest.approx(-logged["test/loss"])
    assert logged["test/elbo"] == pytest.approx(logged["test/reconstruction"] - logged["test/kl"], rel=1e-6)


@pytest.mark.slow
def test_the_parts_of_the_training_loss_are_logged_and_add_up(tmp_path):
    logger = CSVLogger(str(tmp_path), name="", version="")
    trainer(tmp_path, logger=logger, log_every_n_steps=1).fit(small(VAE), loader())
    rows = [row for row in csv.DictReader((tmp_path / "metrics.csv").open()) if row["train/loss"]]
    assert len(rows) == 3
    for row in rows:
        parts = float(row["train/reconstruction"]) - float(row["train/kl"])
        assert -float(row["train/loss"]) == pytest.approx(parts, rel=1e-5)


def test_more_samples_are_averaged():
    model = small(VAE, samples=20)
    trace = model.trace(*batch(model, 3), samples=20)
    torch.testing.assert_close(model.objective(trace), trace.log_px.mean(0) - trace.kl)


def test_another_objective_is_all_that_another_bound_takes():
    class Weighted(VAE):
        def objective(self, trace):
            return objectives.iwae(trace)

    model, x = small(Weighted, samples=7), torch.rand(2, 3, 16, 16)

    def seeded(function):
        torch.manual_seed(1)
        return function()

    trace = seeded(lambda: model.trace(x, samples=7))
    torch.testing.assert_close(seeded(lambda: model.training_step((x, None), 0)), -objectives.iwae(trace).mean())
    figures = seeded(lambda: model.evaluate(x))["figures"]
    drawn = seeded(lambda: model.likelihood(model.posterior(x).rsample((7,)))).mean
    torch.testing.assert_close(figures["loss"], -objectives.iwae(trace))
    torch.testing.assert_close(figures["elbo"], objectives.elbo(trace))
    torch.testing.assert_close(figures["mse_sampled"], (x - drawn).square().mean((-3, -2, -1)).mean(0))
    assert all(value.shape == (2,) for value in figures.values())


def test_batch_normalisation_in_the_encoder_uses_running_statistics_when_it_encodes():
    class Normalised(Network):
        def __init__(self, shape, features):
            super().__init__(nn.Flatten(), nn.LazyLinear(features), nn.BatchNorm1d(features))
            self(torch.rand(2, *shape))

    model, x = small(VAE, encoder=Normalised), torch.rand(6, 3, 16, 16)
    torch.testing.assert_close(model.encode(x)[:1], model.encode(x[:1]))
    assert not torch.allclose(
        model.posterior(x).mean[:2], model.posterior(x[:2]).mean
    )  # in training they see each other


@pytest.mark.parametrize("shape, message", [((3, 50, 64), "50 x 64 .* multiple of 16"), ((32, 32), "shape must be")])
def test_sizes_that_its_networks_cannot_make_are_refused(shape, message):
    with pytest.raises(UserError, match=message):
        VAE(shape=shape)


def test_images_of_another_shape_are_refused():
    for x in (torch.rand(2, 1, 16, 16), torch.rand(2, 3, 32, 16)):
        with pytest.raises(UserError, match=r"built for images of shape \(3, 16, 16\)"):
            small(VAE).encode(x)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"latent": 0}, "latent must be at least 1, got 0"),
        ({"samples": 0}, "samples must be at least 1, got 0"),
        ({"beta": -1.0}, "beta must be at least 0, got -1"),
        ({"lr": 0.0}, "lr must be positive, got 0"),
    ],
)
def test_what_cannot_be_is_refused(change, message):
    with pytest.raises(UserError, match=message):
        small(VAE, **change)


# --- beta, free bits, warm-up


@evidence
def test_beta_and_free_bits_change_the_loss_and_no_reported_figure(cls):
    plain, weighted = small(cls), small(cls)
    weighted.load_state_dict(plain.state_dict())
    x, y = batch(plain, 4)
    kl = plain.trace(x, y).kl_per_dimension
    weighted.beta, weighted.warmup, weighted.free_bits = 4.0, 3, 0.0 if kl is None else 0.5
    figures = []
    for model in (plain, weighted):
        torch.manual_seed(1)
        figures.append(model.evaluate(x, y)["figures"])
    for name in ("elbo", "kl", "reconstruction", "mse", "mse_sampled"):
        assert torch.equal(figures[0][name], figures[1][name]), name
    torch.testing.assert_close(figures[0]["loss"], -figures[0]["elbo"])
    torch.manual_seed(1)
    trace = plain.trace(x, y)
    paid = trace.kl if kl is None else trace.kl_per_dimension.mean(0).clamp(min=0.5).sum()
    torch.testing.assert_close(figures[1]["loss"], 4 * paid - figures[0]["reconstruction"])


@pytest.mark.slow
@evidence
def test_warm_up_raises_the_weight_in_training_and_validation_has_it_whole(cls, tmp_path):
    model, weights = small(cls), []
    model.beta, model.warmup = 2.0, 3

    def weight(trace):
        """What the KL is multiplied by: the objective of a trace without a reconstruction and with a KL of 1."""
        return -model.objective(trace).item()

    class Flat:
        log_px, kl, kl_per_dimension = torch.zeros(1, 1), torch.ones(1), torch.ones(1, 1)

    class Weights(Callback):
        def on_train_batch_end(self, *_):
            weights.append(weight(Flat))

        def on_validation_batch_end(self, *_):
            assert weight(Flat) == 2

    assert weight(Flat) == 2  # no epochs without a Trainer
    trainer(tmp_path, max_epochs=5, callbacks=[Weights()]).fit(model, loader(8, 8), loader(8, 8))
    assert weights == [0.5, 1, 1.5, 2, 2]


# --- a prior that is made of the posterior, and begins with training images


class PseudoInputs(InitialisedPrior):
    """The VampPrior of Tomczak & Welling 2018: the mean of the posteriors of learned images."""

    def __init__(self, latent, shape, posterior, components=6):
        super().__init__()
        self.posterior = (posterior,)
        self.images = nn.Parameter(torch.rand(components, *shape))

    @property
    def initial_images(self):
        return len(self.images)

    def initialise(self, x):
        self.images.data.copy_(x)

    def forward(self, y=None):
        q = self.posterior[0](self.images)
        return MixtureSameFamily(Categorical(logits=torch.zeros(len(self.images))), q, validate_args=False)


class AtStart(Callback):
    def on_train_start(self, trainer, pl_module):
        self.images = pl_module.prior.images.detach().clone()


@pytest.fixture
def vamp():
    return lambda: small(VAE, prior=partial(PseudoInputs, components=4))


def test_a_prior_of_pseudo_inputs_shares_the_posterior_and_gets_gradients(vamp):
    model = vamp()
    assert "prior.images" in model.state_dict() and len(list(model.prior.parameters())) == 1
    model.training_step((torch.rand(8, 3, 16, 16), None), 0).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
    assert model.sample(3).shape == (3, 3, 16, 16) and model.log_prob(torch.rand(2, 3, 16, 16), samples=5).shape == (2,)
    p, z = model.prior(), torch.randn(7, 5)
    truth = torch.stack([model.posterior(image[None]).log_prob(z) for image in model.prior.images])
    torch.testing.assert_close(p.log_prob(z), truth.logsumexp(0) - torch.tensor(4.0).log())


@pytest.mark.slow
def test_it_begins_with_training_images_and_a_resumed_run_with_its_checkpoints(vamp, shapes, tmp_path):
    data, start = module(shapes), AtStart()
    first = trainer(tmp_path, callbacks=[start])
    first.fit(model := vamp(), datamodule=data)
    x, _ = next(data.batches("train", 4))
    assert torch.equal(start.images, x)
    assert not torch.equal(model.prior.images, x)  # it has learnt
    first.save_checkpoint(tmp_path / "x.ckpt")
    second = trainer(tmp_path, max_epochs=2, callbacks=[start])
    second.fit(vamp(), datamodule=data, ckpt_path=tmp_path / "x.ckpt", weights_only=True)
    assert torch.equal(start.images, model.prior.images)
    learned = model.prior.images.detach().clone()
    trainer(tmp_path, callbacks=[start]).fit(model, datamodule=data)  # trained on, without a checkpoint
    assert torch.equal(start.images, learned)


def test_without_a_datamodule_it_says_what_it_needs(vamp, tmp_path):
    with pytest.raises(UserError, match="the prior begins with training images; give trainer.fit a datamodule"):
        trainer(tmp_path).fit(vamp(), loader())


# --- checkpoints that cannot be


def a_function(shape, features):
    return ConvEncoder(shape, features, depth=2)


@pytest.mark.parametrize("encoder", [lambda shape, features: a_function(shape, features), a_function])
def test_what_a_checkpoint_cannot_hold_is_refused_with_what_to_do(tmp_path, encoder):
    fit = trainer(tmp_path)
    fit.validate(small(VAE, encoder=encoder), loader(), verbose=False)
    with pytest.raises(UserError, match="argument 'encoder' is .*, which a checkpoint cannot hold; give a class, or"):
        fit.save_checkpoint(tmp_path / "x.ckpt")


def test_a_running_variance_of_the_likelihood_is_that_of_training(tmp_path):
    """Evaluation does not move what a density of other images depends on."""
    model = small(VAE, likelihood=OptimalGaussian)
    model.training_step((torch.rand(8, 3, 16, 16), None), 0)
    before = model.likelihood.variance.clone()
    trainer(tmp_path).test(model, loader(), verbose=False)
    assert torch.equal(model.likelihood.variance, before)
