"""The tab Label: a picture under every label, its code kept."""

import gradio as gr

from vae_zoo.explore.picture import Page
from vae_zoo.explore.session import Explored, Picture, Session
from vae_zoo.explore.showing import QUICK, each, hint, message, tiles, told, urls
from vae_zoo.latent import relabel
from vae_zoo.models import Autoencoder


def build(session: Session, page: Page) -> None:
    """Make the tab, where a model takes labels and has an encoder of pictures."""
    models = session.that(Autoencoder, pixels=True, labels=True)
    if not models:
        return
    with gr.Tab("Label", id="label"):
        gr.HTML(hint("The code stays that of the picture; only the label that it is decoded with differs."))
        said = message()
        out = gr.HTML(elem_id="relabelled")

    def show(picture: Picture, own: int | None) -> str:
        def rows(explored: Explored) -> str:
            model = explored.autoencoder
            x, y = explored.read(picture, own)
            every = urls(model, relabel(model, x, y)[0])  # type: ignore[arg-type]  # which takes labels
            names = [f"as {explored.labels[number]}" for number in range(len(every))]
            return tiles([(urls(model, x)[0], "picture")]) + tiles(list(zip(every, names, strict=True)), small=True)

        return each(models, rows)

    page.on_picture(told(show), [page.picture, page.label], [out, said], **QUICK)
