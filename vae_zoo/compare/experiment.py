"""One comparison: which trainings it consists of, and having them carried out, each in a process of its own."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console

from vae_zoo import settings
from vae_zoo.compare.comparison import Comparison, parse_claims
from vae_zoo.compare.figures import refuse_differences
from vae_zoo.compare.forecast import Seen, left
from vae_zoo.errors import UserError, amount, require
from vae_zoo.executors import Executor, Job, Local
from vae_zoo.executors.pool import STAGES, Board, Pool, Row, last_words, refuse_others
from vae_zoo.runs import Run, find_runs
from vae_zoo.settings import nearest


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
        executor: that carries the trainings out; None: this machine, one at a time.
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
        executor: Executor | None = None,
        overrides: Sequence[str] = (),
        *,
        resolve: Callable[[Path, list[str]], settings.Config],
        base: str | None = None,
        claims: Any = None,
    ) -> None:
        require(1, epochs=epochs)
        refuse_others(out, "comparison.yaml", "*/seed_*", "*/*/seed_*")
        require(0, seeds=min(seeds))
        self.epochs, self.out, self.overrides = epochs, out, list(overrides)
        self.executor = executor or Local()
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
            UserError: if the command line of a run is not understood, another process is at work in the folder, the
                executor cannot be reached.
            KeyboardInterrupt: that says how to go on, if Ctrl-C was pressed.
        """
        waiting = [plan for plan in self.plans if not self._finished(plan)]
        self._tested: dict[tuple[Path, str | None], Run] = {}
        for plan in self.plans:
            if plan not in waiting:
                self._tested.setdefault((plan.config, plan.likelihood), plan.run)
        if len(waiting) < len(self.plans):
            self.console.print(f"{len(self.plans) - len(waiting)} of {len(self.plans)} runs are finished")
        try:
            with Pool(self.executor, self.out, "compare") as pool:
                self.comparison.write(self.out)
                return self._work(pool, waiting)
        except KeyboardInterrupt:
            raise KeyboardInterrupt("stopped; the same command goes on from the last epoch of each run") from None

    def _work(self, pool: Pool, waiting: list[Plan]) -> list[Plan]:
        failed: list[Plan] = []
        plans: dict[Job, Plan] = {}  # of what runs, or waits in the executor's queue
        done = {plan: plan.run.epoch for plan in self.plans}
        states = {plan: "waiting" if plan in waiting else "finished" for plan in self.plans}
        seen = {plan: Seen(plan.config.stem, done[plan]) for plan in waiting}
        at_a_time = self.executor.jobs or len(self.plans)
        with Board(self.console, self.epochs) as board:
            while waiting or plans:
                while waiting and pool.has_room:
                    plan = waiting.pop(0)
                    plans[job := self._job(plan)] = plan
                    pool.start(job)
                just_ended = []
                for job, status in pool.look():
                    plan = plans.pop(job)
                    just_ended.append(plan)
                    watched = seen[plan]
                    watched.ended = time.monotonic()
                    states[plan] = "failed" if status else "finished"
                    if status:
                        watched.trained = None  # what a failure took is no measure
                    failed += [plan] if status else []
                    self._ended(plan, status)
                for job, plan in plans.items():
                    watched, command = seen[plan], pool.command_of(job)
                    states[plan] = STAGES.get(command or "", "waiting")
                    if command and watched.began is None:
                        watched.began = time.monotonic()
                    if command == "test" and watched.trained is None:
                        watched.trained = time.monotonic()
                for plan in (*plans.values(), *just_ended):
                    watched = seen[plan]
                    if (epoch := plan.run.epoch) > done[plan]:
                        done[plan] = epoch
                        if watched.trained is None:  # a test tells of the last one once more
                            watched.rises.append((time.monotonic(), epoch))
                still = str(left([*seen.values()], self.epochs, at_a_time, time.monotonic()))
                rows = [Row(str(plan), states[plan], done[plan], _speed(seen.get(plan), self.epochs)) for plan in done]
                board.show(rows, still)
        return failed

    def _ended(self, plan: Plan, status: int | str) -> None:
        """Say what became of a run."""
        if status == 0:
            self.console.print(f"{plan}: {_summary(plan)}")
            self._refuse_tested(plan)
            return
        message = last_words(plan.run, status)
        if status == 2:  # it was not understood, and the other runs would not be, either
            if not plan.run.exists:
                plan.run.remove()
            raise UserError(message)
        self.console.print(f"{plan}: failed, see {plan.run.log_file}: {message}")

    def _job(self, plan: Plan) -> Job:
        """What a run needs: `vae-zoo fit`, then `vae-zoo test`."""
        folder = plan.folder.absolute()
        settings = (f"--config={plan.config}", *self._options(plan), f"--run_dir={folder}")
        fit = ("fit", *settings, "--trainer.enable_progress_bar=false", "--ckpt_path=auto")
        # With its yaml, since a config.yaml that is found is not trusted.
        test = ("test", *settings, f"--ckpt_path={Run(folder).checkpoint()}")
        return Job(folder, (fit, test), self.epochs, Path.cwd())

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

    def _finished(self, plan: Plan) -> bool:
        results = plan.run.results
        return results is not None and results["epochs"] == self.epochs

    def _refuse_differences(self) -> None:
        there: dict[Path, Run] = {}  # of the seeds of one model, which are compared when they are tested, one
        for run in find_runs(self.out):
            if run.exists:
                there.setdefault(run.folder.parent, run)
        resolved: dict[tuple[Path, str | None], settings.Config] = {}
        for plan in self.plans:
            others, own = [], plan.run
            if (like := (plan.config, plan.likelihood)) not in resolved:  # its other seeds are resolved alike
                resolved[like] = self.resolve(plan.config, self._shared_options(plan))
                others = [run for run in there.values() if run != own]
            config = resolved[like]
            for other in [*others, *([own] if own.exists else [])]:
                ours, theirs = (
                    settings.conditions(c, other is own, likelihood=other is own) for c in (config, other.config)
                )
                found = list(settings.differences(ours, theirs))
                if other is own and own.epoch > self.epochs:
                    found.append(("epochs", self.epochs, own.epoch))
                for name, here, was in found:
                    raise UserError(f"{name} is {here!r} here, but {was!r} in {other.folder}; choose another --out")
            if own.results_file.is_file() and not self._finished(plan) and not own.checkpoint().is_file():
                last = own.checkpoint().relative_to(own.folder)
                raise UserError(f"{own.folder} has no {last} to go on from; remove it to train it anew")
            first = self.plans[0]
            alike, both = plan.likelihood == first.likelihood, (config, resolved[first.config, first.likelihood])
            ours, theirs = (settings.conditions(each, likelihood=alike) for each in both)
            if found := list(settings.differences(ours, theirs)):
                a, b = plan.config.stem, first.config.stem
                said = "; ".join(f"{name} is {here!r} for {a}, but {was!r} for {b}" for name, here, was in found)
                options = " and ".join(f"--{name}.class_path" if name == "data" else f"--{name}" for name, *_ in found)
                raise UserError(f"{said}; a comparison has identical conditions: give {options} for all of them")

    def _refuse_tested(self, plan: Plan) -> None:
        """Refuse a tested run that was not made as the first of all, and the first of its model, were."""
        run = plan.run
        like = self._tested.setdefault((plan.config, plan.likelihood), run)
        refuse_differences([*dict.fromkeys([next(iter(self._tested.values())), like, run])])


def _argument(option: str) -> str | None:
    """The model's argument that an option is about; None for an option about something else."""
    section, name, *_ = [*option.removeprefix("--").partition("=")[0].split("."), None]
    return None if section != "model" or name in ("class_path", "init_args") else name


def _summary(plan: Plan) -> str:
    results = plan.run.tested
    mse = results["figures"].get("mse")
    said = "" if mse is None else f"test MSE {mse:.4f}, "
    seconds = results["timing"]["seconds_per_epoch"]
    return f"{said}{'' if seconds is None else f'{seconds:.1f} s per epoch, '}{amount(results['epochs'], 'epoch')}"


def _speed(seen: Seen | None, epochs: int) -> str:
    each = seen and seen.each(epochs)
    return f"{each:.1f} s / epoch" if each else ""
