"""From sources to shards that anybody can read: the whole of `shard`, its counts, and what it refuses."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import webdataset as wds
from scans_on_disk import (
    bids_site,
    gz,
    manifest_of,
    nifti,
    npy,
    read_rows,
    read_values,
    run,
    save,
    scan_file,
    tree,
    voxels,
)

from distunlearn.errors import UserError
from distunlearn.prepare import TooManyRefusedError, prepare_scan


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # webdataset leaves its files open
def test_shards_are_plain_webdataset_and_the_table_says_where_every_scan_lies(tmp_path: Path) -> None:
    """`wds.WebDataset` reads the tars, and `offset` and `bytes` of the table give the same voxels."""
    run([bids_site(tmp_path / "siteA")], tmp_path / "out")
    site = tmp_path / "out/siteA"
    manifest = manifest_of(site)
    by_key = {row["key"]: row for row in read_rows(site)}
    urls = [str(site / entry.name) for entry in manifest.shards]
    samples = {sample["__key__"]: sample for url in urls for sample in wds.WebDataset(url, shardshuffle=False)}
    assert samples.keys() == by_key.keys()
    for key, row in by_key.items():
        assert np.array_equal(read_values(site, row, manifest.shape), npy(samples[key]["volume.npy"]))
        assert json.loads(samples[key]["json"])["age"] == float(row["age"])
    twice = [row for row in by_key.values() if row["age"] == "23"]
    assert len({row["subject"] for row in twice}) == 1
    assert len({row["split"] for row in twice}) == 1
    assert {row["session"] for row in twice} == {"0", "1"}


def test_a_tar_has_the_bytes_that_webdataset_itself_would_write(tmp_path: Path) -> None:
    """Members, order and headers are those of `TarWriter(mtime=0, encoder=False)`."""
    run([bids_site(tmp_path / "siteA", 3)], tmp_path / "out", {"test": 0, "val": 0})
    tar = tmp_path / "out/siteA/siteA-train-000000.tar"
    with (tmp_path / "theirs.tar").open("wb") as stream:
        writer = wds.TarWriter(stream, encoder=False, mtime=0)
        for row in read_rows(tar.parent):
            values = read_values(tar.parent, row, (16, 16, 4))
            end = int(row["offset"])
            about = tar.read_bytes()[end - 128 - 512 - 512 : end - 128 - 512].rstrip(b"\0")
            npy_bytes = tar.read_bytes()[end - 128 : end + values.nbytes]
            writer.write({"__key__": row["key"], "json": about, "volume.npy": npy_bytes})
        writer.close()
    assert (tmp_path / "theirs.tar").read_bytes() == tar.read_bytes()


def test_a_new_scan_is_prepared_bit_for_bit_as_the_shard_was(tmp_path: Path) -> None:
    """`prepare_scan` with the manifest's preprocessing gives the values that a reader takes from the shard."""
    bids = bids_site(tmp_path / "siteA")
    run([bids], tmp_path / "out")
    site = tmp_path / "out/siteA"
    z = prepare_scan(bids / "sub-03/ses-2/anat/sub-03_ses-2_T1w.nii.gz", manifest_of(site).preprocessing)
    stored = [read_values(site, row, z.shape) * np.float32(row["scale"]) for row in read_rows(site)]
    assert any(np.array_equal(z, volume) for volume in stored)


def test_a_new_scan_is_refused_when_its_preprocessing_is_of_another_version(tmp_path: Path) -> None:
    """A model that was trained on volumes made otherwise is never given wrong ones in silence."""
    scan = scan_file(tmp_path / "scan.nii", 0)
    with pytest.raises(UserError, match="version"):
        prepare_scan(scan, {"version": 2})
    with pytest.raises(UserError, match="rule truncated"):
        prepare_scan(save(tmp_path / "cut.nii", scan.read_bytes()[:-1]), {"version": 1})


def test_a_csv_of_the_same_scans_gives_the_same_bytes_as_the_bids_folder(tmp_path: Path) -> None:
    """With the same secrets, where the names come from makes no difference."""
    bids = bids_site(tmp_path / "siteA")
    lines = ["file;who;visit;Alter;Geschlecht"]
    for path in sorted(bids.rglob("*.nii.gz")):
        subject, session = path.relative_to(bids).parts[:2]
        n = int(subject.removeprefix("sub-"))
        lines.append(f"siteA/{path.relative_to(bids)};{subject};{session};{20 + n},0;{'wm'[n % 2]}")
    listing = save(tmp_path / "list.csv", ("\ufeff" + "\n".join(lines)).encode())
    run([bids], tmp_path / "one", secrets=tmp_path / "secrets")
    columns = {"path": "file", "subject": "who", "session": "visit", "age": "Alter", "sex": "Geschlecht"}
    options = {"site": "siteA", "columns": columns, "values": {"sex": {"w": "F", "m": "M"}}, "decimal_comma": True}
    run([listing], tmp_path / "two", options, secrets=tmp_path / "secrets")
    assert tree(tmp_path / "one") == tree(tmp_path / "two")


