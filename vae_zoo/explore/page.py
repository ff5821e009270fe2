"""The page: its tabs, its looks, and what it says of the models' files."""

from importlib.resources import files

import gradio as gr

from vae_zoo.explore import arithmetic, between, label, map, picture, reconstruct, runs, sketch, walk
from vae_zoo.explore.session import Session
from vae_zoo.explore.showing import sentence

LOOK_EVERY = 4.0  # seconds, at the models' files
FONTS = ("system-ui", "sans-serif")
MONOSPACED = ("ui-monospace", "monospace")


def build(session: Session) -> gr.Blocks:
    """Make the page of a session, with a tab for each thing that one of its models can do."""
    title = "vae-zoo explore: " + ", ".join(explored.name for explored in session.models)
    with gr.Blocks(title=title, analytics_enabled=False) as blocks:
        gr.HTML("<h2>vae-zoo explore</h2>", elem_id="title")
        status = gr.HTML(elem_id="status")
        page = picture.build(session, blocks)
        with gr.Tabs():
            for tab in (reconstruct, walk, between, arithmetic, map, label, sketch, runs):
                tab.build(session, page)
        page.wire()
        timer = gr.Timer(LOOK_EVERY)

    def look() -> str:
        return "".join(sentence(trouble) for trouble in session.troubles)

    with blocks:
        gr.on([timer.tick, blocks.load], look, None, status, queue=False, show_progress="hidden")
    return blocks


def theme() -> gr.themes.Base:
    """Return the page's theme, whose fonts are the system's, so that none is fetched."""
    return gr.themes.Default(font=FONTS, font_mono=MONOSPACED, primary_hue="blue", spacing_size="sm", text_size="md")


def css() -> str:
    """Return the page's style sheet."""
    return files("vae_zoo.explore").joinpath("page.css").read_text()
