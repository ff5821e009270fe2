"""The figures that a report knows: what they are called, which side is better, what they can be ranked by."""

from typing import NamedTuple


class Column(NamedTuple):
    """One figure: its key, its name and unit for people, whether lower or higher is better (-1, 1; 0 neither)."""

    key: str
    title: str
    better: int
    format: str


BASE = "{base}"  # stands in a title for the model that the others are compared with

COLUMNS = [
    Column("mse", "MSE", -1, ".5f"),
    Column("mse_sampled", "MSE of a draw", -1, ".5f"),
    Column("mse_of_mean_image", "MSE of the mean image", 0, ".5f"),
    Column("explained_variance", "explained variance", 1, ".3f"),
    Column("psnr", "PSNR, dB", 1, ".2f"),
    Column("ssim", "SSIM", 1, ".3f"),
    Column("code_mmd", "code MMD", -1, ".4f"),
    Column("elbo", "ELBO, nats", 1, ".1f"),
    Column("nll", "NLL, nats", -1, ".1f"),
    Column("bits_per_dim", "bits/dim", -1, ".3f"),
    Column("kl", "KL, nats", 0, ".1f"),
    Column("kl_share", "KL's share, %", 0, ".1f"),
    Column("active_units", "active units", 0, ".0f"),
    Column("fid", "FID", -1, ".1f"),
    Column("kid", "KID", -1, ".4f"),
    Column("parameters", "parameters", 0, ",.0f"),
    Column("seconds_per_epoch", "s / epoch", -1, ".2f"),
    Column("relative_time", f"time, {BASE} = 1", -1, ".2f"),
    Column("images_per_second", "images / s", 1, ".0f"),
    Column("peak_memory_mb", "peak memory, MB", -1, ".0f"),
    Column("time_to_base", f"s to the final MSE of {BASE}", -1, ".1f"),
]
KNOWN = {column.key: column for column in COLUMNS}

COST = ("seconds_per_epoch", "relative_time", "images_per_second", "peak_memory_mb")
MACHINE = (*COST, "time_to_base")  # only comparable on one machine
ESTIMATED = ("nll", "bits_per_dim")  # from below, the better the more importance samples
DENSITIES = ("elbo", "nll", "bits_per_dim")  # of images given the label they are other ones than of images


def further(key: str) -> Column:
    """Return the column of a figure that the report does not know, such as a user's own."""
    return Column(key, key.replace("_", " "), 0, ".4g")
