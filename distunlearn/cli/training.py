"""Commands that train: train."""

from pathlib import Path
from typing import Annotated

import typer


def add_to(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.command()(train)


def train(
    out: Annotated[Path, typer.Option(help="The run folder; a run that was stopped there goes on.")],
    config: Annotated[Path | None, typer.Option(help="YAML file; see docs/configuration.md.")] = None,
    preset: Annotated[str | None, typer.Option(help="A configuration that comes with the package: demo, authors, …")] = None,
    shards: Annotated[Path | None, typer.Option(help="Folder that `distunlearn shard` wrote.")] = None,
    overrides: Annotated[list[str] | None, typer.Option("--set", help="key.inner=value; may be given again.")] = None,
) -> None:
    """Train, evaluate, probe and report; start it under `accelerate launch` or torchrun for several processes."""
    from distunlearn.config import load

    given = [] if shards is None else [f"shards={shards}"]
    resolved = load(config, preset=preset, overrides=(*given, *(overrides or ())))

    from distunlearn.engine.train import train as run_training
    from distunlearn.experiments.conclude import conclude

    if run_training(resolved, out):
        conclude(out)
