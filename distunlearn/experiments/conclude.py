"""What follows training: figures from the files that it left, probes, the report, and their mirror in MLflow."""

from pathlib import Path

from rich import print as show

from distunlearn.errors import UserError
from distunlearn.evaluate.rerun import picture
from distunlearn.evaluate.summary import summarise
from distunlearn.probing.probe import probe_run
from distunlearn.report import figures, print_table, write_report
from distunlearn.run_folder import stages_done
from distunlearn.tracking import Tracker


def conclude(run: Path, *, quick: bool = True) -> None:
    """Summarise and probe every stage, write the report, and say where everything is.

    Args:
        run: a run folder with at least one stage evaluated.
        quick: fewer probes and resamples; `distunlearn probe RUN` takes all of them.
    """
    for stage in stages_done(run):
        summarise(stage)
        _picture(run, stage.name)
    probe_run(run, quick=quick)
    report = write_report([run])
    tracker = Tracker.reopen(run)
    for name, figure in figures(run).items():
        tracker.figure(name, figure)
    tracker.artifact(report)
    tracker.close("FINISHED")
    print_table([run])
    show(f"Report: {report}\nMLflow: {tracker.link()}")


def _picture(run: Path, stage: str) -> None:
    """A report is worth having without pictures too."""
    try:
        picture(run, stage)
    except UserError as error:
        show(f"{stage}: no pictures of the scans: {error}")
