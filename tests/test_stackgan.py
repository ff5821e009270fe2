"""StackGAN: which texts are wrong ones, and two stages of which one is trained at a time."""

import copy
import functools
import warnings

import pytest
import torch
from torch.nn.functional import avg_pool2d, logsigmoid
from torch.optim import SGD
from torch.utils.data import DataLoader, TensorDataset
from torchvision.io import read_image

from tests.conftest import call, only_run, options
from tests.test_text import CAPTIONS
from tests.zoo import batch, loader_of, same, small, trainer
from vae_zoo import load
from vae_zoo.callbacks.pictures import in_turn
from vae_zoo.distributions import Gaussian
from vae_zoo.errors import UserError
from vae_zoo.models import StackGAN
from vae_zoo.models.first_stages import GANStage, VAEStage
from vae_zoo.models.second_stage import RefiningGenerator, RefiningStage
from vae_zoo.networks import ConvDecoder, ConvEncoder
from vae_zoo.text import RecurrentText

BLURRED = functools.partial(
    VAEStage,
    latent=4,
    encoder=functools.partial(ConvEncoder, width=4, depth=2),
    decoder=functools.partial(ConvDecoder, width=4, depth=2),
)
FIRSTS = {"GAN": StackGAN.tiny["first"], "VAE": BLURRED}
every_first = pytest.mark.parametrize("first", FIRSTS.values(), ids=FIRSTS)


# --- what a stage is given


def test_a_wrong_text_is_another_ones_and_says_something_else():
    model = small(StackGAN, labels=3)
    x, y = torch.rand(5, 3, 16, 16), torch.tensor([0, 1, 1, 2, 0])
    paired = model._paired(x, y)
    torch.testing.assert_close(paired.text, model.text.embedding.weight[y])
    torch.testing.assert_close(paired.wrong, model.text.embedding.weight[[2, 0, 0, 1, 2]])  # the nearest before it
    assert paired.differs.all()
    assert not model._paired(x, torch.ones(5, dtype=torch.int64)).differs.any()


def test_captions_that_read_alike_are_no_wrong_texts():
    model = small(StackGAN, labels=2, captions=("A dog.", "a dog"), text=RecurrentText)
    assert not model._paired(torch.rand(4, 3, 16, 16), torch.tensor([0, 1, 1, 0])).differs.any()


@every_first
def test_codes_are_standard_normal_noise(first):
    stage = small(StackGAN, first=first).first
    codes = stage.codes_for(torch.rand(4_000, 3, 8, 8))
    assert codes.shape == (4_000, stage.noise)
    assert (codes.mean(0).abs() < 5 / 4_000**0.5).all() and ((codes.var(0) - 1).abs() < 5 * (2 / 4_000) ** 0.5).all()


@pytest.mark.parametrize("small_side, side", [(8, 16), (16, 32), (32, 64), (16, 64), (64, 256), (12, 24)])
def test_a_sketch_is_refined_to_the_full_size(small_side, side):
    generator = RefiningGenerator((3, small_side, small_side), (3, side, side), 2, 2, 1)
    out = generator(torch.rand(2, 3, small_side, small_side), torch.rand(2, 2))
    assert out.shape == (2, 3, side, side) and out.abs().max() <= 1


# --- a step of either stage


def other_texts(y):
    """Of each label in a batch, the nearest other one before it."""
    return torch.tensor([next((y[i - j] for j in range(1, len(y)) if y[i - j] != y[i]), y[i]) for i in range(len(y))])


