"""A very small study with a known truth, made by the project's own preparation: age and scanner are both in the voxels."""

import csv
from collections.abc import Mapping
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd

from distunlearn.prepare import PrepareConfig, Preprocessing, shard

SITES = {"alpha": 24, "beta": 15, "gamma": 12}
SHAPE = (8, 8, 4)


def write_scans(folder: Path, *, seed: int = 0, sites: Mapping[str, int] = SITES) -> Path:
    """NIfTI files and a table of them: a ball that grows with age, seen by scanners that differ in contrast and shading."""
    draw = np.random.default_rng(seed)
    axes = np.meshgrid(*(np.linspace(-1, 1, size) for size in (12, 12, 12)), indexing="ij")
    radius = np.sqrt(sum(axis**2 for axis in axes))
    folder.mkdir(parents=True)
    with (folder / "scans.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["path", "site", "subject", "age", "sex"])
        for index, (site, count) in enumerate(sites.items()):
            for number in range(count):
                age = draw.uniform(20, 80)
                brain = 100.0 * (radius < 0.9) - (60.0 + 15 * index) * (radius < age / 120)
                voxels = brain * (1 + 0.2 * (index - 1) * axes[index]) + draw.normal(0, 3, radius.shape)
                name = f"{site}{number:03d}.nii.gz"
                nib.save(nib.Nifti1Image(voxels.astype(np.float32), np.eye(4)), folder / name)
                table.writerow([name, site, f"{site}{number:03d}", f"{age:.1f}", "FM"[number % 2]])
    return folder / "scans.csv"


def write_shards(folder: Path, *, sites: Mapping[str, int] = SITES, val: float = 0.1) -> Path:
    """The same, sharded to 8×8×4 voxels."""
    table = write_scans(folder / "scans", sites=sites)
    secrets = folder / "shards.secrets"
    secrets.mkdir(mode=0o700)
    for site in sites:  # fixed, so that keys, and with them the order of the scans, are the same at every run
        (secrets / f"site-{site}.secret").write_text(f"{site.encode().hex():0>64}\n")
    preprocessing = Preprocessing(size=(8, 8, 8), keep_every=2)
    shard([table], folder / "shards", PrepareConfig(preprocessing=preprocessing, workers=1, val=val))
    return folder / "shards"


def write_drawn_shards(folder: Path) -> Path:
    """Shards of two sites of brains with a ventricle that is drawn, but for every fourth scan; 8×8×4 voxels.

    Of every tenth person no sex is known.
    """
    rng, rows = np.random.default_rng(0), []
    axes = np.meshgrid(*(np.linspace(-1, 1, 12) for _ in range(3)), indexing="ij")
    radius = np.sqrt(sum(axis**2 for axis in axes))
    for number in range(40):
        site, subject = "ab"[number % 2], f"sub-{number:02d}"
        inner = radius < rng.uniform(0.3, 0.6)
        voxels = 100.0 * (radius < 0.9) - (90 - 30 * (site == "b")) * inner + rng.normal(0, 3, radius.shape)
        anat = folder / "bids" / subject / "anat"
        anat.mkdir(parents=True)
        nib.save(nib.Nifti1Image(voxels.astype(np.float32), np.eye(4)), anat / f"{subject}_T1w.nii.gz")
        if number % 8 > 1:
            nib.save(nib.Nifti1Image((3 * inner).astype(np.uint8), np.eye(4)), anat / f"{subject}_dseg.nii.gz")
        sex = "n/a" if number % 10 == 9 else "FM"[number % 3 == 0]
        rows.append([subject, site, f"{rng.uniform(20, 80):.1f}", sex])
    table = pd.DataFrame(rows, columns=["participant_id", "site", "age", "sex"])
    table.to_csv(folder / "bids" / "participants.tsv", sep="\t", index=False)
    preprocessing = {"size": [8, 8, 8], "keep_every": 2}
    settings = {"segmentation": "dseg", "site_column": "site", "workers": 1, "val": 0.3, "preprocessing": preprocessing}
    shard([folder / "bids"], folder / "shards", PrepareConfig.read(settings, "test"))
    return folder / "shards"
