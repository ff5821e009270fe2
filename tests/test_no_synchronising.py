"""Between two logs a training step never waits for its device: nothing that it computes is asked for by Python.

On the CPU waiting costs nothing and shows nowhere, so the calls that would wait on a GPU are looked for. What only a
GPU shows, the waiting inside a kernel, the tests at the end look for where there is one.
"""

import sys
from contextlib import contextmanager, nullcontext
from pathlib import Path

import lightning
import numpy as np
import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import vae_zoo
from tests.zoo import JOINT, every_model, loader_of, models_that, small, trainer
from vae_zoo.callbacks import Advice, Guard, Timing, guard
from vae_zoo.conditional import check_labels
from vae_zoo.data.images import ImageDataModule, ImageDataset
from vae_zoo.models import LatentVariableModel

EVERY = 3  # steps from one log to the next
aten = torch.ops.aten
# Kernels whose result Python needs, or the size of it. Tensor.item is the first, as are float, int and bool.
WAITING = {aten._local_scalar_dense, aten.equal, aten.allclose, aten.nonzero, aten.masked_select, aten.bincount}
WAITING |= {aten._unique2, aten.unique_dim, aten.unique_consecutive}
WAITING |= {aten.normal}  # of tensors, as Normal.sample draws: a GPU is asked whether all sigmas are positive
READING = {Tensor.cpu, Tensor.numpy, Tensor.tolist, Tensor.__array__}  # no kernel at all, on the CPU
MAKING = {torch.tensor, torch.as_tensor}  # of numbers, which then are copied to the device
MOVING = {Tensor.to, Tensor.cuda}
FOLDER, LIGHTNING, OPTIMIZERS, DATA = (
    f"{Path(module.__file__).parent}/" for module in (vae_zoo, lightning, torch.optim, torch.utils.data)
)


def caller():
    """Who makes a synchronising call, file and line; None if that is meant, and does not happen on a GPU.

    It is the nearest caller that is this package, Lightning, or a test. What PyTorch's optimizers do themselves is not
    of a model: they keep a count of steps on the CPU, and read it there. What its samplers do precedes the device.
    """
    frame = sys._getframe(1)
    while frame := frame.f_back:
        file, function = frame.f_code.co_filename, frame.f_code.co_name
        if file.startswith((OPTIMIZERS, DATA)):
            return None
        if file.startswith((FOLDER, LIGHTNING)) or (file == __file__ and not function.startswith("__torch")):
            # Labels are checked on the CPU alone, see below.
            return None if function == "check_labels" else f"{file}:{frame.f_lineno} in {function}"
    return None


class Kernels(TorchDispatchMode):
    """Finds kernels that wait, whoever calls them, in a backward pass, too."""

    def __init__(self, found):
        super().__init__()
        self.found = found

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        packet = function.overloadpacket
        masks = packet in (aten.index, aten.index_put, aten.index_put_) and any(
            index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1]
        )
        # The number of repetitions is read unless the length is given.
        repeats = packet is aten.repeat_interleave and not (kwargs or {}).get("output_size")
        if (packet in WAITING or masks or repeats) and (where := caller()):
            self.found.append(f"{packet}: {where}")
        return function(*args, **(kwargs or {}))


class Calls(TorchFunctionMode):
    """Finds calls that do nothing on the CPU: what reads a tensor there, and what moves one and waits for it."""

    def __init__(self, found):
        super().__init__()
        self.found = found

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        device = [*args[1:], *kwargs.values()] if function in MOVING else [kwargs.get("device")]
        moves = function in MAKING | MOVING and any(isinstance(each, str | torch.device) for each in device)
        moves = (moves or function is Tensor.cuda) and not kwargs.get("non_blocking")
        # Lightning moves batches, and waits where that is to the CPU; and its clipping moves norms to where they are.
        if (function in READING or moves) and (where := caller()) and not (moves and where.startswith(LIGHTNING)):
            self.found.append(f"{function.__name__}: {where}")
        return function(*args, **kwargs)


