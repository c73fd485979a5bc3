"""Commands on evidence: evaluate, probe, combat, report, join, compare, reproduce."""

from pathlib import Path
from typing import Annotated

import typer

COMPARED = "compared.html"
Quick = Annotated[bool, typer.Option("--quick", help="Fewer probes and resamples: seconds instead of minutes.")]


def add_to(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.command()(evaluate)
    app.command()(probe)
    app.command()(combat)
    app.command()(report)
    app.command()(join)
    app.command()(compare)
    app.command()(reproduce)


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
    quick: Quick = False,
    seed: Annotated[int, typer.Option(help="Of folds, resamples and permutations.")] = 0,
) -> None:
    """Try to tell the scanner from the frozen features of held-out scans, and say what came out."""
    from distunlearn.probing.probe import probe_run

    for name, sentence in probe_run(run, only=stage, before=before, quick=quick, seed=seed).items():
        print(f"{name}: {sentence}")


def combat(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    *,
    stage: Annotated[str | None, typer.Option(help="Stage whose features are used; the last if not given.")] = None,
    quick: Quick = False,
) -> None:
    """Harmonise a stage's features with ComBat, for comparison: its errors and its probe, into RUN/STAGE-combat."""
    from rich import print as show

    from distunlearn.evaluate.rerun import last_stage
    from distunlearn.evaluate.summary import summarise
    from distunlearn.probing.combat import harmonise_features
    from distunlearn.probing.probe import probe as probe_stage
    from distunlearn.report.terminal import error_table

    folder = harmonise_features(run / (stage or last_stage(run)))
    summarise(folder)
    show(error_table(folder))
    print(f"{folder.name}: {probe_stage(folder, quick=quick)['sentence']}")


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


def compare(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, at least two.")],
    *,
    out: Annotated[
        Path | None, typer.Option(help="HTML page to write; compared.html in the first run if not given.")
    ] = None,
) -> None:
    """Print runs side by side, draw them on one page, and say where MLflow compares them."""
    from distunlearn.report import print_table, write_report
    from distunlearn.tracking import compare_link

    print_table(runs)
    print(f"Page: {write_report(runs, out or runs[0] / COMPARED)}")
    print(f"MLflow: {compare_link(runs)}")


def reproduce(
    suite: Annotated[str, typer.Argument(help="table1, table2, leave-one-out or bar.")],
    out: Annotated[Path, typer.Option(help="Folder of the suite; one that was begun goes on.")],
    *,
    shards: Annotated[
        Path | None,
        typer.Option(help="Folder that `distunlearn shard` wrote; `{seed}` in it gives every seed a split of its own."),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file with network and stages of every row.")] = None,
    preset: Annotated[str | None, typer.Option(help="One that comes with the package: demo, authors, …")] = None,
    overrides: Annotated[list[str] | None, typer.Option("--set", help="key.inner=value; may be given again.")] = None,
    sites: Annotated[
        str | None,
        typer.Option(help="Comma-separated, in the places of the paper's Biobank, OASIS, Whitehall [default: those]."),
    ] = None,
    border: Annotated[float, typer.Option(help="Table 2: age above which the second site's training scans lie.")] = 60,
    overlaps: Annotated[
        str, typer.Option(help="Table 2: widths of the overlap in years, comma-separated.")
    ] = "5,10,15",
    seeds: Annotated[int, typer.Option(min=1, help="How often each row is trained.")] = 3,
    rows: Annotated[
        str | None, typer.Option(help="Ids of the rows to train, comma-separated; `*` stands for anything.")
    ] = None,
    groups: Annotated[int, typer.Option(min=1, help="Bar: groups of sites, each left out once.")] = 5,
    repeats: Annotated[int, typer.Option(min=1, help="Bar: seeds of the trainings without a group.")] = 1,
    splits: Annotated[
        int | None, typer.Option(min=1, help="Bar: splits that the seeds share in turn [default: one a seed].")
    ] = None,
    nproc: Annotated[int | None, typer.Option(min=1, help="Processes of each training.")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Trainings at a time; they take the machine's GPUs in turn.")] = 1,
    full: Annotated[bool, typer.Option("--full", help="All probes instead of the quick ones.")] = False,
    table_only: Annotated[
        bool, typer.Option("--table-only", help="Train nothing; write the table of what is there.")
    ] = False,
    write_only: Annotated[
        bool, typer.Option("--write-only", help="Train nothing; write each training's configuration, for a job array.")
    ] = False,
) -> None:
    """Run a table of the paper, row by row; what is done is not run again. The table is rebuilt from files alone."""
    from distunlearn.experiments import reproduce as suites
    from distunlearn.experiments import table

    if not table_only:
        from distunlearn.config import load
        from distunlearn.experiments.choose import choose
        from distunlearn.experiments.crew import Processes

        given = [] if shards is None else [f"shards={shards}"]
        base = load(config, preset=preset, overrides=(*given, *(overrides or ())))
        arena = {
            "border": border,
            "overlaps": overlaps.split(","),
            "groups": groups,
            "repeats": repeats,
            "splits": splits,
        }
        chosen = choose(suite, base, sites=sites, arena=arena, seeds=seeds)
        only = None if rows is None else chosen.named(rows)
        if write_only:
            print(f"{len(suites.write_configurations(chosen, base, out, only))} configurations written into {out}")
            return
        suites.reproduce(chosen, base, out, only=only, processes=Processes(jobs, nproc), full=full)
    found = table.read(out)
    page = table.write(found)
    table.show(found)
    print(f"Page: {page}")
    if not table_only and base.tracking.enabled and (lacking := suites.mirror_table(table.files(found), out)):
        print(lacking)
