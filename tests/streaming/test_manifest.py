"""A study is read whole or refused in one line that names what is wrong."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from written_study import PREPROCESSING, change_table, rename_person, write_site

from distunlearn.errors import UserError
from distunlearn.shard_format import MANIFEST, PLACE_COLUMNS, TABLE
from distunlearn.streaming.manifest import read_study


def test_the_order_of_sites_is_the_order_of_domains(study_folder: Callable[..., Path]) -> None:
    """Sites are sorted by name unless an order is given, and a scan's domain is its site's place in it."""
    folder = study_folder(oasis=[50.0] * 3, biobank=[60.0] * 4)
    assert read_study(folder).sites == ("biobank", "oasis")
    study = read_study(folder, ["oasis", "biobank"])
    assert study.sites == ("oasis", "biobank")
    assert study.table.groupby("site")["domain"].unique().to_dict() == {"biobank": [1], "oasis": [0]}


def test_the_table_has_a_row_a_scan_with_numbers_as_numbers(study_folder: Callable[..., Path]) -> None:
    """Every scan has one row; a label of numbers is float with NaN where missing, any other is text."""
    study = read_study(study_folder(biobank=[45.5, None, 70.0]))
    assert list(study.table.columns) == [*PLACE_COLUMNS, "site", "domain", "age", "sex"]
    assert len(study.table) == 5
    np.testing.assert_array_equal(study.table["age"], [45.5, np.nan, 70.0, 50.0, 60.0])
    assert study.table["sex"].tolist() == ["F", "M", "F", "F", "M"]
    assert study.labels == ("age", "sex")


def test_one_value_that_is_no_number_keeps_a_label_as_text(tmp_path: Path) -> None:
    """A label such as "89+" anywhere leaves the whole column as it was written, missing values as None."""
    folder = write_site(tmp_path, "oasis", {"train": [50.0, None]})
    change_table(folder, "\t50\t", "\t89+\t")
    assert read_study(tmp_path).table["age"].tolist() == ["89+", None]


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    """A folder that is not there, or holds no site, is named with what to give instead."""
    with pytest.raises(UserError, match="nowhere: no such folder"):
        read_study(tmp_path / "nowhere")
    with pytest.raises(UserError, match="no site there"):
        read_study(tmp_path)


def test_a_wrong_site_name_is_answered_with_the_known_ones(study_folder: Callable[..., Path]) -> None:
    """A site that does not exist, is given twice, or was never finished, is named."""
    folder = study_folder(oasis=[50.0], biobank=[60.0])
    with pytest.raises(UserError, match=r"site oassis: not in .* \(known: biobank, oasis\)"):
        read_study(folder, ["biobank", "oassis"])
    with pytest.raises(UserError, match="oasis is given twice"):
        read_study(folder, ["oasis", "oasis"])
    (folder / "oasis" / MANIFEST).unlink()
    with pytest.raises(UserError, match=r"site oasis: no manifest.json in its folder"):
        read_study(folder, ["biobank", "oasis"])


def test_sites_prepared_differently_are_refused_by_key(tmp_path: Path) -> None:
    """The scanner could be told by the preparation, so every differing key is named."""
    write_site(tmp_path, "biobank", {"train": [50.0]})
    write_site(tmp_path, "oasis", {"train": [50.0]}, preprocessing=PREPROCESSING | {"normalise": "brain", "crop": True})
    write_site(tmp_path, "tables", {"train": [50.0]}, shape=(7,), dtype="float32")
    with pytest.raises(UserError, match=r"biobank and oasis .* \(preprocessing.crop, preprocessing.normalise\)"):
        read_study(tmp_path, ["biobank", "oasis"])
    with pytest.raises(UserError, match=r"biobank and tables .* \(kind, shape, dtype\)"):
        read_study(tmp_path, ["biobank", "tables"])


def test_a_table_of_another_manifest_is_refused(study_folder: Callable[..., Path]) -> None:
    """One changed byte of the table is noticed before anything else is read."""
    folder = study_folder(oasis=[50.0])
    table = folder / "oasis" / TABLE
    table.write_bytes(table.read_bytes().replace(b"\t50\t", b"\t51\t"))
    with pytest.raises(UserError, match=r"site oasis: table.tsv is not the one"):
        read_study(folder)


def test_a_missing_or_cut_shard_is_named(study_folder: Callable[..., Path]) -> None:
    """A shard that is absent or shorter than written is named before a step is taken."""
    folder = study_folder(oasis=[50.0] * 7)
    shard = folder / "oasis" / "oasis-train-000001.tar"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-512])
    with pytest.raises(
        UserError, match=rf"shard oasis-train-000001.tar has {len(whole) - 512} bytes, not {len(whole)}"
    ):
        read_study(folder)
    shard.unlink()
    with pytest.raises(UserError, match=r"shard oasis-train-000001.tar is missing"):
        read_study(folder)


def test_a_person_in_two_splits_is_refused(tmp_path: Path) -> None:
    """A leak between splits is found whatever wrote the shards."""
    folder = write_site(tmp_path, "oasis", {"train": [50.0], "test": [50.0]})
    rename_person(folder, "personoasistest0000", "personoasistrain0000")
    with pytest.raises(UserError, match="is of a person who is in another split too"):
        read_study(tmp_path)


def test_a_manifest_in_another_sites_folder_is_refused(study_folder: Callable[..., Path]) -> None:
    """Two sites' folders that were exchanged are not trained on under each other's name."""
    folder = study_folder(oasis=[50.0], biobank=[60.0])
    (folder / "oasis").rename(folder / "x")
    (folder / "biobank").rename(folder / "oasis")
    with pytest.raises(UserError, match=r"site oasis: its manifest.json is that of site biobank"):
        read_study(folder, ["oasis"])
