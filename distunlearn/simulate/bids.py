"""The study on disk: one BIDS data set a site, and the true tissues as its derivative."""

import gzip
import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd

from distunlearn.shard_format import MISSING
from distunlearn.simulate.cohort import Visit
from distunlearn.simulate.scanner import LABELS, Acquisition

BIDS_VERSION = "1.10.0"
AXES = {"biobank": "RAS", "oasis": "PSR", "whitehall": "LAS"}
"""In which order and direction a site's files store the axes, as real sites do."""
SIDECARS: dict[str, dict[str, Any]] = {
    "biobank": {"ManufacturersModelName": "simulated, in the style of Skyra", "MagneticFieldStrength": 3},
    "oasis": {"ManufacturersModelName": "simulated, in the style of Vision", "MagneticFieldStrength": 1.5},
    "whitehall": {"ManufacturersModelName": "simulated, in the style of Verio", "MagneticFieldStrength": 3},
}
AT_RANDOM: dict[str, Any] = {"ManufacturersModelName": "simulated, drawn at random"}
COLUMNS = {
    "age": {"Description": "age at the first scan", "Units": "years"},
    "sex": {"Description": "sex", "Levels": {"F": "female", "M": "male"}},
    "traveller": {
        "Description": "code of a person scanned at every site, the same at all of them; n/a for everybody else"
    },
    "split": {"Description": "travelling: never to be trained on; n/a: for the reader to divide"},
}
README = """Simulated brain MRI; nobody was scanned.

The volumes are deformations of one average brain (MNI ICBM152 2009a, as nilearn distributes it) seen through simulated
scanners. They serve to try and to test software, not to learn about brains. The brain is already cut out.
The terms of the MNI template (McConnell Brain Imaging Centre, McGill University) apply to what is derived from it.
"""


def write_site(folder: Path, visits: list[Visit]) -> None:
    """Write everything of a site but its scans: description, participants, sessions."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "README").write_text(README)
    _json(folder / "dataset_description.json", _description(f"Simulated study, site {folder.name}", "raw"))
    _json(folder / "participants.json", COLUMNS)
    people: dict[str, list[Visit]] = {}
    for visit in visits:
        people.setdefault(visit.participant, []).append(visit)
    _tsv(folder / "participants.tsv", [_participant(first) for first, *_ in people.values()])
    for participant, own in people.items():
        _write_sessions(folder / participant, own)


def write_labels_description(folder: Path) -> None:
    """Write what makes the folder `derivatives/tissue` of a site a BIDS derivative."""
    (folder / "derivatives" / "tissue").mkdir(parents=True, exist_ok=True)
    _json(folder / "derivatives" / "tissue" / "dataset_description.json", _description("True tissues", "derivative"))
    names = {"GM": "grey matter", "WM": "white matter", "CSF": "cerebrospinal fluid"}
    rows = [{"index": index, "name": names[label], "abbreviation": label} for label, index in LABELS.items()]
    _tsv(folder / "derivatives" / "tissue" / "dseg.tsv", rows)


def write_scan(folder: Path, visit: Visit, acquisition: Acquisition, *, labels: bool) -> None:
    """Write a visit's volume and sidecar into a site's folder, and its tissue labels if asked for."""
    name = "_".join(part for part in (visit.participant, visit.session) if part)
    anat, axes = _anat(folder, visit), AXES.get(visit.site, "RAS")
    _nifti(anat / f"{name}_T1w.nii.gz", acquisition.volume, acquisition.affine, axes=axes)
    sidecar = {
        "Modality": "MR",
        "Manufacturer": "simulated",
        **SIDECARS.get(visit.site, AT_RANDOM),
        "SkullStripped": True,
    }
    _json(anat / f"{name}_T1w.json", sidecar)
    if labels:
        target = _anat(folder / "derivatives" / "tissue", visit) / f"{name}_dseg.nii.gz"
        _nifti(target, acquisition.labels, acquisition.affine, axes=axes)


def _participant(visit: Visit) -> dict[str, Any]:
    split = MISSING if visit.traveller is None else "travelling"
    own = {"participant_id": visit.participant, "age": visit.age, "sex": visit.sex}
    return {**own, "traveller": visit.traveller or MISSING, "split": split}


def _write_sessions(folder: Path, visits: list[Visit]) -> None:
    rows = [{"session_id": visit.session, "age": visit.age} for visit in visits if visit.session]
    if rows:
        folder.mkdir(parents=True, exist_ok=True)
        _tsv(folder / f"{folder.name}_sessions.tsv", rows)


def _anat(folder: Path, visit: Visit) -> Path:
    anat = folder.joinpath(visit.participant, *([visit.session] if visit.session else []), "anat")
    anat.mkdir(parents=True, exist_ok=True)
    return anat


def _nifti(path: Path, volume: np.ndarray, affine: np.ndarray, *, axes: str) -> None:
    """Same voxels, same bytes: gzip's header would hold the time and the file's name."""
    image = nib.Nifti1Image(volume, affine)
    turn = nib.orientations.ornt_transform(nib.io_orientation(affine), nib.orientations.axcodes2ornt(tuple(axes)))
    turned = image.as_reoriented(turn)
    turned.set_sform(turned.affine, code=1)
    turned.set_qform(turned.affine, code=1)
    turned.header.set_xyzt_units("mm", "sec")
    path.write_bytes(gzip.compress(turned.to_bytes(), compresslevel=1, mtime=0))


def _description(name: str, kind: str) -> dict[str, Any]:
    made_by = [{"Name": "distunlearn simulate"}]
    return {"Name": name, "BIDSVersion": BIDS_VERSION, "DatasetType": kind, "GeneratedBy": made_by}


def _json(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=1) + "\n")


def _tsv(path: Path, rows: list[dict[str, Any]]) -> None:
    pd.DataFrame(rows).to_csv(path, sep="\t", index=False, lineterminator="\n")
