"""Sites may be written by several processes at once, as the tasks of an array job do."""

from multiprocessing import get_context
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from filelock import FileLock

from distunlearn.errors import UserError
from distunlearn.prepare.config import PrepareConfig
from distunlearn.prepare.pseudonym import Secrets
from distunlearn.prepare.run import shard

SMALL = {"preprocessing": {"size": (16, 16, 16)}, "workers": 1}


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Three BIDS folders of two people each."""
    for number, site in enumerate("abc"):
        folder = tmp_path / "study" / site
        for person in range(2):
            scan = folder / f"sub-{person}/anat/sub-{person}_T1w.nii"
            scan.parent.mkdir(parents=True)
            voxels = np.random.default_rng(10 * number + person).integers(0, 900, (12, 14, 10)).astype(np.int16)
            nib.save(nib.Nifti1Image(voxels, np.diag([2.0, 2, 2, 1])), scan)
        (folder / "participants.tsv").write_text("participant_id\tage\tsex\nsub-0\t30\tF\nsub-1\t40\tM\n")
    return tmp_path / "study"


def write_one(site: Path, out: Path) -> int:
    """Shard one site; how many scans were written."""
    return shard([site], out, PrepareConfig.read(SMALL, "test")).sites[site.name].written


def study_secret(folder: Path) -> bytes:
    """The secret that the sites of a study share."""
    return Secrets(folder).study()


def test_an_array_writes_what_one_process_writes(study: Path, tmp_path: Path) -> None:
    """One process a site, all at once: the same bytes as one process for all, with the same secrets."""
    sites = sorted(study.iterdir())
    with get_context("spawn").Pool(3) as pool:
        assert pool.starmap(write_one, [(site, tmp_path / "array") for site in sites], chunksize=1) == [2, 2, 2]
    shard(sites, tmp_path / "one", PrepareConfig.read(SMALL, "test"), secrets=tmp_path / "array.secrets")
    written = {path.relative_to(tmp_path / "one"): path.read_bytes() for path in (tmp_path / "one").rglob("*.*")}
    assert written == {
        path.relative_to(tmp_path / "array"): path.read_bytes() for path in (tmp_path / "array").rglob("*.*")
    }


def test_processes_that_start_together_share_one_secret(tmp_path: Path) -> None:
    """The study's secret is made once, whoever comes first."""
    with get_context("spawn").Pool(4) as pool:
        assert len(set(pool.map(study_secret, [tmp_path / "secrets"] * 8, chunksize=1))) == 1


def test_a_site_is_written_by_one_process(study: Path, tmp_path: Path) -> None:
    """A second process on the same site is refused, by the site's name; one on another site is not."""
    (tmp_path / "out.secrets").mkdir()
    with FileLock(tmp_path / "out.secrets" / "b.lock"):
        with pytest.raises(UserError, match="site 'b': another process"):
            write_one(study / "b", tmp_path / "out")
        assert write_one(study / "c", tmp_path / "out") == 2
