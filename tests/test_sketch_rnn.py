"""Sketch-RNN against closed forms and slow loops: densities, lengths, temperature, the loss, drawings."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback
from torch import nn
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal
from torch.nn.utils.rnn import pack_padded_sequence
from torch.utils.data import DataLoader, TensorDataset

from tests.zoo import sketches, small, trainer
from vae_zoo.data.sketches import stroke5
from vae_zoo.errors import UserError
from vae_zoo.models import SketchDecoder, SketchRNN
from vae_zoo.strokes import LSTM, Points, StrokeEncoder, lengths


def points(n=1, m=3, seed=0, r=1.0):
    """Points of random parameters, float64."""
    torch.manual_seed(seed)
    weight, mean, log_sigma = torch.randn(n, m), torch.randn(n, m, 2), 0.3 * torch.randn(n, m, 2)
    return Points(*(part.double() for part in (weight, mean, log_sigma, r * torch.randn(n, m), torch.randn(n, 3))))


def test_one_standard_normal_at_its_mean():
    zero = torch.zeros(1, 1)
    p = Points(zero, torch.zeros(1, 1, 2), torch.zeros(1, 1, 2), zero, torch.zeros(1, 3))
    assert p.log_prob_offset(torch.zeros(1, 2)).item() == pytest.approx(-1.8379, abs=5e-5)
    assert p.log_prob_pen(torch.tensor([[0.0, 1.0, 0.0]])).item() == pytest.approx(-math.log(3))


@pytest.mark.parametrize("seed", range(3))
def test_the_mixture_integrates_to_one(seed):
    p = points(seed=seed)
    t = torch.linspace(-12, 12, 400, dtype=torch.float64)
    grid = torch.cartesian_prod(t, t)
    assert p.log_prob_offset(grid).exp().sum().item() * float(t[1] - t[0]) ** 2 == pytest.approx(1, abs=1e-4)


def test_the_mixture_is_one_of_multivariate_normals():
    p, x = points(n=50), torch.randn(50, 2, dtype=torch.float64)
    sigma, rho = p.log_sigma.exp(), p.r.tanh()
    off = rho * sigma.prod(-1)
    covariance = torch.stack([sigma[..., 0] ** 2, off, off, sigma[..., 1] ** 2], -1).unflatten(-1, (2, 2))
    reference = MixtureSameFamily(Categorical(logits=p.weight), MultivariateNormal(p.mean, covariance))
    torch.testing.assert_close(p.log_prob_offset(x), reference.log_prob(x))


def test_nearly_straight_correlations_stay_finite():
    p = points(n=20, r=1.0)._replace(r=torch.full((20, 3), 20.0).double())
    p = Points(*(part.float().requires_grad_() for part in p))
    value = p.log_prob_offset(torch.randn(20, 2))
    value.sum().backward()
    assert value.isfinite().all() and all(part.grad is None or part.grad.isfinite().all() for part in p)


def slow_log_prob(model, x, z):
    """One sketch: a loop over its points, sums of plain numbers."""
    decoder, m = model.likelihood, model.likelihood.mixtures
    width = decoder.lstm.hidden_size
    h, c = decoder.start(z).tanh().split(width) if decoder.start else (torch.zeros(width).double(),) * 2
    last, total = torch.tensor([0.0, 0, 1, 0, 0]).double(), 0.0
    for row in x:
        gates = decoder.lstm.weight_ih_l0 @ torch.cat([last, z]) + decoder.lstm.bias_ih_l0
        i, f, g, o = (gates + decoder.lstm.weight_hh_l0 @ h + decoder.lstm.bias_hh_l0).split(width)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        out = decoder.linear(h).tolist()
        pen = out[6 * m :]
        state = row[2:].tolist().index(1.0)
        total += pen[state] - math.log(sum(math.exp(q) for q in pen))
        if state == 2:
            return total
        weights, mean, log_sigma, r = out[:m], out[m : 3 * m], out[3 * m : 5 * m], out[5 * m : 6 * m]
        density = 0.0
        for k in range(m):
            weight = math.exp(weights[k]) / sum(math.exp(w) for w in weights)
            sx, sy, rho = math.exp(log_sigma[2 * k]), math.exp(log_sigma[2 * k + 1]), math.tanh(r[k])
            u, v = (float(row[0]) - mean[2 * k]) / sx, (float(row[1]) - mean[2 * k + 1]) / sy
            exponent = (u * u + v * v - 2 * rho * u * v) / (1 - rho * rho) / 2
            density += weight * math.exp(-exponent) / (2 * math.pi * sx * sy * math.sqrt(1 - rho * rho))
        total += math.log(density)
        last = row
    raise AssertionError("the sketch has no end")


def test_the_teacher_forced_density_is_the_slow_loops():
    model, x = small(SketchRNN).double(), sketches(4).double()
    z = torch.randn(2, 4, 5, dtype=torch.float64)
    with torch.no_grad():
        fast = model.likelihood(z).log_prob(x)
        for k in range(2):
            for b in range(4):
                assert fast[k, b].item() == pytest.approx(slow_log_prob(model, x[b], z[k, b]), rel=1e-9)


def test_the_decoder_alone_has_the_slow_loops_density():
    model, x = small(SketchDecoder).double(), sketches(4).double()
    with torch.no_grad():
        slow = [slow_log_prob(model, sketch, torch.zeros(0).double()) for sketch in x]
    torch.testing.assert_close(model.log_prob(x), torch.tensor(slow).double())
    measured = model.evaluate(x)["figures"]
    torch.testing.assert_close(measured["nll"], -model.log_prob(x))
    torch.testing.assert_close(measured["loss"], -model.log_prob(x) / 20)
    torch.testing.assert_close(model.training_step((x, None), 0), measured["loss"].mean())


@pytest.mark.parametrize("cls", [SketchRNN, SketchDecoder])
def test_padding_changes_neither_loss_nor_gradient(cls):
    model, x = small(cls).double(), sketches(6).double()
    padded = torch.cat([x, x.new_tensor([0.0, 0, 0, 0, 1]).expand(6, 7, 5)], 1)
    losses, gradients = [], []
    for given in (x, padded):
        torch.manual_seed(1)
        losses.append(model.training_step((given, None), 0))
        gradients.append(torch.autograd.grad(losses[-1], list(model.parameters())))
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-12, atol=0)
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b)


def test_a_padded_batch_has_the_codes_of_single_sketches():
    model, x = small(SketchRNN).double(), sketches(6).double()
    assert len(set(lengths(x).tolist())) > 2
    single = torch.cat([model.encode(sketch[None, : int(n) + 1]) for sketch, n in zip(x, lengths(x), strict=True)])
    torch.testing.assert_close(model.encode(x), single)


def test_the_encoder_is_a_bidirectional_lstm_over_the_real_lengths():
    encoder, x = StrokeEncoder(7, width=6).double(), sketches(6).double()
    reference = nn.LSTM(5, 6, batch_first=True, bidirectional=True).double()
    ours = {f"{n}_l0": getattr(encoder.forwards, f"{n}_l0") for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
    ours |= {f"{n[:-3]}_l0_reverse": getattr(encoder.backwards, n) for n in list(ours)}
    reference.load_state_dict(ours)
    _, (h, _) = reference(pack_padded_sequence(x, lengths(x), batch_first=True, enforce_sorted=False))
    torch.testing.assert_close(encoder(x), encoder.linear(torch.cat([h[0], h[1]], -1)))


def test_every_point_and_the_pen_reach_the_code():
    model, x = small(SketchRNN).double(), sketches(3).double().requires_grad_()
    model.posterior(x).mean.sum().backward()
    for sketch, gradient, n in zip(x, x.grad, lengths(x), strict=True):
        assert (gradient[:n].abs().sum(-1) > 0).all() and (gradient[n:] == 0).all(), sketch


def test_temperature_zero_picks_the_likeliest_pen_and_mean():
    p = points(n=200)
    heaviest = p.mean[torch.arange(200), p.weight.argmax(-1)]
    pen = nn.functional.one_hot(p.pen.argmax(-1), 3).double()
    torch.testing.assert_close(p.sample(0.0), torch.cat([heaviest, pen], -1), rtol=0, atol=0)
    nearly = p.sample(1e-6)
    assert (nearly[:, :2] - heaviest).abs().max() < 1e-2 and torch.equal(nearly[:, 2:], pen)


@pytest.mark.parametrize("temperature", [0.25, 1.0])
def test_temperature_divides_logits_and_multiplies_variances(temperature):
    n = 40_000
    p = Points(*(part.expand(n, *part.shape[1:]) for part in points(seed=3)))
    drawn = p.sample(temperature)
    pen = (p.pen[0] / temperature).softmax(-1)
    torch.testing.assert_close(drawn[:, 2:].mean(0), pen, atol=0.01, rtol=0)
    weight = (p.weight[0] / temperature).softmax(-1)
    sigma, rho = p.log_sigma[0].exp() * math.sqrt(temperature), p.r[0].tanh()
    off = rho * sigma.prod(-1)
    within = torch.stack([sigma[:, 0] ** 2, off, off, sigma[:, 1] ** 2], -1).unflatten(-1, (2, 2))
    mean = (weight[:, None] * p.mean[0]).sum(0)
    spread = p.mean[0] - mean
    covariance = (weight[:, None, None] * (within + spread[:, :, None] * spread[:, None, :])).sum(0)
    torch.testing.assert_close(drawn[:, :2].mean(0), mean, atol=0.03, rtol=0)
    torch.testing.assert_close(drawn[:, :2].T.cov(), covariance, atol=0.06, rtol=0)


@pytest.mark.parametrize("log_sigma, r", [(0, 1e4), (-1e3, 0), (1e3, 0), (-1e3, 1e4), (-1e3, -1e4)])
def test_scales_and_correlations_that_would_overflow_are_held(log_sigma, r):
    model, x = small(SketchRNN), sketches(3)
    with torch.no_grad():
        bias = model.likelihood.linear.bias
        bias[9:15], bias[15:18] = log_sigma, r  # of each normal
    loss = model.training_step((x, None), 0)
    loss.backward()
    assert loss.isfinite() and all(p.grad.isfinite().all() for p in model.parameters())


def test_drawn_sketches_have_the_density_that_training_raises():
    """The likeliest sketch by the sampling loop is what the teacher-forced network says at each of its points."""
    model = small(SketchRNN).double()
    z = torch.randn(4, 5, dtype=torch.float64)
    x = model.decode(z)
    last = torch.cat([x.new_tensor([0.0, 0, 1, 0, 0]).expand(4, 1, 5), x[:, :-1]], 1)
    with torch.no_grad():
        teacher = model.likelihood.points(last, z, model.likelihood.first_state(z))[0].sample(0.0)
    for drawn, said, n in zip(x, teacher, lengths(x), strict=True):
        torch.testing.assert_close(drawn[:n], said[:n])
        assert (drawn[n:] == drawn.new_tensor([0.0, 0, 0, 0, 1])).all() and n < len(drawn)
        assert n == 20 or said[n, 4] == 1


def test_sketches_end_at_n_max_at_the_latest_and_have_an_end():
    for cls in (SketchRNN, SketchDecoder):
        model = small(cls)
        nn.init.constant_(model.likelihood.linear.bias[-1:], -50.0)  # it never ends by itself
        x = model.sample(3)
        assert x.shape == (3, 21, 5) and lengths(x).tolist() == [20, 20, 20]
        nn.init.constant_(model.likelihood.linear.bias[-1:], 50.0)
        assert lengths(model.sample(3)).tolist() == [0, 0, 0]
        assert (x[..., 2:].sum(-1) == 1).all()
        with pytest.raises(UserError, match="temperature must be at least 0, got -1"):
            model.sample(1, temperature=-1)
    with pytest.raises(UserError, match="n must be at least 1"):
        model.sample(0)


def drawn(kl, reconstruction=(-40.0, -60.0)):
    """A stand-in of what was drawn: log p(x|z) of two sketches, and the KL per dimension (2, D)."""
    kl = torch.as_tensor(kl)
    return SimpleNamespace(log_px=torch.tensor([list(reconstruction)]), kl=kl.sum(-1), kl_per_dimension=kl)


def test_the_loss_is_the_papers():
    """N_max = 20, N_z = 2: L_R = 50 / 20, L_KL = (1 + 3 + 5 + 7) / 2 / 2 = 4."""
    model = small(SketchRNN, latent=2, kl_weight=0.5, kl_min=0.2)
    trace = drawn([[1.0, 3.0], [5.0, 7.0]])
    assert -model.objective(trace).mean().item() == pytest.approx(50 / 20 + 0.5 * 4)
    floor = small(SketchRNN, latent=2, kl_weight=0.5, kl_min=9.0)
    assert -floor.objective(trace).mean().item() == pytest.approx(50 / 20 + 0.5 * 9)
    kl = torch.tensor([[1.0, 3.0], [5.0, 7.0]], requires_grad=True)
    floor.objective(drawn(kl)).mean().backward()
    assert (kl.grad == 0).all()  # what costs nothing has no gradient


@pytest.mark.slow
def test_the_kl_is_annealed_by_steps_in_training_alone(tmp_path):
    model = small(SketchRNN, latent=2, kl_weight=1.0, kl_min=0.0, eta_min=0.1, annealing=0.9)
    trace = drawn([[2.0, 0.0], [2.0, 0.0]], (0.0, 0.0))  # L_KL = 1
    seen = []

    class Weights(Callback):
        def on_train_batch_start(self, trainer, pl_module, *_):
            seen.append(-pl_module.objective(trace).mean().item())

        def on_validation_batch_start(self, trainer, pl_module, *_):
            assert -pl_module.objective(trace).mean().item() == pytest.approx(1)

    data = DataLoader(TensorDataset(sketches(4), torch.zeros(4).long()), 1)
    trainer(tmp_path, callbacks=[Weights()], max_epochs=2).fit(model, data, data)
    assert seen == pytest.approx([1 - 0.9 * 0.9**step for step in range(8)])
    assert -model.eval().objective(trace).mean().item() == pytest.approx(1)


def test_the_logged_bound_is_the_bound_whatever_the_loss_weighs(tmp_path):
    data = DataLoader(TensorDataset(sketches(20), torch.zeros(20).long()), 8)
    model = small(SketchRNN, kl_weight=0.1, kl_min=3.0)
    logged = trainer(tmp_path).test(model, data, verbose=False)[0]
    assert logged["test/elbo"] == pytest.approx(logged["test/reconstruction"] - logged["test/kl"], rel=1e-6)
    assert logged["test/loss"] != pytest.approx(-logged["test/elbo"])
    assert not {"test/mse", "test/mse_sampled"} & set(logged)


def test_recurrent_dropout_is_the_fused_lstm_but_for_what_is_dropped():
    x = torch.randn(3, 9, 5, dtype=torch.float64)
    torch.manual_seed(2)
    looped, (h, c) = (lstm := LSTM(5, 4, recurrent_dropout=1e-12).double())(x)
    fused, (h_fused, c_fused) = lstm.eval()(x)
    for a, b in ((looped, fused), (h, h_fused), (c, c_fused)):
        torch.testing.assert_close(a, b)
    state = (torch.randn(1, 3, 4).double(), torch.randn(1, 3, 4).double())
    torch.testing.assert_close(lstm.train()(x, state)[0], lstm.eval()(x, state)[0])
    # With all new values dropped the memory only fades, by the forget gate.
    nothing = LSTM(5, 4, recurrent_dropout=1.0).double()
    nn.init.constant_(nothing.bias_ih_l0[4:8], 50.0)
    _, (_, kept) = nothing(x, state)
    torch.testing.assert_close(kept, state[1])
    # Half of them dropped: other values in each step, of each sketch.
    nothing.recurrent_dropout = 0.5
    a, b = nothing(x)[0], nothing(x)[0]
    assert not torch.equal(a, b) and torch.equal(nothing.eval()(x)[0], nothing(x)[0])


@pytest.mark.slow
def test_it_learns_to_draw_a_line(tmp_path):
    """Sketches of steps to the right: samples at a low temperature go to the right, and end."""
    rng = np.random.default_rng(0)
    rows = [
        np.column_stack([1 + 0.1 * rng.normal(size=(6, 2)) * [1, 1] - [0, 1], [0, 0, 0, 0, 0, 1]]) for _ in range(64)
    ]
    x = stroke5(rows)
    model = small(SketchRNN, lr=4e-2, kl_weight=1.0, kl_min=0.0, annealing=0.0)
    data = DataLoader(TensorDataset(x, torch.zeros(64).long()), 16)
    trainer(tmp_path, max_epochs=50).fit(model, data)
    for drawn in (model.sample(8, temperature=0.0), model.reconstruct(x[:8])):
        assert lengths(drawn).tolist() == [6] * 8
        assert (drawn[:, :6, 0] - 1).abs().max() < 0.3 and drawn[:, :6, 1].abs().max() < 0.3
        assert (drawn[:, 5, 3] == 1).all() and (drawn[:, :5, 2] == 1).all()


@pytest.mark.parametrize(
    "change, message",
    [
        ({"shape": (3, 64, 64)}, "shape must be .points of the longest sketch, 5., got .3, 64, 64.; are the data sket"),
        ({"recurrent_dropout": 1.5}, "recurrent_dropout must be between 0 and 1, got 1.5"),
        ({"latent": 0}, "latent must be at least 1, got 0"),
        ({"annealing": 2.0}, "annealing must be between 0 and 1, got 2"),
        ({"mixtures": 0}, "mixtures must be at least 1, got 0"),
        ({"lr": 0.0}, "lr must be positive"),
    ],
)
def test_what_cannot_be_is_refused(change, message):
    with pytest.raises(UserError, match=message):
        small(SketchRNN, **change)


def test_images_are_no_sketches():
    with pytest.raises(UserError, match="sketches must be a batch .B, T, 5.*got .2, 3, 16, 16."):
        small(SketchRNN).encode(torch.rand(2, 3, 16, 16))
    with pytest.raises(UserError, match="sketches must be floats, got int64"):
        small(SketchDecoder).log_prob(torch.zeros(2, 3, 5, dtype=torch.int64))
