"""Commands on a trained model: predict, embed, audit, export."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from distunlearn.evaluate.model import Model
    from distunlearn.inference.apply import Bad, Effort, Result, Tally

Stage = Annotated[str | None, typer.Option(help="Stage of the run [default: its last].")]
Suffix = Annotated[str, typer.Option(help="BIDS suffix of the images.")]
Batch = Annotated[int, typer.Option(min=1, help="Scans that go through the network together.")]
Workers = Annotated[int, typer.Option(min=0, help="Processes that prepare scans; 0 is one a core.")]
Orientation = Annotated[
    str,
    typer.Option(
        help="Which affine to follow when a header's two disagree: agree (refuse), sform, qform; or the axes of files that state none, e.g. LAS."
    ),
]


def add_to(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.command()(predict)
    app.command()(embed)
    app.command()(audit)
    app.command()(export)


def predict(
    scans: Annotated[
        list[Path],
        typer.Argument(help="NIfTI files, folders of them, BIDS folders; site and age of the scans are not needed."),
    ],
    *,
    run: Annotated[Path, typer.Option(help="Run folder of the model, or a folder that `export` wrote.")],
    stage: Stage = None,
    out: Annotated[Path | None, typer.Option(help="TSV to write [default: standard output].")] = None,
    suffix: Suffix = "T1w",
    batch: Batch = 16,
    workers: Workers = 0,
    orientation_from: Orientation = "agree",
) -> None:
    """Predict from new scans, prepared exactly as the model's training scans were.

    Exit status 1 when a scan was refused: it is in the table with its rule, and the others are predicted.
    """
    from distunlearn.inference.apply import predictions, remarks
    from distunlearn.inference.tsv import write_rows

    model, tally, results = _apply(run, stage, scans, suffix, _effort(batch, workers, orientation_from))
    for remark in remarks(model.card):
        _say(f"note: {remark}")
    write_rows(out, predictions(model, results))
    _finish(tally)


def embed(
    paths: Annotated[
        list[Path],
        typer.Argument(help="Run folder, then scans (as for predict) unless --shards, then the TSV to write."),
    ],
    *,
    shards: Annotated[Path | None, typer.Option(help="Shards instead of scans; labels come along.")] = None,
    stage: Stage = None,
    suffix: Suffix = "T1w",
    batch: Batch = 16,
    workers: Workers = 0,
    orientation_from: Orientation = "agree",
) -> None:
    """Write the features of scans as a table for statistics: `distunlearn embed RUN SCANS OUT.tsv`."""
    from distunlearn.errors import UserError
    from distunlearn.evaluate.model import load_model
    from distunlearn.evaluate.rerun import model_folder
    from distunlearn.inference.embed import of_scans, of_shards
    from distunlearn.inference.tsv import write_rows

    if len(paths) < 2 or (len(paths) == 2) != (shards is not None) or paths[-1].suffix != ".tsv":
        raise UserError(
            "embed: write `distunlearn embed RUN SCANS OUT.tsv` or `distunlearn embed RUN --shards S OUT.tsv`"
        )
    run, *scans, out = paths
    if shards is not None:
        write_rows(out, of_shards(load_model(model_folder(run, stage)), shards))
        return
    model, tally, results = _apply(run, stage, scans, suffix, _effort(batch, workers, orientation_from))
    write_rows(out, of_scans(model, results))
    _finish(tally)


def audit(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    *,
    stage: Stage = None,
    seed: Annotated[int, typer.Option(help="Of the resamples.")] = 0,
) -> None:
    """Try to tell from the model's errors who was trained on, site by site, and write RUN/STAGE/audit.json."""
    from distunlearn.evaluate.rerun import last_stage
    from distunlearn.inference.membership import audit as attack

    found = attack(run / (stage or last_stage(run)), seed=seed)
    print("Who was trained on, told by the loss: area under the ROC curve (0.5 tells nothing, 1 everything)")
    for site, cell in {**found["sites"], "all sites": found["all"]}.items():
        if "suppressed" in cell:
            print(f"{site}: not shown, {cell['suppressed']}")
        else:
            interval = f"{cell['auc']:.2f} (95% {cell['low']:.2f} to {cell['high']:.2f})"
            print(f"{site}: {interval}, {cell['members']} people trained on, {cell['held_out']} held out")
    print(found["statement"])


def export(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    out: Annotated[Path, typer.Argument(help="Folder to write.")],
    *,
    stage: Stage = None,
    formats: Annotated[
        list[str] | None,
        typer.Option("--format", help="torch, onnx, mlflow: also write model.pt2, model.onnx, an MLflow model."),
    ] = None,
) -> None:
    """Write a model to hand over: safetensors weights, configuration, model card, and further formats."""
    from distunlearn.errors import UserError
    from distunlearn.evaluate.rerun import last_stage
    from distunlearn.inference.export import GRAPHS, write_graph, write_mlflow
    from distunlearn.inference.export import export as hand_over

    asked = dict.fromkeys(formats or [])
    if unknown := [kind for kind in asked if kind not in {*GRAPHS, "mlflow"}]:
        raise UserError(f"--format {unknown[0]}: give torch, onnx or mlflow")
    model = hand_over(run, stage or last_stage(run), out)
    print(f"{out}: weights, configuration and model card")
    for kind in asked:
        print(write_mlflow(model, out) if kind == "mlflow" else write_graph(kind, run, model, out))


def _apply(
    run: Path, stage: str | None, scans: list[Path], suffix: str, effort: "Effort"
) -> "tuple[Model, Tally, Iterator[Result | Bad]]":
    from distunlearn.evaluate.rerun import model_folder
    from distunlearn.inference.apply import Tally, apply_model, load_for_scans
    from distunlearn.prepare.sources.unlabelled import find_unlabelled
    from distunlearn.progress import progress

    model = load_for_scans(model_folder(run, stage))
    found = find_unlabelled(scans, suffix=suffix)
    tally = Tally(_say)

    def results() -> "Iterator[Result | Bad]":
        with progress("Scans", len(found), "scans") as advance:
            for result in tally.count(apply_model(model, found, effort)):
                advance()
                yield result

    return model, tally, results()


def _effort(batch: int, workers: int, orientation_from: str) -> "Effort":
    from distunlearn.errors import UserError
    from distunlearn.inference.apply import Effort
    from distunlearn.prepare.config import known_orientation

    try:
        return Effort(batch, workers, known_orientation(orientation_from))
    except ValueError as error:
        raise UserError(f"--orientation-from {orientation_from}: {error}") from None


def _finish(tally: "Tally") -> None:
    _say(tally.sentence)
    if tally.bad:
        raise typer.Exit(1)


def _say(line: str) -> None:
    typer.echo(line, err=True)
