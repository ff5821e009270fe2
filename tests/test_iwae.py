"""IWAE: one encoding and K decodings, and doubly reparameterised gradients of the same mean and less variance."""

import pytest
import torch

from tests.oracles.linear_gaussian import PIXELS, SIGMA, LinearGaussian
from tests.zoo import asked, batch, small, traces_of
from vae_zoo import likelihoods, objectives
from vae_zoo.distributions import GaussianPosterior
from vae_zoo.errors import UserError
from vae_zoo.models import IWAE, LatentVariableModel
from vae_zoo.networks import DCGANGenerator


class Toy(IWAE):
    """The linear-Gaussian model's prior and likelihood with a linear encoder, near the best one."""

    def __init__(self, dreg, samples):
        LatentVariableModel.__init__(self)
        truth = LinearGaussian(exact=False)
        self.prior, self.likelihood, self.images = truth.prior, truth.likelihood, truth.images
        best = truth.posterior
        linear = torch.nn.Linear(PIXELS, 6).double()
        to_mean = torch.linalg.solve(best.precision, best.weight.T) / SIGMA**2
        linear.weight.data = torch.cat([to_mean, torch.zeros_like(to_mean)])
        linear.bias.data = torch.cat([0.2 - to_mean @ best.bias, -best.precision.diagonal().log()])
        self.posterior = GaussianPosterior(torch.nn.Sequential(torch.nn.Flatten(), linear))
        self.dreg, self.samples = dreg, samples

    def check(self, x, values=True):
        """Take what the linear-Gaussian model draws, which is no image in [0, 1]."""


def gradients(dreg, samples, repeats=4000):
    """The encoder's bias gradients of the bound of one image, many times, (repeats, 6): a batch of copies."""
    model = Toy(dreg, samples)
    x = model.images(1).expand(repeats, -1, -1, -1)
    bias = model.posterior.encoder[1].bias
    copies = bias.detach().repeat(repeats, 1).requires_grad_()  # a bias for each copy, so that one pass gives them all
    model.posterior.encoder[1].forward = lambda flat: flat @ model.posterior.encoder[1].weight.T + copies
    bound = model.objective(model.trace(x, samples=samples))
    (gradient,) = torch.autograd.grad(bound.sum(), copies)
    return gradient, bound


def test_dreg_has_the_same_mean_and_less_variance():
    (plain, _), (dreg, _) = gradients(False, 8), gradients(True, 8)
    error = (plain.var(0) / len(plain) + dreg.var(0) / len(dreg)).sqrt()
    assert ((plain.mean(0) - dreg.mean(0)).abs() < 4 * error).all()
    assert plain.mean(0).abs().max() > 20 * error.max()  # there is a gradient to compare
    assert (dreg.var(0) < plain.var(0) / 2).all()


def test_dreg_is_the_sum_of_squared_weights_times_the_path_gradient():
    """Tucker et al. 2019, by a loop over the draws."""
    model = Toy(dreg=True, samples=4)
    x, encoder = model.images(1), model.posterior.encoder
    torch.manual_seed(5)
    (given,) = torch.autograd.grad(model.objective(model.trace(x, samples=4)).sum(), encoder[1].bias)
    torch.manual_seed(5)
    eps = torch.randn(4, 1, 3, dtype=torch.float64)
    mean, log_variance = encoder(x).chunk(2, -1)
    q = torch.distributions.Normal(mean.detach(), (log_variance / 2).exp().detach())
    z = mean + (log_variance / 2).exp() * eps
    log_w = model.likelihood(z).log_prob(x) + model.prior().log_prob(z) - q.log_prob(z).sum(-1)
    weights = log_w.detach().softmax(0)
    truth = sum(
        w**2 * torch.autograd.grad(one.sum(), encoder[1].bias, retain_graph=True)[0]
        for w, one in zip(weights[:, 0], log_w[:, 0], strict=True)
    )
    torch.testing.assert_close(given, truth)


def test_dreg_leaves_the_loss_and_the_decoder_as_they_are():
    values, decoders = [], []
    for dreg in (False, True):
        model = Toy(dreg, samples=4)
        weight = model.likelihood.decoder[0].weight
        torch.manual_seed(5)
        loss = model.training_step((model.images(2), None), 0)
        values.append(loss.detach())
        decoders.append(torch.autograd.grad(loss, weight)[0])
    assert torch.equal(*values)
    torch.testing.assert_close(*decoders)


