"""A training step that is compiled: as one graph, once, and to the same numbers."""

import copy
import pickle

import pytest
import torch
from torch._dynamo.testing import CompileCounter

from tests.zoo import loader_of, models_that, small, trainer
from vae_zoo.cli.lightning import compile_step
from vae_zoo.models import VAE
from vae_zoo.models.latent import LatentVariableModel

image_models = models_that(LatentVariableModel, pixels=True)


def trained(cls, folder, backend=None, **changes):
    """A model after four epochs, compiled or not."""
    torch.manual_seed(0)
    model = small(cls, **changes)
    if backend:
        step = torch.compile(getattr(model, model.whole_step), backend=backend, fullgraph=True)
        setattr(model, model.whole_step, step)
    torch.manual_seed(0)
    trainer(folder, max_epochs=4).fit(model, loader_of(model, 16, 8))
    return model


@pytest.mark.slow
@image_models
def test_a_step_is_one_graph_whatever_the_epoch(cls, tmp_path):
    torch.compiler.reset()
    changes = {"warmup": 3} if "warmup" in small(cls).hparams else {}
    graphs = CompileCounter()  # which runs a graph as it is
    compiled = trained(cls, tmp_path, graphs, **changes)
    assert graphs.frame_count == 1
    plain = trained(cls, tmp_path, **changes)
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(compiled.state_dict()[name], value, msg=name)


def test_a_copy_of_a_compiled_model_trains_itself():
    model = small(VAE)
    compile_step(model)
    x = torch.rand(4, *model.hparams["shape"])
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        other.training_step((x, None), 0).backward()
        assert all(parameter.grad is not None for parameter in other.parameters())
        assert all(parameter.grad is None for parameter in model.parameters())
