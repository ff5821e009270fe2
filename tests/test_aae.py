"""The adversarial autoencoder's three phases against plain PyTorch, its counters, its prior."""

import copy
import csv
import functools
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.loggers import CSVLogger
from torch import nn
from torch.nn.functional import softplus
from torch.optim import SGD, Adam, AdamW

from tests.zoo import asked, loader, small, traces_of, trainer
from vae_zoo.distributions import GaussianMixture, StandardNormal
from vae_zoo.errors import UserError
from vae_zoo.models import AAE
from vae_zoo.networks import Discriminator, Network

TINY = functools.partial(Discriminator, width=8)


def plain_step(model, x, real, lrs):
    """The three phases with gradients by autograd.grad and updates by hand; returns the parameters after them."""
    model = copy.deepcopy(model)
    reconstruction_lr, discriminator_lr, generator_lr = lrs
    encoder, decoder = list(model.posterior.parameters()), list(model.likelihood.parameters())
    z = model.posterior.encoder(x)

    def score(codes):
        return model.discriminator(codes)

    real = real.clone().requires_grad_()
    slope = torch.autograd.grad(score(real).sum(), real, create_graph=True)[0]
    loss = softplus(-score(real)).mean() + softplus(score(z.detach())).mean() + 1.5 * slope.norm(dim=1).pow(2).mean()
    discriminator = list(model.discriminator.parameters())
    gradients = torch.autograd.grad(loss, discriminator)
    with torch.no_grad():
        for parameter, gradient in zip(discriminator, gradients, strict=True):
            parameter -= discriminator_lr * gradient
    adversarial = torch.autograd.grad(softplus(-score(z)).mean(), encoder, retain_graph=True)
    loss = -model.likelihood(z).log_prob(x).mean()
    reconstruction = torch.autograd.grad(loss, [*encoder, *decoder])
    with torch.no_grad():
        for parameter, gradient in zip([*encoder, *decoder], reconstruction, strict=True):
            parameter -= reconstruction_lr * gradient
        for parameter, gradient in zip(encoder, adversarial, strict=True):
            parameter -= generator_lr * gradient
    return dict(model.named_parameters())


@pytest.mark.slow
@pytest.mark.parametrize("lrs", [(1e-3, 0.1, 0.1), (1e-3, 0, 0), (0, 0.1, 0), (0, 0, 0.1)])
def test_a_step_is_the_three_phases_and_each_touches_its_own_parameters(lrs, tmp_path, monkeypatch):
    model = small(AAE, discriminator=TINY, stochastic=False, gradient_penalty=3.0).double()
    x, real = torch.rand(8, 3, 16, 16, dtype=torch.float64), torch.randn(8, 5, dtype=torch.float64)
    monkeypatch.setattr(model, "sample_prior", lambda n, y=None: real)
    encoder = list(model.posterior.parameters())
    optimizers = [[*encoder, *model.likelihood.parameters()], model.discriminator.parameters(), encoder]
    optimizers = [SGD(parameters, lr=lr) for parameters, lr in zip(optimizers, lrs, strict=True)]
    monkeypatch.setattr(model, "configure_optimizers", lambda: optimizers)
    before, expected = copy.deepcopy(dict(model.named_parameters())), plain_step(model, x, real, lrs)
    data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, torch.zeros(8).long()), 8)
    trainer(tmp_path, precision="64-true").fit(model, data)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter, expected[name], rtol=1e-9, atol=1e-12)
        part = ("posterior", "likelihood", "discriminator").index(name.split(".")[0])
        moves = ((lrs[0] or lrs[2]), lrs[0], lrs[1])[part] > 0
        assert torch.equal(parameter, before[name]) is not moves, name


@pytest.mark.slow
def test_batch_statistics_move_once_a_batch(tmp_path):
    class Normalised(Network):
        def __init__(self, shape, features):
            super().__init__(nn.Flatten(), nn.LazyLinear(features), nn.BatchNorm1d(features))
            self(torch.rand(2, *shape))

    model = small(AAE, encoder=Normalised)
    before = model.posterior.encoder[-1].num_batches_tracked.item()
    trainer(tmp_path, max_epochs=2).fit(model, loader(16, 8))
    assert model.posterior.encoder[-1].num_batches_tracked.item() == before + 4


class Sign(Network):
    """Says "prior" to a code with a positive first number."""

    def __init__(self, latent):
        super().__init__(nn.Linear(latent, 1))
        with torch.no_grad():
            self[0].weight.zero_()[0, 0] = 1
            self[0].bias.zero_()


