"""What a training logs and shows: metrics.csv, which a resumed run extends, TensorBoard, the bar, the modules."""

import csv
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from time import monotonic
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import RichModelSummary, RichProgressBar
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter
from lightning.pytorch.loggers.logger import rank_zero_experiment
from lightning.pytorch.profilers import PassThroughProfiler
from rich import get_console
from rich.table import Table

from vae_zoo.curves import read_rows
from vae_zoo.writing import whole


class KeepingWriter(ExperimentWriter):
    """Lightning's writer of metrics.csv, which replaces the file by a whole one where Lightning empties it first."""

    def keep(self, epochs: int, steps: int) -> None:
        """Keep the lines of the first epochs, and of the next one those of the first steps."""
        rows = []
        for row in read_rows(Path(self.metrics_file_path)):
            epoch, step = row.get("epoch", ""), row.get("step", "")
            known = epoch.isdecimal() and step.isdecimal()
            if known and (int(epoch) < epochs or (int(epoch) == epochs and int(step) < steps)):
                rows.append(row)
        self.metrics_keys = list(rows[0]) if rows else []
        self._replace(rows)

    def _check_log_dir_exists(self) -> None:
        """Leave what is there."""

    def _rewrite_with_new_header(self, fieldnames: list[str]) -> None:
        self._replace(read_rows(Path(self.metrics_file_path)))

    def _replace(self, rows: list[dict[str, str]]) -> None:
        path = Path(self.metrics_file_path)
        if not self.metrics_keys:
            path.unlink(missing_ok=True)
            return
        with whole(path) as temporary, open(temporary, "w", newline="") as file:
            writer = csv.DictWriter(file, self.metrics_keys)
            writer.writeheader()
            writer.writerows(rows)


class MetricsCSV(CSVLogger):
    """Lightning's CSV logger, but a resumed run extends its metrics.csv where Lightning deletes it.

    Args:
        folder: the run folder.
        epochs: how many epochs the resumed checkpoint has seen; lines of later ones were written before a cut.
        steps: how many steps it has seen, which may end inside the next epoch.
    """

    def __init__(self, folder: Path, epochs: int, steps: int) -> None:
        # A run that is killed leaves all that it has logged.
        super().__init__(folder.parent, "", folder.name, flush_logs_every_n_steps=1)
        self.epochs, self.steps = epochs, steps

    @property
    @rank_zero_experiment
    def experiment(self) -> ExperimentWriter:
        """The writer, with the lines that are there already."""
        if self._experiment is None:
            self._experiment = KeepingWriter(self.log_dir)
            self._experiment.keep(self.epochs, self.steps)
        return super().experiment


class TensorBoard(TensorBoardLogger):
    """Lightning's TensorBoard logger, which opens on the losses: in the order of tags capitals come first.

    What an epoch was at a step, metrics.csv tells.
    """

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log the numbers, and the losses once more, side by side."""
        first = {f"Loss/{part}": metrics[f"{part}/loss"] for part in ("train", "val") if f"{part}/loss" in metrics}
        try:
            super().log_metrics({name: value for name, value in metrics.items() if name != "epoch"} | first, step)
        except ValueError as error:  # by which Lightning replaces whatever the writer raises, such as a full disk's
            raise error.__cause__ or error from None


class ProgressBar(RichProgressBar):
    """Lightning's bar, updated ten times a second and at the end of an epoch rather than at each step."""

    def __init__(self) -> None:
        super().__init__(refresh_rate=10)
        self._told = 0.0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Tell the bar, if it is time."""
        if monotonic() - self._told > 0.1 or batch_idx + 1 == trainer.num_training_batches:
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
            self._told = monotonic()

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> Any:
        """Return what is logged, without Lightning's v_num, the last four letters of the folder's name."""
        return {name: value for name, value in super().get_metrics(trainer, pl_module).items() if name != "v_num"}


class Summary(RichModelSummary):
    """Lightning's table of the modules, without FLOPs: of a model without an example input it says that they are 0."""

    @staticmethod
    def summarize(
        summary_data: list[tuple[str, list[str]]],
        total_parameters: int,
        trainable_parameters: int,
        *sizes: Any,
        **more: Any,
    ) -> None:
        """Print the table and the numbers of parameters."""
        columns = {name.strip(): values for name, values in summary_data if name not in ("Mode", "FLOPs")}
        table = Table(*columns, header_style="bold magenta")
        for row in zip(*columns.values(), strict=True):
            table.add_row(*row)
        fixed = total_parameters - trainable_parameters
        get_console().print(table, f"{trainable_parameters:,} parameters are trained, {fixed:,} are not", sep="\n")


class NoProfiler(PassThroughProfiler):
    """Profile nothing, and quickly: at each step Lightning asks for eighty actions to be profiled."""

    def __init__(self) -> None:
        super().__init__()
        self._nothing = nullcontext()

    def profile(self, action_name: str) -> nullcontext[None]:  # type: ignore[override]
        """Return a context that does nothing."""
        return self._nothing
