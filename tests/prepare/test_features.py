"""Tables of features: one row a scan and no images, the same shards."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scans_on_disk import manifest_of, read_rows, read_values, run, save

from distunlearn.errors import UserError


def test_a_table_of_features_becomes_shards_of_float32(tmp_path: Path) -> None:
    """One row a scan, several sites; the feature names are the preprocessing; a bad cell refuses its row."""
    lines = ["id,site,age,sex,a_thick,b_thick,comment"]
    lines += [f"p{n},{'AB'[n % 2]},{30 + n},F,{n}.5,-1e-{n},x" for n in range(10)]
    lines += ["p10,A,40,F,nan,1,x", "p11,A,41,F,1,1_0,x"]
    table = save(tmp_path / "thickness.csv", "\n".join(lines).encode())
    summary = run([table], tmp_path / "out", {"features": ["*_thick"], "max_refused": 2})
    assert {site: (n.written, n.refused) for site, n in summary.sites.items()} == {
        "A": (5, {"feature": 2}),
        "B": (5, {}),
    }
    site = tmp_path / "out/A"
    manifest = manifest_of(site)
    assert (manifest.kind, manifest.shape, manifest.dtype) == ("features", (2,), "float32")
    assert manifest.preprocessing["features"] == ["a_thick", "b_thick"]
    row = next(row for row in read_rows(site) if row["age"] == "34")
    assert read_values(site, row, (2,), "<f4").tolist() == np.array([4.5, -1e-4], "f4").tolist()


@pytest.mark.parametrize(
    ("options", "words"),
    [({}, "--features"), ({"features": ["*"]}, "holds no numbers"), ({"features": ["x*"]}, "no column is like")],
)
def test_a_table_without_paths_says_how_to_name_features(options: dict[str, Any], words: str, tmp_path: Path) -> None:
    """The error names the option that is missing or wrong."""
    table = save(tmp_path / "t.csv", b"id,age,thick,comment\np1,30,2.5,good\n")
    with pytest.raises(UserError, match=words):
        run([table], tmp_path / "out", options)


def test_features_may_have_decimal_commas(tmp_path: Path) -> None:
    """With --decimal-comma they are read; without it the row is refused, and the option is named."""
    table = save(tmp_path / "t.csv", "\ufeffid;age;thick\np1;30,5;2,5\np2;31;-1,5e-1\n".encode())
    run([table], tmp_path / "out", {"features": ["thick"], "decimal_comma": True})
    rows = {row["age"]: row for row in read_rows(tmp_path / "out/t")}
    assert read_values(tmp_path / "out/t", rows["30.5"], (1,), "<f4").tolist() == [2.5]
    with pytest.raises(UserError, match="--decimal-comma"):
        run([table], tmp_path / "two", {"features": ["thick"]})