@contextmanager
def watch(found):
    """Note the calls that would wait for a device."""
    with Kernels(found), Calls(found):
        yield


def fit(folder, model, data, between, at_logs=nullcontext, after=0, **settings):
    """Train, each step with all that surrounds it in a context, those `between` two logs in another one than those.

    A step is: fetch the batch, move it to the device, train, clip, call the hooks of callbacks, log.
    """
    settings = {
        "callbacks": [Guard(), Advice(), Timing()],
        "log_every_n_steps": EVERY,
        "max_epochs": 2,
        "limit_val_batches": 0,
    } | settings
    fits = trainer(folder, logger=CSVLogger(str(folder)), **settings)
    loop = fits.fit_loop.epoch_loop
    advance = loop.advance

    def step(fetcher):
        logs = (fits.global_step + 1) % EVERY == 0
        with (at_logs if logs else between)() if fits.global_step >= after else nullcontext():
            advance(fetcher)

    loop.advance = step
    fits.fit(model, data)
    assert fits.global_step == EVERY * settings["max_epochs"]  # an epoch's last step logs


def clipping(model):
    """The gradient is clipped where the model allows it; PyTorch's Adam then goes other ways."""
    return {"gradient_clip_val": 1.0} if model.automatic_optimization else {}


@pytest.fixture(autouse=True)
def _as_on_a_gpu(monkeypatch):
    """What `Guard` may do on a CPU alone, it does nowhere here."""
    monkeypatch.setattr(guard, "looked_at_once", lambda device: False)


@pytest.mark.slow
@every_model
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_step_does_not_wait_between_logs(cls, precision, tmp_path):
    model, found, at_logs = small(cls), [], []
    more = clipping(model) if precision == "32-true" else {"precision": precision}
    # A training's first batch is looked at, see `Door`; the first one of the second epoch is not.
    fit(tmp_path, model, loader_of(model), lambda: watch(found), lambda: watch(at_logs), after=1, **more)
    assert not found
    assert any("item" in call or "scalar" in call for call in at_logs)  # a number is written, which is seen


class Photos(ImageDataModule):
    """24 images of noise."""

    shape = (3, 16, 16)

    def __init__(self, resident):
        super().__init__()
        self.resident, self.batch_size = resident, 8

    def read(self):
        pixels, labels = np.random.default_rng(0).integers(256, size=(24, 16, 16, 3), dtype=np.uint8), torch.arange(24)
        # A part's rows need not be all, nor in order.
        parts = {part: ImageDataset(pixels, labels % 10, np.arange(24)[::-1]) for part in ("train", "test")}
        return list("0123456789"), {**parts, "val": ImageDataset(pixels, labels[:0], np.arange(0))}


@pytest.mark.slow
@pytest.mark.parametrize("resident", [False, True])
def test_a_batch_is_made_without_waiting(resident, tmp_path):
    found = []
    fit(tmp_path, small(JOINT), Photos(resident), lambda: watch(found), after=1)
    if not resident:  # the labels of pixels in memory are there, too
        found = [call for call in found if not (call.startswith("numpy") and call.endswith("__getitems__"))]
    assert not found


def test_labels_are_not_looked_at_on_a_device():
    """So what the tests above let `check_labels` do, it does on a CPU alone; a meta tensor has no numbers."""
    check_labels(torch.zeros(3, dtype=torch.int64, device="meta"), 10)


def read_gradient(x):
    x.register_hook(lambda gradient: gradient[0].item() and None)
    x.sum().backward()


