"""Names of sites become names of metrics."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow.exceptions import MlflowException
from mlflow.utils.validation import _validate_metric_name

from distunlearn.errors import UserError
from distunlearn.tracking import check_metric_names
from distunlearn.tracking.names import takes


@pytest.mark.parametrize("site", ["ixi", "OASIS-1", "UK Biobank", "Zürich", "site_2", "3T:a.b"])
def test_takes_ordinary_names(site: str) -> None:
    """Names that MLflow takes pass."""
    check_metric_names([site])


@pytest.mark.parametrize("site", ["oasis (3T)", "a#b", "..", ".", "a/b", "", "x" * 201, "a\nb"])
def test_refuses_what_mlflow_would_refuse_later(site: str) -> None:
    """A site whose metrics MLflow would refuse is refused by name before training."""
    with pytest.raises(UserError, match="rename the site"):
        check_metric_names(["ixi", site])


@given(st.text(alphabet="aZ0_-.: /ü#()\n", max_size=12))
def test_agrees_with_mlflow(name: str) -> None:
    """Whatever passes here passes in the installed MLflow, and nothing that MLflow takes is turned away."""
    try:
        _validate_metric_name(name)
        taken = bool(name) and "\n" not in name
    except MlflowException:
        taken = False
    assert takes(name) == taken