def stage_step(model, stage, x, y, code, sketch, lr):
    """Both turns of a stage by autograd.grad and updates by hand, on the model itself."""
    text, wrong = model.text(y), model.text(other_texts(y))
    z, eps = code.split([stage.latent, stage.augmented], 1)
    shared = list(model.text.parameters()) if stage is model.first else []

    def drawn(condition):
        mean, log_variance = stage.augmentation.linear(condition).chunk(2, 1)
        c = mean + (log_variance / 2).exp() * eps
        given = (torch.cat([z, c], 1),) if sketch is None else (2 * sketch - 1, c)
        kl = (mean**2 + log_variance.exp() - log_variance - 1).sum(1) / 2
        return stage.generator(*given), kl.mean()

    def logit(images, condition):
        return stage.discriminator(images, condition)

    fake, kl = drawn(text.detach())
    running = {}
    maps = stage.discriminator.maps(2 * x - 1)  # once: each pass moves running statistics
    real_term = -logsigmoid(stage.discriminator.judge(maps, text))
    wrong_term = -logsigmoid(-stage.discriminator.judge(maps, wrong))
    fake_term = -logsigmoid(-logit(fake.detach(), text))
    loss = (real_term + wrong_term / 2 + fake_term / 2).mean()
    turns = [[*stage.discriminator.parameters(), *shared]]
    turns += [[*stage.generator.parameters(), *stage.augmentation.parameters()]]
    for turn, parameters in enumerate(turns):
        if turn:
            running = {name: buffer.clone() for name, buffer in stage.discriminator.named_buffers()}
            loss = -logsigmoid(logit(fake, text.detach())).mean() + stage.kl_weight * kl
        gradients = torch.autograd.grad(loss, parameters)
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter -= lr * gradient
    stage.discriminator.load_state_dict(running, strict=False)  # the generator's turn does not move them


@pytest.mark.slow
@pytest.mark.parametrize("second", [False, True], ids=["first", "second"])
def test_a_step_is_the_two_turns_of_one_stage(second, tmp_path, monkeypatch):
    model = small(StackGAN, labels=3, first_epochs=0 if second else 9).double()
    x, y = torch.rand(6, 3, 16, 16, dtype=torch.float64), torch.tensor([0, 1, 1, 2, 0, 2])
    stage, lr = (model.second if second else model.first), 0.05
    codes = {part: torch.randn(6, part.noise, dtype=torch.float64) for part in (model.first, model.second)}
    for part in codes:
        monkeypatch.setattr(part, "codes_for", lambda given, part=part: codes[part])
    expected = copy.deepcopy(model)
    with torch.no_grad():
        sketch = expected.eval().first(codes[model.first], expected.text(y)) if second else None
    expected.train()
    seen = x if second else avg_pool2d(x, 2)
    stage_step(expected, expected.second if second else expected.first, seen, y, codes[stage], sketch, lr)
    monkeypatch.setattr(model, "configure_optimizers", lambda: [SGD(turn.parameters, lr=lr) for turn in model.turns()])
    before = copy.deepcopy(model.state_dict())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the second stage is not trained
        trainer(tmp_path, precision="64-true").fit(model, DataLoader(TensorDataset(x, y), 6))
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, expected.state_dict()[name], rtol=1e-7, atol=1e-10, msg=name)
    parameters = dict(model.named_parameters())
    for name in parameters:  # a stage leaves the other alone, to the bit, and the second one the texts, too
        assert torch.equal(parameters[name], before[name]) is name.startswith(("first", "text") if second else "second")


def test_the_generators_turn_gives_the_discriminator_and_the_texts_no_gradient():
    model = small(StackGAN)
    x, y = batch(model, 6)
    paired = model._small(model._paired(x, y))

    class Turns:
        """Optimizers that keep the gradients of their turn."""

        def __init__(self, parameters):
            self.parameters, self.kept = list(parameters), None

        def zero_grad(self):
            for parameter in self.parameters:
                parameter.grad = None

    class Model:
        def manual_backward(self, loss):
            loss.backward()

        def step_uncounted(self, optimizer):
            optimizer.zero_grad()

    critic, painter = optimizers = [Turns(turn.parameters) for turn in model.first.turns(model.text.parameters())]
    model.first.learn(Model(), optimizers, paired)
    assert all(parameter.grad is None for parameter in critic.parameters)
    assert all(parameter.grad is not None for parameter in painter.parameters)


# --- a training of two phases


def phases(folder, model, epochs, data, checkpoint=None):
    """Train, as a run with seed 0 does."""
    fits = trainer(folder, max_epochs=epochs)
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fits.fit(model, data, ckpt_path=checkpoint, weights_only=True if checkpoint else None)
    return fits


@pytest.mark.slow
@every_first
def test_the_first_stage_is_left_as_it_is_in_the_second_phase(first, tmp_path):
    model = small(StackGAN, first=first, first_epochs=1)
    data, start = loader_of(model), copy.deepcopy(model.state_dict())
    phases(tmp_path, model, 1, data).save_checkpoint(tmp_path / "x.ckpt")
    middle = copy.deepcopy(model.state_dict())
    phases(tmp_path, model, 3, data, tmp_path / "x.ckpt")
    end = model.state_dict()
    for name in end:
        early, late = not torch.equal(start[name], middle[name]), not torch.equal(middle[name], end[name])
        assert (early, late) == ((True, False) if name.startswith(("first", "text")) else (False, True)), name


