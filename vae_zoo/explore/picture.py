"""The bar above the tabs: which picture the models are shown."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from vae_zoo.explore.session import Picture, Session
from vae_zoo.explore.showing import QUICK, READS, each, message, sentence, tiles, told, urls, whole
from vae_zoo.models import Autoencoder
from vae_zoo.models.sketch import SketchModel

DIFFERENT = "These models were trained on different data, so a number is another picture for each of them."


@dataclass(frozen=True)
class Page:
    """What the tabs share in one browser tab.

    Attributes:
        blocks: the page.
        picture: the state that holds a `Picture`.
        number: the control of its number.
        label: the control of its label's number.
        pick: makes of a number what these `outputs` are to be.
        outputs: of `pick`.
        sources: events after which the picture may be another one; the first is that the page is opened.
        listeners: what is called after them.
    """

    blocks: gr.Blocks
    picture: gr.State
    number: gr.Slider
    label: gr.Dropdown
    pick: Callable[[int], tuple[Any, ...]]
    outputs: list[Any]
    sources: list[Any] = field(default_factory=list)
    listeners: list[tuple[Any, list[Any], list[Any], dict[str, Any]]] = field(default_factory=list)

    def on_picture(self, function: Any, inputs: list[Any], outputs: list[Any], **how: Any) -> None:
        """Call a function when the page is opened, and whenever the picture or its label may be another one."""
        self.listeners.append((function, inputs, outputs, how))

    def wire(self) -> None:
        """Let the listeners hear of the sources, when all tabs are made.

        The state's own event of a change is not sent after those that wait in no queue, so each is followed up.
        """
        for function, inputs, outputs, how in self.listeners:
            self.label.input(function, inputs, outputs, **how)
            for source in self.sources:
                source.then(function, inputs, outputs, **how)


def label_control(session: Session, text: str) -> gr.Dropdown:
    """Return a control of the label for models that take labels, which is hidden where none does."""
    labelled = session.that(labels=True)
    names = labelled[0].labels if labelled else []
    choices = [(name, number) for number, name in enumerate(names)]
    return gr.Dropdown(choices, value=0 if names else None, label=text, visible=bool(names), min_width=110, scale=1)


def build(session: Session, blocks: gr.Blocks) -> Page:
    """Make the bar; it is hidden where no model is shown a picture."""
    seeing = [explored for explored in session.models if isinstance(explored.model, Autoencoder | SketchModel)]
    most = max(session.test_pictures - 1, 1)
    what = "test picture" if any(explored.model.pixels for explored in seeing) else "test sketch"
    with gr.Row(visible=bool(seeing), elem_classes="zoo-bar"):
        shown = gr.HTML(elem_id="picture", elem_classes="zoo-thumb", min_width=96, scale=0)
        with gr.Column(scale=3, min_width=200):
            number = gr.Slider(
                0, most, 0, step=1, label=what, visible=bool(session.test_pictures), elem_id="number", buttons=[]
            )
            label = label_control(session, "its label")
        with gr.Column(scale=2, min_width=200, visible=any(explored.model.pixels for explored in seeing)):
            with gr.Accordion("or a picture of your own", open=False, elem_id="own"):
                drop = gr.File(type="binary", file_types=["image"], show_label=False, height=110, elem_id="drop")
    if session.differs and seeing:
        gr.HTML(sentence(DIFFERENT))
    said = message()
    picture = gr.State(Picture())
    labelled = session.that(labels=True)
    first = seeing[:1]

    def pick(value: Any) -> tuple[Picture, Any, None]:
        chosen = Picture(whole(value, 0, most, what))
        return chosen, label_of(chosen), None

    def take(content: bytes | None, value: Any) -> tuple[Picture, Any]:
        if content is None:  # it was taken away
            return pick(value)[:2]
        chosen = Picture(content=content, name="your picture")
        for explored in seeing:
            if explored.model.pixels:
                explored.read(chosen, 0)  # which says if it is none
        return chosen, gr.skip()

    def label_of(chosen: Picture) -> Any:
        found = labelled[0].own_label(chosen) if labelled else None
        return gr.skip() if found is None else found

    def thumbnail(chosen: Picture) -> str:
        if chosen.content is None and not session.test_pictures:
            return ""
        return each(first, lambda m: tiles([(urls(m.model, m.read(chosen, 0)[0])[0], "picture")], True), named=False)

    sources = [
        blocks.load(told(pick, 3), number, [picture, label, drop, said], **QUICK),
        number.input(told(pick, 3), number, [picture, label, drop, said], **QUICK),
        drop.upload(told(take, 2), [drop, number], [picture, label, said], **READS),
        drop.clear(told(take, 2), [drop, number], [picture, label, said], **READS),
    ]
    page = Page(blocks, picture, number, label, pick, [picture, label, drop], sources)
    page.on_picture(thumbnail, [picture], [shown], **QUICK)
    return page
