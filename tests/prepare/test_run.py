"""From a BIDS folder to shards that anybody can read."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import webdataset as wds

from distunlearn.prepare.config import PrepareConfig
from distunlearn.prepare.run import shard
from distunlearn.prepare.volume import prepare_scan

SMALL = {"preprocessing": {"size": (16, 16, 16)}, "workers": 1}


def write_scan(path: Path, seed: int, shape: tuple[int, int, int] = (12, 14, 10)) -> None:
    """A NIfTI of noise, 2 mm, drawn from `seed`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    voxels = np.random.default_rng(seed).integers(0, 900, shape).astype(np.int16)
    nib.save(nib.Nifti1Image(voxels, np.diag([2.0, 2, 2, 1])), path)


@pytest.fixture
def bids(tmp_path: Path) -> Path:
    """A BIDS folder of eight people, one of whom was scanned twice."""
    folder = tmp_path / "siteA"
    lines = ["participant_id\tage\tsex"]
    for n in range(8):
        write_scan(folder / f"sub-{n:02d}/ses-1/anat/sub-{n:02d}_ses-1_T1w.nii.gz", n)
        lines.append(f"sub-{n:02d}\t{20 + n}\t{'FM'[n % 2]}")
    write_scan(folder / "sub-03/ses-2/anat/sub-03_ses-2_T1w.nii.gz", 99)
    (folder / "participants.tsv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # webdataset leaves its files open
def test_shards_are_plain_webdataset_and_the_table_says_where_every_scan_lies(bids: Path, tmp_path: Path) -> None:
    """`wds.WebDataset` reads the tars, and `offset` and `bytes` of the table give the same voxels."""
    out = tmp_path / "out"
    config = PrepareConfig.read(SMALL, "test")
    summary = shard([bids], out, config)
    assert summary.sites["siteA"].written == 9
    manifest = json.loads((out / "siteA/manifest.json").read_text())
    header, *rows = [line.split("\t") for line in (out / "siteA/table.tsv").read_text().splitlines()]
    by_key = {row[0]: dict(zip(header, row, strict=True)) for row in rows}
    urls = [str(out / "siteA" / entry["name"]) for entry in manifest["shards"]]
    samples = {sample["__key__"]: sample for url in urls for sample in wds.WebDataset(url, shardshuffle=False)}
    assert samples.keys() == by_key.keys()
    for key, row in by_key.items():
        tar = (out / "siteA" / row["shard"]).read_bytes()
        values = np.frombuffer(tar[int(row["offset"]) :][: int(row["bytes"])], np.int16).reshape(manifest["shape"])
        assert np.array_equal(values, wds.autodecode.npy_loads(samples[key]["volume.npy"]))
        assert json.loads(samples[key]["json"])["age"] == float(row["age"])
    twice = [row for row in by_key.values() if row["age"] == "23"]
    assert len({row["subject"] for row in twice}) == 1
    assert len({row["split"] for row in twice}) == 1
    assert {row["session"] for row in twice} == {"0", "1"}


def test_a_new_scan_is_prepared_bit_for_bit_as_the_shard_was(bids: Path, tmp_path: Path) -> None:
    """`prepare_scan` with the manifest's preprocessing gives the values that a reader takes from the shard."""
    config = PrepareConfig.read(SMALL, "test")
    shard([bids], tmp_path / "out", config)
    manifest = json.loads((tmp_path / "out/siteA/manifest.json").read_text())
    z = prepare_scan(bids / "sub-03/ses-2/anat/sub-03_ses-2_T1w.nii.gz", manifest["preprocessing"])
    header, *rows = [line.split("\t") for line in (tmp_path / "out/siteA/table.tsv").read_text().splitlines()]
    stored = []
    for row in (dict(zip(header, row, strict=True)) for row in rows):
        tar = (tmp_path / "out/siteA" / row["shard"]).read_bytes()
        values = np.frombuffer(tar[int(row["offset"]) :][: int(row["bytes"])], np.int16).reshape(z.shape)
        stored.append(values.astype(np.float32) * np.float32(float(row["scale"])))
    assert any(np.array_equal(z, volume) for volume in stored)
    assert abs(z.mean()) < 1e-3
    assert abs(z.std() - 1) < 1e-3
