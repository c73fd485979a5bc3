"""`distunlearn train` is killed again and again at random moments, and ends with the bits of a run that nothing disturbed."""

import json
import random
import time
from pathlib import Path

import numpy as np
import pytest
from ranks import end_of, start
from safetensors.numpy import load_file
from tiny_run import set_options

from distunlearn.cli import app
from distunlearn.experiments import conclude
from distunlearn.run_folder import ENVIRONMENT, METRICS, STATUS

pytestmark = [pytest.mark.slow, pytest.mark.distributed]

TRIALS = {1: 8, 2: 6, 3: 6}
"""By number of ranks; twenty together."""
SETTINGS = ("engine.checkpoint_minutes=0", "stages.0.epochs=4", "stages.1.epochs=4")


def _command(_rank: int, _world: int, shards: Path, run: Path) -> None:
    conclude.conclude = lambda _run: None  # probes and report, which follow training and are made again at every start
    app(["train", "--preset", "demo", "--shards", str(shards), "--out", str(run), *set_options(*SETTINGS)])


def losses(run: Path) -> list[dict[str, float]]:
    """The lines of metrics.jsonl without what depends on the clock."""
    lines = [json.loads(line) for line in (run / METRICS).read_text().splitlines()]
    return [{key: value for key, value in line.items() if not key.startswith("time")} for line in lines]


def state(run: Path) -> str:
    """Where a run stands."""
    path = run / STATUS
    return str(json.loads(path.read_text())["state"]) if path.exists() else "not begun"


def wait_until_begun(run: Path, since: float) -> None:
    """Until a process that was started since then has entered the run folder."""
    path = run / ENVIRONMENT
    while not path.exists() or path.stat().st_mtime < since:
        time.sleep(0.01)


def run_to_its_end(world: int, shards: Path, run: Path) -> None:
    """Train undisturbed; a machine that does much else may take minutes where seconds would do."""
    assert end_of(start(world, _command, shards, run), 600) == [0] * world


def assert_same(run: Path, quiet: Path) -> None:
    """Weights of both stages and every figure, bit for bit."""
    for stage in ("standard", "unlearning"):
        found, expected = (load_file(folder / stage / "model/model.safetensors") for folder in (run, quiet))
        assert found.keys() == expected.keys()
        assert all(np.array_equal(found[name], expected[name]) for name in expected)
    assert losses(run) == losses(quiet)


@pytest.mark.parametrize("world", TRIALS)
def test_a_run_that_is_killed_again_and_again_ends_with_the_same_bits(
    world: int, planted_shards: Path, tmp_path: Path
) -> None:
    """One rank or all of them, one to three times a trial, anywhere between the beginning and the end of training."""
    draw, quiet, inside = random.Random(world), tmp_path / "quiet", 0
    run_to_its_end(world, planted_shards, quiet)
    training = json.loads((quiet / STATUS).read_text())["time"] - (quiet / ENVIRONMENT).stat().st_mtime
    for trial in range(TRIALS[world]):
        run = tmp_path / f"trial-{trial}"
        for _ in range(draw.randint(1, 3)):
            since = time.time()
            ranks = start(world, _command, planted_shards, run, log=tmp_path / f"log-{trial}")
            wait_until_begun(run, since)
            time.sleep(draw.uniform(0, training))
            inside += state(run) == "running"
            for victim in ranks if draw.random() < 0.5 else [draw.choice(ranks)]:
                victim.kill()
            end_of(ranks, 60)
        run_to_its_end(world, planted_shards, run)
        assert_same(run, quiet)
    assert inside >= TRIALS[world] / 2, "hardly any kill fell into the training"
