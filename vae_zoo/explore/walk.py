"""The tab Walk: some numbers of a code on sliders, decoded while they are dragged."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr
import torch
from torch import Tensor

from vae_zoo.explore.picture import Page, label_control
from vae_zoo.explore.session import Explored, Picture, Session
from vae_zoo.explore.showing import QUICK, heading, hint, message, tiles, told, urls, whole, within
from vae_zoo.latent import extent, informative, spread
from vae_zoo.latent.traversal import MEASURED
from vae_zoo.models import Autoencoder
from vae_zoo.models.decoding import Decoding

SLIDERS = 10
HOTTEST = 1.5
LARGEST_SEED = 2**32 - 1


@dataclass(frozen=True, eq=False)
class Start:
    """Where the sliders were put: a code (1, D), or maps, what they showed, and what code it is, for people.

    A slider that nobody moved stands for the code's own number, which it shows rounded, or cut off at its end.
    """

    z: Tensor
    shown: tuple[float, ...]
    what: str = ""
    drawn: bool = False


@dataclass(frozen=True, eq=False)
class Numbers:
    """The numbers of a code that have sliders, with what is said of all of them, their names and ranges."""

    said: str
    which: list[int]
    names: list[str]
    low: list[float]
    high: list[float]

    def start(self, z: Tensor, what: str = "", drawn: bool = False) -> Start:
        """Return the start at a code (1, D), or maps."""
        values = z.flatten()[self.which].tolist()
        ranges = zip(values, self.low, self.high, strict=True)
        return Start(z, tuple(round(min(max(value, low), high), 2) for value, low, high in ranges), what, drawn)

    def moved(self, start: Start, values: Sequence[float]) -> Tensor:
        """Return the code where these sliders stand.

        Raises:
            UserError: if one was typed to stand beyond its ends.
        """
        z = start.z.flatten(1).clone()
        for row, (number, value, before) in enumerate(zip(self.which, values, start.shown, strict=True)):
            if value != before:
                z[:, number] = within(value, self.low[row], self.high[row], f"number {number} of the code")
        return z.view_as(start.z)


def numbers_of(explored: Explored, session: Session) -> Numbers:
    """Return the numbers that tell most of a test picture, or the first ones where there is no encoder or picture."""
    model, one = explored.decoding, explored.of(0)
    codes = None
    with session.noise():
        if isinstance(model, Autoencoder) and explored.data:
            x, y = next(explored.data.batches("test", MEASURED))
            told_, unit = informative(model, [(x, y if model.labels else None)])
            order = told_.argsort(descending=True, stable=True)[:SLIDERS].tolist()
            figure, _, nats = unit.partition(", ")
            names = [f"number {d}, {figure} {told_[d]:.2g} {nats}".strip() for d in order]
            which = "that tell most of a picture"
            codes = model.encode(x, y if model.labels else None)
        else:
            order = list(range(min(SLIDERS, model.code_shape.numel())))
            which, names = "that come first", [f"number {d}" for d in order]
        low, high = (end.flatten()[order] for end in extent(model, codes, y=one))
    said = f"{len(order)} of the code's {model.code_shape.numel()} numbers, those {which}:"
    low, high = (low * 10).floor() / 10, (high * 10).ceil() / 10
    return Numbers(said, order, names, [round(v, 1) for v in low.tolist()], [round(v, 1) for v in high.tolist()])


def build(session: Session, page: Page) -> None:
    """Make the tab, where a model has codes."""
    models = session.that(Decoding)
    if not models:
        return
    encodes = any(isinstance(explored.model, Autoencoder) for explored in models)
    with gr.Tab("Walk", id="walk"):
        with gr.Row(elem_classes="zoo-controls"):
            reset = gr.Button("Prior's mean", elem_id="reset", min_width=90)
            to_picture = gr.Button("Code of the picture", visible=encodes, elem_id="as-picture", min_width=120)
            draw = gr.Button("Draw from the prior", elem_id="draw", variant="primary", min_width=90)
            seed = gr.Number(session.seed, precision=0, label="seed of the draw", min_width=100, elem_id="seed")
            scale = gr.Slider(0, HOTTEST, 1, step=0.05, label="temperature", min_width=170, elem_id="temperature")
            label = label_control(session, "decode as label")
        said = message()
        with gr.Row():
            columns = [_column(explored, number, session) for number, explored in enumerate(models)]

    for explored, column in zip(models, columns, strict=True):
        numbers, seen, start, out, sliders = column
        handlers = _handlers(explored, session, numbers)
        everything, drawn = [start, out, *sliders], [label, seed, scale]
        results = [*everything, said]

        def wire(triggers: list[Any], name: str, given: list[Any], handlers: Any = handlers, to: Any = results) -> None:
            gr.on(triggers, told(handlers[name], len(to) - 1), given, to, **QUICK)

        decoded = [start, *drawn, *sliders]
        gr.on([*(each.input for each in sliders), label.input], told(handlers["moved"]), decoded, [out, said], **QUICK)
        wire([reset.click], "reset", drawn)
        wire([draw.click, seed.submit], "draw", drawn)
        wire([scale.input], "scaled", decoded)
        if isinstance(explored.model, Autoencoder):
            encoded = told(handlers["encoded"], len(results))
            given = [page.picture, page.label, *drawn]
            to_picture.click(encoded, given, [label, *results], **QUICK)
            followed = told(handlers["followed"], 1 + len(results))
            page.on_picture(followed, [seen, *given], [seen, label, *results], **QUICK)
        else:
            page.sources[0].then(told(handlers["draw"], len(everything)), drawn, results, **QUICK)


def _column(
    explored: Explored, place: int, session: Session
) -> tuple[Numbers, gr.State, gr.State, gr.HTML, list[gr.Slider]]:
    """What one model has of the tab."""
    numbers = numbers_of(explored, session)
    with gr.Column(min_width=300):
        gr.HTML(heading(explored.name) + hint(numbers.said))
        with gr.Row(elem_classes="zoo-walk"):
            out = gr.HTML(elem_id=f"walk-{place}", min_width=256, scale=1)
            with gr.Column(min_width=230, scale=1, elem_classes="zoo-sliders"):
                sliders = [
                    gr.Slider(low, high, 0, step=0.01, label=name, elem_id=f"walk-{place}-{row}", buttons=[])
                    for row, (name, low, high) in enumerate(zip(numbers.names, numbers.low, numbers.high, strict=True))
                ]
        seen = gr.State()  # the picture and label that the tab followed last
        start = gr.State(Start(torch.zeros(1, *explored.decoding.code_shape), tuple(0.0 for _ in sliders)))
    return numbers, seen, start, out, sliders


def _handlers(explored: Explored, session: Session, numbers: Numbers) -> dict[str, Any]:
    """What the controls do with one model."""

    def shown(z: Tensor, what: str, label: int | None, seed: Any, scale: float) -> str:
        model, y = explored.decoding, explored.of(label)
        if model.has_temperature:  # of sketches, whose points are drawn at random
            with session.noise(_seed(seed)):
                x = model.decode(z, y, temperature=_temperature(scale))
        else:
            x = model.decode(z, y)
        return tiles([(urls(model, x)[0], what)])

    def put(start: Start, label: int | None, seed: Any, scale: float) -> tuple:
        return start, shown(start.z, start.what, label, seed, scale), *start.shown

    def moved(start: Start, label: int | None, seed: Any, scale: float, *values: float) -> str:
        what = start.what if values == start.shown else f"{start.what}, edited"
        return shown(numbers.moved(start, values), what, label, seed, scale)

    def reset(label: int | None, seed: Any, scale: float) -> tuple:
        model = explored.decoding
        middle = spread(model, model.sample_prior(1, explored.of(label)), 0, explored.of(label))
        return put(numbers.start(middle, "the prior's mean"), label, seed, scale)

    def draw(label: int | None, seed: Any, scale: float) -> tuple:
        model, y = explored.decoding, explored.of(label)
        with session.noise(_seed(seed)):
            z = model.sample_prior(1, y)
        z = z if model.has_temperature else spread(model, z, _temperature(scale), y)
        return put(numbers.start(z, f"draw, seed {_seed(seed)}", True), label, seed, scale)

    def scaled(start: Start, label: int | None, seed: Any, scale: float, *values: float) -> tuple:
        if start.drawn and values == start.shown and not explored.model.has_temperature:
            return draw(label, seed, scale)
        return start, moved(start, label, seed, scale, *values), *values  # a temperature replaces no other code

    def encoded(picture: Picture, own: int | None, label: int | None, seed: Any, scale: float) -> tuple:
        x, y = explored.read(picture, own)
        start = numbers.start(explored.autoencoder.encode(x, y), f"code of {explored.called(picture)}")
        if y is None:
            return gr.skip(), *put(start, label, seed, scale)
        return int(y), *put(start, int(y), seed, scale)

    def followed(seen: Any, picture: Picture, own: int | None, *drawn: Any) -> tuple:
        if seen == (picture, own):  # what was done since to the code stays
            return tuple([gr.skip()] * (4 + len(numbers.which)))
        if explored.data is None and picture == Picture():  # nobody has shown a picture yet
            return (picture, own), gr.skip(), *draw(*drawn)
        return (picture, own), *encoded(picture, own, *drawn)

    return {"moved": moved, "reset": reset, "draw": draw, "scaled": scaled, "encoded": encoded, "followed": followed}


def _temperature(value: Any) -> float:
    return within(value, 0, HOTTEST, "the temperature")


def _seed(value: Any) -> int:
    return whole(value, 0, LARGEST_SEED, "the seed")
