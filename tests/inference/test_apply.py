"""A model on new scans: prepared as in training, warned of when they are unlike it, and one bad scan stops no other."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch

from distunlearn.errors import UserError
from distunlearn.evaluate.age_bias import Correction
from distunlearn.evaluate.applicability import looks, ranges, unlike, voxel_ranges
from distunlearn.evaluate.model import Model
from distunlearn.inference.apply import Bad, Effort, Result, apply_model, load_for_scans, predictions, remarks

STAGE = "unlearning"


@pytest.fixture(scope="module")
def model(planted_run: Path) -> Model:
    """The model of the last stage."""
    return load_for_scans(planted_run / STAGE / "model")


@pytest.fixture(scope="module")
def scans(planted_shards: Path) -> list[Path]:
    """The files that the shards were made of."""
    return sorted((planted_shards.parent / "scans").glob("*.nii.gz"))


def with_correction(model: Model, correction: Correction) -> Model:
    """The model as if this had been fitted."""
    return Model(model.card.model_copy(update={"corrections": {"age": correction}}), model.parts, model.task)


def test_scans_are_predicted_as_their_shards_were(model: Model, scans: list[Path], planted_run: Path) -> None:
    """From the file the prediction is what the run wrote of the same scan, in every split; batches change nothing."""
    said = sorted(
        round(one.prediction["age"], 3) for one in apply_model(model, scans, Effort(7)) if isinstance(one, Result)
    )
    written = pd.read_csv(planted_run / STAGE / "predictions.tsv", sep="\t")["prediction"]
    assert said == pytest.approx(sorted(written), abs=2e-3)


def test_a_bad_scan_is_listed_and_the_others_go_on(model: Model, scans: list[Path], tmp_path: Path) -> None:
    """Between good scans, in worker processes too: its place in the order, its rule, and no prediction."""
    bad = tmp_path / "bad.nii.gz"
    bad.write_bytes(b"no scan")
    several = [*scans[:5], bad, *scans[5:10], tmp_path / "missing.nii"]
    for workers in (1, 2):
        found = list(apply_model(model, several, Effort(4, workers)))
        assert [one.scan for one in found] == several
        assert [one.rule for one in found if isinstance(one, Bad)] == ["no-nifti", "missing-file"]
    rows = list(predictions(model, found))
    assert all(len(row) == len(rows[0]) for row in rows)
    assert rows[6][-1].startswith("no-nifti: ")
    assert rows[6][1] is None


def test_training_scans_raise_no_warning(model: Model, scans: list[Path]) -> None:
    """Scans of the study look like its training scans, so that a warning means something."""
    found = [one for one in apply_model(model, scans) if isinstance(one, Result)]
    warned = [one for one in found if any(word.startswith(("geometry", "intensity")) for word in one.warnings)]
    assert len(warned) <= len(found) // 20


def fault(voxels: np.ndarray, kind: str) -> np.ndarray:
    """A scan as another protocol would have given it."""
    changed = {
        "field of view": np.pad(voxels, 12),
        "thick slices": np.repeat(voxels[:, :, ::4], 4, axis=2),
        "shading": voxels * np.linspace(0.1, 5, len(voxels))[:, None, None],
        "noise": voxels + np.random.default_rng(0).normal(0, 60, voxels.shape),
    }
    return changed[kind].astype(np.float32)


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        ("field of view", "geometry"),
        ("thick slices", "geometry"),
        ("shading", "intensity"),
        ("noise", "geometry"),
    ],
)
def test_scans_unlike_the_training_are_warned_of(
    model: Model, scans: list[Path], tmp_path: Path, kind: str, word: str
) -> None:
    """Planted in a training scan: another field of view, thick slices, a coil's shading, noise."""
    voxels = np.asarray(nib.load(scans[0]).dataobj)  # type: ignore[attr-defined]
    path = tmp_path / "odd.nii.gz"
    nib.save(nib.Nifti1Image(fault(voxels, kind), np.eye(4)), path)
    (found,) = apply_model(model, [path])
    assert isinstance(found, Result)
    assert any(warning.startswith(word) for warning in found.warnings), found.warnings