@pytest.mark.slow
@pytest.mark.parametrize("mean, accuracy", [(-50.0, 0.75), (50.0, 0.25)])
def test_discriminator_accuracy_is_logged(mean, accuracy, tmp_path):
    """Half of the prior's draws are positive; the codes are all on one side."""
    model = small(AAE, discriminator=Sign, stochastic=False, lr=1e-9, discriminator_lr=1e-9, generator_lr=1e-9)
    nn.init.constant_(model.posterior.encoder[-1].bias, mean)
    logger = CSVLogger(str(tmp_path), name="", version="")
    trainer(tmp_path, logger=logger, log_every_n_steps=1).fit(model, loader(4000, 4000))
    (row,) = [row for row in csv.DictReader((tmp_path / "metrics.csv").open()) if row["train/loss"]]
    assert float(row["train/discriminator_accuracy"]) == pytest.approx(accuracy, abs=0.03)
    assert float(row["train/loss"]) == pytest.approx(-float(row["train/reconstruction"]))


@pytest.mark.slow
def test_saturated_logits_stay_finite(tmp_path):
    model = small(AAE, discriminator=TINY)
    nn.init.constant_(model.discriminator[-1].bias, 1e4)
    trainer(tmp_path).fit(model, loader(8, 8))
    assert all(parameter.isfinite().all() for parameter in model.parameters())


@pytest.mark.slow
def test_codes_come_to_follow_the_prior(tmp_path):
    """What it is for: on codes of a linear encoder, whose spread is 20 times the prior's, the adversary wins."""

    class Spread(Callback):
        def __init__(self):
            self.seen = []

        def on_train_epoch_start(self, trainer, pl_module):
            self.seen.append(pl_module.encode(x).std().item())

    critic = functools.partial(Discriminator, width=64)
    model = small(AAE, lr=1e-5, generator_lr=3e-3, stochastic=False, discriminator=critic)
    nn.init.normal_(model.posterior.encoder[-1].weight, std=1.0)
    x = torch.cat([x for x, _ in loader(256, 64)])
    spread = Spread()
    trainer(tmp_path, max_epochs=20, callbacks=[spread]).fit(model, loader(256, 32))
    assert spread.seen[0] > 3 and 0.5 < model.encode(x).std() < 1.6


def test_a_scale_of_gradients_that_changes_between_turns_is_refused():
    model = small(AAE)
    model._trainer = SimpleNamespace(precision="16-mixed", strategy=None)
    with pytest.raises(UserError, match="trainer.precision 16-mixed: a model trained in turns takes bf16-mixed"):
        model.setup("fit")


def test_deterministic_and_stochastic_codes():
    x = torch.rand(3, 3, 16, 16)
    point, cloud = small(AAE, stochastic=False), small(AAE)
    assert point.posterior.encoder[-1].out_features == 5 and cloud.posterior.encoder[-1].out_features == 10
    point, cloud = point.evaluate(x), cloud.evaluate(x)
    assert torch.equal(point["trace"].centre, point["trace"].z[0])
    assert torch.equal(point["figures"]["mse"], point["figures"]["mse_sampled"])
    assert not torch.equal(cloud["trace"].centre, cloud["trace"].z[0])


def test_codes_are_driven_to_the_prior_that_it_is_given():
    model = small(AAE, prior=functools.partial(GaussianMixture, components=6, radius=5.0, sigma=0.1))
    assert model.sample_prior(500)[:, :2].norm(dim=1).sub(5).abs().max() < 0.6
    assert model.sample(4).shape == (4, 3, 16, 16)
    with pytest.raises(UserError, match="latent must be at least 2, got 1"):
        small(AAE, latent=1, prior=GaussianMixture)


def test_each_turn_has_an_optimizer_of_its_own():
    given = {"optimizer": functools.partial(AdamW, lr=0.5), "generator_optimizer": functools.partial(SGD, momentum=0.9)}
    model = small(AAE, **given, lr=0.1, discriminator_lr=0.2, generator_lr=0.3)
    reconstruction, discrimination, generation = model.configure_optimizers()
    assert [type(each) for each in (reconstruction, discrimination, generation)] == [AdamW, Adam, SGD]
    assert [each.param_groups[0]["lr"] for each in (reconstruction, discrimination, generation)] == [0.5, 0.2, 0.3]
    encoder, decoder = (list(map(id, part.parameters())) for part in (model.posterior, model.likelihood))
    parameters = [
        [id(p) for p in each.param_groups[0]["params"]] for each in (reconstruction, discrimination, generation)
    ]
    assert parameters == [encoder + decoder, [id(p) for p in model.discriminator.parameters()], encoder]


@pytest.mark.slow
def test_a_step_asks_for_the_reconstruction_of_the_draws_and_nothing_else(tmp_path):
    model = small(AAE)
    traces = traces_of(model)
    trainer(tmp_path).fit(model, loader(8, 8))
    assert [asked(trace) for trace in traces] == [{"px", "log_px"}]


def test_a_learned_prior_is_refused():
    class Learned(StandardNormal):
        def __init__(self, latent, shape, posterior):
            super().__init__(latent)
            self.offset = nn.Parameter(torch.zeros(latent))

    with pytest.raises(UserError, match="prior: the discriminator knows a fixed one, a Learned is learned"):
        small(AAE, prior=Learned)
