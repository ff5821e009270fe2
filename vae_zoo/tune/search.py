"""One search: trials are proposed by Optuna, trained by an executor, and stopped early where others are ahead."""

import csv
import json
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from rich.console import Console

from vae_zoo import settings
from vae_zoo.curves import figures_of
from vae_zoo.errors import UserError, require
from vae_zoo.executors import Executor, Job
from vae_zoo.executors.pool import STAGES, Board, Pool, Row, last_words, refuse_others
from vae_zoo.runs import Run
from vae_zoo.tune.space import Parameter
from vae_zoo.writing import whole

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

STUDY = "study.log"  # in the search's folder, unless a database is given
PLAIN = r"\w+://[\w./-]*"  # an address of a database with neither password nor options


class Search:
    """Search for the values with which a model is best after some epochs, by a figure of the validation.

    A trial is a training in the folder ``OUT/trial_NNNN``; the test images are not measured. After `first_rung` epochs,
    `reduction` times as many, and so on, a trial goes on if its figure is among the best 1/`reduction` of those that
    have come as far (successive halving without waiting, Li et al. 2018). Proposals are those of a tree-structured
    Parzen estimator (Bergstra et al. 2011), whose draws follow from `seed` and the trial's number.

    Args:
        config: yaml of the model.
        space: what is searched for.
        figure: of the validation, without ``val/``.
        better: -1 where a low one is better, 1 where a high one is.
        trials: altogether, with those that are in the storage already.
        epochs: of a trial that is not stopped early.
        out: folder of the search.
        executor: that carries the trainings out.
        overrides: options of ``vae-zoo fit`` for all trials, each ``--section.key=value``.
        resolve: what ``vae-zoo fit`` makes of a yaml and options.
        seed: of the proposals; that of the trainings is in the yaml.
        first_rung: epochs before a trial may be stopped.
        reduction: 1 lets all trials come to their end.
        storage: URL of a database; None: a file in the folder.

    Raises:
        UserError: if an option is not understood at some end of the space, or the validation is the test.
        ModuleNotFoundError: if Optuna is not installed.
    """

    def __init__(
        self,
        config: Path,
        space: Sequence[Parameter],
        figure: str,
        better: int,
        trials: int,
        epochs: int,
        out: Path,
        executor: Executor,
        overrides: Sequence[str],
        *,
        resolve: Callable[[Path, list[str]], settings.Config],
        seed: int = 0,
        first_rung: int = 1,
        reduction: int = 3,
        storage: str | None = None,
    ) -> None:
        require(1, trials=trials, epochs=epochs, first_rung=first_rung, reduction=reduction)
        require(0, seed=seed)
        refuse_others(out, STUDY, "trial_*")
        self.config, self.space, self.figure, self.better = config, list(space), figure, better
        self.trials, self.epochs, self.out, self.executor, self.seed = trials, epochs, out, executor, seed
        self.first_rung, self.reduction, self.storage, self.resolve = first_rung, reduction, storage, resolve
        self.overrides = [*overrides, f"--trainer.max_epochs={epochs}"]
        self.console = Console(highlight=False, soft_wrap=True)
        self._refuse_options(overrides)
        self.distributions = {parameter.name: parameter.distribution for parameter in self.space}
        ends = max(len(parameter.ends) for parameter in self.space)
        for i in range(ends):  # what no training would understand is told before any begins
            values = {p.name: p.ends[min(i, len(p.ends) - 1)] for p in self.space}
            self.settings = resolve(config, self._options(values))
            if settings.arguments(self.settings, "data").get("val_on_test"):
                raise UserError("data.val_on_test: a search that chooses by the test images flatters what it finds")

    def _refuse_options(self, overrides: Sequence[str]) -> None:
        """Refuse options that would get two values, of which one would be used without a word."""
        typed = [option.partition("=")[0].removeprefix("--") for option in overrides]
        searched = [option for parameter in self.space for option in parameter.name.split()]
        for name in (*typed, *searched):
            if name == "trainer.max_epochs":
                raise UserError("trainer.max_epochs is --epochs in a search")
            if [*{*typed}, *searched].count(name) > 1:
                again = "given, too; leave out one of both" if name in typed else "named twice there"
                raise UserError(f"search: {name} is searched for and {again}")

    def run(self) -> "FrozenTrial":
        """Carry out what is not finished, show the progress, write best.yaml and trials.csv, and return the best trial.

        Raises:
            UserError: if another process is at work in the folder, the study there is of another search, or no trial
                has the figure.
            KeyboardInterrupt: that says how to go on, if Ctrl-C was pressed.
        """
        if not (self.storage or (self.out / STUDY).exists()):  # before anything is written there
            self._refuse_foreign()
        try:
            with Pool(self.executor, self.out, "tune") as pool:
                study = self._study()
                self._work(pool, study)
        except KeyboardInterrupt:
            raise KeyboardInterrupt("stopped; the same command goes on from the last epoch of each trial") from None
        return self._best(study)

    def _refuse_foreign(self) -> None:
        """Refuse to begin a search where one would write."""
        files = (self.out / "best.yaml", self.out / "trials.csv", self.folder(0))
        if found := next((path for path in files if path.exists() or path.is_symlink()), None):
            raise UserError(f"out: {found} is there, and is none of this search's; choose another --out")

    def _study(self) -> "Study":
        """The study in its storage, which must be of this search."""
        import optuna
        from optuna.storages.journal import JournalFileBackend

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        pruner = (
            optuna.pruners.SuccessiveHalvingPruner(self.first_rung, self.reduction, 0)
            if self.reduction > 1
            else optuna.pruners.NopPruner()
        )
        # A database has many searches, a file one, whose folder may be moved.
        name = str(self.out.resolve()) if self.storage else "vae_zoo"
        try:
            storage = self.storage or optuna.storages.JournalStorage(JournalFileBackend(str(self.out / STUDY)))
            study = optuna.create_study(
                storage=storage,
                pruner=pruner,
                study_name=name,
                direction="minimize" if self.better < 0 else "maximize",
                load_if_exists=True,
            )
        except Exception as error:  # which of many depends on what is wrong with the address, or the file
            address, said = self.storage or str(self.out / STUDY), " ".join(str(error).split())[:300]
            if self.storage and not re.fullmatch(PLAIN, address):
                address = "the address, which may hold a password and is not repeated,"
                said = said if isinstance(error, ImportError) else type(error).__name__
            raise UserError(f"storage: {address} cannot be used: {said}") from error
        if not study.trials:
            self._refuse_foreign()
        # Those at one end of the space: where the space is the same, the rest is, too.
        conditions = settings.conditions(self.settings, whole=True)
        asked = {
            "figure": self.figure,
            "epochs": self.epochs,
            "search": {parameter.name: dict(parameter.given) for parameter in self.space},
            "settings": json.loads(json.dumps(conditions, default=str)),
        }
        found = study.user_attrs.get("asked")
        for name, here, there in settings.differences(asked, found) if isinstance(found, dict) else ():
            raise UserError(f"{name} is {here!r} here, but {there!r} in the search in {self.out}; choose another --out")
        study.set_user_attr("asked", asked)
        return study

    def _work(self, pool: Pool, study: "Study") -> None:
        import optuna
        from optuna.trial import TrialState

        running: dict[Job, optuna.Trial] = {}
        ended: dict[int, str] = {t.number: t.state.name.lower() for t in study.trials if t.state.is_finished()}
        interrupted = [t for t in study.trials if t.state == TrialState.RUNNING]  # when the search was killed
        if study.trials:
            self.console.print(f"trials that ended before: {len(ended)}, asked for: {self.trials}")
        with Board(self.console, self.epochs) as board:
            while running or interrupted or len(study.trials) < self.trials:
                while pool.has_room and (interrupted or len(study.trials) < self.trials):
                    if interrupted:
                        trial = optuna.Trial(study, interrupted.pop(0)._trial_id)
                    else:
                        trial = self._ask(study)
                    running[job := self._job(trial)] = trial
                    pool.start(job)
                for job, status in pool.look():
                    trial = running.pop(job)
                    # What came since the last look counts as if it had been seen before the end.
                    if self._stops(trial, job):
                        ended[trial.number] = self._stopped(study, trial)
                    else:
                        ended[trial.number] = self._ended(study, trial, job, status)
                for job, trial in list(running.items()):
                    if self._stops(trial, job):
                        pool.cancel(job)
                        del running[job]
                        ended[trial.number] = self._stopped(study, trial)
                states = {
                    trial.number: STAGES.get(pool.command_of(job) or "", "waiting") for job, trial in running.items()
                }
                board.show([self._row(trial, states, ended) for trial in study.get_trials(deepcopy=False)], "")

    def _ask(self, study: "Study") -> Any:
        """A new trial, whose values follow from the seed, its number and what is known of the others."""
        import optuna

        seed = self.seed * 1_000_003 + len(study.trials)
        study.sampler = optuna.samplers.TPESampler(seed=seed % 2**32, constant_liar=True)
        return study.ask(self.distributions)

    def _options(self, values: dict[str, Any]) -> list[str]:
        return [*self.overrides, *(option for p in self.space for option in p.options(values[p.name]))]

    def folder(self, number: int) -> Path:
        """Return the run folder of a trial."""
        return self.out.absolute() / f"trial_{number:04d}"

    def _job(self, trial: Any) -> Job:
        folder = self.folder(trial.number)
        words = (f"--config={self.config}", *self._options(trial.params), f"--run_dir={folder}")
        fit = ("fit", *words, "--trainer.enable_progress_bar=false", "--ckpt_path=auto")
        return Job(folder, (fit,), self.epochs, Path.cwd())

    def _stops(self, trial: Any, job: Job) -> bool:
        """Tell the study of epochs that it does not know yet, and return whether the trial is to be stopped."""
        known = trial.study.get_trials(deepcopy=False)[trial.number].intermediate_values
        for epoch, value in self._values(Run(job.folder)).items():
            if epoch not in known and epoch < self.epochs:
                trial.report(value, epoch)
                if trial.should_prune():
                    return True
        return False

    def _values(self, run: Run) -> dict[int, float]:
        """The figure by epoch, as far as it is known.

        Raises:
            UserError: if the validation does not have it.
        """
        names = figures_of(run.metrics_file)
        if names and self.figure not in names:
            raise UserError(f"figure: the validation has no {self.figure!r}; it has {', '.join(sorted(names))}")
        curve = run.curve(self.figure) if names else []
        return {point.epoch: point.value for point in curve if math.isfinite(point.value)}

    def _stopped(self, study: "Study", trial: Any) -> str:
        """Tell the study, and the user, that a trial was stopped early."""
        from optuna.trial import TrialState

        study.tell(trial.number, state=TrialState.PRUNED)
        return self._say(study, trial.number, "stopped early")

    def _ended(self, study: "Study", trial: Any, job: Job, status: int | str) -> str:
        """Tell the study, and the user, what became of a trial; return it in a word."""
        from optuna.trial import TrialState

        run = Run(job.folder)
        if status == 2:  # it was not understood, and the others would not be, either
            raise UserError(last_words(run, status))
        if status == 0:
            if not figures_of(run.metrics_file):
                raise UserError(f"figure: there is no {self.figure}, since no images were left to validate on")
            if (value := self._values(run).get(self.epochs)) is not None:
                study.tell(trial.number, value)
                return self._say(study, trial.number, "finished")
        study.tell(trial.number, state=TrialState.FAIL)
        why = last_words(run, status) if status else f"the last validation has no finite {self.figure}"
        return self._say(study, trial.number, "failed", f", see {run.log_file}: {why}")

    def _say(self, study: "Study", number: int, state: str, more: str = "") -> str:
        self.console.print(f"trial {number}: {self._told(study.trials[number])}: {state}{more}")
        return state

    def _told(self, trial: "FrozenTrial") -> str:
        values = ", ".join(f"{name.split()[0].rpartition('.')[2]} {_short(v)}" for name, v in trial.params.items())
        found = trial.intermediate_values
        value = trial.value if trial.value is not None else found[max(found)] if found else None
        return values + ("" if value is None else f", {self.figure} {_short(value)}")

    def _row(self, trial: "FrozenTrial", states: dict[int, str], ended: dict[int, str]) -> Row:
        state = states.get(trial.number) or ended.get(trial.number) or "waiting"
        last = max(trial.intermediate_values, default=0)
        done = Run(self.folder(trial.number)).epoch if trial.number in states else last
        return Row(f"trial {trial.number}", state, done, self._told(trial))

    def _best(self, study: "Study") -> "FrozenTrial":
        """Write what was found, and return the best trial."""
        from optuna.trial import TrialState

        trials = study.trials
        with whole(self.out / "trials.csv") as path, open(path, "w", newline="") as file:
            table = csv.writer(file)
            table.writerow(["trial", "state", self.figure, "epochs", *(parameter.name for parameter in self.space)])
            for trial in trials:
                last = max(trial.intermediate_values, default=0)
                epochs = self.epochs if trial.state == TrialState.COMPLETE else last
                value = trial.value if trial.state == TrialState.COMPLETE else trial.intermediate_values.get(last)
                table.writerow(
                    [
                        trial.number,
                        trial.state.name.lower(),
                        value,
                        epochs,
                        *(trial.params.get(p.name) for p in self.space),
                    ]
                )
        if not any(trial.state == TrialState.COMPLETE for trial in trials):
            raise UserError(f"no trial came to its end; see the log.txt of the trials in {self.out}")
        best = study.best_trial
        with whole(self.out / "best.yaml") as path:
            path.write_text(
                f"# Trial {best.number} of a search among {len(trials)}, after {self.epochs} epochs: validation "
                f"{self.figure} {best.value:.6g} with {', '.join(f'{k} = {v}' for k, v in best.params.items())}.\n"
                f"# To train it: vae-zoo fit --config {self.out / 'best.yaml'}\n"
                + yaml.safe_dump(self.resolve(self.config, self._options(best.params)), sort_keys=False)
            )
        return best


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
