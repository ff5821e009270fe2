"""How the page shows things: pictures inside the HTML, so that none is written to a disk, and sentences."""

import io
from collections.abc import Callable, Sequence
from html import escape
from typing import Any

import gradio as gr
from PIL import Image
from torch import Tensor

from vae_zoo.errors import UserError
from vae_zoo.explore.session import Explored, report
from vae_zoo.models import GenerativeModel
from vae_zoo.rendering import data_url, pil

# What a handler gets and gives is what the browser has. Gradio would look at each control's value on another thread,
# answer a number out of range with a bare 500, and keep what was last shown whenever a place is left as it is.
PLAIN: dict[str, Any] = {"preprocess": False, "postprocess": False, "trigger_mode": "always_last"}
QUICK: dict[str, Any] = PLAIN | {"queue": False, "show_progress": "hidden"}  # for sliders
SLOW: dict[str, Any] = PLAIN | {"show_progress": "minimal", "concurrency_id": "slow", "concurrency_limit": 1}
READS: dict[str, Any] = QUICK | {"preprocess": True}  # the bytes of a file


def png(picture: Image.Image) -> str:
    """Return a picture as a URL that holds a PNG."""
    out = io.BytesIO()
    picture.save(out, "PNG", compress_level=1)
    return data_url(out.getvalue(), "png")


def url(picture: Tensor) -> str:
    """Return a picture (C, H, W) in [0, 1] as a URL, with its pixels as `save_image` would write them."""
    return png(pil(picture))


def urls(model: GenerativeModel, x: Tensor) -> list[str]:
    """Return what a model makes, (B, ...), as a URL each: pixels, or lines of a sketch."""
    if model.pixels:
        return [url(picture) for picture in model.pictures(x)]
    return [data_url(model.svg([sketch[None]]).encode(), "svg+xml") for sketch in x]


def tiles(pictures: Sequence[tuple[str, str]], small: bool = False) -> str:
    """Return HTML of pictures beside each other, each a URL and its caption, which is also its text."""
    figures = "".join(
        f'<figure><img src="{source}" alt="{escape(text)}"><figcaption>{escape(text)}</figcaption></figure>'
        for source, text in pictures
    )
    return f'<div class="zoo-tiles{" zoo-small" if small else ""}">{figures}</div>'


def heading(text: str) -> str:
    """Return HTML of a model's name."""
    return f'<h3 class="zoo-name">{escape(text)}</h3>'


def sentence(text: str) -> str:
    """Return HTML of something to tell; nothing of nothing."""
    return f'<p class="zoo-said" role="alert">{escape(text)}</p>' if text else ""


def hint(text: str) -> str:
    """Return HTML of what explains something."""
    return f'<p class="zoo-help">{escape(text)}</p>' if text else ""


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return an HTML table, whose first column names the rows; on a narrow screen each row is a list."""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in columns)
    body = "".join(f'<tr><th scope="row">{escape(row[0])}</th>{_cells(columns, row)}</tr>' for row in rows)
    return f'<div class="zoo-scroll"><table class="zoo-table"><tr>{head}</tr>{body}</table></div>'


def _cells(columns: Sequence[str], row: Sequence[str]) -> str:
    named = zip(columns[1:], row[1:], strict=True)
    return "".join(f'<td data-name="{escape(name)}">{escape(cell)}</td>' for name, cell in named)


def each(models: Sequence[Explored], show: Callable[[Explored], str], named: bool = True) -> str:
    """Return what is shown of each model, below its name; of one that cannot, what it says."""
    found = []
    for explored in models:
        try:
            shown = show(explored)
        except Exception as error:  # a picture may be fit for one model and not for another
            shown = sentence(report(error))
        found.append(f"<section>{heading(explored.name) if named else ''}{shown}</section>")
    return "".join(found)


def told(function: Callable[..., Any], outputs: int = 1) -> Callable[..., Any]:
    """Let a handler of so many outputs have one more, last: a sentence if it fails, and then the others stay."""

    def handler(*given: Any) -> Any:
        try:
            found = function(*given)
        except Exception as error:  # the page tells whatever it was, and goes on
            return (*[gr.skip()] * outputs, sentence(report(error)))
        return (*(found if outputs > 1 else (found,)), "")

    return handler


def message() -> gr.HTML:
    """Return the place where a tab says what went wrong."""
    return gr.HTML("", elem_classes="zoo-message")


def content_of(file: gr.File) -> tuple[gr.State, Any]:
    """Return the state that holds what a box of files does, and the event that it is another.

    A slider that had the box itself among its inputs would have the files read at each move.
    """
    content = gr.State()
    return content, file.change(lambda found: found, file, content, **READS)


def within(value: Any, low: float, high: float, what: str) -> float:
    """Return a number that was typed, which must be in a range.

    Raises:
        UserError: that names it.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise UserError(f"{what} must be a number from {low} to {high}, got {'nothing' if value is None else value}")
    return value


def whole(value: Any, low: int, high: int, what: str) -> int:
    """Return a number that was typed, which must be whole and in a range.

    Raises:
        UserError: that names it.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high or value != int(value):
        raise UserError(
            f"{what} must be a whole number from {low} to {high}, got {'nothing' if value is None else value}"
        )
    return int(value)
