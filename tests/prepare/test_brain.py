"""Brain extraction: an extra, and what it keeps."""

import os
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scans_on_disk import nifti, scan_file
from scipy.ndimage import binary_dilation

from distunlearn.errors import UserError
from distunlearn.prepare import PrepareConfig, Preprocessing, prepare_volume
from distunlearn.prepare.sources.scans import Scan
from distunlearn.prepare.voxels.brain import _extractor
from distunlearn.prepare.writing.work import prepare_one

SCANS = Path(os.environ.get("DISTUNLEARN_REAL", Path(__file__).parents[2] / "shared" / "data" / "t1"))


def test_without_deepbet_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It is no fault of the scan, so it ends the command instead of refusing every scan."""
    _extractor.cache_clear()
    monkeypatch.setitem(sys.modules, "deepbet", None)
    path = scan_file(tmp_path / "scan.nii", 0)
    config = PrepareConfig(preprocessing=Preprocessing(brain_extraction="deepbet"))
    with pytest.raises(UserError, match="pip install"):
        prepare_one(Scan("A", "1", "", path, "", {}), config)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # deepbet's own
def test_the_skull_goes_and_the_brain_stays() -> None:
    """A real average brain in a bright shell: nearly all of the shell becomes zero, nearly all of the brain is kept."""
    pytest.importorskip("deepbet")
    from nilearn.datasets import load_mni152_template

    template = load_mni152_template(resolution=2)
    kept, removed = extracted(
        template.get_fdata(), template.get_fdata() > 0.2 * template.get_fdata().max(), template.affine
    )
    assert kept > 0.9
    assert removed > 0.9


@pytest.mark.slow
@pytest.mark.real
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # deepbet's own
@pytest.mark.parametrize("site", ["ds000011", "ds002748", "oasis1"])
def test_a_real_brain_of_each_site_stays(site: str) -> None:
    """Of one person of each site, in a bright shell: less than 5 % of the brain is lost, and none of the shell is left."""
    pytest.importorskip("deepbet")
    if not (SCANS / site).is_dir():
        pytest.skip("no real scans there; set DISTUNLEARN_REAL to a folder of BIDS folders, one a site")
    image = nib.as_closest_canonical(nib.load(sorted((SCANS / site).rglob("*_T1w.nii.gz"))[7]))
    voxels = np.asarray(image.dataobj, dtype=float)
    kept, removed = extracted(voxels, voxels > 0, image.affine)
    assert kept > 0.95
    assert removed > 0.99


def extracted(voxels: np.ndarray, brain: np.ndarray, affine: np.ndarray) -> tuple[float, float]:
    """The share of a brain that is kept, and of a bright shell around it that is removed."""
    _extractor.cache_clear()
    head, brain = np.pad(voxels, 12), np.pad(brain, 12)
    shell = binary_dilation(brain, iterations=7) & ~binary_dilation(brain, iterations=4)
    bright = head + 0.8 * np.percentile(head[brain], 90) * shell
    data = (1000 * bright / bright.max()).astype(np.int16)
    whole = Preprocessing(size=data.shape, keep_every=1, brain_extraction="deepbet")
    z = prepare_volume(nifti(data, affine), whole).z
    zero = z == z.min()
    return float(1 - zero[brain].mean()), float(zero[shell].mean())
