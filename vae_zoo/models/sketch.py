"""What models of sketches share."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from vae_zoo import rendering
from vae_zoo.errors import require
from vae_zoo.models.base import GenerativeModel, inference
from vae_zoo.strokes import StrokeDecoder, beginning, check_sketches, check_strokes


class SketchModel(GenerativeModel):
    """A model of sketches (B, T, 5), see `vae_zoo.strokes`. Concrete subclasses set the attribute.

    Attributes:
        likelihood: p(x|z), or p(x) of a model without codes.
    """

    likelihood: StrokeDecoder
    pixels = False
    has_temperature = True
    tiny = {"shape": (20, 5), "decoder_width": 8, "mixtures": 3}

    @abstractmethod
    def codes_of(self, x: Tensor) -> Tensor:
        """Return what the decoder is given besides the points of sketches (B, T, 5): codes (B, D), or (B, 0)."""

    @inference
    def complete(
        self,
        x: Tensor,
        *,
        points: int | None = None,
        lines: int | None = None,
        n: int = 1,
        temperature: float | None = None,
    ) -> Tensor:
        """Draw endings to the beginnings of sketches (Ha & Eck 2017, section 4.4).

        The decoder reads the beginning, which stays as it is to the bit, and samples on from the state that it is then
        in: without codes from p(x_{k+1} ... | x_1 ... x_k). A model with an encoder goes on under the code of all of
        `x`, of which the ending is a part unless `x` is a beginning itself.

        Args:
            x: sketches (B, T, 5), or beginnings, if neither of the next two is given.
            points: how many of a sketch's points are its beginning.
            lines: or how many of its lines.
            n: endings of each.
            temperature: 1, the default, is the model's own; at 0 all endings are the one that takes what is likeliest.

        Returns:
            (B, n, T', 5).

        Raises:
            UserError: if a sketch has fewer points or lines, or a beginning is as long as the model's sketches can be.
        """
        x, _ = self.checked(x)
        require(1, n=n)
        begun, z = beginning(x, points=points, lines=lines), self.codes_of(x)
        begun, z = (part.repeat_interleave(n, 0) for part in (begun, z))
        made = self.likelihood.sample(z, 1.0 if temperature is None else temperature, begun)
        return made.unflatten(0, (len(x), n))

    def check(self, x: Any, values: bool = True) -> None:
        """Refuse what is no batch of sketches (B, T, 5), each of which ends."""
        check_sketches(x)
        if values:
            check_strokes(x)

    def pictures(self, x: Tensor) -> Tensor:
        """Render sketches (B, T, 5) in black on white, (B, 1, 64, 64) in [0, 1]."""
        self.check(x)
        return rendering.rasterise(x.float()).to(x.device)

    def svg(self, rows: Sequence[Tensor]) -> str:
        """Render rows of sketches, (B, T, 5) each, as an SVG document."""
        return rendering.svg(rows)