def test_several_site_folders_and_a_site_column_give_one_set_of_shards_a_site(tmp_path: Path) -> None:
    """A folder of BIDS folders has a site each; one BIDS folder can hold several by a column."""
    bids_site(tmp_path / "study/siteA", 3)
    bids_site(tmp_path / "study/siteB", 3)
    assert set(run([tmp_path / "study"], tmp_path / "one").sites) == {"siteA", "siteB"}
    one = bids_site(tmp_path / "both", 3)
    rows = zip((one / "participants.tsv").read_text().splitlines(), ("scanner", "x", "y", "x"), strict=True)
    (one / "participants.tsv").write_text("".join(f"{row}\t{scanner}\n" for row, scanner in rows))
    counts = run([one], tmp_path / "two", {"site_column": "scanner", "values": {"site": {"y": "siteY"}}}).sites
    assert {site: n.written for site, n in counts.items()} == {"siteY": 1, "x": 2}


def test_what_is_found_is_written_or_refused_with_its_rule(tmp_path: Path) -> None:
    """Found = written + refused, by rule, in the summary and in the manifest."""
    bids = bids_site(tmp_path / "siteA")
    save(bids / "sub-02/ses-1/anat/sub-02_ses-1_T1w.nii.gz", b"damaged")
    scan_file(bids / "sub-77/anat/sub-77_T1w.nii.gz", 7)
    counts = run([bids], tmp_path / "out", {"max_refused": 2}).sites["siteA"]
    assert (counts.found, counts.written, counts.refused) == (10, 8, {"no-nifti": 1, "no-row": 1})
    assert manifest_of(tmp_path / "out/siteA").counts == counts


