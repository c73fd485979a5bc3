"""Nothing that names a person or a place on their disk leaves the site: a canary in every corner of the source."""

import base64
import gzip
import io
import json
import re
import zipfile
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scans_on_disk import SHAPE, save, voxels
from tiny_run import command, set_options
from typer.testing import CliRunner

from distunlearn.cli import app

CANARY = "CANARYBIRD"
DATE = "19550312"
PEOPLE = 8
"""At each site."""
COLUMNS = "participant_id\tage\tsex\tname\tbirth\ttraveller\tsite"


def canary_scan(path: Path, seed: int) -> Path:
    """A scan with canaries in every text of its header, three extensions and the name in its gzip header."""
    image = nib.Nifti1Image(voxels(seed), np.diag([2.0, 2, 2, 1]))
    header = image.header
    header["descrip"], header["aux_file"] = f"{CANARY}descrip {DATE}", f"{CANARY}aux"
    header["intent_name"], header["db_name"] = f"{CANARY}intent", f"{CANARY}db"
    for code in (4, 6, 44):
        header.extensions.append(nib.nifti1.Nifti1Extension(code, f"{CANARY}extension{code} {DATE}".encode()))
    packed = io.BytesIO()
    with gzip.GzipFile(f"{CANARY}gzipname.nii", "wb", fileobj=packed, mtime=0) as stream:
        stream.write(image.to_bytes())
    return save(path, packed.getvalue())


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Two BIDS site folders below a folder with a canary in its name; at one, a scan and a row are broken."""
    for site in ("siteA", "siteB"):
        folder = tmp_path / f"{CANARY}folder" / site
        lines = [COLUMNS]
        for n in range(PEOPLE):
            who = f"sub-{CANARY}{site}{n}"
            stem = f"{who}_ses-{CANARY}{DATE}"
            scan = canary_scan(
                folder / who / f"ses-{CANARY}{DATE}" / "anat" / f"{stem}_acq-{CANARY}_T1w.nii.gz",
                n if site == "siteA" else 50 + n,
            )
            sidecar = {"PatientName": f"{CANARY}sidecar", "AcquisitionDate": DATE}
            save(scan.with_name(scan.name.replace(".nii.gz", ".json")), json.dumps(sidecar).encode())
            drawn = nib.Nifti1Image(np.ones(SHAPE, np.uint8), np.diag([2.0, 2, 2, 1])).to_bytes()
            save(
                folder
                / f"derivatives/{CANARY}seg"
                / who
                / f"ses-{CANARY}{DATE}"
                / "anat"
                / f"{stem}_acq-{CANARY}_dseg.nii",
                drawn,
            )
            age = "99999" if (site, n) == ("siteB", 7) else str(30 + n)
            lines.append(
                f"{who}\t{age}\tF\t{CANARY}name\t{DATE}\t{f'{CANARY}code{n}' if n < 2 else 'n/a'}\t{CANARY}site"
            )
        save(folder / "participants.tsv", "\n".join(lines).encode())
    first = next((tmp_path / f"{CANARY}folder/siteB").rglob("*0_*T1w.nii.gz"))
    first.write_bytes(first.read_bytes()[:-9])
    return tmp_path / f"{CANARY}folder"


def unpacked(data: bytes, depth: int = 0) -> list[bytes]:
    """The bytes and whatever is packed in them: zip, gzip, zlib, base64 (a tar packs nothing)."""
    found = [data]
    if depth > 4:
        return found
    if zipfile.is_zipfile(io.BytesIO(data)):
        with zipfile.ZipFile(io.BytesIO(data)) as packed:
            found += [part for name in packed.namelist() for part in unpacked(packed.read(name), depth + 1)]
    for match in re.finditer(rb"[A-Za-z0-9+/]{64,}={0,2}", data):
        text = match[0][: len(match[0]) // 4 * 4]
        found += unpacked(base64.b64decode(text), depth + 1)
    for start in (match.start() for match in re.finditer(rb"\x1f\x8b\x08|\x78[\x01\x5e\x9c\xda]", data)):
        inflater = zlib.decompressobj(47)
        try:
            inside = inflater.decompress(data[start:])
        except zlib.error:
            continue
        if inside:
            found += unpacked(inside, depth + 1)
    return found


def leaks(data: bytes) -> list[bytes]:
    """Canaries in some bytes, in any common encoding."""
    patterns = []
    for word in (CANARY, DATE):
        patterns += [
            word.encode(),
            word.lower().encode(),
            word.encode("utf-16-le"),
            word.encode("utf-16-be"),
            word.encode().hex().encode(),
        ]
        for shift in range(3):  # the letters of base64 that the word alone decides
            packed = base64.b64encode(b"\0" * shift + word.encode())
            patterns.append(packed[4 * (shift > 0) : -4 if packed.endswith(b"=") else None])
    return [pattern for part in unpacked(data) for pattern in patterns if pattern in part]


def test_the_search_finds_a_canary_however_it_is_packed() -> None:
    """What the next test relies on."""
    word = CANARY.encode()
    for packed in (gzip.compress(b"x" + word), base64.b64encode(b"padding" * 9 + word + b"padding" * 9),
                   CANARY.encode("utf-16"), base64.b64encode(zlib.compress(word + bytes(range(256))))):  # fmt: skip
        assert leaks(packed)
    assert not leaks(b"a clean text")


def leaky(folder: Path, *, but: tuple[Path, ...] = ()) -> list[str]:
    """The files and folders below a folder whose name or content holds a canary; those in `but` are not looked at."""
    paths = [path for path in folder.rglob("*") if not any(path == other or other in path.parents for other in but)]
    return [
        path.name
        for path in paths
        if leaks(str(path.relative_to(folder)).encode()) or (path.is_file() and leaks(path.read_bytes()))
    ]


def test_no_canary_is_in_anything_that_is_written_or_said(source: Path, tmp_path: Path) -> None:
    """Shards, tables, manifests, the private records, pages, terminal and errors, also unpacked; names of files too."""
    out, said = tmp_path / "out", []
    options = ["--workers", "1", "--size", "16", "16", "16", "--segmentation", "dseg"]
    runner = CliRunner()

    def run(*arguments: str) -> None:
        result = runner.invoke(app, arguments)
        said.append(f"{result.output} {result.stderr} {result.exception!r}")

    for more in (["--dry-run"], [], ["--max-refused", "2"], ["--max-refused", "2"]):
        run("shard", str(source), str(out), *options, *more)
    for inspected in ("inspect", "verify"):
        run(inspected, str(out))
    tar = next(out.rglob("*.tar"))
    tar.write_bytes(tar.read_bytes()[:1500])
    run("verify", str(out))
    assert "every byte as it was written" in said[5]
    assert "damaged" in said[6]
    assert len(list(out.rglob("*.tar"))) > 3
    assert not leaky(tmp_path, but=(source,))
    assert not leaks("\n".join(said).replace(str(source), "").encode())
    assert "gzip" in said[2]


def test_no_canary_of_a_table_is_in_anything_that_is_written_or_said(source: Path, tmp_path: Path) -> None:
    """A list of scans and a table of features: names, paths, dates and columns that nobody asked for stay where they are."""
    lines = [f"path,subject,age,sex,{CANARY}column,thick,site"]
    for n, scan in enumerate(sorted(source.glob("siteA/**/*.nii.gz"))):
        age = f"{CANARY}{DATE}" if n == 1 else str(30 + n)
        lines.append(f"{scan},{CANARY}{n},{age},F,{CANARY}{DATE},{2.5 + n},clinic")
    lines[3] += ",one cell too many"
    listing = save(tmp_path / "scans.csv", "\n".join(lines).encode())
    said = []
    for out, options in (("one", ["--size", "16", "16", "16"]), ("two", ["--features", "thick"])):
        for more in (
            ["--dry-run"],
            [],
            ["--max-refused", "2", "--participant-label", f"{CANARY}0"],
            ["--max-refused", "2"],
        ):
            result = CliRunner().invoke(
                app, ["shard", str(listing), str(tmp_path / out), "--workers", "1", *options, *more]
            )
            said.append(f"{result.output} {result.stderr} {result.exception!r}")
        assert CliRunner().invoke(app, ["inspect", str(tmp_path / out)]).exit_code == 0
    assert "rule age: 1" in said[0]
    assert "rule ragged-row: 1" in said[0]
    assert "(age 1, ragged-row 1)" in said[5]
    assert not leaky(tmp_path, but=(source, listing))
    assert not leaks("\n".join(said).encode())


@pytest.mark.slow
@pytest.mark.distributed
def test_no_canary_is_in_what_is_trained_on_these_shards(source: Path, tmp_path: Path) -> None:
    """Worker processes and their refusals, a split file, a run, its report, MLflow's database and files: nothing anywhere."""
    who = [f"sub-{CANARY}{site}{n},{site},{split}" for site in ("siteA", "siteB")
           for n, split in enumerate(("train", "train", "val", "test", "test"), start=2)]  # fmt: skip
    splits = save(tmp_path / f"{CANARY}splits.csv", "\n".join(["participant_id,site,split", *who]).encode())
    out, run = tmp_path / "out", tmp_path / "run"
    options = ["--workers", "2", "--size", "16", "16", "16", "--split-file", str(splits), "--max-refused", "2"]
    sharded = command("distunlearn", "shard", str(source), str(out), *options)
    assert sharded.returncode == 0, sharded.stderr
    trained = command("distunlearn", "train", "--preset", "demo", "--shards", str(out), "--out", str(run),
                      *set_options("tracking.enabled=true"))  # fmt: skip
    assert trained.returncode == 0, trained.stderr
    assert (run / "report.html").is_file()
    assert (tmp_path / "mlflow.db").is_file()
    assert not leaky(tmp_path, but=(source, splits))
    assert not leaks("".join((sharded.stdout, sharded.stderr, trained.stdout, trained.stderr)).encode())


def test_names_are_shown_only_when_asked_for(source: Path, tmp_path: Path) -> None:
    """--show-ids says which file is meant."""
    result = CliRunner().invoke(app, ["shard", str(source), str(tmp_path / "out"), "--dry-run", "--show-ids"])
    assert f"sub-{CANARY}siteB7" in result.output
