"""EBGAN: the energy, both turns, the pulling-away term and the two balances, each against what it is by hand."""

import copy
import functools

import pytest
import torch
from torch import nn
from torch.optim import SGD
from torch.utils.data import DataLoader, TensorDataset

from tests.zoo import loader, same, small, trainer
from vae_zoo.errors import UserError
from vae_zoo.models import EBGAN
from vae_zoo.models.ebgan import Equilibrium, Margin, pulling_away
from vae_zoo.models.gan import fooling


def energy(model, x):
    """Image by image, in a loop over pixels and channels."""
    found = []
    for image in 2 * x - 1:
        code = model.discriminator.encoder(image[None])
        differences = (model.discriminator.decoder(code)[0] - image).flatten()
        found.append(sum(each**2 for each in differences) / len(differences))
    return torch.stack(found)


def plain_pulling_away(codes):
    n, total = len(codes), 0.0
    for i in range(n):
        for j in range(n):
            if i != j:
                total = total + (codes[i] @ codes[j] / (codes[i].norm() * codes[j].norm())) ** 2
    return total / (n * (n - 1))


def test_the_energy_is_the_mean_squared_error_of_the_autoencoder():
    model, x = small(EBGAN).double(), torch.rand(2, 3, 16, 16, dtype=torch.float64)
    energies, codes = model.judge(x)
    torch.testing.assert_close(energies, energy(model, x))
    torch.testing.assert_close(codes, model.discriminator.encoder(2 * x - 1))
    torch.testing.assert_close(model.features(x), codes.detach())


def test_pulling_away_is_the_mean_squared_cosine_of_two_codes():
    codes = torch.randn(5, 3, dtype=torch.float64)
    torch.testing.assert_close(pulling_away(codes), plain_pulling_away(codes))
    torch.testing.assert_close(pulling_away(torch.eye(4)), torch.tensor(0.0))
    torch.testing.assert_close(pulling_away(torch.tensor([[1.0, 0.0], [-3.0, 0.0]])), torch.tensor(1.0))
    assert pulling_away(codes[:1]).abs() < 1e-12


def plain_step(model, x, z, lrs, discriminator_loss):
    """Both turns with gradients by autograd.grad and updates by hand; returns all parameters and buffers after them."""
    model = copy.deepcopy(model)
    fake = (model.generator(z) + 1) / 2
    loss = discriminator_loss(energy(model, x), energy(model, fake.detach()))
    for part, lr in ((model.discriminator, lrs[0]), (model.generator, lrs[1])):
        parameters = list(part.parameters())
        gradients = torch.autograd.grad(loss, parameters)
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter -= lr * gradient
        codes = model.discriminator.encoder(2 * fake - 1)
        loss = energy(model, fake).mean() + model.pull_away * plain_pulling_away(codes)
    return model.state_dict()


BALANCES = {
    "all below the margin": (functools.partial(Margin, m=9.0), lambda x, g: (x + 9 - g).mean()),
    "all above the margin": (functools.partial(Margin, m=1e-9), lambda x, g: x.mean()),
    "equilibrium": (functools.partial(Equilibrium, lambda_k=1e-9), lambda x, g: (x - 0.25 * g).mean()),
}


@pytest.mark.slow
@pytest.mark.parametrize("lrs", [(0.1, 0.1), (0.1, 0.0), (0.0, 0.1)])
@pytest.mark.parametrize("pull_away", [0.0, 0.7])
@pytest.mark.parametrize("balance", BALANCES)
def test_a_step_is_the_two_turns_and_each_touches_its_own_side(balance, pull_away, lrs, tmp_path, monkeypatch):
    made, loss = BALANCES[balance]
    model = small(EBGAN, balance=made, pull_away=pull_away).double()
    for buffer in model.balance.buffers():
        buffer.fill_(0.25)
    x, z = torch.rand(4, 3, 16, 16, dtype=torch.float64), torch.rand(4, 5, dtype=torch.float64)
    monkeypatch.setattr(model, "_generate", lambda n: (model.generator(z) + 1) / 2)
    sides = (model.discriminator, model.generator)
    optimizers = [SGD(side.parameters(), lr=lr) for side, lr in zip(sides, lrs, strict=True)]
    monkeypatch.setattr(model, "configure_optimizers", lambda: optimizers)
    before, expected = copy.deepcopy(model.state_dict()), plain_step(model, x, z, lrs, loss)
    data = DataLoader(TensorDataset(x, torch.zeros(4).long()), 4)
    trainer(tmp_path, precision="64-true").fit(model, data)
    parameters = dict(model.named_parameters())
    for name, value in model.state_dict().items():
        if name != "balance.k":  # which moves by next to nothing, see below
            torch.testing.assert_close(value, expected[name], rtol=1e-9, atol=1e-12, msg=name)
        if name in parameters:
            moved = lrs[name.startswith("generator")] > 0
            assert torch.equal(value, before[name]) is not moved, name