@pytest.mark.slow
@every_first
@pytest.mark.parametrize("cut", [1, 2, 3])  # in the first phase, between them, in the second
def test_a_training_goes_on_in_each_phase_to_the_same_numbers(first, cut, tmp_path):
    whole = small(StackGAN, first=first, first_epochs=2)
    stopped, resumed, data = copy.deepcopy(whole), copy.deepcopy(whole), loader_of(whole)
    phases(tmp_path, whole, 4, data)
    phases(tmp_path, stopped, cut, data).save_checkpoint(tmp_path / "x.ckpt")
    phases(tmp_path, resumed, 4, data, tmp_path / "x.ckpt")
    assert same(whole, resumed) and not same(whole, stopped)


@pytest.mark.slow
def test_a_training_that_never_reaches_the_second_stage_says_so(tmp_path):
    model = small(StackGAN, first_epochs=1)
    with pytest.warns(UserWarning, match="trainer.max_epochs 1 trains the first stage alone"):
        trainer(tmp_path).fit(model, loader_of(model))


# --- samples


@every_first
def test_a_code_and_a_label_give_both_pictures(first):
    model = small(StackGAN, first=first, labels=4, ratio=2).eval()
    y = torch.tensor([0, 3, 1])
    z = model.sample_prior(3)
    with torch.no_grad():
        text = model.text(y)
        sketch = model.first(z[:, : model.first.noise], text)
        picture = model.second(z[:, model.first.noise :], text, sketch)
    stages = model.decode_stages(z, y)
    assert sketch.shape == (3, 3, 8, 8)
    torch.testing.assert_close(stages[0], sketch.repeat_interleave(2, 2).repeat_interleave(2, 3))
    torch.testing.assert_close(stages[1], picture)
    assert torch.equal(stages[1], model.decode(z, y))
    assert not torch.allclose(model.decode(z, y), model.decode(z, torch.tensor([1, 0, 2])))
    torch.manual_seed(2)
    samples = model.sample(3, y)
    torch.manual_seed(2)
    assert torch.equal(model.sample_stages(3, y)[-1], samples)


def test_an_evaluation_has_both_stages():
    model = small(StackGAN).eval()
    x, y = batch(model, 4)
    with torch.no_grad():
        figures = model.evaluate(x, y)["figures"]
        real = model.second.discriminator(2 * x - 1, model.text(y)).sigmoid()
        wrong = model.first.discriminator(2 * avg_pool2d(x, 2) - 1, model.text(other_texts(y))).sigmoid()
    torch.testing.assert_close(figures["d_x"], real)
    torch.testing.assert_close(figures["first_d_wrong"], wrong)
    assert {name for name in figures if not name.startswith("first_")} == {
        name.removeprefix("first_") for name in figures if name.startswith("first_")
    }


def test_a_blurred_stage_is_a_vae_of_the_small_pictures():
    model = small(StackGAN, first=functools.partial(BLURRED, likelihood=Gaussian)).eval()
    x, y = batch(model, 4)
    paired = model._small(model._paired(x, y))
    torch.manual_seed(1)
    figures = model.first.figures(paired)
    torch.manual_seed(1)
    out = model.first.posterior.encoder(paired.x)
    mean, log_variance = out.chunk(2, 1)
    z = mean + (log_variance / 2).exp() * torch.randn(4, 4)
    x_hat = model.first.likelihood.decoder(torch.cat([z, paired.text], 1)).sigmoid()
    kl = (mean**2 + log_variance.exp() - log_variance - 1).sum(1) / 2
    constant = 3 * 8 * 8 / 2 * torch.log(torch.tensor(2 * torch.pi))
    elbo = -(paired.x - x_hat).square().sum((1, 2, 3)) / 2 - constant - kl
    torch.testing.assert_close(figures["elbo"], elbo)
    torch.testing.assert_close(figures["loss"], -elbo)
    torch.testing.assert_close(figures["kl"], kl)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"ratio": 3}, "ratio 3 is no power of two"),
        ({"ratio": 32}, "ratio 32 is no power of two that divides it"),
        ({"shape": (3, 24, 24)}, "squares whose side is a power of two"),
        ({"text": RecurrentText}, "RecurrentText needs a text for each of 10 labels, got 0; .* --data.captions auto"),
        ({"first": RefiningStage}, "missing"),
        ({"second": functools.partial(RefiningStage, blocks=-1)}, "blocks must be at least 0"),
        ({"first": functools.partial(GANStage, kl_weight=-1.0)}, "kl_weight must be at least 0"),
    ],
)
def test_what_cannot_be_is_refused(change, message):
    with pytest.raises((UserError, TypeError), match=message):
        small(StackGAN, **change)


