"""The tab Label: a picture under every label, its code kept."""

import gradio as gr

from vae_zoo.explore.picture import Page, label_control
from vae_zoo.explore.session import Explored, Picture, Session
from vae_zoo.explore.showing import QUICK, each, message, tiles, told, urls
from vae_zoo.latent import relabel
from vae_zoo.models import Autoencoder


def build(session: Session, page: Page) -> None:
    """Make the tab, where a model takes labels and has an encoder of pictures."""
    models = session.that(Autoencoder, pixels=True, labels=True)
    if not models:
        return
    with gr.Tab("Label", id="label"):
        with gr.Row(elem_classes="zoo-controls"):
            other = label_control(session, "decode it as")
        said = message()
        out = gr.HTML(elem_id="relabelled")

    def show(picture: Picture, own: int | None, other: int | None) -> str:
        def rows(explored: Explored) -> str:
            model = explored.autoencoder
            x, y = explored.read(picture, own)
            explored.of(other)  # which refuses one that the model has not
            every = urls(model, relabel(model, x, y)[0])  # type: ignore[arg-type]  # which takes labels
            names = [explored.labels[number] for number in range(len(every))]
            chosen = [(urls(model, x)[0], "picture"), (every[other or 0], f"as {names[other or 0]}")]
            return tiles(chosen) + tiles(list(zip(every, names, strict=True)), small=True)

        return each(models, rows)

    given = [page.picture, page.label, other]
    page.on_picture(told(show), given, [out, said], **QUICK)
    other.input(told(show), given, [out, said], **QUICK)