def test_bad_rows_and_bad_headers_are_told_in_one_go(tmp_path: Path) -> None:
    """A table that already has too many faults does not hide those of the files."""
    bids = bids_site(tmp_path / "siteA")
    save(bids / "sub-02/ses-1/anat/sub-02_ses-1_T1w.nii.gz", b"damaged")
    (bids / "participants.tsv").write_text((bids / "participants.tsv").read_text().replace("\t25\t", "\t89+\t"))
    with pytest.raises(TooManyRefusedError, match=r"\(age-89plus 1, no-nifti 1\)"):
        run([bids], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_more_refusals_than_allowed_fail_before_any_manifest_is_written(tmp_path: Path) -> None:
    """By default a single damaged scan fails the command; the error counts the rules and names nobody."""
    bids = bids_site(tmp_path / "siteA")
    save(bids / "sub-02/ses-1/anat/sub-02_ses-1_T1w.nii.gz", b"damaged")
    with pytest.raises(TooManyRefusedError, match=r"1 scans are refused \(no-nifti 1\)") as caught:
        run([bids], tmp_path / "out")
    assert not (tmp_path / "out/siteA/manifest.json").exists()
    assert "sub-02" not in str(caught.value)
    assert "line 4" in caught.value.summary.dropped[0].place


def test_running_again_changes_nothing_and_a_changed_scan_only_its_shard(tmp_path: Path) -> None:
    """Idempotent to the byte and the time stamp; one new file rewrites the shard that it is in."""
    bids, site = bids_site(tmp_path / "siteA"), tmp_path / "out/siteA"
    run([bids], tmp_path / "out")
    before, stamps = tree(site), {path: path.stat().st_mtime_ns for path in site.iterdir()}
    run([bids], tmp_path / "out")
    assert {path: path.stat().st_mtime_ns for path in site.iterdir()} == stamps
    scan_file(bids / "sub-05/ses-1/anat/sub-05_ses-1_T1w.nii.gz", 500)
    run([bids], tmp_path / "out")
    after = tree(site)
    changed = {name for name in before if before[name] != after[name]}
    assert len([name for name in changed if name.endswith(".tar")]) == 1


def test_the_manifest_knows_the_voxel_sizes_of_the_training_scans(tmp_path: Path) -> None:
    """Along right, front and top, over split train alone, the same when shards are found again."""
    bids = bids_site(tmp_path / "siteA")
    table = tmp_path / "splits.tsv"
    table.write_text(
        "participant_id\tsplit\n" + "".join(f"{n:02d}\t{'test' if n == 1 else 'train'}\n" for n in range(8))
    )
    for n, zooms in {1: (5.0, 2, 2, 1), 2: (2.0, 2, 3, 1)}.items():
        save(bids / f"sub-{n:02d}/ses-1/anat/sub-{n:02d}_ses-1_T1w.nii.gz", gz(nifti(voxels(n), np.diag(zooms))))
    for _ in range(2):
        run([bids], tmp_path / "out", split_file=table)
        assert manifest_of(tmp_path / "out/siteA").voxel_mm == ((2.0, 2.0), (2.0, 2.0), (2.0, 3.0))


def test_a_damaged_or_missing_shard_is_written_again(tmp_path: Path) -> None:
    """A second run heals what was broken on disk."""
    bids, site = bids_site(tmp_path / "siteA"), tmp_path / "out/siteA"
    run([bids], tmp_path / "out")
    before = tree(site)
    first, *_, last = sorted(site.glob("*.tar"))
    first.unlink()
    data = bytearray(last.read_bytes())
    data[2000] ^= 1
    last.write_bytes(data)
    run([bids], tmp_path / "out")
    assert tree(site) == before


def test_worker_processes_write_the_same_bytes_as_one(tmp_path: Path) -> None:
    """How many processes there are makes no difference."""
    bids = bids_site(tmp_path / "siteA", 5)
    run([bids], tmp_path / "one", secrets=tmp_path / "secrets")
    run([bids], tmp_path / "two", {"workers": 2}, secrets=tmp_path / "secrets")
    assert tree(tmp_path / "one") == tree(tmp_path / "two")


def test_shards_are_cut_by_size_and_old_ones_swept(tmp_path: Path) -> None:
    """Fewer megabytes a shard, more shards; when they become fewer again, none is left over."""
    bids, site = bids_site(tmp_path / "siteA"), tmp_path / "out/siteA"
    run([bids], tmp_path / "out", {"shard_megabytes": 0.01})
    many = sorted(path.name for path in site.glob("*.tar"))
    run([bids], tmp_path / "out")
    few = sorted(path.name for path in site.glob("*.tar"))
    assert len(many) > len(few) == len(manifest_of(site).shards)
    assert all(re.fullmatch(r"siteA-(train|val|test)-\d{6}\.tar", name) for name in many)


def test_identical_voxels_across_splits_are_refused_and_within_one_kept(tmp_path: Path) -> None:
    """The same scan under two names in train and test is refused in both; the twin within train stays."""
    bids = bids_site(tmp_path / "siteA", 6)
    same = nifti()
    splits = ["train", "test", "train", "train", "train", "test"]
    for n in (0, 1):  # across splits: 0 train, 1 test; packed otherwise, so that only the voxels are the same
        save(bids / f"sub-{n:02d}/ses-1/anat/sub-{n:02d}_ses-1_T1w.nii.gz", same if n else nifti(descrip=b"other"))
    for n in (2, 4):  # within train
        scan_file(bids / f"sub-{n:02d}/ses-1/anat/sub-{n:02d}_ses-1_T1w.nii.gz", 42)
    rows = zip((bids / "participants.tsv").read_text().splitlines(), ("split", *splits), strict=True)
    (bids / "participants.tsv").write_text("".join(f"{row}\t{split}\n" for row, split in rows))
    with pytest.raises(TooManyRefusedError, match="duplicate 2"):
        run([bids], tmp_path / "out")
    counts = run([bids], tmp_path / "out", {"max_refused": 2}).sites["siteA"]
    assert (counts.written, counts.refused) == (5, {"duplicate": 2})
    before = tree(tmp_path / "out")
    run([bids], tmp_path / "out", {"max_refused": 2})
    assert tree(tmp_path / "out") == before
    scan_file(bids / "sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz", 1)
    assert run([bids], tmp_path / "out").sites["siteA"].written == 7


def test_options_choose_participants_and_runs(tmp_path: Path) -> None:
    """--participant-label and --runs first leave scans out, which are counted but are no refusals."""
    bids = bids_site(tmp_path / "siteA")
    scan_file(bids / "sub-01/ses-1/anat/sub-01_ses-1_run-2_T1w.nii.gz", 50)
    summary = run([bids], tmp_path / "out", {"participants": ["sub-01", "03"], "runs": "first"})
    assert summary.sites["siteA"].written == 3
    assert summary.left_out == 7
