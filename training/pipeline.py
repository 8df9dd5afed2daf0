"""From letters to a served model: train side by side, export each, promote the best by validation. No TensorFlow here.

Everything heavy runs in worker processes; this one only decides, and says what happens.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from client.console import counted, note
from client.errors import DigitsError
from serving.versions import latest_version
from training import folder, hosts, results, workers
from training.job import Job, Progress
from training.progress import Display
from training.promotion import promote
from training.results import Result


@dataclass
class Outcome:
    """What a training left: all trained seeds, the finished runs that stand for their models, published versions, what
    failed, and the exit code of an interruption."""

    trained: list[Result] = field(default_factory=list)
    finished: dict[Path, Result] = field(default_factory=dict)
    published: dict[str, Path] = field(default_factory=dict)
    failures: list[workers.Failed] = field(default_factory=list)
    interrupted: int = 0

    def interrupt(self, interruption: KeyboardInterrupt, message: str) -> None:
        """Take down that Ctrl-C, or a signal whose exit code comes with it, has asked for an end, and say so."""
        self.interrupted = interruption.args[0] if interruption.args else 130
        note(f"interrupted: {message}")


def train(
    jobs: list[Job], models: Path, parallel: int, ensemble: int = 0, runner: workers.Runner = workers.run
) -> Outcome:
    """Train all jobs, export what finished (interrupted, too) and promote the best when it is not worse.

    Of several seeds of a model the best by validation is exported; its row carries the accuracies of all. With
    `ensemble` the best few of all trainings are exported as one model too. `runner` runs the tasks.
    """
    outcome = Outcome()
    runs = {job.run_dir.name: job.run_dir for job in jobs}
    try:
        tasks = ((job.name, partial(_train_task, job), job.run_dir / "log.txt") for job in jobs)
        _run(runner, tasks, parallel, outcome)
        if ensemble and len(outcome.trained) > 1 and hosts.is_chief():
            _join(results.ranked(outcome.trained)[:ensemble], runs, jobs[0], runner, outcome)
    except KeyboardInterrupt as interruption:
        outcome.interrupt(
            interruption,
            f"{len(outcome.trained)} of {len(jobs)} finished, exporting what is there (again to stop). The same command"
            " goes on with the rest",
        )
    if hosts.is_chief():
        _choose_seeds(runs, outcome)
        rows = merge(results.gather(models).values(), outcome.finished.values())
        outcome.published = _exported(models, outcome.finished.values(), rows)
        _publish(models, rows, parallel, jobs[0].data, runner, outcome)
    else:
        note("trained with the other hosts; the first one exports")
    if not outcome.interrupted and not outcome.failures:
        for row in outcome.trained:
            folder.conclude(runs[row.run])  # else the same command takes it up again
    return outcome


def _join(members: list[Result], runs: dict[str, Path], job: Job, runner: workers.Runner, outcome: Outcome) -> None:
    """Make one more run of the best ones."""
    run_dirs = [runs[row.run] for row in members]
    run_dir = folder.new(run_dirs[0].parent, results.ENSEMBLE)
    runs[run_dir.name] = run_dir
    task = partial(_join_task, run_dirs, run_dir, job.data)
    _run(runner, [(results.ENSEMBLE, task, run_dir / "log.txt")], 1, outcome)


def _choose_seeds(runs: dict[str, Path], outcome: Outcome) -> None:
    """Let the best seed of each model stand for it."""
    for model in dict.fromkeys(row.model for row in outcome.trained):
        chosen = results.of_seeds([row for row in outcome.trained if row.model == model])
        results.write(chosen, runs[chosen.run])
        outcome.finished[runs[chosen.run]] = chosen


def _run(
    runner: workers.Runner, tasks: Iterable[tuple[str, workers.Task, Path]], parallel: int, outcome: Outcome
) -> None:
    with Display() as display:
        for message in runner(tasks, parallel):
            if isinstance(message, Progress):
                display.show(message)
            elif isinstance(message, workers.Done):
                result: Result = message.outcome
                outcome.trained.append(result)
                first, both = result.errors
                errors = f"{counted(first, 'error')} on the 5,000 test images, {both} on all 10,000"
                display.say(
                    f"{message.name}  done in {result.seconds:.0f} s, val accuracy {result.val_accuracy:.4f}, {errors}"
                )
            else:
                _note_failure(message, outcome)


def _train_task(job: Job, report: workers.Reporter) -> Result:
    from training.train import train

    return train(job, report)


def _join_task(members: list[Path], run_dir: Path, data: Path | None, _: workers.Reporter) -> Result:
    from training.ensemble import join

    return join(members, run_dir, data)


def export(run_dirs: list[Path], models: Path, parallel: int, data: Path | None = None) -> Outcome:
    """Export finished runs again, for example after a full disk, and promote as `train` does; of a model the best.

    Raises DigitsError when none is finished.
    """
    rows = _finished(run_dirs)
    best: dict[str, Path] = {}
    for row in results.ranked([*rows.values()]):
        best.setdefault(row.model, next(run_dir for run_dir, own in rows.items() if own is row))
    outcome = Outcome(finished={run_dir: rows[run_dir] for run_dir in best.values()})
    table = merge(results.gather(models).values(), outcome.finished.values())
    _publish(models, table, parallel, data, workers.run, outcome)
    return outcome


def _finished(run_dirs: list[Path]) -> dict[Path, Result]:
    """Read the results of the runs that are finished, and say which are not: a pattern takes in both."""
    rows, unfinished = {}, []
    for run_dir in run_dirs:
        try:
            rows[run_dir] = results.read(run_dir)
        except DigitsError as error:
            unfinished.append(error)
    if not rows:
        raise unfinished[0]
    for reason in unfinished:
        note(f"left out: {reason}")
    return rows


def _exported(models: Path, finished: Iterable[Result], rows: list[Result]) -> dict[str, Path]:
    """Find what this command exported before it was interrupted: newest versions of these runs, with this table."""
    latest = [(row, found[1]) for row in finished if (found := latest_version(models / row.model))]
    return {row.model: version for row, version in latest if results.holds(version, row.run, rows)}


def _publish(
    models: Path, rows: list[Result], parallel: int, data: Path | None, runner: workers.Runner, outcome: Outcome
) -> None:
    """Export after the last training, so that every version carries all rows of the table, and promote the best."""
    tasks = (
        (result.model, partial(_export_task, run_dir, rows, models, data), run_dir / "log.txt")
        for run_dir, result in outcome.finished.items()
        if result.model not in outcome.published
    )
    _export(tasks, parallel, runner, outcome)
    exported = [row for row in outcome.finished.values() if row.model in outcome.published]
    if exported:
        promote(models, exported, outcome.published)


def _export(
    tasks: Iterable[tuple[str, workers.Task, Path]], parallel: int, runner: workers.Runner, outcome: Outcome
) -> None:
    try:
        for message in runner(tasks, parallel):
            if isinstance(message, workers.Done):
                outcome.published[message.name] = message.outcome
                note(f"{message.name}  exported and checked: {message.outcome}")
            else:
                _note_failure(message, outcome)
    except KeyboardInterrupt as interruption:
        exported = f"{len(outcome.published)} of {len(outcome.finished)}"
        outcome.interrupt(interruption, f"{exported} exported. The same command exports the rest")


def _export_task(run_dir: Path, rows: list[Result], models: Path, data: Path | None, _: workers.Reporter) -> Path:
    from training.export import export

    try:
        return export(run_dir, rows, models, data)
    except OSError as error:  # a write that fails names no file, or the one that is copied
        error.filename = error.filename2 or error.filename or models
        raise


def _note_failure(failure: workers.Failed, outcome: Outcome) -> None:
    outcome.failures.append(failure)
    note(f"error: {failure.error}")


def merge(old: Iterable[Result], new: Iterable[Result]) -> list[Result]:
    """Replace the rows of models that were trained again; in the order of the table."""
    rows = {row.model: row for row in (*old, *new)}
    return sorted(rows.values(), key=lambda row: results.MODELS.index(row.model))