def test_dreg_without_gradients_is_no_matter():
    model = Toy(dreg=True, samples=4)
    with torch.no_grad():
        assert model.training_step((model.images(2), None), 0).isfinite()
    model.eval()
    assert model.evaluate(model.images(2))["figures"]["loss"].isfinite().all()


def test_one_encoder_pass_and_k_draws_for_the_decoder():
    model, sizes = small(IWAE, samples=7), []
    for module in (model.posterior.encoder, model.likelihood.decoder):
        module.register_forward_hook(lambda module, given, out: sizes.append(len(out)))
    model.training_step(batch(model, 4), 0)
    assert sizes == [4, 28]


@pytest.mark.parametrize("dreg, also", [(False, {"log_qz", "log_w"}), (True, set())])
def test_training_asks_for_the_weights_and_nothing_else(dreg, also):
    model = small(IWAE, dreg=dreg)
    traces = traces_of(model)
    model.training_step(batch(model, 4), 0)
    assert [asked(trace) for trace in traces] == [{"px", "log_px", "log_pz"} | also]


def test_more_samples_make_a_tighter_bound():
    model = small(IWAE, samples=20)
    figures = model.evaluate(batch(model, 50)[0])["figures"]
    assert (figures["loss"] < -figures["elbo"]).all()


def test_the_bound_is_that_of_the_draws():
    model = small(IWAE, samples=7)
    trace = model.trace(batch(model, 3)[0], samples=7)
    torch.testing.assert_close(model.objective(trace), objectives.iwae(trace), rtol=0, atol=0)


# --- draws decoded a chunk at a time


def chunked(likelihood, chunk, **changes):
    """An IWAE of seven draws in float64, and its loss on a batch, in training."""
    torch.manual_seed(0)
    model = small(IWAE, likelihood=likelihood, samples=7, chunk=chunk, **changes).double()
    torch.manual_seed(1)
    x, y = batch(model, 3)
    return model, model.training_step((x.double().round(), y), 0)


@pytest.mark.parametrize("dreg", [False, True])
@pytest.mark.parametrize(
    "likelihood", [likelihoods.Gaussian, likelihoods.LearnedGaussian, likelihoods.OptimalGaussian]
    + [likelihoods.Bernoulli, likelihoods.DiscretisedLogistic]
)  # fmt: skip
def test_chunks_change_neither_the_loss_nor_a_gradient(likelihood, dreg):
    (whole, loss), (parts, same) = (chunked(likelihood, chunk, dreg=dreg) for chunk in (None, 3))
    torch.testing.assert_close(loss, same)
    for value in (loss, same):
        value.backward()
    for (name, ours), theirs in zip(whole.named_parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(theirs.grad, ours.grad, msg=name)
    for name, buffer in parts.named_buffers():  # a running sigma is moved once
        torch.testing.assert_close(buffer, whole.get_buffer(name), msg=name)
    x = torch.rand(3, 3, 16, 16, dtype=torch.float64)
    figures = []
    for model in (whole.eval(), parts.eval()):
        torch.manual_seed(2)
        figures.append(model.evaluate(x)["figures"])
    torch.testing.assert_close(*figures)


def kept(samples, chunk):
    """Bytes that a step keeps for its gradient, but for parameters."""
    model, x = small(IWAE, samples=samples, chunk=chunk), torch.rand(4, 3, 16, 16)
    weights = {parameter.data_ptr() for parameter in model.parameters()}
    sizes = {}

    def keep(tensor):
        if tensor.data_ptr() not in weights:
            sizes[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model.training_step((x, None), 0)
    return sum(sizes.values())


def test_memory_does_not_grow_with_draws_that_are_decoded_in_chunks():
    assert kept(50, None) > 8 * kept(5, None)  # it would
    assert kept(50, 5) < 2 * kept(5, None)


def test_the_images_of_chunks_come_one_draw_at_a_time():
    model = small(IWAE, samples=7, chunk=3).eval()
    trace = model.trace(torch.rand(2, 3, 16, 16), samples=7)
    whole = model.likelihood.distribution(model.likelihood.decode(trace.z)).mean
    torch.testing.assert_close(trace.px.mean, whole)
    images = likelihoods.means_of(trace.px)
    assert iter(images) is images  # a generator: what has been looked at is not kept
    torch.testing.assert_close(torch.stack([*images]), whole)


def test_chunks_need_a_decoder_that_takes_each_image_by_itself():
    with pytest.raises(UserError, match="batch normalisation"):
        small(IWAE, decoder=DCGANGenerator, chunk=2)
