"""Commands on a trained model: predict."""

from pathlib import Path
from typing import Annotated

import typer


def add_to(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.command()(predict)


def predict(
    scans: Annotated[
        list[Path], typer.Argument(help="NIfTI files (.nii, .nii.gz); their site and age are not needed.")
    ],
    run: Annotated[Path, typer.Option(help="Run folder of the model.")],
    stage: Annotated[str | None, typer.Option(help="Stage of the run [default: its last].")] = None,
    out: Annotated[Path | None, typer.Option(help="Also write a TSV of scan and prediction.")] = None,
) -> None:
    """Predict from new scans, prepared exactly as the model's training scans were."""
    from distunlearn.evaluate.apply import apply_model, write_table
    from distunlearn.evaluate.rerun import last_stage
    from distunlearn.run_folder import MODEL

    results = apply_model(run / (stage or last_stage(run)) / MODEL, scans)
    for result in results:
        print(
            "\t".join((
                str(result.scan),
                *(f"{name} {value:.1f}" for name, value in result.prediction.items()),
                *result.warnings,
            ))
        )
    if out is not None:
        write_table(out, results)
