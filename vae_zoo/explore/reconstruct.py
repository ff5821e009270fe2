"""The tab Reconstruct: a picture, what the models make of it, and how far that is from it."""

import gradio as gr

from vae_zoo.explore.picture import Page
from vae_zoo.explore.session import Explored, Picture, Session
from vae_zoo.explore.showing import QUICK, SLOW, each, message, table, tiles, told, url, urls
from vae_zoo.latent import heat_map, psnr
from vae_zoo.models import Autoencoder

SAMPLES = 100  # K, draws of z for log p(x)


def build(session: Session, page: Page) -> None:
    """Make the tab, where a model has an encoder and makes pixels."""
    models = session.that(Autoencoder, pixels=True)
    if not models:
        return
    with gr.Tab("Reconstruct", id="reconstruct"):
        out = gr.HTML(elem_id="reconstruction")
        figures = gr.HTML(elem_id="figures")
        said = message()
    densities = [explored for explored in models if explored.model.density]

    def show(picture: Picture, label: int | None) -> str:
        def row(explored: Explored) -> str:
            model = explored.autoencoder
            x, y = explored.read(picture, label)
            x_hat = model.reconstruct(x, y)
            error = float((x_hat - x).square().mean())
            pictures = [x, x_hat, (1 + x_hat - x) / 2]
            names = ["picture", "reconstruction", "difference, grey is none", f"squared error, mean {error:.5f}"]
            sources = [*(urls(model, part)[0] for part in pictures), url(heat_map(x, x_hat)[0])]
            return tiles(list(zip(sources, names, strict=True)))

        return each(models, row)

    def measure(picture: Picture, label: int | None) -> str:
        rows = []
        for explored in models:
            model = explored.autoencoder
            x, y = explored.read(picture, label)
            x_hat = model.reconstruct(x, y)
            cells = [explored.name, f"{float((x_hat - x).square().mean()):.5f}", f"{float(psnr(x, x_hat)):.2f}"]
            if densities:
                cells.append("it has no density")
            if model.density:
                with session.noise():
                    log_p = float(model.log_prob(x, y, samples=SAMPLES))
                cells[-1] = f"{log_p:.1f}" + (" given the label" if model.conditional else "")
            rows.append(cells)
        density = [f"log p(x) from below, nats, {SAMPLES} draws"] if densities else []
        return table(["model", "MSE", "PSNR, dB", *density], rows)

    given = [page.picture, page.label]
    page.on_picture(told(show), given, [out, said], **QUICK)
    page.on_picture(told(measure), given, [figures, said], **SLOW)
