"""The whole study: the same bytes for the same parameters, nothing overwritten, nothing left half made."""

from pathlib import Path

import pytest

from distunlearn.errors import UserError
from distunlearn.run_folder import read_json, write_json
from distunlearn.simulate import Study, simulate
from distunlearn.simulate.study import RECORD

TINY = Study(scans={"biobank": 4, "oasis": 3}, travelling=1, voxel_mm=8)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of nine scans, made by one process."""
    out = tmp_path_factory.mktemp("tiny") / "study"
    simulate(out, TINY, workers=1)
    return out


def test_two_processes_write_the_same_bytes(tiny: Path, tmp_path: Path) -> None:
    """The number of workers changes no byte of any file."""
    simulate(tmp_path / "study", TINY, workers=2)
    assert contents(tmp_path / "study") == contents(tiny)


def test_another_seed_is_another_study(tiny: Path, tmp_path: Path) -> None:
    """With another seed no scan is the same."""
    simulate(tmp_path / "study", TINY.model_copy(update={"seed": 1}), workers=1)
    ours, theirs = contents(tiny), contents(tmp_path / "study")
    scans = [name for name in set(ours) & set(theirs) if name.endswith("T1w.nii.gz")]
    assert scans
    assert all(ours[name] != theirs[name] for name in scans)


def test_sites_do_not_depend_on_each_other(tiny: Path, tmp_path: Path) -> None:
    """A site's folder is the same whatever other sites there are."""
    simulate(tmp_path / "study", TINY.model_copy(update={"scans": {"oasis": 3}}), workers=1)
    assert contents(tmp_path / "study" / "oasis") == contents(tiny / "oasis")


def test_a_study_that_is_there_is_left_alone(tiny: Path) -> None:
    """The same call again does nothing and says so."""
    before = {path: path.stat().st_mtime_ns for path in tiny.rglob("*")}
    assert simulate(tiny, TINY, workers=1) is False
    assert {path: path.stat().st_mtime_ns for path in tiny.rglob("*")} == before


def test_an_interrupted_study_is_completed(tiny: Path, tmp_path: Path) -> None:
    """A record in progress and a truncated scan become the whole study by the same call."""
    out = tmp_path / "study"
    simulate(out, TINY, workers=1)
    write_json(out / RECORD, {**read_json(out / RECORD), "state": "in progress"})
    next(out.rglob("*_T1w.nii.gz")).write_bytes(b"")
    assert simulate(out, TINY, workers=1) is True
    assert contents(out) == contents(tiny)


def test_another_study_is_not_overwritten(tiny: Path) -> None:
    """A folder that holds a study of other parameters is refused by name."""
    before = contents(tiny)
    with pytest.raises(UserError, match="holds something other than this study"):
        simulate(tiny, TINY.model_copy(update={"seed": 1}), workers=1)
    assert contents(tiny) == before


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    """A folder with anybody's files in it is not written into."""
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(UserError, match="choose an empty folder"):
        simulate(tmp_path, TINY, workers=1)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"scans": {"mars": 3}}, "unknown site 'mars'"),
        ({"scans": {"oasis": -1}}, "scans.oasis"),
        ({"scans": {}}, "scans"),
        ({"scans": {"oasis": 1}, "voxel_mm": 20}, "voxel_mm"),
        ({"scans": {"oasis": 1}, "voxels": 3}, "unknown key 'voxels'"),
    ],
)
def test_wrong_parameters_are_named(values: dict[str, object], told: str) -> None:
    """An unknown site, a negative count, no site, a voxel out of range and an unknown key each get one line."""
    with pytest.raises(UserError, match=told) as refused:
        Study.read(values, "simulate")
    assert "\n" not in str(refused.value)
