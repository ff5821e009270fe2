"""One comparison: which trainings it consists of, and carrying them out, each in a process of its own."""

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock, Timeout
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from vae_zoo import settings
from vae_zoo.compare.comparison import Comparison, parse_claims
from vae_zoo.compare.figures import refuse_differences
from vae_zoo.compare.forecast import Seen, left
from vae_zoo.errors import UserError, require
from vae_zoo.runs import Run, find_runs
from vae_zoo.settings import nearest

POLL = 0.2  # seconds between two looks at the processes
REPORT = 60.0  # seconds between two lines on the progress, where there is no terminal to draw a bar in


class Plan(NamedTuple):
    """One training: a configuration with one likelihood and one seed."""

    config: Path
    likelihood: str | None
    seed: int
    folder: Path

    @property
    def run(self) -> Run:
        """Its run folder, as it is now."""
        return Run(self.folder)

    def __str__(self) -> str:
        return ", ".join(part for part in (self.config.stem, self.likelihood, f"seed {self.seed}") if part)


class Experiment:
    """Train each configuration with each likelihood and each seed, in the folder ``OUT/LIKELIHOOD/CONFIG/seed_SEED``.

    What is finished there is left alone, what was cut off goes on from its last epoch, to the same numbers as if it
    had not been cut off; trainings with fewer epochs than asked for go on, too.

    Args:
        configs: yamls of models; each run is named after its yaml.
        likelihoods: names of likelihoods, each of them a setting of the comparison; a model without any is trained
            once; an empty list keeps the ones in the yamls.
        seeds: of weights, noise and data order.
        epochs: to train for.
        out: folder of the comparison.
        jobs: trainings at a time, which share the cores.
        overrides: further options of ``vae-zoo fit`` for all runs, each ``--section.key=value``.
        resolve: what ``vae-zoo fit`` makes of a yaml and options: all settings, as its config.yaml has them.
        base: name of the configuration that the others are compared with; None: what the folder says, or the first.
        claims: what the report is to test, see `vae_zoo.compare.comparison`; None: what the folder says, or nothing.

    Raises:
        UserError: if the conditions are not identical, among the yamls or with what is in the folder, or a claim is
            none.
    """

    def __init__(
        self,
        configs: Sequence[Path],
        likelihoods: Sequence[str],
        seeds: Sequence[int],
        epochs: int,
        out: Path,
        jobs: int = 1,
        overrides: Sequence[str] = (),
        *,
        resolve: Callable[[Path, list[str]], settings.Config],
        base: str | None = None,
        claims: Any = None,
    ) -> None:
        require(1, epochs=epochs, jobs=jobs)
        if out.exists() and not out.is_dir():
            raise UserError(f"out: {out} is a file, no folder")
        require(0, seeds=min(seeds))
        self.epochs, self.out, self.jobs, self.overrides = epochs, out, jobs, list(overrides)
        self.console = Console(highlight=False, soft_wrap=True)
        names = [config.stem for config in configs]
        for what, values in (("configs", names), ("seeds", seeds), ("likelihoods", likelihoods)):
            for value in values:
                if list(values).count(value) > 1:
                    raise UserError(f"{what}: names must be unique; {value} appears twice")
        self.comparison = self._describe(names, base, claims)
        self.resolve = resolve
        self.given = {config: resolve(config, []) for config in configs}
        self._refuse_overrides(likelihoods)
        self.plans: list[Plan] = []
        for seed in seeds:  # so that what is finished first can already be compared
            for config in configs:
                for likelihood in likelihoods if self._takes(config, "likelihood") and likelihoods else [None]:
                    folder = out / (likelihood or "") / config.stem / f"seed_{seed}"
                    if not folder.resolve().is_relative_to(out.resolve()):
                        raise UserError(
                            f"out: a run {Path(likelihood or '', config.stem)} would leave the folder {out}"
                        )
                    self.plans.append(Plan(config, likelihood, seed, folder))
        self._refuse_differences()

    def run(self) -> list[Plan]:
        """Train and test what is not finished, show the progress, and return the plans that failed.

        Raises:
            UserError: if the command line of a run is not understood, another process is at work in the folder, or
                Ctrl-C was pressed.
        """
        self.out.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.out / ".lock")
        try:
            lock.acquire(timeout=5)  # the trainings of a killed comparison end within moments
        except Timeout:
            raise UserError(f"another vae-zoo compare is at work in {self.out}; wait for it, or stop it") from None
        try:
            self.comparison.write(self.out)
            return self._work()
        except KeyboardInterrupt:
            raise UserError("stopped; the same command goes on from the last epoch of each run") from None
        finally:
            lock.release()

    def _work(self) -> list[Plan]:
        waiting = [plan for plan in self.plans if not self._finished(plan)]
        if len(waiting) < len(self.plans):
            self.console.print(f"{len(self.plans) - len(waiting)} of {len(self.plans)} runs are finished")
        failed: list[Plan] = []
        running: dict[Plan, tuple[subprocess.Popen, Iterator[list[str]]]] = {}
        columns = (
            TextColumn("epochs"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.description}"),
        )
        said = time.monotonic()
        done = {plan: plan.run.epoch for plan in self.plans}
        seen = {plan: Seen(plan.config.stem, done[plan]) for plan in waiting}
        try:
            with Progress(*columns, console=self.console, disable=not self.console.is_terminal) as progress:
                task = progress.add_task("", total=self.epochs * len(self.plans))
                while waiting or running:
                    while waiting and len(running) < self.jobs:
                        plan = waiting.pop(0)
                        commands = self._commands(plan)
                        running[plan] = self._start(plan, next(commands)), commands
                        seen[plan].began = time.monotonic()
                    time.sleep(POLL)
                    for plan, (process, commands) in list(running.items()):
                        if process.poll() is None:
                            continue
                        if process.returncode == 0 and (command := next(commands, None)):
                            running[plan] = self._start(plan, command), commands
                            seen[plan].trained = time.monotonic()
                            continue
                        del running[plan]
                        seen[plan].ended = time.monotonic()
                        if process.returncode:
                            seen[plan].trained = None  # what a failure took is no measure
                        failed += [plan] if process.returncode else []
                        self._ended(plan, process.returncode)
                    for plan, watched in seen.items():
                        if (epoch := plan.run.epoch) > done[plan]:
                            done[plan] = epoch
                            if watched.trained is None:  # a test tells of the last one once more
                                watched.rises.append((time.monotonic(), epoch))
                    still = str(left([*seen.values()], self.epochs, self.jobs, time.monotonic()))
                    progress.update(task, completed=sum(done.values()), description=still)
                    if not self.console.is_terminal and time.monotonic() - said > REPORT:
                        said = time.monotonic()
                        counted = f"epochs {sum(done.values())}/{self.epochs * len(self.plans)}"
                        self.console.print(", ".join(filter(None, (counted, still))))
        finally:
            for process, _ in running.values():
                process.kill()
            for process, _ in running.values():
                process.wait()
        return failed

    def _ended(self, plan: Plan, status: int) -> None:
        """Say what became of a run."""
        if status == 0:
            self.console.print(f"{plan}: {_summary(plan)}")
            refuse_differences([p.run for p in self.plans if self._finished(p)])
            return
        message = _last_line(plan)
        if status == 2:  # it was not understood, and the other runs would not be, either
            if not plan.run.exists:
                plan.run.remove()
            raise UserError(message)
        self.console.print(f"{plan}: failed, see {plan.run.log_file}: {message}")

    def _commands(self, plan: Plan) -> Iterator[list[str]]:
        """Yield one after the other what a run needs: `vae-zoo fit`, then `vae-zoo test`."""
        settings = [f"--config={plan.config}", *self._options(plan), f"--run_dir={plan.folder}"]
        yield ["fit", *settings, "--trainer.enable_progress_bar=false", "--ckpt_path=auto"]
        # With its yaml, since a config.yaml that is found is not trusted.
        yield ["test", *settings, f"--ckpt_path={plan.run.checkpoint()}"]

    def _options(self, plan: Plan) -> list[str]:
        own = [f"--seed_everything={plan.seed}", f"--trainer.max_epochs={self.epochs}"]
        return [*self._shared_options(plan), *own]

    def _shared_options(self, plan: Plan) -> list[str]:
        """The options that all seeds have alike."""
        likelihood = [f"--model.likelihood={plan.likelihood}"] if plan.likelihood else []
        return likelihood + [option for option in self.overrides if self._takes(plan.config, _argument(option))]

    def _takes(self, config: Path, argument: str | None) -> bool:
        """Whether a model takes an argument."""
        return argument is None or argument in settings.arguments(self.given[config], "model")

    def _describe(self, names: Sequence[str], base: str | None, claims: Any) -> Comparison:
        """The comparison, with the configurations that are in the folder already behind these."""
        there = Comparison.read(self.out)
        configs = (*names, *(name for name in there.configs if name not in names))
        if base and base not in configs:
            raise UserError(f"base: there is no config {base!r} in this comparison{nearest(base, configs)}")
        tested = there.claims if claims is None else parse_claims(claims, configs)
        return Comparison(configs, base or there.base or names[0], tested)

    def _refuse_overrides(self, likelihoods: Sequence[str]) -> None:
        for option in self.overrides:
            name, argument = option.partition("=")[0], _argument(option)
            if name == "--trainer.max_epochs" or (name == "--model.likelihood" and likelihoods):
                instead = "--epochs" if name.endswith("epochs") else "--likelihoods"
                raise UserError(f"{name} is {instead} in a comparison")
            without = [config.stem for config in self.given if not self._takes(config, argument)]
            if len(without) == len(self.given):
                raise UserError(f"{name}: none of {', '.join(without)} has the argument {argument!r}")
            if without:
                have = "has" if len(without) == 1 else "have"
                self.console.print(f"{name} is not given to {', '.join(without)}, which {have} no such argument")

    def _start(self, plan: Plan, command: list[str]) -> subprocess.Popen:
        plan.folder.mkdir(parents=True, exist_ok=True)
        environment = dict(os.environ)
        if self.jobs > 1:
            environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // self.jobs)))
        if plan.run.log_file.is_symlink():
            raise UserError(f"{plan.run.log_file} is a link, and nothing is written to where it leads; remove it")
        with open(plan.run.log_file, "a") as log:
            print("$ vae-zoo", shlex.join(command), file=log, flush=True)
            return subprocess.Popen(
                [sys.executable, "-P", "-m", "vae_zoo.compare.child", *command],  # -P: no modules from this folder
                stdin=subprocess.PIPE,  # whose end tells the child that this process is gone
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,  # Ctrl-C is for this process, which then ends the others
            )

    def _finished(self, plan: Plan) -> bool:
        results = plan.run.results
        return results is not None and results["epochs"] == self.epochs

    def _refuse_differences(self) -> None:
        others = [run for run in find_runs(self.out) if run.exists]
        resolved: dict[tuple[Path, str | None], settings.Config] = {}
        for plan in self.plans:
            if (like := (plan.config, plan.likelihood)) not in resolved:  # its other seeds are resolved alike
                resolved[like] = self.resolve(plan.config, self._shared_options(plan))
            config = resolved[like]
            there = plan.run
            for other in others:
                own = other.folder == plan.folder
                ours, theirs = (settings.conditions(each, own, likelihood=own) for each in (config, other.config))
                found = list(settings.differences(ours, theirs))
                if own and other.epoch > self.epochs:
                    found.append(("epochs", self.epochs, other.epoch))
                for name, here, was in found:
                    raise UserError(f"{name} is {here!r} here, but {was!r} in {other.folder}; choose another --out")
            if there.results_file.is_file() and not self._finished(plan) and not there.checkpoint().is_file():
                last = there.checkpoint().relative_to(there.folder)
                raise UserError(f"{there.folder} has no {last} to go on from; remove it to train it anew")
            first = self.plans[0]
            alike, both = plan.likelihood == first.likelihood, (config, resolved[first.config, first.likelihood])
            ours, theirs = (settings.conditions(each, likelihood=alike) for each in both)
            for name, here, was in settings.differences(ours, theirs):
                raise UserError(
                    f"{name} is {here!r} for {plan.config.stem}, but {was!r} for {first.config.stem}; a "
                    f"comparison has identical conditions: give --{name} for all of them"
                )


def _argument(option: str) -> str | None:
    """The model's argument that an option is about; None for an option about something else."""
    section, name, *_ = [*option.removeprefix("--").partition("=")[0].split("."), None]
    return None if section != "model" or name in ("class_path", "init_args") else name


def _summary(plan: Plan) -> str:
    results = plan.run.tested
    mse = results["figures"].get("mse")
    said = "" if mse is None else f"test MSE {mse:.4f}, "
    seconds = results["timing"]["seconds_per_epoch"]
    return f"{said}{'' if seconds is None else f'{seconds:.1f} s per epoch, '}{results['epochs']} epochs"


def _last_line(plan: Plan) -> str:
    lines = plan.run.log_file.read_text(errors="replace").split("$ vae-zoo ")[-1].strip().splitlines()[1:]
    return lines[-1] if lines else "it said nothing"
