"""The tab Map: where a model puts test pictures; a click shows one to the other tabs, or decodes an empty place."""

import io
import json
from dataclasses import dataclass
from html import escape
from typing import Any

import gradio as gr
import numpy as np
import torch
from torchvision.utils import make_grid

from vae_zoo.errors import UserError
from vae_zoo.explore.picture import Page
from vae_zoo.explore.session import Explored, Session
from vae_zoo.explore.showing import QUICK, SLOW, heading, hint, message, tiles, told, urls, whole
from vae_zoo.latent import draw_map, lifted, placed, project, projected_prior
from vae_zoo.latent.maps import Projection
from vae_zoo.models import Autoencoder
from vae_zoo.rendering import data_url, pil

MOST = 2000  # test pictures on a map
SIDE = 48  # pixels of a picture under the pointer, at most, in the sheet that holds all of them
ACROSS = 40  # of them in a row of the sheet
HOW = (
    "Point at a dot to see its picture, click it to show it to the other tabs, or click where no dot is to decode that "
    "place. Lines hold 50, 90 and 99 % of the prior, where it is known. A map shows two directions of the code: dots "
    "that are near each other may lie far apart in the others."
)
LABELLED = "It is given the label, so its codes need not separate by it."
# The nearest point of a map within so many pixels is the one that is meant.
SCRIPT = """
const NEAR = 9;
const nearest = (box, event) => {
  const area = box.querySelector('.zoo-plot').getBoundingClientRect();
  const x = (event.clientX - area.left) / area.width, y = (event.clientY - area.top) / area.height;
  if (box.zooKept !== box.dataset.points) {
    box.zooKept = box.dataset.points;
    box.zooPoints = JSON.parse(box.dataset.points);
  }
  let best = -1, least = NEAR * NEAR;
  box.zooPoints.forEach(([px, py], i) => {
    const d = ((px - x) * area.width) ** 2 + ((py - y) * area.height) ** 2;
    if (d < least) { least = d; best = i; }
  });
  return {x, y, best, area};
};
element.addEventListener('pointermove', event => {
  const box = event.target.closest('.zoo-map');
  if (!box) return;
  const {best} = nearest(box, event), tip = box.querySelector('.zoo-tip');
  tip.hidden = best < 0;
  box.style.cursor = best < 0 ? 'crosshair' : 'pointer';
  if (best < 0) return;
  const [, , number, name] = box.zooPoints[best], across = +box.dataset.across;
  const sheet = box.querySelector('.zoo-sheet');
  tip.querySelector('span').textContent = name ? `${number}: ${name}` : `${number}`;
  const shown = tip.querySelector('div');
  shown.style.backgroundImage = `url(${sheet.src})`;
  shown.style.backgroundSize = `${across * 96}px auto`;
  shown.style.backgroundPosition = `${-(best % across) * 96}px ${-Math.floor(best / across) * 96}px`;
});
element.addEventListener('pointerleave', () => {
  element.querySelectorAll('.zoo-tip').forEach(tip => { tip.hidden = true; });
});
element.addEventListener('click', event => {
  const box = event.target.closest('.zoo-map');
  if (!box) return;
  const {x, y, best} = nearest(box, event), mark = box.querySelector('.zoo-mark');
  [mark.style.left, mark.style.top] = (best < 0 ? [x, y] : box.zooPoints[best]).map(share => `${share * 100}%`);
  mark.hidden = false;
  trigger('select', best < 0 ? {x, y} : {number: box.zooPoints[best][2]});
});
"""


@dataclass(frozen=True, eq=False)
class Drawn:
    """A map, and where its axes lie in the picture.

    Attributes:
        projection: of the codes.
        codes: (N, D), or maps.
        axes: left, right, top and bottom, as shares of the picture.
        limits: what the axes say at these places.
        loaded: which reading of the model it is of.
    """

    projection: Projection
    codes: np.ndarray
    axes: tuple[float, float, float, float]
    limits: tuple[float, float, float, float]
    loaded: int

    def at(self, x: float, y: float) -> np.ndarray | None:
        """Return the place (1, 2) on the map at these shares of the picture; None outside of the axes."""
        left, right, top, bottom = self.axes
        low_x, high_x, high_y, low_y = self.limits
        across, down = (x - left) / (right - left), (y - top) / (bottom - top)
        if not (0 <= across <= 1 and 0 <= down <= 1):
            return None
        return np.array([[low_x + across * (high_x - low_x), high_y + down * (low_y - high_y)]])


def build(session: Session, page: Page) -> None:
    """Make the tab, where a model has an encoder, test pictures and codes of two numbers or more."""
    models = [e for e in session.that(Autoencoder) if e.test_pictures > 2 and e.decoding.code_shape.numel() > 1]
    if not models:
        return
    most = min(MOST, max(e.test_pictures for e in models))
    with gr.Tab("Map", id="map") as tab:
        with gr.Row(elem_classes="zoo-controls"):
            n = gr.Slider(3, most, min(1000, most), step=1, label="test pictures", elem_id="map-n", min_width=150)
            draw = gr.Button("Draw the map", variant="primary", elem_id="draw-map", min_width=150)
        said = message()
        gr.HTML(hint(HOW))
        with gr.Row():
            columns = []
            for place, explored in enumerate(models):
                with gr.Column(min_width=320):
                    gr.HTML(heading(explored.name) + (hint(LABELLED) if explored.model.labels else ""))
                    with gr.Row(elem_classes="zoo-placed"):
                        shown = gr.HTML(js_on_load=SCRIPT, elem_id=f"map-{place}", min_width=300, scale=2)
                        decoded = gr.HTML(elem_id=f"map-decoded-{place}", min_width=200)
                    columns.append((explored, shown, decoded, gr.State(None)))
    for explored, shown, decoded, state in columns:
        _wire(session, page, explored, (tab, n, draw), (shown, decoded, state, said))


