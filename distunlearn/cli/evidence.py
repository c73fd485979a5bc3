"""Commands on evidence: evaluate, probe, report."""

from pathlib import Path
from typing import Annotated

import typer


def add_to(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.command()(evaluate)
    app.command()(probe)
    app.command()(report)
    app.command()(join)


def evaluate(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    *,
    stage: Annotated[str | None, typer.Option(help="Stage whose model is used; the last if not given.")] = None,
    shards: Annotated[str | None, typer.Option(help="Other shards, such as those of a site that is new.")] = None,
) -> None:
    """Predict every scan of a study with a run's model, and print the error of each site."""
    from rich import print as show

    from distunlearn.evaluate.rerun import evaluate as predict_study
    from distunlearn.evaluate.rerun import last_stage
    from distunlearn.report.terminal import error_table

    folder = predict_study(run, stage or last_stage(run), shards)
    show(error_table(folder))
    print(f"Predictions: {folder}")


def probe(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    *,
    stage: Annotated[str | None, typer.Option(help="Only this stage; all of them if not given.")] = None,
    before: Annotated[
        Path | None, typer.Option(help="RUN/STAGE to compare with; the stage before in the same run if not given.")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Fewer probes and resamples: seconds instead of minutes.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of folds, resamples and permutations.")] = 0,
) -> None:
    """Try to tell the scanner from the frozen features of held-out scans, and say what came out."""
    from distunlearn.evaluate.probe import probe_run

    for name, sentence in probe_run(run, only=stage, before=before, quick=quick, seed=seed).items():
        print(f"{name}: {sentence}")


def report(
    runs: Annotated[list[Path], typer.Argument(help="Run folders; several are compared.")],
    *,
    out: Annotated[
        Path | None, typer.Option(help="HTML file to write; report.html in the first run if not given.")
    ] = None,
) -> None:
    """Write one self-contained HTML page of a run, or of several side by side, and print its table."""
    from distunlearn.report import print_table, write_report

    path = write_report(runs, out)
    print_table(runs)
    print(f"Report: {path}")


def join(
    run: Annotated[Path, typer.Argument(help="Folder of a federated run, in which every site's rank-N has been put.")],
) -> None:
    """Put together what the sites of a federated run predicted, each for itself; then probe and report as ever."""
    from distunlearn.evaluate.join import join as join_ranks
    from distunlearn.experiments.conclude import conclude

    join_ranks(run)
    conclude(run)
