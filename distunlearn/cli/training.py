"""Commands that train: train, launch, sync."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from distunlearn.errors import UserError


def add_to(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.command()(train)
    app.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})(launch)
    app.command()(sync)


def train(
    out: Annotated[Path, typer.Option(help="The run folder; a run that was stopped there goes on.")],
    config: Annotated[Path | None, typer.Option(help="YAML file; RUN/config.yaml of any run shows its keys.")] = None,
    preset: Annotated[
        str | None, typer.Option(help="A configuration that comes with the package: demo, authors, …")
    ] = None,
    shards: Annotated[str | None, typer.Option(help="Folder that `distunlearn shard` wrote, or its URL.")] = None,
    overrides: Annotated[list[str] | None, typer.Option("--set", help="key.inner=value; may be given again.")] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Build everything, take two steps of each stage, print memory, parameters, bytes sent and an estimate of the time; write nothing.",
        ),
    ] = False,
) -> None:
    """Train, evaluate, probe and report; start it under `accelerate launch` or torchrun for several processes."""
    from distunlearn.config import load

    given = [] if shards is None else [f"shards={shards}"]
    resolved = load(config, preset=preset, overrides=(*given, *(overrides or ())))

    if dry_run:
        from distunlearn.engine.rehearsal import rehearse

        for line in rehearse(resolved, out):
            print(line)
        return

    from distunlearn.engine.train import train as run_training

    if not run_training(resolved, out):
        return
    if resolved.data.placement.kind == "federated":
        print(f"Model: {out}\nEach site's predictions and features are with the site, in rank-N of its run folder.")
        print(f"For probes and a report, gather those folders in {out} and run: distunlearn join {out}")
        return
    from distunlearn.experiments.conclude import conclude

    conclude(out)


def launch(
    command: Annotated[list[str], typer.Argument(help="What to start, with its options: train …")],
    nproc: Annotated[
        int | None, typer.Option(min=1, help="Processes on this machine: one a GPU, or one for two cores.")
    ] = None,
    config_file: Annotated[
        Path | None, typer.Option(help="Accelerate's YAML file, such as launch/accelerate/8gpu.yaml.")
    ] = None,
) -> None:
    """Start a command in several processes: `distunlearn launch --nproc 2 train …` wraps `accelerate launch`."""
    if nproc is None and config_file is None:
        raise UserError("launch: give --nproc, the number of processes, or --config-file")
    options = [] if config_file is None else ["--config_file", str(config_file)]
    if nproc is not None:
        options += ["--num_processes", str(nproc)]
    if config_file is None:
        # --multi_gpu even without a GPU: with --cpu Accelerate starts one process and says nothing.
        options += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
        # A free port, since two that are started at once would both take Accelerate's.
        options += ["--multi_gpu", "--main_process_port", "0"] if nproc != 1 else []
    full = [sys.executable, "-m", "accelerate.commands.launch", *options, "-m", "distunlearn", *command]
    os.execv(sys.executable, full)


def sync(runs: Annotated[list[Path], typer.Argument(help="Run folders.")]) -> None:
    """Tell MLflow what it lacks of these runs, for instance after its server was down."""
    from distunlearn.tracking import sync as sync_run

    for run in runs:
        print(f"{run}: {sync_run(run)} figures were new to MLflow")