CALLS = {
    "item": lambda x: x[0].item(),
    "float": lambda x: float(x[0]),
    "int": lambda x: int(x[0]),
    "bool": lambda x: bool(x[0]),
    "index": lambda x: [1, 2][x.long()[0]],
    "cpu": lambda x: x.cpu(),
    "numpy": lambda x: x.numpy(),
    "array": lambda x: np.asarray(x),
    "tolist": lambda x: x.tolist(),
    "to the CPU": lambda x: x.to("cpu"),
    "to a device": lambda x: x.to(device=torch.device("cpu")),
    "nonzero": lambda x: x.nonzero(),
    "a mask": lambda x: x[x > 0],
    "assigned by a mask": lambda x: x.clone().__setitem__(x > 0, x[:1]),
    "unique": lambda x: x.unique(),
    "equal": lambda x: torch.equal(x, x),
    "allclose": lambda x: torch.allclose(x, x),
    "repeat": lambda x: x.repeat_interleave(x.long()),
    "where": lambda x: torch.where(x > 0),
    "a copy": lambda x: torch.tensor([1.0], device=x.device),
    "in a backward pass": lambda x: read_gradient(x.clone().requires_grad_()),
}


@pytest.mark.parametrize("call", CALLS)
def test_calls_that_wait_are_found(call):
    found = []
    with watch(found):
        CALLS[call](torch.ones(1))
    assert found


def test_calls_that_do_not_wait_are_let_pass():
    found, x = [], torch.ones(4)
    with watch(found):
        x.to("cpu", non_blocking=True).to(torch.float64)
        torch.tensor(1.0), torch.zeros((), device=x.device), x[torch.arange(2)], torch.where(x > 0, x, 0)
        assert len(x) == 4 and x.shape == (4,)
    assert not found


gpu = pytest.mark.gpu
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
WARM = 2 * EVERY  # steps in which memory is reserved, and a compiled one is compiled and recorded


@contextmanager
def refuse_waiting():
    """Let PyTorch raise an error where it would wait for the GPU."""
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


class ChannelsLast(Callback):
    """Images come in the layout that convolutions want, and weights and gradients stay in it."""

    def on_before_zero_grad(self, trainer, pl_module, optimizer):
        convolutions = [module for module in pl_module.modules() if isinstance(module, nn.Conv2d | nn.ConvTranspose2d)]
        for weight in (convolution.weight for convolution in convolutions):
            assert weight.is_contiguous(memory_format=torch.channels_last)
            assert weight.grad is None or weight.grad.is_contiguous(memory_format=torch.channels_last)

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        x, y = batch
        assert x.is_cuda and y.is_cuda
        assert not pl_module.pixels or x.is_contiguous(memory_format=torch.channels_last)


def fit_on_gpu(folder, model, resident=True, **settings):
    data = Photos(resident) if model.pixels else loader_of(model, 24)
    callbacks = [Guard(), Advice(), Timing(), ChannelsLast()]
    settings |= {"accelerator": "gpu", "devices": 1, "max_epochs": 4, "callbacks": callbacks}
    fit(folder, model, data, refuse_waiting, after=WARM, **settings)
    assert all(parameter.isfinite().all() for parameter in model.parameters())


@gpu
@needs_gpu
@pytest.mark.slow
@every_model
@pytest.mark.parametrize("resident", [False, True], ids=["pinned", "resident"])
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_step_does_not_wait_for_a_gpu(cls, precision, resident, tmp_path):
    model = small(cls)
    more = clipping(model) if precision == "32-true" else {"precision": precision}
    fit_on_gpu(tmp_path, model, resident, **more)


@gpu
@needs_gpu
@pytest.mark.slow
@models_that(LatentVariableModel, pixels=True)
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("mode", ["default", "reduce-overhead"])  # the latter by CUDA graphs
def test_a_compiled_step_does_not_wait_for_a_gpu(cls, mode, precision, tmp_path):
    torch.compiler.reset()
    model = small(cls)
    setattr(model, model.whole_step, torch.compile(getattr(model, model.whole_step), mode=mode, fullgraph=True))
    fit_on_gpu(tmp_path, model, precision=precision)
