"""The tab Arithmetic: what two groups of pictures differ by, added to others."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr
import torch
from torch import Tensor

from vae_zoo.errors import UserError
from vae_zoo.explore.picture import Page
from vae_zoo.explore.session import Explored, Picture, Session
from vae_zoo.explore.showing import QUICK, SLOW, each, message, sentence, tiles, told, urls
from vae_zoo.latent import AttributeVector
from vae_zoo.models import Autoencoder

MOST = 1000  # training pictures of a group
CHANGED = 4  # pictures that are changed
STRENGTHS = (-1.0, 0.0, 1.0, 2.0)
NONE = "by the pictures below"


@dataclass(frozen=True, eq=False)
class Made:
    """The attribute of one model, or what hindered it.

    Attributes:
        vector: in its codes.
        z: codes of the pictures that are changed, (N, D).
        x: these pictures.
        loaded: which reading of the model they are of.
        why: there is none.
    """

    vector: AttributeVector | None = None
    z: Tensor | None = None
    x: Tensor | None = None
    loaded: int = 0
    why: str = ""


def build(session: Session, page: Page) -> None:
    """Make the tab, where a model has an encoder and makes pixels, and its codes are not told the label."""
    models = session.that(Autoencoder, pixels=True, labels=False)
    if not models:
        return
    known = next((explored.data.labels for explored in models if explored.data), [])
    known = known if len(known) > 1 else []
    with gr.Tab("Arithmetic", id="arithmetic"):
        with gr.Row(elem_classes="zoo-controls"):
            category = gr.Dropdown(
                [NONE, *known], value=NONE, label="attribute", visible=bool(known), elem_id="category", min_width=230
            )
            make = gr.Button("Make the vector", variant="primary", elem_id="make", min_width=150)
        with gr.Row():
            boxes = [
                gr.File(
                    type="binary",
                    file_count="multiple",
                    file_types=["image"],
                    label=text,
                    height=150,
                    min_width=180,
                    elem_id=name,
                )
                for name, text in (
                    ("with", "3 pictures or more with it"),
                    ("without", "3 or more without it"),
                    ("change", "to change (default: the picture above)"),
                )
            ]
        strength = gr.Slider(-3, 3, 1, step=0.05, label="strength", elem_id="strength")
        said = message()
        out = gr.HTML(
            sentence("Choose an attribute, or put pictures into the boxes, and make the vector."), elem_id="changed"
        )
        state = gr.State([])  # a child of the tab: of the tabs' parent, every child counts as a tab

    def made(picture: Picture, chosen: str, *files: list[bytes] | None) -> list[Made]:
        found = []
        for explored in models:
            try:
                found.append(_make(explored, picture, chosen, files))
            except UserError as error:
                found.append(Made(why=str(error)))
        return found

    def show(found: list[Made], strength: float) -> str:
        if not found:
            return sentence("Make the vector first.")
        by_model = dict(zip(models, found, strict=True))

        def rows(explored: Explored) -> str:
            made, model = by_model[explored], explored.autoencoder
            if made.vector is None or made.z is None or made.x is None:
                return sentence(made.why)
            if made.loaded != explored.loaded:
                return sentence("The model has been read anew since: make the vector again.")
            changed = model.decode(made.vector.added(made.z, [strength])[0])
            pairs = zip(urls(model, made.x), urls(model, changed), strict=True)
            return "".join(
                tiles([(before, "picture"), (after, f"{made.vector.name}, {strength:+.2f}")]) for before, after in pairs
            )

        return f'<div class="zoo-beside">{each(models, rows)}</div>'

    def first(picture: Picture, chosen: str, *given: Any) -> tuple[list[Made], str]:
        *files, strength = given
        found = made(picture, chosen, *files)
        return found, show(found, strength)

    make.click(told(first, 2), [page.picture, category, *boxes, strength], [state, out, said], **SLOW)
    strength.input(told(show), [state, strength], [out, said], **QUICK)


def _make(explored: Explored, picture: Picture, chosen: str, files: tuple[list[bytes] | None, ...]) -> Made:
    model = explored.autoencoder
    loaded = explored.loaded
    with_it, without, change = ([Picture(content=content) for content in box or []] for box in files)
    if chosen == NONE:
        if not (with_it and without):
            raise UserError("An attribute needs pictures with it and without it: put 3 or more into each box.")
        groups = [_encoded(model, (explored.read(each)[0] for each in group)) for group in (with_it, without)]
        name = "with - without"
    else:
        groups = _of_category(explored, model, chosen)
        name = chosen
    vector = AttributeVector.between(groups[0], groups[1], name)
    x = torch.cat([explored.read(each)[0] for each in (change or [picture])[:CHANGED]])
    return Made(vector, model.encode(x), x, loaded)


def _of_category(explored: Explored, model: Autoencoder, name: str) -> list[Tensor]:
    """The codes of training pictures with and without a label."""
    data = explored.data
    if data is None or name not in data.labels:
        raise UserError(f"the data of {explored.name} have no label {name}. {explored.no_data}")
    label = data.labels.index(name)
    groups: list[list[Tensor]] = [[], []]
    for x, y in data.batches("train", 256):
        for group, has in zip(groups, (True, False), strict=True):
            if sum(map(len, group)) < MOST and len(chosen := x[(y == label) == has]):
                group.append(model.encode(chosen))
        if all(sum(map(len, group)) >= MOST for group in groups):
            break
    return [torch.cat(group)[:MOST] if group else torch.empty(0, *model.code_shape) for group in groups]


def _encoded(model: Autoencoder, pictures: Iterator[Tensor]) -> Tensor:
    return torch.cat([model.encode(x) for x in pictures])
