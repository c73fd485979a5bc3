"""The tutorial and the how-to pages are followed literally: their `sh` blocks are run, in order, their files written."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
from markdown_blocks import PAGES, ROOT, blocks, script
from planted_study import write_scans

pytestmark = [pytest.mark.slow, pytest.mark.distributed]

HOW_TO = [page for page in PAGES if page.parent.name == "how-to" and any(b.language == "sh" for b in blocks(page))]
TUTORIAL = ROOT / "docs" / "tutorial.md"
STREAMING = ROOT / "docs" / "streaming.md"
HEADINGS = {"path": "file", "subject": "who", "site": "scanner", "age": "AGE", "sex": "sex"}


def follow(text: str, folder: Path) -> str:
    """Run a script in a folder with the commands of this environment; what it printed."""
    clean = {key: value for key, value in os.environ.items() if key not in {"RANK", "WORLD_SIZE", "MASTER_PORT"}}
    clean |= {"OMP_NUM_THREADS": "1", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    clean["PYTHONPATH"] = str(ROOT)
    done = subprocess.run(["bash", "-c", text], cwd=folder, env=clean, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout + done.stderr


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    """What the how-to pages speak of: a folder of scans, and a table of them under a lab's own headings."""
    table = write_scans(tmp_path / "scans")
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    table.unlink()
    with (tmp_path / "my_scans.csv").open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(HEADINGS.values())
        lines.writerows([f"scans/{row['path']}", *(row[name] for name in list(HEADINGS)[1:])] for row in rows)
    return tmp_path


@pytest.mark.parametrize("page", HOW_TO, ids=lambda page: page.stem)
def test_a_how_to_page_is_followed(page: Path, lab: Path) -> None:
    """Every command ends well, and whatever was trained has finished and has its report."""
    follow(script(page), lab)
    runs = [path.parent for path in (lab / "runs").glob("*/config.yaml")]
    assert runs
    for run in runs:
        assert '"state": "finished"' in (run / "STATUS.json").read_text()
        assert (run / "report.html").is_file()


def test_the_tutorial_is_followed(tmp_path: Path) -> None:
    """From a BIDS folder to a prediction of people who were never seen; then the Python of `streaming.md` on its shards."""
    follow(script(TUTORIAL), tmp_path)
    with (tmp_path / "ages.tsv").open(newline="") as file:
        told = list(csv.DictReader(file, delimiter="\t"))
    assert len(told) == 3
    assert all(10 < float(row["age"]) < 110 and row["refused"] == "n/a" for row in told)
    assert len((tmp_path / "features.tsv").read_text().splitlines()) == 4
    card = (tmp_path / "handed-over" / "README.md").read_text()
    assert "Nobody has probed" not in card
    assert "membership inference: AUC" in card
    (example,) = [block.text for block in blocks(STREAMING) if block.language == "python"]
    follow(f"{sys.executable} - << 'END-OF-BLOCK'\n{example}END-OF-BLOCK\n", tmp_path)
