"""The tab Sketch: endings to the first lines of a drawing, and the drawing again."""

import json
from typing import Any

import gradio as gr
from torch import Tensor

from vae_zoo import rendering
from vae_zoo.errors import UserError
from vae_zoo.explore.picture import Page
from vae_zoo.explore.session import Explored, Picture, Session
from vae_zoo.explore.showing import QUICK, SLOW, each, message, tiles, told, urls, whole, within
from vae_zoo.latent import endings
from vae_zoo.models import Autoencoder
from vae_zoo.models.sketch import SketchModel
from vae_zoo.strokes import lengths

MOST_LINES = 20
ENDINGS = 6
LARGEST_SEED = 2**32 - 1
HOTTEST = 1.5
PAD = """
<div class="zoo-pad"><canvas width="256" height="256" aria-label="draw here with a mouse, a pen or a finger"></canvas>
<div><button type="button" data-do="undo">Undo a line</button>
<button type="button" data-do="clear">Clear</button></div></div>
"""
# The lines are kept in the browser, and are told whole after each one.
SCRIPT = """
const canvas = element.querySelector('canvas'), context = canvas.getContext('2d');
let lines = [], drawing = false;
const place = event => {
  const area = canvas.getBoundingClientRect();
  return [(event.clientX - area.left) * 256 / area.width, (event.clientY - area.top) * 256 / area.height];
};
const show = () => {
  context.fillStyle = 'white';
  context.fillRect(0, 0, 256, 256);
  if (!lines.length) {
    context.fillStyle = '#767676';
    context.font = '16px system-ui, sans-serif';
    context.textAlign = 'center';
    context.fillText('draw here', 128, 133);
  }
  context.lineWidth = 3;
  context.lineCap = context.lineJoin = 'round';
  lines.forEach(line => {
    context.beginPath();
    line.forEach(([x, y], i) => i ? context.lineTo(x, y) : context.moveTo(x, y));
    if (line.length === 1) context.lineTo(...line[0]);
    context.stroke();
  });
};
const tell = () => {
  props.value = JSON.stringify(lines.map(line => line.map(([x, y]) => [Math.round(x), Math.round(y)])));
  trigger('submit');
};
canvas.addEventListener('pointerdown', event => {
  event.preventDefault();
  canvas.setPointerCapture(event.pointerId);
  drawing = true;
  lines.push([place(event)]);
  show();
});
canvas.addEventListener('pointermove', event => {
  if (!drawing) return;
  lines[lines.length - 1].push(place(event));
  show();
});
canvas.addEventListener('pointerup', () => {
  if (drawing) { drawing = false; tell(); }
});
element.addEventListener('click', event => {
  if (!event.target.dataset.do) return;
  lines = event.target.dataset.do === 'clear' ? [] : lines.slice(0, -1);
  show();
  tell();
});
show();
"""


def build(session: Session, page: Page) -> None:
    """Make the tab, where a model makes sketches."""
    models = session.that(SketchModel)
    if not models:
        return
    with gr.Tab("Sketch", id="sketch"):
        with gr.Row():
            pad = gr.HTML("[]", html_template=PAD, js_on_load=SCRIPT, elem_id="pad", min_width=270, scale=0)
            with gr.Column(min_width=250):
                lines = gr.Slider(
                    1, MOST_LINES, 1, step=1, label="lines of the test sketch to go on from", elem_id="lines"
                )
                temperature = gr.Slider(0, HOTTEST, 0.4, step=0.05, label="temperature", elem_id="sketch-temperature")
                seed = gr.Number(session.seed, precision=0, label="seed", elem_id="sketch-seed")
                said = message()
        out = gr.HTML(elem_id="sketches")

    def draw(text: Any, number: Any) -> Any:
        drawn = _lines(text)
        return Picture(lines=drawn) if drawn else page.pick(number)[0]

    def offered(picture: Picture, lines: Any) -> Any:
        if picture.lines is not None:
            return gr.update(interactive=False)  # all of a drawing is kept
        there = min(max(_count(models[0].read(picture)[0]), 2), MOST_LINES)
        now = whole(lines, 1, MOST_LINES, "lines")
        return gr.update(interactive=True, maximum=there, value=min(now, there))

    def show(picture: Picture, lines: Any, temperature: float, seed: Any) -> str:
        number, begin = whole(seed, 0, LARGEST_SEED, "the seed"), whole(lines, 1, MOST_LINES, "lines")
        within(temperature, 0, HOTTEST, "the temperature")

        def rows(explored: Explored) -> str:
            model = explored.sketches
            x, _ = explored.read(picture)
            kept = None if picture.lines is not None else min(begin, _count(x))
            with session.noise(number):
                (found,) = endings(model, x[0], [temperature], ENDINGS, lines=kept, seed=number)
            whole_one = [(_svg(x, found.begun), f"{explored.called(picture)}; orange is what is gone on from")]
            if isinstance(model, Autoencoder):
                with session.noise(number):
                    again = model.reconstruct(x, temperature=temperature)
                whole_one.append((urls(model, again)[0], "drawn again by the model"))
            with session.noise(number):
                new = model.sample(ENDINGS, explored.of(0, ENDINGS), temperature=temperature)
            ended = [
                (_svg(each_one[None], found.begun), f"ending {i + 1}") for i, each_one in enumerate(found.sketches)
            ]
            fresh = [(source, f"new sketch {i + 1}") for i, source in enumerate(urls(model, new))]
            return tiles(whole_one) + tiles(ended, small=True) + tiles(fresh, small=True)

        return each(models, rows)

    given = [page.picture, lines, temperature, seed]
    page.on_picture(told(show), given, [out, said], **SLOW)
    gr.on([lines.release, temperature.release, seed.submit], told(show), given, [out, said], **SLOW)
    page.on_picture(told(offered), [page.picture, lines], [lines, said], **QUICK)
    drawn = pad.submit(told(draw), [pad, page.number], [page.picture, said], **QUICK)
    page.sources.append(drawn)


def _count(x: Tensor) -> int:
    """The lines of a sketch (1, T, 5)."""
    return 1 + int(x[0, : int(lengths(x)) - 1, 3].sum())


def _svg(x: Any, begun: int) -> str:
    """A sketch (1, T, 5) as a URL, its beginning in a colour of its own."""
    return rendering.data_url(rendering.svg([x], 128, [begun]).encode(), "svg+xml")


def _lines(text: Any) -> tuple[tuple[tuple[float, float], ...], ...]:
    """What was drawn on the canvas."""
    try:
        return tuple(
            tuple((min(max(float(x), 0), 256), min(max(float(y), 0), 256)) for x, y in line)
            for line in json.loads(text)
        )
    except (TypeError, ValueError, RecursionError) as error:
        raise UserError("the drawing is not one of this page's") from error
