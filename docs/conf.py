"""How the documentation is built: ``make docs``."""

from argparse import SUPPRESS
from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.utils.math import latex2mathml
from jsonargparse import ArgumentParser
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.writers.html5 import HTML5Translator

import vae_zoo
from vae_zoo import models

project = "vae_zoo"
author = "the authors of vae_zoo"
release = vae_zoo.__version__
html_title = f"vae_zoo {release}"

extensions = ["myst_parser"]
myst_enable_extensions = ["amsmath", "dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 3
html_math_renderer = "mathml"
html_theme = "furo"
copyright = f"{author}, Apache License 2.0"
html_static_path = ["_static"]
html_css_files = ["tables.css"]
exclude_patterns = ["_static"]
html_theme_options = {"navigation_with_keys": True}


class Options(Directive):
    """``{options} VAE``: the arguments of a model's constructor, with defaults, from its own docstring."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Make the table."""
        parser = ArgumentParser(exit_on_error=False)
        parser.add_class_arguments(getattr(models, self.arguments[0]), "model")
        group = nodes.tgroup(cols=3)
        group += [nodes.colspec(colwidth=width) for width in (22, 22, 56)]
        head, body = nodes.thead(), nodes.tbody()
        head += _row("option", "default", "meaning")
        for action in parser._actions:
            name = action.dest.removeprefix("model.")
            if "." in action.dest and action.default != SUPPRESS:
                body += _row(
                    nodes.literal(text=f"--model.{name}"), nodes.literal(text=_short(action.default)), action.help
                )
        group += [head, body]
        table = nodes.table(classes=["options"])
        table += group
        return [table]


def _row(*cells: str | nodes.Node) -> nodes.row:
    row = nodes.row()
    for cell in cells:
        entry, paragraph = nodes.entry(), nodes.paragraph()
        paragraph += nodes.Text(cell) if isinstance(cell, str) else cell
        entry += paragraph
        row += entry
    return row


def _short(default: object) -> str:
    """A default as one types it: a class by its name."""
    if isinstance(default, dict) and "class_path" in default:
        return default["class_path"].rpartition(".")[2]
    return "null" if default is None else str(default).lower() if isinstance(default, bool) else str(default)


def _inline_math(translator: HTML5Translator, node: nodes.math) -> None:
    """Write MathML, which browsers render by themselves: no script, and no network."""
    translator.body.append(latex2mathml.tex2mathml(node.astext()))
    raise nodes.SkipNode


def _display_math(translator: HTML5Translator, node: nodes.math_block) -> None:
    translator.body.append(f'<div class="math">{latex2mathml.tex2mathml(node.astext().strip(), as_block=True)}</div>')
    raise nodes.SkipNode


def _every_model_has_a_page(app: Sphinx) -> None:
    for model in models.concrete():
        page = Path(app.srcdir) / "models" / f"{model.__module__.rpartition('.')[2]}.md"
        if not page.is_file():
            logging.getLogger(__name__).warning(
                "%s has no page: write %s", model.__name__, page.relative_to(app.srcdir)
            )


def setup(app: Sphinx) -> None:
    """Add what this project needs."""
    app.add_directive("options", Options)
    app.add_html_math_renderer("mathml", (_inline_math, None), (_display_math, None))
    app.connect("builder-inited", _every_model_has_a_page)
