"""`distunlearn predict` and `embed` as a user meets them."""

import csv
import json
import shutil
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from distunlearn.cli import app
from distunlearn.errors import UserError

STAGE = "unlearning"


def run_command(*arguments: str | Path, code: int = 0) -> tuple[str, str]:
    """What a command says: standard output and error."""
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if isinstance(done.exception, UserError):
        raise done.exception
    assert done.exit_code == code, done.output
    return done.stdout, done.stderr


def rows(text: str) -> list[dict[str, str]]:
    """The rows of a TSV."""
    return list(csv.DictReader(StringIO(text), delimiter="\t"))


@pytest.fixture
def bids(planted_shards: Path, tmp_path: Path) -> Path:
    """Three people, of whom one has a broken scan; no table of participants."""
    folder = tmp_path / "study"
    for number in (1, 2, 3):
        scan = folder / f"sub-{number}/anat/sub-{number}_T1w.nii.gz"
        scan.parent.mkdir(parents=True)
        shutil.copy(planted_shards.parent / f"scans/alpha00{number}.nii.gz", scan)
    scan.write_bytes(b"broken")
    return folder


def test_a_bids_folder_is_predicted(planted_run: Path, bids: Path) -> None:
    """One row a scan in the order of names; the broken one with its rule, and exit status 1 at the end."""
    told, said = run_command("predict", bids, "--run", planted_run, code=1)
    table = rows(told)
    assert [Path(row["scan"]).name for row in table] == [f"sub-{number}_T1w.nii.gz" for number in (1, 2, 3)]
    assert [row["refused"].partition(":")[0] for row in table] == ["n/a", "n/a", "no-nifti"]
    assert all(15 < float(row["age"]) < 85 for row in table[:2])
    assert "2 scans done, 0 of them with warnings; 1 refused" in said
    assert "not corrected" in said
    assert "Scans: 3/3 scans" in said


def test_the_card_holds_what_is_corrected(planted_run: Path, bids: Path, tmp_path: Path) -> None:
    """A fit in model.json appears as a column, and a single stage's folder is enough to predict."""
    folder = tmp_path / "model"
    shutil.copytree(planted_run / STAGE / "model", folder)
    card = json.loads((folder / "model.json").read_text())
    card["corrections"]["age"] = {"people": 40, "slope": 0.25, "intercept": 30.0}
    (folder / "model.json").write_text(json.dumps(card))
    out = tmp_path / "ages.tsv"
    run_command("predict", bids / "sub-1", "--run", folder, "--out", out)
    (row,) = rows(out.read_text())
    assert float(row["age_corrected"]) == pytest.approx((float(row["age"]) - 30) / 0.25, abs=1e-3)


def test_embed_scans_and_shards_alike(planted_run: Path, planted_shards: Path, tmp_path: Path) -> None:
    """The features of a file are those that the run wrote for the same scan in its shards, with their labels."""
    out = tmp_path / "of_shards.tsv"
    run_command("embed", planted_run, "--shards", planted_shards, out)
    table = rows(out.read_text())
    written = np.load(planted_run / STAGE / "features.npz")
    by_key = dict(zip(written["key"], written["features"], strict=True))
    assert {row["key"] for row in table} == set(by_key)
    assert {"site", "split", "subject", "age", "sex"} <= set(table[0])
    for row in table:
        features = [float(row[f"feature_{index:03d}"]) for index in range(8)]
        assert features == pytest.approx(by_key[row["key"]].tolist(), abs=1e-4)
    out = tmp_path / "of_scans.tsv"
    run_command("embed", planted_run, planted_shards.parent / "scans", out)
    names = [f"feature_{index:03d}" for index in range(8)]
    of_scans = np.sort(np.array([[row[name] for name in names] for row in rows(out.read_text())], float), axis=0)
    of_shards = np.sort(np.array([[row[name] for name in names] for row in table], float), axis=0)
    assert of_scans == pytest.approx(of_shards, abs=1e-4)


def test_other_preparation_is_refused(planted_run: Path, planted_shards: Path, tmp_path: Path) -> None:
    """Shards of another size are refused with the setting that differs."""
    from distunlearn.prepare import PrepareConfig, Preprocessing, shard

    config = PrepareConfig(preprocessing=Preprocessing(size=(8, 8, 4), keep_every=1), workers=1)
    shard([planted_shards.parent / "scans" / "scans.csv"], tmp_path / "other", config)
    with pytest.raises(UserError, match="keep_every 2"):
        run_command("embed", planted_run, "--shards", tmp_path / "other", tmp_path / "out.tsv")


def test_audit_says_what_it_found_and_what_it_does_not_mean(fabricated_run: Path, tmp_path: Path) -> None:
    """One line a site with its interval, and the statement."""
    run = tmp_path / "run"
    shutil.copytree(fabricated_run, run)
    told, _ = run_command("audit", run, "--stage", "standard")
    assert [line.partition(":")[0] for line in told.splitlines()[1:5]] == ["biobank", "oasis", "whitehall", "all sites"]
    assert "Weights can reveal whose scans" in told
    assert (run / "standard" / "audit.json").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("embed", "run", "out.tsv"), "embed RUN SCANS OUT"),
        (("embed", "run", "scan.nii", "out.csv"), "embed RUN SCANS OUT"),
        (("predict", "scan.nii", "--run", "nowhere"), "no stage of it has a model"),
        (("predict", "scan.nii", "--run", "nowhere", "--orientation-from", "left"), "give agree, sform or qform"),
    ],
)
def test_wrong_words_are_one_line(arguments: tuple[str, ...], message: str) -> None:
    """What is missing, and what to write."""
    with pytest.raises(UserError, match=message):
        run_command(*arguments)
