"""Folders in nobody's standard, and recipes that describe them."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from scans_on_disk import save, scan_file

from distunlearn.errors import UserError
from distunlearn.prepare import PrepareConfig
from distunlearn.prepare.options import read_meanings, read_pairs, read_request
from distunlearn.prepare.recipe import read_recipe
from distunlearn.prepare.sources import find
from distunlearn.prepare.sources.scans import Found


def find_in(folder: Path, options: dict[str, Any]) -> Found:
    """What is found in a folder with these options."""
    return find([folder], PrepareConfig.read(options, "test"))


def ixi(folder: Path) -> Path:
    """Names as in IXI: person, site, number; a table whose spreadsheet ate the zeros of the names."""
    for name in ("IXI002-Guys-0828-T1", "IXI013-HH-1212-T1", "IXI012-HH-1211-T1", "IXI012-HH-1211-T2"):
        scan_file(folder / f"T1/{name}.nii.gz", len(name))
    save(folder / "IXI.csv", b"IXI_ID,SEX_ID,AGE\n2,2,35.8\n12,1,38.78\n14,1,34.24\n")
    return folder


def test_names_that_follow_a_pattern_are_taken_apart_and_joined_with_the_table(tmp_path: Path) -> None:
    """Site and person come from the name, labels from the row; who has no row is refused, T2 is not looked at."""
    options = {
        "images": "T1/IXI{subject}-{site}-*-T1.nii.gz",
        "table": "IXI.csv",
        "columns": {"subject": "IXI_ID", "sex": "SEX_ID"},
    }
    found = find_in(ixi(tmp_path), options)
    assert {(scan.site, scan.subject): scan.labels for scan in found.scans} == {
        ("Guys", "002"): {"age": "35.8", "sex": "F"},
        ("HH", "012"): {"age": "38.78", "sex": "M"},
    }
    assert [(drop.site, drop.rule) for drop in found.dropped] == [("HH", "no-row")]


def test_a_row_is_found_by_a_template_over_the_parts_of_a_name(tmp_path: Path) -> None:
    """OASIS-1 writes person and session into one cell; a part that comes twice in a path must be the same twice."""
    for name in ("OAS1_0001_MR1", "OAS1_0001_MR2"):
        scan_file(tmp_path / f"disc1/{name}/T88/{name}_t88.nii.gz", 1)
    scan_file(tmp_path / "disc1/OAS1_0002_MR1/T88/OAS1_0009_MR1_t88.nii.gz", 2)
    save(tmp_path / "oasis.csv", b"ID,M/F,Age\nOAS1_0001_MR1,F,74\nOAS1_0001_MR2,F,75\n")
    found = find_in(tmp_path, {
        "images": "disc*/OAS1_{subject}_MR{session}/T88/OAS1_{subject}_MR{session}_t88.nii.gz",
        "table": "oasis.csv", "match": {"ID": "OAS1_{subject}_MR{session}"}, "site": "oasis1",
    })  # fmt: skip
    assert [(scan.subject, scan.session, scan.labels["age"]) for scan in found.scans] == [
        ("0001", "1", "74"),
        ("0001", "2", "75"),
    ]


def test_a_segmentation_lies_where_its_own_pattern_says(tmp_path: Path) -> None:
    """The parts of the image's name are put into it; two for one image refuse it; parts that no name has are an error."""
    for who in ("a", "b"):
        scan_file(tmp_path / f"{who}/mri/t1.nii", 1)
    for drawn in ("a/mri/aseg_1.nii", "b/seg.nii"):
        scan_file(tmp_path / drawn, 2)
    pattern = {"images": "{subject}/mri/t1.nii", "segmentation": "{subject}/mri/aseg*.nii"}
    found = find_in(tmp_path, pattern)
    assert [scan.segmentation and scan.segmentation.name for scan in found.scans] == ["aseg_1.nii", None]
    scan_file(tmp_path / "a/mri/aseg_2.nii", 3)
    assert [drop.rule for drop in find([tmp_path], PrepareConfig.read(pattern, "test")).dropped] == ["segmentation"]
    with pytest.raises(UserError, match="is no part of images"):
        find_in(tmp_path, {**pattern, "segmentation": "{who}/seg.nii"})


def test_the_first_run_of_a_session_can_be_taken(tmp_path: Path) -> None:
    """As in BIDS; the others are counted."""
    for name in ("p1_a_1", "p1_a_2", "p1_b_1", "p2_a_1"):
        scan_file(tmp_path / f"{name}.nii", 1)
    found = find_in(tmp_path, {"images": "p{subject}_{session}_*.nii", "runs": "first"})
    assert (len(found.scans), found.left_out) == (3, 1)


