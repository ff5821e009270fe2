"""metrics.csv, which a resumed run extends."""

from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter
from lightning.pytorch.loggers.logger import rank_zero_experiment

from vae_zoo.runs import Run


class MetricsCSV(CSVLogger):
    """Lightning's CSV logger, but a resumed run extends its metrics.csv where Lightning deletes it.

    Args:
        folder: the run folder.
        epochs: how many epochs the resumed checkpoint has seen; lines of later ones were written before a cut.
    """

    def __init__(self, folder: Path, epochs: int) -> None:
        # A run that is killed leaves all that it has logged.
        super().__init__(folder.parent, "", folder.name, flush_logs_every_n_steps=1)
        self.epochs = epochs

    @property
    @rank_zero_experiment
    def experiment(self) -> ExperimentWriter:
        """The writer, with the lines that are there already."""
        if self._experiment is None:
            rows: list[dict[str, Any]] = []
            for row in Run(Path(self.log_dir)).rows():
                whole = None not in row and None not in row.values()  # a killed training may leave a part of a line
                if whole and row["epoch"].isdigit() and int(row["epoch"]) < self.epochs:
                    rows.append(row)
            self._experiment = ExperimentWriter(self.log_dir)  # deletes the file
            self._experiment.metrics = rows
            self._experiment.save()
        return super().experiment
