"""A configuration that trains in seconds, and a subprocess that trains it."""

import os
import subprocess
import sys
from pathlib import Path

from distunlearn.config import RunConfig, load

TINY = (
    "encoder.channels=[4,6]",
    "encoder.convolutions=[2,2]",
    "encoder.features=8",
    "data.batch=9",
    "engine.log_every=2",
    "tracking.enabled=false",
    "stages.0.epochs=2",
    "stages.1.epochs=2",
)


def tiny(shards: Path | str, *overrides: str) -> RunConfig:
    """The demonstration's two stages, on the planted study."""
    return load(None, preset="demo", overrides=(f"shards={shards}", *TINY, *overrides))


def command(*arguments: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command of this environment from the checkout's root, as a user would."""
    clean = {key: value for key, value in os.environ.items() if key not in {"RANK", "WORLD_SIZE", "MASTER_PORT"}}
    clean |= {"OMP_NUM_THREADS": "1", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    root = Path(__file__).parents[1]
    return subprocess.run(
        arguments, cwd=root, env=clean | (environment or {}), capture_output=True, text=True, check=False
    )


def set_options(*overrides: str) -> list[str]:
    """Overrides as options of `distunlearn train`."""
    return [option for override in (*TINY, *overrides) for option in ("--set", override)]
