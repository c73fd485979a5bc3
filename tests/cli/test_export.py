"""A model that is handed over: whole, without anybody's scan in it, and saying the same as the original."""

import base64
import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tiny_run import command

from distunlearn.inference.apply import Result, apply_model, load_for_scans
from distunlearn.inference.deployed import ONNX_NEEDS
from distunlearn.inference.export import export, real_scans
from distunlearn.inference.membership import audit
from distunlearn.inference.service import load

STAGE = "unlearning"


@pytest.fixture(scope="module")
def scans(planted_shards: Path) -> list[Path]:
    """Two scans of the study."""
    return sorted((planted_shards.parent / "scans").glob("*.nii.gz"))[:2]


@pytest.fixture(scope="module")
def handed_over(planted_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Exported by the command, outside of the tests' run-time type checks, which torch.export does not take."""
    out = tmp_path_factory.mktemp("handed_over") / "model"
    done = command("distunlearn", "export", str(planted_run), str(out), "--format", "torch", "--format", "mlflow")
    assert done.returncode == 0, done.stderr
    assert "within" in done.stdout
    return out


def test_predictions_stay_the_same(handed_over: Path, planted_run: Path, scans: list[Path]) -> None:
    """The folder is a model of its own: `predict --run FOLDER` needs nothing else of the run."""
    folders = (handed_over, planted_run / STAGE / "model")
    said = [
        [one.prediction for one in apply_model(load_for_scans(folder), scans) if isinstance(one, Result)]
        for folder in folders
    ]
    assert said[0] == said[1]


def test_no_path_and_no_scan_leaves(handed_over: Path, planted_run: Path, planted_shards: Path) -> None:
    """No file holds where the shards lie, a key or a subject, nor the voxels on which the graph was checked."""
    table = pd.read_csv(planted_run / STAGE / "predictions.tsv", sep="\t")
    voxels = real_scans(planted_run)[0].numpy().tobytes()[256:512]
    assert len(set(voxels)) > 64  # or it could be found anywhere
    secrets = [str(planted_shards), *table["key"], *table["subject"], str(planted_run)]
    for path in [path for path in handed_over.rglob("*") if path.is_file()]:
        content = path.read_bytes()
        assert voxels not in content, path
        assert not [secret for secret in secrets if secret.encode() in content], path


def test_the_graph_takes_any_number_of_scans(handed_over: Path, planted_run: Path, scans: list[Path]) -> None:
    """Read back in a process without distunlearn's classes: the run's predictions, for one, two and seven scans."""
    code = (
        "import sys, torch, numpy as np; m = torch.export.load(sys.argv[1]).module(); z = torch.from_numpy(np.load(sys.argv[2]));"
        "print([m(z[:1].expand(n, -1, -1, -1, -1))[0].tolist() for n in (1, 2, 7)])"
    )
    real = real_scans(planted_run)
    np.save(handed_over.parent / "z.npy", real.numpy())
    done = command(sys.executable, "-c", code, str(handed_over / "model.pt2"), str(handed_over.parent / "z.npy"))
    assert done.returncode == 0, done.stderr
    model = load_for_scans(handed_over)
    expected = model.task.predict(model(real[:1])[0]).item()
    for count, said in zip((1, 2, 7), json.loads(done.stdout), strict=True):
        assert np.array(said) == pytest.approx(np.full((count, 1), expected), rel=1e-4)


def test_the_card_says_what_is_known_and_what_is_not(planted_run: Path, tmp_path: Path) -> None:
    """Data, splits, preprocessing, results, verdict and limits; small groups are not counted; what was not done is said."""
    run = tmp_path / "run"
    shutil.copytree(planted_run, run)
    (run / STAGE / "probe.json").unlink(missing_ok=True)
    export(run, STAGE, tmp_path / "before")
    before = (tmp_path / "before" / "README.md").read_text()
    assert "Nobody has probed" in before
    assert "Membership was not audited" in before
    assert "| beta | 11 | < 5 | < 5 |" in before
    assert "keep_every: 2" in before
    assert "files, mm: 1 to 1 × 1 to 1 × 1 to 1" in before
    assert "3 people for validation, and 20 are needed" in before
    audit(run / STAGE, resamples=50)
    probe = {"verdict": "told", "sentence": "The scanner is told."}
    (run / STAGE / "probe.json").write_text(json.dumps(probe))
    export(run, STAGE, tmp_path / "after")
    after = (tmp_path / "after" / "README.md").read_text()
    assert "**The scanner is told.**" in after
    assert "membership inference: AUC" in after


def test_a_missing_extra_is_said(planted_run: Path, tmp_path: Path) -> None:
    """Without the packages for ONNX: what to install; with them: a model that agrees, with a batch of any size."""
    done = command("distunlearn", "export", str(planted_run), str(tmp_path / "out"), "--format", "onnx")
    if any(importlib.util.find_spec(name) is None for name in ONNX_NEEDS):
        assert done.returncode == 2
        assert "pip install onnx onnxscript onnxruntime" in done.stderr
        assert (tmp_path / "out" / "model.json").is_file()
    else:
        assert done.returncode == 0, done.stderr
        assert "within" in done.stdout


def test_a_service_answers_in_order(handed_over: Path, scans: list[Path]) -> None:
    """Bytes in, rows out; what is no scan is refused in its own row and without its path."""
    good = [path.read_bytes() for path in scans]
    rows = load(handed_over)([good[0], b"no scan", good[1]])
    expected = [
        one.prediction["age"] for one in apply_model(load_for_scans(handed_over), scans) if isinstance(one, Result)
    ]
    assert [row["age"] for row in rows] == pytest.approx([expected[0], None, expected[1]])
    assert rows[1]["refused"].startswith("no-nifti: ")


@pytest.mark.slow
def test_mlflow_serves_over_rest(handed_over: Path, scans: list[Path], tmp_path: Path) -> None:
    """A real `mlflow models serve` answers a POST of base64 scans with what `predict` says, and a bad one with its rule."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place = f"http://127.0.0.1:{port}"
    words = [
        "models",
        "serve",
        "--env-manager",
        "local",
        "--model-uri",
        str(handed_over / "mlflow"),
        "--port",
        str(port),
    ]
    environment = os.environ | {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(
            ["mlflow", *words, "--workers", "1"],
            cwd=tmp_path,
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        wait_for(f"{place}/ping", server)
        contents = [scans[0].read_bytes(), b"no scan"]
        body = {"dataframe_records": [{"scan": base64.b64encode(content).decode()} for content in contents]}
        request = urllib.request.Request(
            f"{place}/invocations", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=120) as answer:
            text = answer.read().decode()
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(60)
    (expected,) = apply_model(load_for_scans(handed_over), scans[:1])
    assert isinstance(expected, Result)
    assert "NaN" not in text  # no JSON
    rows = json.loads(text)["predictions"]
    assert rows[0]["age"] == pytest.approx(expected.prediction["age"], rel=1e-4)
    assert rows[1]["refused"].startswith("no-nifti: ")


def wait_for(address: str, server: subprocess.Popen[bytes]) -> None:
    """Until the server answers; a minute and a half on a busy machine is not unusual."""
    for _ in range(300):
        assert server.poll() is None, "the server ended"
        try:
            urllib.request.urlopen(address, timeout=5).close()
        except (urllib.error.URLError, OSError):
            time.sleep(1)
        else:
            return
    pytest.fail("the server never answered")
