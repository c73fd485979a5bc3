"""An encoder that says nothing is no success."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fabricated_run import Study, write_run

from distunlearn.evaluate.stage import read_stage
from distunlearn.probing.collapse import collapse_check


def test_a_healthy_stage_has_nothing_wrong(fabricated_run: Path) -> None:
    """Features that vary and errors well below the median's give no reason."""
    found = collapse_check(read_stage(fabricated_run / "standard"))
    assert found["reasons"] == []
    assert found["error"] < 0.5 * found["constant_error"]
    assert 1 < found["effective_rank"] <= 12


def test_constant_features_and_predictions_are_found(tmp_path: Path) -> None:
    """All three signs of a collapse are named."""
    run = write_run(tmp_path / "run", Study(collapsed=("unlearning",)))
    reasons = collapse_check(read_stage(run / "unlearning"))["reasons"]
    assert len(reasons) == 3
    assert "same for everybody" in reasons[0]


def test_predictions_that_know_only_the_site_are_found(fabricated_run: Path) -> None:
    """Answering each site's mean age beats the median, yet says nothing of anybody."""
    stage = read_stage(fabricated_run / "standard")
    site_mean = stage.table.groupby("site")["target"].transform("mean")
    found = collapse_check(replace(stage, table=stage.table.assign(prediction=site_mean)))
    assert any("within a site" in reason for reason in found["reasons"])


@pytest.mark.parametrize("where", ["features", "prediction"])
def test_a_training_that_diverged_is_found(fabricated_run: Path, where: str) -> None:
    """A single value that is no number is enough."""
    stage = read_stage(fabricated_run / "standard")
    if where == "features":
        broken = replace(stage, features=np.where(np.arange(12) == 3, np.nan, stage.features))
    else:
        broken = replace(stage, table=stage.table.assign(prediction=np.nan))
    assert "diverged" in collapse_check(broken)["reasons"][0]