def test_two_rows_for_one_scan_refuse_it(tmp_path: Path) -> None:
    """Neither is taken at random; the lines are named."""
    scan_file(tmp_path / "p1.nii", 1)
    save(tmp_path / "t.csv", b"subject,age\n1,30\n01,31\n")
    found = find_in(tmp_path, {"images": "p{subject}.nii", "table": "t.csv"})
    assert [drop.rule for drop in found.dropped] == ["two-rows"]
    assert "2 and 3" in found.dropped[0].reason


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"images": "*.nii"}, "has no {subject}"),
        ({"images": "x{subject}.nii"}, "no file below the folder matches"),
        ({"images": "p{subject}.nii", "table": "absent.csv"}, "absent.csv: cannot be read"),
        ({"images": "p{subject}.nii", "table": "t.csv", "match": {"ID": "{subject}"}}, "no column 'ID' to match"),
        ({"images": "p{subject}.nii", "table": "t.csv", "match": {"subject": "{who}"}}, "{who}"),
    ],
)
def test_an_unusable_pattern_or_table_is_refused(options: dict[str, Any], words: str, tmp_path: Path) -> None:
    """In one line that says what to look at."""
    scan_file(tmp_path / "p1.nii", 1)
    save(tmp_path / "t.csv", b"subject,age\n1,30\n")
    with pytest.raises(UserError, match=words.replace("{", r"\{")):
        find_in(tmp_path, options)


def recipe_file(folder: Path, **fields: Any) -> Path:
    """A recipe of a made-up data set."""
    values = {"name": "x", "about": "x", "url": "https://x", "access": "open", "terms": "x", "cite": "x",
              "verified": False, "tried": "nothing", "get": "download x"}  # fmt: skip
    return save(folder / "x.yaml", yaml.safe_dump({**values, **fields}).encode())


def test_what_the_user_gives_wins_over_the_recipe(tmp_path: Path) -> None:
    """Columns are joined name by name, other options replaced."""
    path = recipe_file(tmp_path, settings={"columns": {"age": "A", "sex": "S"}, "suffix": "T2w", "runs": "first"})
    given = {"columns": {"age": "Age"}, "suffix": None, "runs": "all", "labels": []}
    config = read_request([path, tmp_path / "out"], given, {}, data=tmp_path).config
    assert (config.columns, config.suffix, config.runs) == ({"age": "Age", "sex": "S"}, "T2w", "all")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"settings": {"preprocessing": {}}}, "preprocessing cannot be set here"),
        ({"settings": {"max_refused": 5}}, "max_refused cannot be set here"),
        ({"colour": "red"}, "unknown key 'colour'"),
        ({"source": "absent"}, "is not there; the recipe x says what to get: download x"),
    ],
)
def test_a_recipe_says_where_and_what_and_never_how(fields: dict[str, Any], words: str, tmp_path: Path) -> None:
    """Preprocessing that differs by site would itself be a scanner effect."""
    with pytest.raises(UserError, match=words):
        read_request([recipe_file(tmp_path, **fields), tmp_path / "out"], {}, {}, data=tmp_path)


def test_a_recipe_that_runs_code_is_not_run(tmp_path: Path) -> None:
    """YAML is loaded safely."""
    path = save(tmp_path / "x.yaml", b"!!python/object/apply:os.mkdir [canary]")
    with pytest.raises(UserError, match="cannot be read as YAML"):
        read_recipe(path)
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize(
    ("paths", "data", "words"),
    [(["out"], None, "at least one source"), (["a.yaml", "out"], None, "--data"), (["a", "out"], "d", "no recipe"),
     (["a.yaml", "b.yaml", "out"], "d", "one recipe at a time")],
)  # fmt: skip
def test_a_command_line_that_cannot_be_meant_is_refused(paths: list[str], data: str | None, words: str) -> None:
    """Before anything is read."""
    with pytest.raises(UserError, match=words):
        read_request([Path(path) for path in paths], {}, {}, data=Path(data) if data else None)


def test_options_with_an_equals_sign_are_read_and_others_refused() -> None:
    """`--column` and `--value`."""
    assert read_pairs(["age=Age at scan", "ID=a{b}=c"], "x") == {"age": "Age at scan", "ID": "a{b}=c"}
    assert read_meanings(["sex:0=F", "sex:1=M", "site:a b=c"]) == {"sex": {"0": "F", "1": "M"}, "site": {"a b": "c"}}
    for text in ("age", "=x"):
        with pytest.raises(UserError, match="write it as NAME=HEADING"):
            read_pairs([text], "NAME=HEADING")
    with pytest.raises(UserError, match="NAME:CELL=MEANING"):
        read_meanings(["sex=F"])