def test_the_discriminator_gets_no_gradient_from_the_generators_turn():
    model = small(EBGAN, pull_away=0.1)
    images = model._generate(torch.rand(4, 5))
    loss, gradient = fooling(model.discriminator, images, lambda x: model.generator_losses(model.judge(x)).mean())
    (expected,) = torch.autograd.grad(
        energy(model, images).mean() + 0.1 * plain_pulling_away(model.judge(images)[1]), images
    )
    torch.testing.assert_close(gradient, expected)
    assert all(parameter.grad is None for parameter in model.parameters()) and not images.is_leaf


def test_a_margin_leaves_alone_what_is_above_it():
    real, fake = torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0.0, 0.5, 2.0])
    torch.testing.assert_close(Margin(0.5)(real, fake), torch.tensor([0.6, 0.2, 0.3]))


def test_k_walks_to_the_ratio_and_stays_between_0_and_1():
    balance, k = Equilibrium(gamma=0.4, lambda_k=0.3), 0.0
    for step in range(60):
        real, fake = torch.rand(6), (0.1 if step < 25 else 2.0) * torch.rand(6)
        balance.follow(real, fake)
        k = min(1.0, max(0.0, k + 0.3 * (0.4 * real.mean().item() - fake.mean().item())))
        assert balance.k.item() == pytest.approx(k, abs=1e-6)
        assert (k == 1.0) if step == 24 else (k == 0.0) if step == 59 else True
    balance.k.fill_(0.3)
    torch.testing.assert_close(balance(real, fake), real - 0.3 * fake)
    figures = balance.figures(torch.tensor([1.0, 3.0]), torch.tensor([0.2, 0.4]))  # means 2 and 0.3
    torch.testing.assert_close(figures["convergence"], torch.full((2,), 2 + abs(0.4 * 2 - 0.3)))
    torch.testing.assert_close(figures["k"], torch.full((2,), 0.3))


@pytest.mark.slow
def test_a_training_that_goes_on_has_the_same_k(tmp_path):
    changes = {"balance": functools.partial(Equilibrium, lambda_k=0.5)}
    models = [small(EBGAN, **changes)]
    models += [copy.deepcopy(models[0]) for _ in range(2)]
    data = loader(shape=(3, 16, 16))

    def fit(model, epochs, **more):
        torch.manual_seed(0)  # which a run's noise follows from
        fits = trainer(tmp_path, max_epochs=epochs)
        fits.fit(model, data, **more)
        return fits

    fit(models[0], 3)
    fit(models[1], 1).save_checkpoint(tmp_path / "x.ckpt")
    fit(models[2], 3, ckpt_path=tmp_path / "x.ckpt", weights_only=True)
    assert 0 < models[1].balance.k < 1
    assert same(models[0], models[2]) and models[0].balance.k != models[1].balance.k


@pytest.mark.parametrize("balance", [Margin, Equilibrium])
def test_an_evaluation_has_both_energies_and_both_losses(balance):
    model, x = small(EBGAN, balance=balance, pull_away=0.3).eval(), torch.rand(5, 3, 16, 16)
    torch.manual_seed(1)
    with torch.no_grad():
        figures = model.evaluate(x)["figures"]
    torch.manual_seed(1)
    samples = model.sample(5)
    real, fake = model.judge(x), model.judge(samples)
    torch.testing.assert_close(figures["energy_x"], energy(model, x))
    torch.testing.assert_close(figures["energy_g_z"], energy(model, samples))
    torch.testing.assert_close(figures["generator_loss"], fake[0] + 0.3 * plain_pulling_away(fake[1]))
    torch.testing.assert_close(figures["discriminator_loss"], model.balance(real[0], fake[0]))


@pytest.mark.parametrize(
    "change, message",
    [
        ({"pull_away": -1.0}, "pull_away must be at least 0"),
        ({"hidden": 0}, "hidden must be at least 1"),
        ({"balance": functools.partial(Margin, m=0)}, "m must be positive"),
        ({"balance": functools.partial(Equilibrium, gamma=1.5)}, "gamma must be between 0 and 1"),
        ({"balance": functools.partial(Equilibrium, lambda_k=0)}, "lambda_k must be positive"),
        ({"shape": (3, 48, 48)}, "squares whose side is a power of two"),
    ],
)
def test_what_cannot_be_is_refused(change, message):
    with pytest.raises(UserError, match=message):
        small(EBGAN, **change)


def test_the_networks_that_see_and_draw():
    model = EBGAN()
    assert model.sees is model.discriminator.encoder and model.draws is model.generator
    assert not any(isinstance(module, nn.BatchNorm2d) for module in model.discriminator.modules())
