"""For every task and kind of scan, sites that keep their scans train the network that one process trains on all of them.

In double precision, so that what is left is the order of sums: with float32 a unit whose input is zero but for its last
digit may fall on the other side of a ReLU (docs/streaming.md).
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from altered_train import double_precision
from one_machine import need_namespaces, play
from safetensors.numpy import load_file
from tiny_run import tiny
from written_study import write_site

from distunlearn.engine.train import train

pytestmark = [pytest.mark.slow, pytest.mark.distributed]

SETTINGS = (
    "data.batch=8",
    "data.quota=proportional",
    "domain_head.dropout=0",
)  # dropout is drawn by each rank for itself
TOLERANCE = 1e-10
"""Of weights of about 0.1."""


def written(shape: tuple[int, ...], dtype: str) -> Callable[[Path], Path]:
    """Two sites of noise, with people of 40 and 60 years."""

    def write(folder: Path) -> Path:
        for site, scans in (("a", 14), ("b", 9)):
            ages = [40.0 + 20 * (number % 2) for number in range(scans)]
            write_site(folder, site, {"train": ages, "val": ages[:6], "test": ages[:6]}, shape=shape, dtype=dtype)
        return folder

    return write


VOLUMES, TABLES = written((8, 8, 4), "int16"), written((9,), "float32")
MLP = "encoder={name: mlp, hidden: [6], features: 4}"
CLASSES = "task={name: classification, target: age, classes: [40, 60], class_weights: balanced}"
CASES: dict[str, tuple[Callable[[Path], Path] | None, tuple[str, ...]]] = {
    "age": (VOLUMES, ()),
    "age from a table of measures": (TABLES, (MLP,)),
    "a class": (VOLUMES, (CLASSES,)),
    "a class from a table of measures": (TABLES, (CLASSES, MLP)),
    "a segmentation": (
        None,
        (
            "task={name: segmentation, classes: [0, 3]}",
            "encoder={name: unet, channels: [4, 8], features: 4}",
            "data.unlearn.among=study",
        ),
    ),
    "matched by age": (VOLUMES, ("data.unlearn={rule: matched, bounds: [30, 70], width: 20}",)),
}


@pytest.mark.parametrize("case", CASES)
def test_sites_train_together_what_one_process_trains(case: str, drawn_shards: Path, tmp_path: Path) -> None:
    """Every weight and buffer of both stages, to ten digits, with Adam and the normalisation over the global batch."""
    need_namespaces()
    write, settings = CASES[case]
    shards = write(tmp_path / "shards") if write else drawn_shards
    config = tiny(shards, "sites=[a,b]", *SETTINGS, *settings, "data.placement.kind=federated")
    done = play(config, shards, tmp_path / "federated", alteration="double_precision")
    assert done.returncode == 0, done.stdout + done.stderr
    with double_precision():
        train(tiny(shards, "sites=[a,b]", *SETTINGS, *settings), tmp_path / "pooled")
    for stage in ("standard", "unlearning"):
        ours, theirs = (
            load_file(tmp_path / run / stage / "model" / "model.safetensors") for run in ("federated", "pooled")
        )
        assert ours.keys() == theirs.keys()
        for name in ours:
            assert str(ours[name].dtype) in {"float64", "int64"}, name
            np.testing.assert_allclose(ours[name], theirs[name], rtol=0, atol=TOLERANCE, err_msg=name)
