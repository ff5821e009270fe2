"""The tab Reconstruct: a picture, what the models make of it, and how far that is from it."""

import gradio as gr
from torch import Tensor

from vae_zoo.explore.picture import Page
from vae_zoo.explore.session import Explored, Picture, Session
from vae_zoo.explore.showing import QUICK, SLOW, each, hint, message, table, tiles, told, url, urls
from vae_zoo.latent import heat_map, heat_top, psnr
from vae_zoo.models import Autoencoder

SAMPLES = 100  # K, draws of z for log p(x)
BOUND = f"log p is a lower bound by {SAMPLES} draws; higher is better."
POSITIVE = " Of continuous x it is a density, which may be above 1, so its logarithm may be positive."


def build(session: Session, page: Page) -> None:
    """Make the tab, where a model has an encoder and makes pixels."""
    models = session.that(Autoencoder, pixels=True)
    if not models:
        return
    densities = [explored for explored in models if explored.model.density]
    with gr.Tab("Reconstruct", id="reconstruct"):
        out = gr.HTML(elem_id="reconstruction")
        figures = gr.HTML(elem_id="figures")
        if densities:
            likelihoods = [explored.autoencoder.likelihood for explored in densities]
            continuous = any(not (likelihood.discrete or likelihood.binary) for likelihood in likelihoods)
            gr.HTML(hint(BOUND + POSITIVE * continuous))
        said = message()

    def show(picture: Picture, label: int | None) -> str:
        made: dict[Explored, tuple[Tensor, Tensor] | Exception] = {}
        for explored in models:
            try:
                made[explored] = _reconstructed(explored, picture, label)
            except Exception as error:  # which is reported in the model's place
                made[explored] = error
        top = max((heat_top(*pair) for pair in made.values() if not isinstance(pair, Exception)), default=0.0)

        def row(explored: Explored) -> str:
            if isinstance(pair := made[explored], Exception):
                raise pair
            x, x_hat = pair
            pictures = [x, x_hat, (1 + x_hat - x) / 2]
            names = ["picture", "reconstruction", "reconstruction - picture; brighter: too bright"]
            sources = [*(urls(explored.model, part)[0] for part in pictures), url(heat_map(x, x_hat, top)[0])]
            return tiles(list(zip(sources, [*names, f"squared error; yellow: {top:.2g} or more"], strict=True)))

        return each(models, row)

    def measure(picture: Picture, label: int | None) -> str:
        rows = []
        for explored in models:
            x, x_hat = _reconstructed(explored, picture, label)
            cells = [explored.name, f"{float((x_hat - x).square().mean()):.3g}", f"{float(psnr(x, x_hat)):.1f}"]
            if densities:
                cells.append("it has no density")
            if explored.model.density:
                with session.noise():
                    cells[-1] = f"{float(explored.model.log_prob(*explored.read(picture, label), samples=SAMPLES)):.1f}"
            rows.append(cells)
        densities_of = sorted({f"log p(x{'|y' if e.model.conditional else ''}), nats" for e in densities})
        return table(["model", "MSE", "PSNR, dB", *[" or ".join(densities_of)] * bool(densities)], rows)

    given = [page.picture, page.label]
    page.on_picture(told(show), given, [out, said], **QUICK)
    page.on_picture(told(measure), given, [figures, said], **SLOW)


def _reconstructed(explored: Explored, picture: Picture, label: int | None) -> tuple[Tensor, Tensor]:
    x, y = explored.read(picture, label)
    return x, explored.autoencoder.reconstruct(x, y)
