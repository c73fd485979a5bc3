"""A very small study with a known truth, made by the project's own preparation: age and scanner are both in the voxels."""

import csv
from collections.abc import Mapping
from pathlib import Path

import nibabel as nib
import numpy as np

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
