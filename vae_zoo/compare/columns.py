"""The figures that a report knows: what they are called, which side is better, what they can be ranked by."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Column(NamedTuple):
    """One figure: its key, its name and unit for people, whether lower or higher is better (-1, 1; 0 neither).

    Attributes:
        step: of a figure that is counted, by how much a value may differ from the next one.
    """

    key: str
    title: str
    better: int
    format: str
    about: str = "further"
    step: float = 0.0

    @property
    def least(self) -> float:
        """The smallest difference that counts as one, half of the last digit's unit; 0 where digits float."""
        digits = self.format.removeprefix(",")
        return 10.0 ** -int(digits[1:-1]) / 2 if digits.endswith("f") else 0.0

    def text(self, value: float) -> str:
        """Return a value as it is shown, in which no zero is negative."""
        return f"{value:z{self.format}}"


SHARE = 0.01  # the step of a share of images, of which there are a hundred at least
BASE = "{base}"  # stands in a title for the model that the others are compared with

COLUMNS = [
    Column("mse", "MSE", -1, ".5f", "reconstruction"),
    Column("mse_sampled", "MSE of a draw", -1, ".5f", "reconstruction"),
    Column("mse_of_mean_image", "MSE of the mean image", 0, ".5f", "reconstruction"),
    Column("explained_variance", "explained variance", 1, ".3f", "reconstruction"),
    Column("psnr", "PSNR, dB", 1, ".2f", "reconstruction"),
    Column("ssim", "SSIM", 1, ".3f", "reconstruction"),
    Column("code_mmd", "code MMD", -1, ".4f", "codes"),
    Column("active_units", "active units", 0, ".0f", "codes"),
    Column("elbo", "ELBO, nats", 1, ".1f", "density"),
    Column("nll", "NLL, nats", -1, ".1f", "density"),
    Column("nll_by_ais", "NLL by AIS, nats", -1, ".1f", "density"),
    Column("ais_gap", "gap of AIS, nats", 0, ".2f", "density"),
    Column("nll_by_posterior", "NLL by the posterior, nats", -1, ".1f", "density"),
    Column("bits_per_dim", "bits/dim", -1, ".3f", "density"),
    Column("kl", "KL, nats", 0, ".1f", "density"),
    Column("kl_share", "KL's share, %", 0, ".1f", "density"),
    Column("fid", "FID", -1, ".1f", "samples"),
    Column("kid", "KID", -1, ".4f", "samples"),
    Column("precision", "precision", 1, ".3f", "samples", SHARE),
    Column("recall", "recall", 1, ".3f", "samples", SHARE),
    Column("density", "density of samples", 0, ".3f", "samples"),
    Column("coverage", "coverage", 1, ".3f", "samples", SHARE),
    Column("modes_lost", "modes lost", -1, ".1f", "samples", 1),
    Column("label_accuracy", "label accuracy", 0, ".3f", "samples"),
    Column("sharpness", "sharpness, data = 1", 0, ".3f", "samples"),
    Column("nearest_in_training", "nearest in training", 0, ".3f", "samples"),
    Column("loss_oscillation", "oscillation of the loss", 0, ".4f", "training"),
    Column("parameters", "parameters", 0, ",.0f", "cost"),
    Column("seconds_per_epoch", "s / epoch", -1, ".2f", "cost"),
    Column("relative_time", f"time, {BASE} = 1", -1, ".2f", "cost"),
    Column("images_per_second", "images / s", 1, ".0f", "cost"),
    Column("peak_memory_mb", "peak memory, MB", -1, ".0f", "cost"),
    Column("time_to_base", f"s to the final MSE of {BASE}", -1, ".1f", "cost"),
]
# Those that a narrow screen shows first.
QUALITY = ("mse", "nll", "kl", "code_mmd", "fid", "precision", "coverage")
FIRST = (*QUALITY, "seconds_per_epoch", "peak_memory_mb", "elbo", "ssim", "psnr")
# Of the others, which come first.
ABOUTS = ("further", "cost", "training", "samples", "codes", "density", "reconstruction")
KNOWN = {column.key: column for column in COLUMNS}
MOST = 12  # models in a sentence, and in a picture of curves: there are eight colours

# What is logged or measured under a key that is no name for people, and has no column of its own.
TITLES = {"loss": "loss, which training lowers", "d_x": "D(x)", "d_g_z": "D(G(z))"}
TITLES |= {"d_wrong": "D(x) with a wrong text", "energy_x": "E(x)", "energy_g_z": "E(G(z))"}

COST = ("seconds_per_epoch", "relative_time", "images_per_second", "peak_memory_mb")
MACHINE = (*COST, "time_to_base")  # only comparable on one machine
ESTIMATED = ("nll", "bits_per_dim")  # from below, the better the more importance samples
# Of images given the label they are other ones than of images.
DENSITIES = ("elbo", "nll", "nll_by_ais", "nll_by_posterior", "bits_per_dim")


def some(words: Sequence[str], joint: str = ", ") -> str:
    """Return words as a list that can be read: all, or the first `MOST` and how many more there are."""
    more = len(words) - MOST
    return joint.join(words[:MOST]) + (f" and {more:,} more" if more > 0 else "")


def fitting(columns: Sequence[Column], texts: Mapping[str, Sequence[str]], room: int) -> set[str]:
    """Return the keys of the columns that a screen has room for, at least one.

    Args:
        columns: of the table.
        texts: by key, what stands in a column's cells; a column without any figure comes last.
        room: characters in a line.
    """

    def place(column: Column) -> tuple[bool, int]:
        order = FIRST.index(column.key) if column.key in FIRST else len(FIRST) + ABOUTS.index(column.about)
        return set(texts[column.key]) == {"n/a"}, order

    found: set[str] = set()
    for column in sorted(columns, key=place):
        widest = max(map(len, (*texts[column.key], *(f"{word} ^" for word in column.title.split()))))
        room -= widest + 2
        if room < 0 and found:
            break
        found.add(column.key)
    return found


def further(key: str) -> Column:
    """Return the column of a figure that the report does not know, such as a user's own."""
    return Column(key, TITLES.get(key, key.replace("_", " ")), 0, ".4g")
