"""What follows training: figures from the files that it left, probes, the report, and their mirror in MLflow."""

import sys
from pathlib import Path

from distunlearn.evaluate.probe import probe
from distunlearn.evaluate.summary import summarise
from distunlearn.report import figures, print_table, write_report
from distunlearn.run_folder import PROBE, REPORT, SUMMARY, stages_done
from distunlearn.tracking import Tracker


def conclude(run: Path, *, quick: bool = True) -> None:
    """Summarise and probe every stage that has not been, write the report, and say where everything is.

    Args:
        run: a run folder with at least one stage evaluated.
        quick: fewer probes and resamples; `distunlearn probe RUN` takes all of them.
    """
    stages = stages_done(run)
    for index, stage in enumerate(stages):
        if not (stage / SUMMARY).is_file():
            summarise(stage)
        if not (stage / PROBE).is_file():
            probe(stage, before=stages[index - 1] if index else None, quick=quick)
    report = write_report([run], out=run / REPORT)
    tracker = Tracker.reopen(run)
    for name, figure in figures(run).items():
        tracker.figure(name, figure)
    tracker.artifact(report)
    tracker.close("FINISHED")
    print_table([run])
    print(f"report: {report}", f"MLflow: {tracker.link()}", sep="\n", file=sys.stderr)  # noqa: T201
