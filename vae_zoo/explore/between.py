"""The tab Between: the way from one picture to another, or from one draw to another."""

from typing import Any

import gradio as gr
from torch import Tensor

from vae_zoo.explore.picture import Page, label_control
from vae_zoo.explore.session import Explored, Picture, Session
from vae_zoo.explore.showing import QUICK, each, message, tiles, told, urls, whole
from vae_zoo.latent import HOW, between
from vae_zoo.models import Autoencoder
from vae_zoo.models.decoding import Decoding

STEPS = 9  # of the strip
FINE = 101  # of the slider
LARGEST = 2**32 - 1


def build(session: Session, page: Page) -> None:
    """Make the tab, where a model has codes."""
    models = session.that(Decoding)
    if not models:
        return
    encodes = [explored for explored in models if isinstance(explored.model, Autoencoder)]
    what = (
        "test picture"
        if len(encodes) == len(models)
        else "test picture, or seed of a draw"
        if encodes
        else "seed of a draw"
    )
    with gr.Tab("Between", id="between"):
        with gr.Row(elem_classes="zoo-controls"):
            first = gr.Number(0, precision=0, label=f"from: {what}", min_width=110, elem_id="from")
            last = gr.Number(1, precision=0, label=f"to: {what}", min_width=110, elem_id="to")
            how = gr.Dropdown(list(HOW), value="spherical", label="way", min_width=110, elem_id="way")
            label = label_control(session, "decode as label")
        own = gr.Accordion(
            "Pictures of your own", open=False, visible=any(explored.model.pixels for explored in encodes)
        )
        with own, gr.Row():
            files = [
                gr.File(
                    type="binary", file_types=["image"], label=text, height=130, min_width=150, elem_id=f"{end}-file"
                )
                for end, text in (("from", "from: drop a picture"), ("to", "to: drop a picture"))
            ]
        where = gr.Slider(0, 1, 0.5, step=1 / (FINE - 1), label="how far", elem_id="how-far")
        out = gr.HTML(elem_id="between-shown")
        strip = gr.HTML(elem_id="strip")
        said = message()

    def way(explored: Explored, ends: list[Picture], how: str, label: int | None, steps: int) -> Tensor:
        model, y = explored.decoding, explored.of(label)
        a, b = (_code(session, explored, end, label) for end in ends)
        return between(model, a, b, steps, how, y)[:, 0]

    def show(first: Any, last: Any, one: bytes | None, two: bytes | None, how: str, label: Any, where: float) -> str:
        ends = [_end(first, one, "from"), _end(last, two, "to")]

        def picture(explored: Explored) -> str:
            place = round(where * (FINE - 1))
            z = way(explored, ends, how, label, FINE)[place : place + 1]
            return tiles([(_decoded(session, explored, z, label)[0], f"at {place / (FINE - 1):.2f}")])

        return f'<div class="zoo-beside">{each(models, picture)}</div>'

    def steps(first: Any, last: Any, one: bytes | None, two: bytes | None, how: str, label: Any) -> str:
        ends = [_end(first, one, "from"), _end(last, two, "to")]

        def row(explored: Explored) -> str:
            sources = _decoded(session, explored, way(explored, ends, how, label, STEPS), label)
            names = [f"{step / (STEPS - 1):.3g}" for step in range(STEPS)]
            return tiles(list(zip(sources, names, strict=True)), small=True)

        return each(models, row)

    given = [first, last, *files, how, label]
    where.input(told(show), [*given, where], [out, said], **QUICK)
    ends = [first.submit, first.blur, last.submit, last.blur, how.input, label.input, page.blocks.load]
    for file in files:
        ends += [file.upload, file.clear]
    gr.on(ends, told(show), [*given, where], [out, said], **QUICK)
    gr.on(ends, told(steps), given, [strip, said], **QUICK)


def _end(number: Any, content: bytes | None, what: str) -> Picture:
    return Picture(content=content) if content is not None else Picture(whole(number, 0, LARGEST, what))


def _code(session: Session, explored: Explored, end: Picture, label: int | None) -> Tensor:
    """The code of a picture (1, D); of a model without an encoder a draw with the number as its seed."""
    model, y = explored.decoding, explored.of(label)
    if isinstance(model, Autoencoder):
        own = label if end.content is not None else None
        return model.encode(*explored.read(end, own))
    with session.noise(end.number):
        return model.sample_prior(1, y)


def _decoded(session: Session, explored: Explored, z: Tensor, label: int | None) -> list[str]:
    model, y = explored.decoding, explored.of(label, len(z))
    if not model.has_temperature:
        return urls(model, model.decode(z, y))
    made = []
    for each_z in z.split(1):  # from the same noise, so that what changes is the code
        with session.noise():
            made.append(model.decode(each_z, y if y is None else y[:1], temperature=0.1))
    return [source for x in made for source in urls(model, x)]