# --- texts


def test_another_text_may_be_described():
    model = small(StackGAN, labels=3, captions=CAPTIONS, text=RecurrentText)
    before = model.text(torch.tensor([1]))
    model.describe(["A green square.", "a blue square"])
    assert model.labels == 2 and len(model.sample(2, torch.tensor([0, 1]))) == 2
    torch.testing.assert_close(model.text(torch.tensor([0])), before)
    with pytest.raises(UserError, match="text 'a purple square': the word 'purple' is in no caption; known are a, and"):
        model.describe(["a purple square"])
    with pytest.raises(UserError, match="there are no words in it"):
        model.describe(["..."])
    with pytest.raises(UserError, match="was trained on labels and reads no texts"):
        small(StackGAN).describe(["a square"])


@pytest.mark.slow
def test_what_reads_the_texts_is_trained_with_the_first_stage(tmp_path):
    model = small(StackGAN, labels=3, captions=CAPTIONS, text=RecurrentText, first_epochs=1)
    before = copy.deepcopy(model.state_dict())
    phases(tmp_path, model, 1, loader_of(model))
    moved = [name for name, value in model.state_dict().items() if not torch.equal(value, before[name])]
    assert {name for name in before if name.startswith("text")} <= set(moved)


@pytest.mark.slow
def test_pictures_of_texts_are_trained_and_drawn_by_the_command(shapes, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = {"data__root": shapes, "data__captions": "auto", "model__first_epochs": 1, "model__text": "RecurrentText"}
    given = options(**words, trainer__max_epochs=2, images__generated=4)
    assert call("fit", "--config", "stackgan", *given) == 0
    model = load(only_run(tmp_path) / "checkpoints" / "last.ckpt")
    assert len(model.hparams["captions"]) == model.labels > 50
    assert call("sample", "--n", 4, "--columns", 2, "--stages", "--text", "a red circle over a blue star") == 0
    picture = read_image("sample.png")
    assert picture.shape == (3, 4 * 34 + 2, 2 * 34 + 2)  # sketch and picture in turn
    torch.manual_seed(0)
    model.describe(["a red circle over a blue star"])
    rows = in_turn(model.sample_stages(4, torch.zeros(4, dtype=torch.int64)), 2)
    for number, row in enumerate(rows):
        top = 2 + 34 * number
        shown = picture[:, top : top + 32, 2:34].float() / 255
        torch.testing.assert_close(shown, row[0], atol=1 / 254, rtol=0)
    assert call("test") == 0
    capsys.readouterr()
    for more, message in [
        (["--text", "a car"], "text 'a car': the word 'car' is in no caption"),
        (["--text", "a star", "--label", "0"], "--text and --label both say what to draw"),
        (["--stages", "--numbers"], "--stages go with neither --numbers nor --temperature"),
    ]:
        assert call("sample", *more) == 1
        assert message in capsys.readouterr().err


@pytest.mark.slow
def test_other_models_have_neither_stages_nor_texts(run, monkeypatch, capsys):
    monkeypatch.chdir(run.parents[2])
    for more, message in [
        (["--stages"], "VAE draws in one stage"),
        (["--text", "a star"], "VAE is not told what to draw by a text"),
    ]:
        assert call("sample", *more) == 1
        assert message in capsys.readouterr().err


@pytest.mark.slow
@every_first
def test_without_captions_it_is_told_the_labels(first, shapes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    stage = {"model__first": "VAEStage"} if first is BLURRED else {}
    depths = {f"model__first.init_args.{side}.init_args.depth": 2 for side in ("encoder", "decoder")} if stage else {}
    given = options(data__root=shapes, model__first_epochs=1, trainer__max_epochs=2, **stage, **depths)
    assert call("fit", "--config", "stackgan", *given) == 0
    assert call("sample", "--n", 4, "--label", "star", "--stages") == 0
    assert load(only_run(tmp_path) / "checkpoints" / "last.ckpt").hparams["captions"] == ()
