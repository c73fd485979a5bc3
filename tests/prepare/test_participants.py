"""participants.tsv and its like: every cell is understood as it was meant, or refused with its line; nothing is coerced."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scans_on_disk import scan_file

from distunlearn.errors import UserError
from distunlearn.prepare.config import PrepareConfig
from distunlearn.prepare.refusal import Refusal
from distunlearn.prepare.sources import find
from distunlearn.prepare.sources.labels import read_label
from distunlearn.prepare.sources.scans import Found

HEADER = "participant_id\tage\tsex\n"


def found_with(folder: Path, table: bytes | str, options: dict[str, Any] | None = None) -> Found:
    """What is found in a BIDS folder of one person, sub-01, with this participants.tsv."""
    if not (folder / "sub-01").exists():
        scan_file(folder / "sub-01/anat/sub-01_T1w.nii", 0)
    (folder / "participants.tsv").write_bytes(table.encode() if isinstance(table, str) else table)
    return find([folder], PrepareConfig.read(options or {}, "test"))


UNDERSTOOD: dict[str, tuple[str, dict[str, Any], dict[str, str]]] = {
    "plain": (HEADER + "sub-01\t45.5\tF\n", {}, {"age": "45.5", "sex": "F"}),
    "no_prefix": (HEADER + "01\t45\tF\n", {}, {"age": "45"}),
    "missing": (HEADER + "sub-01\tn/a\t\n", {}, {"age": "n/a", "sex": "n/a"}),
    "nan": (HEADER + "sub-01\tNaN\tNA\n", {}, {"age": "n/a", "sex": "n/a"}),
    "byte_order_mark": ("\ufeff" + HEADER + "sub-01\t45\tF\n", {}, {"age": "45"}),
    "windows_lines": ((HEADER + "sub-01\t45\tF\n").replace("\n", "\r\n"), {}, {"sex": "F"}),
    "blanks_around": (HEADER + " sub-01 \t 45 \t F \n", {}, {"age": "45", "sex": "F"}),
    "blank_lines": (HEADER + "\n\nsub-01\t45\tF\n\n", {}, {"age": "45"}),
    "trailing_tabs": ("participant_id\tage\tsex\t\t\nsub-01\t45\tF\t\t\n", {}, {"age": "45"}),
    "other_spellings": ("participant_id\tAge\tGender\nsub-01\t45\tfemale\n", {}, {"age": "45", "sex": "F"}),
    "age_at_scan": ("participant_id\tAGE_AT_SCAN\tSEX\nsub-01\t45\t2\n", {}, {"age": "45", "sex": "F"}),
    "named_columns": ("participant_id\tyears\tS\nsub-01\t45\tm\n", {"columns": {"age": "years", "sex": "S"}}, {"age": "45", "sex": "M"}),
    "sex_with_meaning": (HEADER + "sub-01\t45\t0\n", {"values": {"sex": {"0": "F"}}}, {"sex": "F"}),
    "decimal_comma": (HEADER + "sub-01\t45,5\tF\n", {"decimal_comma": True}, {"age": "45.5"}),
    "89plus_as_90": (HEADER + "sub-01\t89+\tF\n", {"age_89plus": "90"}, {"age": "90"}),
    "other_label": ("participant_id\tdiagnosis\nsub-01\tcontrol group\n", {"labels": ["diagnosis"]}, {"diagnosis": "control group"}),
}  # fmt: skip


@pytest.mark.parametrize("name", UNDERSTOOD)
def test_a_cell_is_understood_as_it_was_meant(name: str, tmp_path: Path) -> None:
    """Spellings, marks, blanks and codes that people use."""
    table, options, expected = UNDERSTOOD[name]
    scan = found_with(tmp_path, table, options).scans[0]
    assert {label: scan.labels[label] for label in expected} == expected


REFUSED: dict[str, tuple[str, str]] = {
    "89plus": ("age-89plus", "sub-01\t89+\tF"),
    "decimal_comma": ("age", "sub-01\t45,5\tF"),
    "with_unit": ("age", "sub-01\t52 y\tF"),
    "negative": ("age", "sub-01\t-3\tF"),
    "too_old": ("age", "sub-01\t450\tF"),
    "infinite": ("age", "sub-01\tinf\tF"),
    "exponent": ("age", "sub-01\t4e1\tF"),
    "underscore": ("age", "sub-01\t4_5\tF"),
    "full_width_digits": ("age", "sub-01\t４５\tF"),
    "arabic_digits": ("age", "sub-01\t٤٥\tF"),
    "range": ("age", "sub-01\t40-45\tF"),
    "date": ("age", "sub-01\t1970-01-01\tF"),
    "hexadecimal": ("age", "sub-01\t0x2d\tF"),
    "sex_unknown": ("sex", "sub-01\t45\tx"),
    "sex_three": ("sex", "sub-01\t45\t3"),
    "row_of_somebody_else": ("no-row", "sub-02\t45\tF"),
    "one_cell_too_many": ("no-row", "sub-01\t45\t46\tF"),
    "one_cell_too_few": ("no-row", "sub-01\t45"),
    "row_named_NA": ("no-row", "NA\t45\tF"),
    "leading_zero_lost": ("no-row", "1\t45\tF"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_cell_that_cannot_be_believed_refuses_its_scan(name: str, tmp_path: Path) -> None:
    """The refusal has a rule and names no participant; the cell is never turned into another value or into nothing."""
    rule, row = REFUSED[name]
    found = found_with(tmp_path, HEADER + row + "\n")
    assert [drop.rule for drop in found.dropped] == [rule]
    assert not found.scans
    assert "01" not in found.dropped[0].place + found.dropped[0].reason


UNUSABLE: dict[str, tuple[str | bytes, str]] = {
    "empty": ("", "is empty"),
    "same_participant_twice": (HEADER + "sub-01\t45\tF\nsub-01\t46\tF\n", "lines 2 and 3 are the same participant"),
    "same_column_twice": ("participant_id\tage\tage\nsub-01\t45\t46\n", "'age' twice"),
    "two_columns_of_age": ("participant_id\tage_at_scan\tage_years\nsub-01\t45\t46\n", "could both be age"),
    "commas_in_a_tsv": ("participant_id,age\nsub-01,45\n", "commas between its columns"),
    "latin1": (HEADER.encode() + "sub-01\t45\tFräulein\n".encode("latin-1"), "is not UTF-8"),
    "utf16": ((HEADER + "sub-01\t45\tF\n").encode("utf-16"), "is not UTF-8"),
    "nul_bytes": (HEADER + "sub-01\t45\0\tF\n", "NUL"),
    "no_participant_column": ("who\tage\nsub-01\t45\n", "no column for subject"),
    "sex_coded_with_zero": (HEADER + "sub-01\t45\t0\n", "sex is coded with 0"),
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_a_table_that_cannot_be_read_with_certainty_is_refused_as_a_whole(name: str, tmp_path: Path) -> None:
    """One line that names the table and the remedy."""
    table, message = UNUSABLE[name]
    with pytest.raises(UserError, match=message) as caught:
        found_with(tmp_path, table)
    assert "participants.tsv" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_there_are_at_least_24_cells() -> None:
    """The list of cases only grows."""
    assert len(REFUSED) + len(UNUSABLE) >= 24


def test_an_unreadable_line_is_told_even_when_its_scan_is_refused(tmp_path: Path) -> None:
    """A line with a cell too many is named, so that the refusal of its scan can be understood."""
    found = found_with(tmp_path, HEADER + "sub-01\t45\t46\tF\n")
    assert any("line 2 has too many or too few cells" in note for note in found.notes)


def test_the_age_at_a_session_wins_over_the_age_at_the_first(tmp_path: Path) -> None:
    """sessions.tsv says how old a person was then; what it leaves open comes from participants.tsv."""
    scan_file(tmp_path / "sub-01/ses-a/anat/sub-01_ses-a_T1w.nii", 0)
    scan_file(tmp_path / "sub-01/ses-b/anat/sub-01_ses-b_T1w.nii", 1)
    (tmp_path / "sub-01/sub-01_sessions.tsv").write_text("session_id\tAge\nses-a\tn/a\nses-b\t52.5\n")
    found = found_with(tmp_path, HEADER + "sub-01\t45\tF\n")
    assert {scan.session: scan.labels["age"] for scan in found.scans} == {"a": "45", "b": "52.5"}
    assert {scan.labels["sex"] for scan in found.scans} == {"F"}


def test_a_person_may_be_at_another_site_in_another_session(tmp_path: Path) -> None:
    """The site's column, a split and a traveller's code are taken from sessions.tsv where it has them."""
    for session in ("a", "b"):
        scan_file(tmp_path / f"sub-01/ses-{session}/anat/sub-01_ses-{session}_T1w.nii", 0)
    (tmp_path / "sub-01/sub-01_sessions.tsv").write_text("session_id\tscanner\ttraveller\nses-a\tX\tT1\nses-b\tY\tT1\n")
    found = found_with(tmp_path, HEADER + "sub-01\t45\tF\n", {"site_column": "scanner", "columns": {"age": "age"}})
    assert {(scan.site, scan.session, scan.traveller) for scan in found.scans} == {("X", "a", "T1"), ("Y", "b", "T1")}


@pytest.mark.parametrize(("levels", "sex"), [({"0": "female", "1": "male"}, "F"), ({"0": "Male", "1": "Female"}, "M")])
def test_the_meaning_of_sexes_comes_from_participants_json(levels: dict[str, str], sex: str, tmp_path: Path) -> None:
    """Its Levels say what 0 is; what the user says wins."""
    (tmp_path / "participants.json").write_text(json.dumps({"sex": {"Levels": levels}}))
    assert found_with(tmp_path, HEADER + "sub-01\t45\t0\n").scans[0].labels["sex"] == sex
    own = {"values": {"sex": {"0": "O"}}}
    assert found_with(tmp_path, HEADER + "sub-01\t45\t0\n", own).scans[0].labels["sex"] == "O"


@pytest.mark.parametrize(("unit", "age"), [("years", "546"), ("months", "45.5"), ("Months", "45.5")])
def test_the_unit_of_age_comes_from_participants_json(unit: str, age: str, tmp_path: Path) -> None:
    """Ages in months are turned into years; 546 years are not believed."""
    (tmp_path / "participants.json").write_text(f'{{"age": {{"Units": "{unit}"}}}}')
    found = found_with(tmp_path, HEADER + "sub-01\t546\tF\n")
    assert [scan.labels["age"] for scan in found.scans] == ([] if unit == "years" else [age])


def test_an_unknown_unit_of_age_is_refused(tmp_path: Path) -> None:
    """Nothing is guessed."""
    (tmp_path / "participants.json").write_text('{"age": {"Units": "fortnights"}}')
    with pytest.raises(UserError, match="fortnights"):
        found_with(tmp_path, HEADER + "sub-01\t546\tF\n")


def test_scans_without_any_table_are_unlabelled(tmp_path: Path) -> None:
    """A site without labels is legal: it can be unlearned."""
    scan_file(tmp_path / "sub-01/anat/sub-01_T1w.nii", 0)
    found = find([tmp_path], PrepareConfig())
    assert found.scans[0].labels == {"age": "n/a", "sex": "n/a"}


def test_a_required_label_refuses_scans_without_it(tmp_path: Path) -> None:
    """`--require age`."""
    found = found_with(tmp_path, HEADER + "sub-01\tn/a\tF\n", {"require": ["age"]})
    assert [drop.rule for drop in found.dropped] == ["no-age"]


def test_ages_of_89plus_can_be_left_out_without_being_errors(tmp_path: Path) -> None:
    """`--age-89plus exclude` counts them apart from refusals."""
    found = found_with(tmp_path, HEADER + "sub-01\t89+\tF\n", {"age_89plus": "exclude"})
    assert (found.scans, found.dropped, found.left_out) == ([], [], 1)


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=8), st.sampled_from(["age", "sex", "site", "diagnosis"]), st.booleans())
def test_any_cell_is_a_clean_label_or_a_refusal(cell: str, name: str, comma: bool) -> None:
    """A label can be written into a table: no tab, no line break, an age that is a number up to 120."""
    try:
        label = read_label(name, cell, PrepareConfig(decimal_comma=comma))
    except Refusal:
        return
    assert label.isprintable()
    assert label
    assert name != "age" or label == "n/a" or 0 <= float(label) <= 120
    assert name != "sex" or label in {"F", "M", "O", "n/a"}


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_a_table_or_one_clear_error(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    """Reading a table raises nothing but a UserError of one line."""
    folder = tmp_path_factory.getbasetemp() / "fuzzed"
    told = ""
    try:
        found_with(folder, data)
    except UserError as error:
        told = str(error)
    assert "\n" not in told