@pytest.mark.parametrize(
    ("zooms", "axes", "warning"),
    [
        ((1, 1, 3), (0, 1, 2), "geometry: voxels are 3 mm from bottom to top, 1 to 1 in training"),
        ((3, 1, 1), (2, 0, 1), "geometry: voxels are 3 mm from bottom to top, 1 to 1 in training"),
        ((0.7, 1, 1), (0, 1, 2), "geometry: voxels are 0.7 mm from left to right, 1 to 1 in training"),
        ((1.2, 0.85, 1), (0, 1, 2), None),
    ],
)
def test_voxel_sizes_unlike_the_training_are_warned_of(
    model: Model,
    scans: list[Path],
    tmp_path: Path,
    zooms: tuple[float, ...],
    axes: tuple[int, ...],
    warning: str | None,
) -> None:
    """By the axis of the head, whatever the order in the file; a fifth more or less passes."""
    affine = np.zeros((4, 4))
    affine[[*axes, 3], range(4)] = [*zooms, 1]
    path = tmp_path / "other.nii.gz"
    nib.save(nib.Nifti1Image(np.asarray(nib.load(scans[0]).dataobj), affine), path)  # type: ignore[attr-defined]
    (found,) = apply_model(model, [path])
    assert isinstance(found, Result)
    assert [word for word in found.warnings if "voxels are" in word] == ([warning] if warning else [])


def test_a_model_that_knows_no_voxel_sizes_says_so(model: Model) -> None:
    """Such as one of an earlier version: nothing goes unchecked in silence."""
    older = model.card.model_copy(update={"voxel_mm": ()})
    assert any("voxel sizes" in remark for remark in remarks(older))
    assert not any("voxel sizes" in remark for remark in remarks(model.card))


def test_the_range_of_voxel_sizes_covers_the_sites() -> None:
    """Least and greatest over all of them; unknown as soon as one site's are."""
    one, other = ((1.0, 1.0), (1.0, 1.2)), ((0.9, 0.9), (1.1, 1.1))
    assert voxel_ranges([one, other]) == ((0.9, 1.0), (1.0, 1.2))
    assert voxel_ranges([one, ()]) == ()


def test_looks_do_not_hang_on_the_batch() -> None:
    """A scan looks the same alone and among others, and its own range does not exclude it."""
    volume = torch.randn(5, 1, 8, 9, 10, generator=torch.Generator().manual_seed(0))
    together = looks(volume)
    assert torch.equal(together[3:4], looks(volume[3:4]))
    assert unlike(together[2], ranges(together)) == []
    assert unlike(together[2] + 5, ranges(together))
    assert ranges(torch.empty(0, together.shape[1])) == {}


def test_extrapolation_is_said(model: Model, scans: list[Path]) -> None:
    """A prediction outside the ages of training is marked with them."""
    young = Model(model.card.model_copy(update={"target_range": {"age": (1.0, 2.0)}}), model.parts, model.task)
    (found,) = apply_model(young, scans[:1])
    assert isinstance(found, Result)
    assert "outside the ages of training (1 to 2)" in found.warnings


def test_corrected_beside_raw(model: Model, scans: list[Path]) -> None:
    """Both are written; without a correction the column says n/a and the remark says why."""
    fitted = with_correction(model, Correction(people=30, slope=0.5, intercept=20.0))
    header, row = predictions(fitted, apply_model(fitted, scans[:1]))
    told = dict(zip(header, row, strict=True))
    assert float(told["age_corrected"]) == pytest.approx((float(told["age"]) - 20) / 0.5, abs=1e-3)
    assert remarks(fitted.card) == []
    header, row = predictions(model, apply_model(model, scans[:1]))
    assert dict(zip(header, row, strict=True))["age_corrected"] is None
    assert "people for validation" in remarks(model.card)[0]


def test_a_model_of_tables_takes_no_scans(planted_run: Path, tmp_path: Path) -> None:
    """It is refused with what to do instead."""
    folder = tmp_path / "model"
    folder.mkdir()
    card = (planted_run / STAGE / "model" / "model.json").read_text().replace('"kind": "volume"', '"kind": "features"')
    (folder / "model.json").write_text(card)
    (folder / "model.safetensors").write_bytes((planted_run / STAGE / "model" / "model.safetensors").read_bytes())
    with pytest.raises(UserError, match="tables of features"):
        load_for_scans(folder)
