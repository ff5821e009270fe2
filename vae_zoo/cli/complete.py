"""``vae-zoo complete``: the first strokes of a drawing, and several endings at several temperatures."""

from collections.abc import Sequence
from pathlib import Path

from vae_zoo import rendering
from vae_zoo.callbacks.pictures import captioned
from vae_zoo.cli.parser import Parser
from vae_zoo.cli.pictures import save_png, write_numbers
from vae_zoo.cli.sketches import chosen
from vae_zoo.cli.trained import add_checkpoint, data_of_run, load_trained
from vae_zoo.errors import UserError, require
from vae_zoo.latent import endings, surprise
from vae_zoo.marks import refuse_foreign
from vae_zoo.models.sketch import SketchModel
from vae_zoo.writing import whole

SIDE = 96  # pixels of a sketch


def run(arguments: Sequence[str]) -> None:
    """Draw the endings, write the picture and the numbers."""
    parser = Parser(
        prog="vae-zoo complete", description="Draw endings to the first strokes of test sketches.", allow_abbrev=False
    )
    add_checkpoint(parser)
    parser.add_argument("--out", type=Path, default=Path("complete.png"), help=".png or .svg (default %(default)s)")
    parser.add_argument("--sketches", type=int, nargs="+", default=[0], help="numbers in the run's test set, from 0 on")
    parser.add_argument("--lines", type=int, help="how many lines of a sketch are its beginning (default 1)")
    parser.add_argument("--points", type=int, help="or how many of its points")
    parser.add_argument("--n", type=int, default=8, help="endings at each temperature (default %(default)s)")
    parser.add_argument(
        "--temperatures",
        type=float,
        nargs="+",
        default=[0.2, 0.4, 0.6, 0.8, 1.0],
        help="a row each; 1: the model's own",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the noise (default %(default)s)")
    options = parser.parse_args(arguments)
    require(1, n=options.n)
    require(0, seed=options.seed)
    if options.out.suffix.lower() not in (".png", ".svg"):
        raise UserError(f"--out {options.out}: it ends in .png or .svg")
    refuse_foreign(options.out, options.out.with_suffix(".json"))
    model, checkpoint = load_trained(options)
    if not isinstance(model, SketchModel):
        raise UserError(
            f"{type(model).__name__} makes images, which have no first strokes; SketchDecoder draws endings"
        )
    if options.lines is None and options.points is None:
        options.lines = 1
    part = {"points": options.points, "lines": options.lines}
    data = data_of_run(checkpoint, model, "the test sketches are those of its run", options.trust)
    rows, begun, found = [], [], []
    for number, x, label in zip(options.sketches, *chosen([*map(str, options.sketches)], data), strict=True):
        try:
            drawn = endings(model, x, options.temperatures, options.n, **part, seed=options.seed)
        except UserError as error:
            raise UserError(f"--sketches {number}: {error}") from error
        first = drawn[0].begun
        own = float(surprise(model, x[None], first))
        rows += [(f"sketch {number}", x[None]), *((f"at {each.temperature:g}", each.sketches) for each in drawn)]
        begun += [first] * (1 + len(drawn))
        figures = [
            {"temperature": e.temperature, "points": e.points, "ended": e.ended, "nats_per_step": float(e.nats.mean())}
            for e in drawn
        ]
        what = {"sketch": number, "label": data.labels[int(label)], "points_of_beginning": first, "nats_per_step": own}
        found.append({**what, "endings": figures})
        said = ", ".join(f"{e.nats.mean():.2f} at {e.temperature:g}" for e in drawn)
        print(f"sketch {number}: its own ending has {own:.2f} nats per step, the endings have {said}")
    names, drawings = zip(*rows, strict=True)
    with whole(options.out) as temporary:
        if options.out.suffix.lower() == ".svg":
            temporary.write_text(rendering.svg(drawings, SIDE, begun, names))
        else:
            pictures = [rendering.rasterise(x, SIDE, points) for x, points in zip(drawings, begun, strict=True)]
            save_png(captioned([*zip(names, pictures, strict=True)]), temporary)
    print(f"wrote {options.out}")
    write_numbers(options.out, "complete", {"model": type(model).__name__, "sketches": found})
