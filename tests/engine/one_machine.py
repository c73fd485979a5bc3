"""Train as each site of its own on this machine, as launch/federated/one_machine.sh does, under what a test puts around it."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import altered_train
import pytest
import wire

from distunlearn.config import RunConfig

LAUNCH = Path(__file__).parents[2] / "launch/federated"


def need_namespaces() -> None:
    """Skip where the system lets nobody hide one site's folder from another's process."""
    if subprocess.run(["unshare", "--map-root-user", "--mount", "true"], check=False, capture_output=True).returncode:
        pytest.skip("this system lets nobody make mount namespaces")


def play(
    config: RunConfig, shards: Path, run: Path, *, alteration: str = "", traces: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Train, one process a site.

    Args:
        config: of the run.
        shards: one folder a site; each process sees its own.
        run: the run folder.
        alteration: of `altered_train`; without one it is the command as it is installed.
        traces: where to write what each process gives to the system to send, in files rank0, rank1, …
    """
    path, tools = run.with_suffix(".yaml"), run.with_suffix(".bin")
    path.write_text(config.dump())
    tools.mkdir(parents=True, exist_ok=True)
    environment = {key: value for key, value in os.environ.items() if key not in {"RANK", "WORLD_SIZE", "MASTER_PORT"}}
    environment |= {"OMP_NUM_THREADS": "1", "PATH": f"{tools}:{Path(sys.executable).parent}:{os.environ['PATH']}"}
    if alteration:
        _script(tools / "distunlearn", shlex.join([sys.executable, altered_train.__file__, alteration]))
    if traces is not None:
        traces.mkdir(parents=True, exist_ok=True)
        before = shlex.join(wire.strace(traces / "rank"))
        _script(tools / "traced", f'{before}"$NUMBER" {shlex.quote(str(LAUNCH / "site.sh"))}')
        environment["COMMAND"] = str(tools / "traced")
    command = [LAUNCH / "one_machine.sh", shards, "--config", path, "--shards", shards, "--out", run]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=600)


def _script(path: Path, command: str) -> None:
    path.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
    path.chmod(0o755)
