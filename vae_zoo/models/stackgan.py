"""The stacked generative adversarial network (Zhang et al. 2016)."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate

from vae_zoo import processes
from vae_zoo.distributions import StandardNormal
from vae_zoo.errors import UserError, require, require_not_negative
from vae_zoo.matching import Paired
from vae_zoo.models.adversarial import AlternatingModel, Turn
from vae_zoo.models.base import Evaluated, WithoutCodes, WithoutDensity, inference
from vae_zoo.models.decoding import Described, Staged, TwoSided
from vae_zoo.models.first_stages import FirstStageFactory, GANStage
from vae_zoo.models.gan import pooled
from vae_zoo.models.second_stage import RefiningFactory, RefiningStage
from vae_zoo.networks import Shape, check_shape
from vae_zoo.optimizers import Interval, SchedulerFactory
from vae_zoo.text import LabelText, TextFactory
from vae_zoo.trust import are_texts


class StackGAN(TwoSided, Staged, Described, AlternatingModel, WithoutDensity, WithoutCodes):
    """Stacked GAN (Zhang et al. 2016): a first stage draws a small sketch of a text, a second one refines it.

    phi = text(y);  sketch = G1(z, c1),  picture = G2(sketch, c2),  c_i ~ N(mu_i(phi), diag(sigma_i(phi)^2))

    Each stage has a discriminator that also tells right texts from wrong ones, see `AdversarialStage`; the first may be
    a VAE instead. The first stage and what reads the texts are trained for `first_epochs`, on pictures made small by
    the mean over squares of pixels; from then on they are left as they are, and the second is trained. A code is the
    noise of both: a text and a code give one picture.

    Args:
        shape: (C, H, W) of the images; H = W is a power of two.
        labels: number of labels; the command line takes it from the data.
        captions: the text of each label, for a `text` that reads them; the command line takes them from the data.
        ratio: H of the picture / h of the sketch, a power of two; 4 is the paper's.
        first_epochs: of training, that train the first stage; may be a fraction.
        text: called with labels and captions, gives phi: `LabelText`, `RecurrentText`, or one of your own.
        first: called with the sketch's (C, h, w) and the numbers of phi, gives the first stage: `GANStage`, `VAEStage`.
        second: called with (C, h, w), (C, H, W) and the numbers of phi, gives the second.
        lr_scheduler: called with each of the optimizers, gives its schedule; None is a constant learning rate.
        lr_interval: what the schedules count, "epoch" or "step".

    Raises:
        UserError: if the images cannot be made in two stages, there are no captions for a text that reads them, or a
            number is too small.
    """

    monitor = None  # no loss says how good the samples are
    tiny = {
        "shape": (3, 16, 16),
        "first_epochs": 0.5,
        "first": partial(GANStage, latent=5, augmented=3, width=4),
        "second": partial(RefiningStage, augmented=3, width=8, blocks=1),
    }

    def __init__(
        self,
        shape: Shape = (3, 64, 64),
        labels: int = 10,
        captions: tuple[str, ...] = (),
        ratio: int = 2,
        first_epochs: float = 50.0,
        text: TextFactory = LabelText,
        first: FirstStageFactory = GANStage,
        second: RefiningFactory = RefiningStage,
        lr_scheduler: SchedulerFactory | None = None,
        lr_interval: Interval = "epoch",
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.automatic_optimization = False
        require(1, labels=labels)
        require(2, 2**10, ratio=ratio)
        require_not_negative(first_epochs=first_epochs)
        channels, height, width = check_shape(shape)
        if ratio & (ratio - 1) or height % ratio or width % ratio:
            raise UserError(f"image size {height} x {width}: ratio {ratio} is no power of two that divides it")
        if not are_texts(captions):
            raise UserError(f"captions must be texts, one for each label, got {captions!r:.100}")
        small = (channels, height // ratio, width // ratio)
        self.text = text(labels, captions)
        self.first = first(small, self.text.features)
        self.second = second(small, shape, self.text.features)
        self.prior = StandardNormal(self.first.noise + self.second.noise)
        self.labels, self.ratio, self.first_epochs = labels, ratio, first_epochs
        self.lr_scheduler, self.lr_interval = lr_scheduler, lr_interval

    def turns(self) -> list[Turn]:
        """Those of the first stage, then those of the second."""
        return [*self.first.turns(self.text.parameters()), *self.second.turns([])]

    def on_fit_start(self) -> None:
        """Warn if the training ends before the second stage is trained."""
        if 0 <= (self.trainer.max_epochs or 0) <= self.first_epochs:
            rank_zero_warn(
                f"trainer.max_epochs {self.trainer.max_epochs} trains the first stage alone, and the second draws "
                f"nothing yet; set a smaller model.first_epochs than {self.first_epochs:g}, or more trainer.max_epochs"
            )

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Train the stage whose time it is, which follows from the epoch and the batch alone."""
        optimizers: Any = self.optimizers()
        of_first = len(self.first.turns([]))
        done = self.trainer.current_epoch + batch_idx / self.trainer.num_training_batches  # epochs
        if done < self.first_epochs:
            optimizers = optimizers[:of_first]
            figures = self.first.learn(self, optimizers, self._small(self._paired(*batch, together=True)))
        else:
            optimizers = optimizers[of_first:]
            figures = self.second.learn(self, optimizers, *self._sketched(*batch))
        self.log_training(**figures)
        optimizers[-1].step()

    def evaluate(self, x: Tensor, y: Tensor | None = None) -> Evaluated:
        """Evaluate images (B, C, H, W) and labels (B,): the second stage, and by names with first_ before the first."""
        x, y = self.checked(x, y)
        paired = self._paired(x, y)
        sketch = self.first(self.first.codes_for(x), paired.text)  # B C h w
        first = self.first.figures(self._small(paired))
        figures = {**self.second.figures(paired, sketch), **{f"first_{name}": each for name, each in first.items()}}
        return Evaluated(figures=figures, trace=None)

    @inference
    def decode(self, z: Tensor, y: Tensor | None = None, *, temperature: float | None = None) -> Tensor:
        """Return the refined pictures (B, C, H, W) in [0, 1] of noise (B, D) and labels (B,)."""
        return self.decode_stages(z, y, temperature=temperature)[-1]

    @inference
    def decode_stages(
        self, z: Tensor, y: Tensor | None = None, *, temperature: float | None = None
    ) -> tuple[Tensor, ...]:
        """Return the sketches, with repeated pixels, and the refined pictures, (B, C, H, W) in [0, 1] each."""
        self.refuse_temperature(temperature)
        z, y = self.checked_codes(z, y)
        first, second = z.split([self.first.noise, self.second.noise], 1)
        text = self.text(y)
        sketch = self.first(first, text)  # B C h w
        return interpolate(sketch, scale_factor=self.ratio), self.second(second, text, sketch)

    def describe(self, texts: Sequence[str]) -> None:
        """Let the labels 0, 1 ... stand for these texts instead.

        Raises:
            UserError: if the model reads no texts, or not such ones.
        """
        self.text.describe(texts)
        self.labels = len(texts)

    @inference
    def features(self, x: Tensor) -> Tensor:
        """Return the second discriminator's maps of images, which see no text, each max-pooled to 4 x 4 (B, F)."""
        self.check(x)
        return pooled(self.second.discriminator.maps.feature_maps(2 * x.to(next(self.parameters())) - 1))

    @property
    def sees(self) -> nn.Module:
        """The convolutions of the second discriminator, which are given the picture alone."""
        return self.second.discriminator.maps

    @property
    def draws(self) -> nn.Module:
        """The second generator."""
        return self.second.generator

    def see(self, x: Tensor, y: Tensor | None = None) -> None:
        """Make maps of images (B, C, H, W)."""
        self.sees(2 * x - 1)

    def _paired(self, x: Tensor, y: Any, together: bool = False) -> Paired:
        """Pictures with their texts, and with those of the nearest picture before each that has another label.

        The batch is that of all processes, if they are `together` at this step.
        """
        y = processes.gather(y) if together else y
        place = torch.arange(len(y), device=y.device)
        before = (place[:, None] - 1 - place) % len(y)  # B B: the batch backwards, from each picture on
        chosen = (y[before] != y[:, None]).int().argmax(1, keepdim=True)  # the first; where none differs, its neighbour
        text = self.text(y)
        wrong = text[before.gather(1, chosen).squeeze(1)]
        text, wrong = (processes.own(each) if together else each for each in (text, wrong))
        return Paired(x, text, wrong, (wrong != text).any(1))

    def _small(self, paired: Paired) -> Paired:
        """The same with pictures of the first stage's size."""
        return paired._replace(x=avg_pool2d(paired.x, self.ratio))

    @inference
    def _sketched(self, x: Tensor, y: Tensor) -> tuple[Paired, Tensor]:
        """What the second stage learns from: texts as they are read now, and the first stage's pictures of them."""
        paired = self._paired(x, y, together=True)
        return paired, self.first(self.first.codes_for(x), paired.text)