def _wire(session: Session, page: Page, explored: Explored, controls: tuple, parts: tuple) -> None:
    tab, n, draw = controls
    shown, decoded, state, said = parts

    def make(count: Any) -> tuple[Drawn, str, str]:
        drawn, html = _drawn(session, explored, whole(count, 3, MOST, "the number of test pictures"))
        return drawn, html, ""

    def opened(drawn: Drawn | None, count: Any) -> tuple:
        return make(count) if drawn is None or drawn.loaded != explored.loaded else (gr.skip(),) * 3

    def clicked(drawn: Drawn | None, label: int | None, event: dict[str, Any]) -> tuple:
        nothing = [gr.skip()] * (1 + len(page.outputs))
        if drawn is None:
            return (gr.skip(), *nothing)
        if drawn.loaded != explored.loaded:
            raise UserError("the model has been read anew since: draw the map again")
        if "number" in event:
            number = whole(event["number"], 0, explored.test_pictures - 1, "the number")
            return ("", number, *page.pick(number))
        where = drawn.at(float(event.get("x", -1)), float(event.get("y", -1)))
        if where is None:
            return (gr.skip(), *nothing)
        model = explored.autoencoder
        z = torch.from_numpy(lifted(drawn.projection, where, drawn.codes))
        with session.noise():
            x = model.decode(z, explored.of(label))
        under = f" as {explored.labels[label or 0]}" if model.labels else ""
        return (tiles([(urls(model, x)[0], f"decoded{under} at {where[0, 0]:.2f}, {where[0, 1]:.2f}")]), *nothing)

    count = 2 + len(page.outputs)

    def on_click(drawn: Drawn | None, label: int | None, event: gr.EventData) -> Any:
        return told(clicked, count)(drawn, label, event._data or {})

    draw.click(told(make, 3), n, [state, shown, decoded, said], **SLOW)
    tab.select(told(opened, 3), [state, n], [state, shown, decoded, said], **SLOW)
    results = [decoded, page.number, *page.outputs, said]
    page.sources.append(shown.select(on_click, [state, page.label], results, **QUICK))


def _drawn(session: Session, explored: Explored, n: int) -> tuple[Drawn, str]:
    """The map of so many test pictures, and its HTML."""
    from matplotlib.colors import to_hex
    from matplotlib.figure import Figure

    model, loaded, data = explored.autoencoder, explored.loaded, explored.data
    assert data is not None  # or there is no tab
    there = explored.test_pictures
    rows = np.sort(np.random.default_rng(session.seed).choice(there, min(n, there), replace=False)).tolist()
    batches = list(data.batches("test", 256, rows))
    with session.noise():
        codes, _ = placed(model, iter(batches))
        projection = project(codes)
        labels = torch.cat([y for _, y in batches]).numpy()
        figure = Figure(figsize=(4.8, 4.4), dpi=200, layout="constrained")
        axes = figure.subplots()
        names = data.labels
        draw_map(axes, projection, labels, names, projected_prior(model, projection))
    handles: Any
    handles, captions = axes.get_legend_handles_labels()
    legend = "".join(
        f'<span><i style="background: {to_hex(handle.get_facecolor()[0])}"></i>{escape(caption)}</span>'
        for handle, caption in zip(handles, captions, strict=True)
    )
    out = io.BytesIO()
    figure.savefig(out, format="png")
    width, height = figure.get_size_inches() * figure.dpi
    box = axes.get_window_extent()
    drawn = Drawn(
        projection,
        codes,
        (box.x0 / width, box.x1 / width, 1 - box.y1 / height, 1 - box.y0 / height),
        (*axes.get_xlim(), *axes.get_ylim()[::-1]),
        loaded,
    )
    at = axes.transData.transform(projection.points) / (width, height)
    named = [names[label] if len(names) > 1 else "" for label in labels]
    points = [
        [round(float(x), 4), round(1 - float(y), 4), row, name]
        for (x, y), row, name in zip(at, rows, named, strict=True)
    ]
    sheet = _sheet(torch.cat([_small(model.pictures(x)) for x, _ in batches]))
    text = f"{len(rows)} test pictures by their codes, {' and '.join(projection.axes)}"
    html = (
        f'<div class="zoo-map" data-points="{escape(json.dumps(points))}" data-across="{ACROSS}">'
        f'<img class="zoo-plot" src="{data_url(out.getvalue(), "png")}" alt="{escape(text)}">'
        f'<img class="zoo-sheet" src="{sheet}" alt="" hidden><i class="zoo-mark" hidden></i>'
        '<div class="zoo-tip" hidden><div></div><span></span></div></div>'
    )
    if len(names) > 1:
        html += f'<div class="zoo-legend">{legend}</div>'
    return drawn, html


def _small(x: torch.Tensor) -> torch.Tensor:
    """Pictures (B, C, H, W) as squares of the sheet, (B, 3, S, S), S <= `SIDE`."""
    side = min(SIDE, max(x.shape[2:]))
    how = "area" if side < max(x.shape[2:]) else "nearest"
    return torch.nn.functional.interpolate(x.expand(-1, 3, -1, -1).float(), (side, side), mode=how)


def _sheet(x: torch.Tensor) -> str:
    """All of them in one picture, as a URL."""
    filled = torch.cat([x, x.new_ones(-len(x) % ACROSS, *x.shape[1:])])
    out = io.BytesIO()
    pil(make_grid(filled, ACROSS, padding=0)).save(out, "WEBP", quality=90)
    return data_url(out.getvalue(), "webp")
