"""``vae-zoo memorised``: samples, the training pictures nearest to them, and how near these usually are."""

from collections.abc import Iterator, Sequence

from torch import Tensor

from vae_zoo.callbacks.pictures import grid, pairs
from vae_zoo.cli.pictures import begin, make_parser, repeated, save_png, with_texts, write_numbers
from vae_zoo.cli.trained import data_of_run
from vae_zoo.data.module import Part
from vae_zoo.errors import UserError, amount, require
from vae_zoo.latent import memorised, samples_of
from vae_zoo.writing import whole

SHOWN = 4  # rows of samples in the PNG; the figures are of all


def run(arguments: Sequence[str]) -> None:
    """Compare, and write the picture and the numbers."""
    parser = make_parser("memorised", "Compare samples with the nearest training pictures.", 256, "samples")
    parser.add_argument("--batch_size", type=int, default=256, help="pictures at a time (default %(default)s)")
    options = parser.parse_args(arguments)
    require(1, batch_size=options.batch_size)
    model, checkpoint, label = begin(options)
    if not model.pixels:
        raise UserError(f"{type(model).__name__} makes sketches, between which there is no distance in pixels")
    data = data_of_run(checkpoint, model, "its training pictures are needed", options.trust)
    samples = samples_of(model, options.n, repeated(label, options.n), options.batch_size)

    def pictures(part: Part) -> Iterator[Tensor]:
        return (x for x, _ in data.batches(part, options.batch_size))

    found = memorised(samples, lambda: pictures("train"), pictures("test"))
    order = found.ratio.argsort(stable=True)
    first = order[: SHOWN * options.columns]
    nearest, _ = data.on_after_batch_transfer(data.parts["train"].__getitems__(found.row[first].tolist()), 0)
    above = with_texts(samples[first], ["sample"] * len(first))
    below = with_texts(nearest, [f"{ratio:.3g}" for ratio in found.ratio[first].tolist()])
    with whole(options.out) as temporary:
        save_png(grid(pairs(above, below, options.columns)), temporary)
    print(f"wrote {options.out}, the most memorised first: a sample above its nearest training picture, and the ratio")
    ratio, distinct = float(found.ratio.median()), len(found.row.unique())
    names = data.split["train"]
    numbers = {
        "model": type(model).__name__,
        "samples": len(samples),
        "usual_distance": found.usual,
        "median_ratio": ratio,
        "nearer_to_training": found.share,
        "chance": found.chance,
        "different_nearest": distinct,
        "nearest": [
            {"sample": sample, "training": names[int(found.row[sample])], "ratio": float(found.ratio[sample])}
            for sample in order.tolist()
        ],
    }
    write_numbers(options.out, "memorised", numbers)
    print(
        f"the median distance to the nearest training picture is {ratio:.3f} of that of test pictures\n"
        f"{found.share:.1%} of the samples are nearer to a training picture than to any test picture; "
        f"{found.chance:.1%} would be if nothing were memorised\n"
        f"{amount(distinct, 'training picture is', 'different training pictures are')} nearest to the "
        + amount(len(samples), "sample")
        + ("; so many samples are alike that they count for far fewer" if distinct < len(samples) / 4 else "")
    )
