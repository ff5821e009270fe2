"""The tab Arithmetic: what two groups of pictures differ by, added to others."""

from dataclasses import dataclass
from typing import Any

import gradio as gr
import torch
from torch import Tensor

from vae_zoo.errors import UserError
from vae_zoo.explore.picture import Page
from vae_zoo.explore.session import Explored, Picture, Session
from vae_zoo.explore.showing import QUICK, SLOW, content_of, each, hint, message, sentence, tiles, told, urls, within
from vae_zoo.latent import AttributeVector
from vae_zoo.models import Autoencoder

MOST = 1000  # training pictures of a group
CHANGED = 4  # pictures that are changed
STRONGEST = 3
HOW = (
    "What pictures with an attribute have that others have not, added to a picture. Choose an attribute, or put "
    "pictures into the boxes, and make the vector."
)
NONE = "by the pictures below"


@dataclass(frozen=True, eq=False)
class Made:
    """The attribute of one model, or what hindered it.

    Attributes:
        vector: in its codes; None: there is none.
        loaded: which reading of the model it is of.
        why: there is none, or which pictures are not counted.
    """

    vector: AttributeVector | None = None
    loaded: int = 0
    why: tuple[str, ...] = ()


def build(session: Session, page: Page) -> None:
    """Make the tab, where a model has an encoder and makes pixels, and its codes are not told the label."""
    models = session.that(Autoencoder, pixels=True, labels=False)
    if not models:
        return
    known = next((explored.data.labels for explored in models if explored.data), [])
    known = known if len(known) > 1 else []
    with gr.Tab("Arithmetic", id="arithmetic"):
        gr.HTML(hint(HOW))
        category = gr.Dropdown(
            [NONE, *known], value=NONE, label="attribute", visible=bool(known), elem_id="category", min_width=230
        )
        with gr.Row():
            boxes = [_box("with", "with the attribute, 3 or more"), _box("without", "without it, 3 or more")]
            change = _box("change", "what to change, if not the picture above")
        with gr.Row(elem_classes="zoo-controls"):
            make = gr.Button("Make the vector", variant="primary", elem_id="make", min_width=150)
            strength = gr.Slider(-STRONGEST, STRONGEST, 1, step=0.05, label="strength", elem_id="strength")
        contents, others = zip(*map(content_of, [*boxes, change]), strict=True)
        said = message()
        out = gr.HTML(elem_id="changed")
        state = gr.State([])  # a child of the tab: of the tabs' parent, every child counts as a tab

    def made(chosen: str, *files: list[bytes] | None) -> list[Made]:
        found = []
        for explored in models:
            try:
                found.append(_make(explored, chosen, files))
            except UserError as error:
                found.append(Made(why=(str(error),)))
        return found

    def show(found: list[Made], picture: Picture, files: list[bytes] | None, strength: float) -> str:
        within(strength, -STRONGEST, STRONGEST, "the strength")
        by_model = dict(zip(models, found, strict=bool(found)))

        def rows(explored: Explored) -> str:
            made, model = by_model[explored], explored.autoencoder
            if made.vector is not None and made.loaded != explored.loaded:
                return sentence("The model has been read anew since: make the vector again.")
            given, unread = _readable(explored, "change", files) if files else ([explored.read(picture)[0]], ())
            why = "".join(map(sentence, made.why + unread))
            if made.vector is None or not given:
                return why
            x = torch.cat(given[:CHANGED])
            changed = model.decode(made.vector.added(model.encode(x), [strength])[0])
            pairs = zip(urls(model, x), urls(model, changed), strict=True)
            text = f"{made.vector.name}, {strength:+.2f}"
            return why + "".join(tiles([(before, "picture"), (after, text)]) for before, after in pairs)

        return f'<div class="zoo-beside">{each(models, rows)}</div>' if found else ""

    def first(chosen: str, *given: Any) -> tuple[list[Made], str]:
        *files, picture, change, strength = given
        found = made(chosen, *files)
        return found, show(found, picture, change, strength)

    given = [page.picture, contents[-1], strength]
    make.click(told(first, 2), [category, *contents[:-1], *given], [state, out, said], **SLOW)
    for event in (strength.input, others[-1].then):
        event(told(show), [state, *given], [out, said], **QUICK)
    page.on_picture(told(show), [state, *given], [out, said], **QUICK)
    category.input(lambda chosen: [gr.update(visible=chosen == NONE)] * 2, category, boxes, **QUICK)


def _box(name: str, label: str) -> gr.File:
    kinds: dict[str, Any] = {"file_count": "multiple", "file_types": ["image"], "type": "binary"}
    return gr.File(label=label, height=130, min_width=240, elem_id=name, **kinds)


def _readable(explored: Explored, box: str, files: list[bytes] | None) -> tuple[list[Tensor], tuple[str, ...]]:
    """The pictures of a box, (1, C, H, W) each, and what is to be told of those that are none."""
    found, unread = [], []
    for number, content in enumerate(files or [], 1):
        try:
            found.append(explored.read(Picture(content=content, name=f"picture {number} of the box {box!r}"))[0])
        except UserError as error:
            unread.append(f"{error}; it does not count")
    return found, tuple(unread)


def _make(explored: Explored, chosen: str, files: tuple[list[bytes] | None, ...]) -> Made:
    model, loaded = explored.autoencoder, explored.loaded
    if chosen != NONE:
        with_it, without = _of_category(explored, model, chosen)
        return Made(AttributeVector.between(with_it, without, chosen), loaded)
    if not all(files):
        raise UserError("An attribute needs pictures with it and without it: put 3 or more into each box.")
    groups: list[Tensor] = []
    unread: list[str] = []
    for box, of_box in zip(("with", "without"), files, strict=True):
        found, bad = _readable(explored, box, of_box)
        groups.append(torch.cat([model.encode(x) for x in found]) if found else torch.empty(0, *model.code_shape))
        unread += bad
    try:
        return Made(AttributeVector.between(groups[0], groups[1], "with - without"), loaded, tuple(unread))
    except UserError as error:
        return Made(why=(*unread, str(error)))


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
