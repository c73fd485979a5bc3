"""Brain extraction: an extra, and what it keeps."""

import sys
from pathlib import Path

import numpy as np
import pytest
from scans_on_disk import nifti, scan_file

from distunlearn.errors import UserError
from distunlearn.prepare import PrepareConfig, Preprocessing, prepare_volume
from distunlearn.prepare.sources.scans import Scan
from distunlearn.prepare.voxels.brain import _extractor
from distunlearn.prepare.writing.work import prepare_one


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
def test_the_skull_goes_and_the_brain_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """A real average brain in a bright shell: nearly all of the shell becomes zero, nearly all of the brain is kept."""
    pytest.importorskip("deepbet")
    from nilearn.datasets import load_mni152_template
    from scipy.ndimage import binary_dilation

    _extractor.cache_clear()
    template = load_mni152_template(resolution=2)
    head = np.pad(template.get_fdata() / template.get_fdata().max(), 12)
    brain = head > 0.2
    shell = binary_dilation(brain, iterations=7) & ~binary_dilation(brain, iterations=4)
    data = (800 * head + 600 * shell).astype(np.int16)
    whole = Preprocessing(size=data.shape, keep_every=1, brain_extraction="deepbet")
    z = prepare_volume(nifti(data, template.affine), whole).z
    zero = z == z.min()
    assert zero[shell].mean() > 0.9
    assert zero[brain].mean() < 0.1
