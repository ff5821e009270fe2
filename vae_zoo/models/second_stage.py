"""What refines the sketch of a StackGAN: an encoder, residual blocks, and a decoder to the full size."""

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn

from vae_zoo.errors import UserError, require, require_not_negative, require_positive, require_share
from vae_zoo.matching import ConditioningAugmentation, MatchingDiscriminator
from vae_zoo.models.stages import AdversarialStage
from vae_zoo.networks import Network, Shape, initialise_dcgan


class RefiningStage(AdversarialStage):
    """Stage II: makes a larger picture of a sketch and the text, without another z (Zhang et al. 2016, section 3.4).

    Args:
        small: (C, h, w) of the sketches; h = w is a multiple of 4.
        shape: (C, H, W) of the pictures; H = W is h doubled once or more often.
        features: F, numbers that say what a text says.
        augmented: numbers of c; 128 is the paper's.
        width: channels of the generator's first map and of the discriminator's largest.
        blocks: residual blocks; 4 is the paper's at 256 x 256.
        kl_weight: of the augmentation's KL in nats.
        generator_lr: learning rate of the generator.
        discriminator_lr: that of the discriminator.
        beta1: decay of the mean gradient in Adam.

    Raises:
        UserError: if the pictures are of another size, or a number is too small.
    """

    def __init__(
        self,
        small: Shape,
        shape: Shape,
        features: int,
        augmented: int = 32,
        width: int = 32,
        blocks: int = 2,
        kl_weight: float = 1 / 64,
        generator_lr: float = 2e-4,
        discriminator_lr: float = 2e-4,
        beta1: float = 0.5,
    ) -> None:
        super().__init__()
        require(1, augmented=augmented)
        require_share(beta1=beta1)
        require_not_negative(kl_weight=kl_weight)
        require_positive(generator_lr=generator_lr, discriminator_lr=discriminator_lr)
        self.augmentation = ConditioningAugmentation(features, augmented)
        self.generator = RefiningGenerator(small, shape, augmented, width, blocks)
        self.discriminator = MatchingDiscriminator(shape, features, width)
        self.latent, self.augmented, self.noise = 0, augmented, augmented
        self.kl_weight, self.beta1 = kl_weight, beta1
        self.generator_lr, self.discriminator_lr = generator_lr, discriminator_lr

    def paint(self, z: Tensor, c: Tensor, sketch: Tensor | None) -> Tensor:
        """Return pictures in [-1, 1]."""
        if sketch is None:
            raise UserError("RefiningStage refines a sketch; as the first stage take GANStage or VAEStage")
        return self.generator(2 * sketch - 1, c)


RefiningFactory = Callable[[Shape, Shape, int], RefiningStage]


class RefiningGenerator(nn.Module):
    """A sketch is halved twice, the text is put beside each place, residual blocks follow, then doubling to full size.

    Doubling repeats pixels, with a convolution of 3 x 3 after it (Zhang et al. 2016, section 3.4 and 3.5).

    Args:
        small: (C, h, w) of the sketches.
        shape: (C, H, W) of the pictures.
        condition: numbers of c.
        width: channels of the first map; halved sketches have two and four times as many.
        blocks: residual blocks.

    Shapes: (B, C, h, w) in [-1, 1], (B, condition) -> (B, C, H, W) in [-1, 1].
    """

    def __init__(self, small: Shape, shape: Shape, condition: int, width: int, blocks: int) -> None:
        super().__init__()
        require(1, width=width)
        require(0, 1000, blocks=blocks)
        times = (shape[1] // (small[1] // 4)).bit_length() - 1  # from a quarter of the sketch
        wide = 4 * width
        self.encoder = Network(
            *(nn.Conv2d(small[0], width, 3, 1, 1), nn.ReLU()),
            *(nn.Conv2d(width, 2 * width, 4, 2, 1, bias=False), nn.BatchNorm2d(2 * width), nn.ReLU()),
            *(nn.Conv2d(2 * width, wide, 4, 2, 1, bias=False), nn.BatchNorm2d(wide), nn.ReLU()),
        )
        self.join = Network(nn.Conv2d(wide + condition, wide, 3, 1, 1, bias=False), nn.BatchNorm2d(wide), nn.ReLU())
        self.residual = Network(*(Residual(wide) for _ in range(blocks)))
        channels = [max(1, wide >> i) for i in range(times + 1)]
        layers: list[nn.Module] = []
        for before, after in pairwise(channels):
            layers += [nn.Upsample(scale_factor=2), nn.Conv2d(before, after, 3, 1, 1, bias=False)]
            layers += [nn.BatchNorm2d(after), nn.ReLU()]
        self.decoder = Network(*layers, nn.Conv2d(channels[-1], shape[0], 3, 1, 1), nn.Tanh())
        initialise_dcgan(self)

    def forward(self, sketch: Tensor, condition: Tensor) -> Tensor:
        """Return the pictures."""
        maps = self.encoder(sketch)  # B 4 width h/4 w/4
        beside = condition.to(maps.dtype)[:, :, None, None].expand(-1, -1, *maps.shape[2:])
        return self.decoder(self.residual(self.join(torch.cat([maps, beside], 1))))


class Residual(nn.Module):
    """ReLU(x + f(x)), f two convolutions of 3 x 3 with batch normalisation (He et al. 2016).

    Args:
        width: channels.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.change = nn.Sequential(
            *(nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()),
            *(nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the maps, of the same shape."""
        return torch.relu(x + self.change(x))
