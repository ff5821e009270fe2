"""The tab Between: the path from the picture to another, or from one draw to another."""

from typing import Any

import gradio as gr
from torch import Tensor

from vae_zoo.explore.picture import Page
from vae_zoo.explore.session import Explored, Picture, Session
from vae_zoo.explore.showing import QUICK, content_of, each, hint, message, tiles, told, urls, whole, within
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
    seeds = len(encodes) < len(models)
    kind = "picture" if any(explored.model.pixels for explored in encodes) else "sketch"
    what = "to: " + " or ".join([f"test {kind}"] * bool(encodes) + ["seed of a draw"] * seeds)
    with gr.Tab("Between", id="between"):
        if encodes:
            gr.HTML(hint(f"From the {kind} above to another one."))
        with gr.Row(elem_classes="zoo-controls"):
            first = gr.Number(
                0, precision=0, label="from: seed of a draw", visible=seeds, min_width=140, elem_id="from"
            )
            last = gr.Number(1, precision=0, label=what, min_width=140, elem_id="to")
            how = gr.Dropdown(list(HOW), value="spherical", label="path", min_width=160, elem_id="path")
        with gr.Accordion("to a picture of your own", open=False, visible=kind == "picture"):
            file = gr.File(
                type="binary", file_types=["image"], show_label=False, height=130, min_width=150, elem_id="to-file"
            )
            content, other = content_of(file)
        where = gr.Slider(0, 1, 0.5, step=1 / (FINE - 1), label="place on the path, 0 to 1", elem_id="how-far")
        out = gr.HTML(elem_id="between-shown")
        strip = gr.HTML(elem_id="strip")
        said = message()

    def ends_of(explored: Explored, picture: Picture, seed: Any, number: Any, content: bytes | None) -> list[Picture]:
        other = Picture(content=content, name="your picture")
        if content is None or explored not in encodes:
            other = Picture(whole(number, 0, LARGEST, "to"))
        return [picture if explored in encodes else Picture(whole(seed, 0, LARGEST, "from")), other]

    def path(explored: Explored, ends: list[Picture], how: str, label: int | None, steps: int) -> Tensor:
        model, y = explored.decoding, explored.of(label)
        own = label if ends[1].content is not None else None  # a test picture has its own
        a, b = (_code(session, explored, end, of_end) for end, of_end in zip(ends, (label, own), strict=True))
        return between(model, a, b, steps, how, y)[:, 0]

    def show(*given: Any) -> str:
        *ends, how, label, where = given
        place = round(within(where, 0, 1, "the place on the path") * (FINE - 1))

        def picture(explored: Explored) -> str:
            z = path(explored, ends_of(explored, *ends), how, label, FINE)[place : place + 1]
            under = f", as {explored.labels[label or 0]}" if explored.model.labels else ""
            return tiles([(_decoded(session, explored, z, label)[0], explored.name + under)])

        return f'<div class="zoo-beside">{each(models, picture, named=False)}</div>'

    def steps(*given: Any) -> str:
        *ends, how, label = given

        def row(explored: Explored) -> str:
            of_model = ends_of(explored, *ends)
            sources = _decoded(session, explored, path(explored, of_model, how, label, STEPS), label)
            shown = [(source, f"{i / (STEPS - 1):.3g}") for i, source in enumerate(sources)]
            if explored in encodes:
                originals = [(urls(explored.model, explored.read(end)[0])[0], explored.called(end)) for end in of_model]
                shown = [originals[0], *shown, originals[1]]
            return tiles(shown, small=True)

        return each(models, row, named=len(models) > 1)

    given = [page.picture, first, last, content, how, page.label]
    for function, inputs, output in ((show, [*given, where], out), (steps, given, strip)):
        page.on_picture(told(function), inputs, [output, said], **QUICK)
        changes = [first.submit, first.blur, last.submit, last.blur, how.input]
        gr.on(changes, told(function), inputs, [output, said], **QUICK)
        other.then(told(function), inputs, [output, said], **QUICK)
    where.input(told(show), [*given, where], [out, said], **QUICK)


def _code(session: Session, explored: Explored, end: Picture, label: int | None) -> Tensor:
    """The code of a picture (1, D); of a model without an encoder a draw with the number as its seed."""
    model, y = explored.decoding, explored.of(label)
    if isinstance(model, Autoencoder):
        return explored.code(end, label)
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
