"""What was planted can be found: the scans tell age and scanner, and travelling people have one anatomy."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy import ndimage
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

SITES = ("biobank", "oasis", "whitehall")


def voxels(path: Path) -> np.ndarray:
    """A scan on a common coarse grid, mean 0 and standard deviation 1."""
    image = nib.as_closest_canonical(nib.load(path))
    volume = np.asarray(image.dataobj, dtype=np.float32)
    coarse = ndimage.zoom(volume, [n / m for n, m in zip((20, 24, 20), volume.shape, strict=True)], order=1)
    return ((coarse - coarse.mean()) / coarse.std()).ravel()


@pytest.fixture(scope="module")
def scans(small_study: Path) -> pd.DataFrame:
    """Every person's first scan: site, age, traveller, voxels and true volume of fluid."""
    rows = []
    for site in SITES:
        table = pd.read_csv(small_study / site / "participants.tsv", sep="\t").set_index("participant_id")
        for person, row in table.iterrows():
            path = sorted((small_study / site / str(person)).rglob("*_T1w.nii.gz"))[0]
            labels = nib.load(
                str(path).replace(f"{site}/", f"{site}/derivatives/tissue/").replace("_T1w", "_dseg"),
            )
            fluid = (np.asarray(labels.dataobj) == 3).sum() * np.prod(labels.header.get_zooms()) / 1000
            rows.append({"site": site, "voxels": voxels(path), "fluid": fluid, **row})
    return pd.DataFrame(rows)


def test_a_linear_model_beats_the_median_age(scans: pd.DataFrame) -> None:
    """A ridge on voxels predicts ages of unseen people, at the site with the widest ages, far better than the median."""
    own = scans[(scans.site == "oasis") & scans.traveller.isna()]
    X, age = np.stack(list(own.voxels)), own.age.to_numpy()
    model = make_pipeline(StandardScaler(), RidgeCV(np.logspace(2, 6, 9)))
    error = np.abs(cross_val_predict(model, X, age, cv=5) - age).mean()
    assert error < 0.7 * np.abs(np.median(age) - age).mean()


def test_a_linear_model_tells_the_scanner(scans: pd.DataFrame) -> None:
    """Trained on other people, it names the scanner of nearly every scan of travelling people: age cannot tell it there."""
    own, travelling = scans[scans.traveller.isna()], scans[scans.traveller.notna()]
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.001, class_weight="balanced"))
    model.fit(np.stack(list(own.voxels)), own.site)
    assert model.score(np.stack(list(travelling.voxels)), travelling.site) > 0.8


def test_travelling_people_have_one_anatomy_on_all_scanners(scans: pd.DataFrame) -> None:
    """True volumes of fluid agree between the scanners for each person far better than people agree with each other."""
    fluid = scans[scans.traveller.notna()].pivot_table(index="traveller", columns="site", values="fluid")
    assert fluid.corr().to_numpy().min() > 0.9
