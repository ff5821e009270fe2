"""softplus against PyTorch's in double precision, which takes log1p."""

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from vae_zoo.softplus import softplus

X = torch.cat([torch.linspace(-120, 120, 4_801), torch.tensor([0.0, 80.0, 1e4, -1e4, torch.inf, -torch.inf])]).double()


@pytest.mark.parametrize(("dtype", "rtol", "atol"), [(torch.float32, 2e-7, 1.2e-7), (torch.float64, 3e-16, 3e-16)])
def test_it_is_that_of_pytorch_to_the_rounding_of_one(dtype, rtol, atol):
    x = X.to(dtype)
    truth = torch.nn.functional.softplus(x.double(), threshold=700)
    torch.testing.assert_close(softplus(x).double(), truth, rtol=rtol, atol=atol)
    assert softplus(torch.tensor(torch.nan)).isnan()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_its_gradient_is_the_sigmoid_everywhere(dtype):
    x = X.to(dtype).requires_grad_()
    (gradient,) = torch.autograd.grad(softplus(x).sum(), x)
    torch.testing.assert_close(gradient, x.detach().sigmoid(), rtol=0, atol=0)


def test_it_has_second_derivatives_and_can_be_mapped_over():
    x = torch.tensor([-3.0, -0.1, 0.0, 0.7, 5.0]).double().requires_grad_()
    assert gradcheck(softplus, x) and gradgradcheck(softplus, x)
    second = torch.func.vmap(torch.func.grad(torch.func.grad(softplus)))(x.detach())
    torch.testing.assert_close(second, x.detach().sigmoid() * (1 - x.detach().sigmoid()))
