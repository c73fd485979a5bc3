"""docs/extending.md is followed word for word, and what comes of it is trained."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tiny_run import set_options

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```(python|diff) file=(\S+)\n(.*?)^```", re.DOTALL | re.MULTILINE)
COMMAND = re.compile(r"^ {4}distunlearn train --preset demo (.*) …$", re.MULTILINE)


def apply(diff: str, file: Path) -> None:
    """Make the changes of a diff without line numbers: every hunk's lines that are there become those that shall be."""
    text = file.read_text()
    for hunk in diff.split("@@\n"):
        before = "\n".join(line[1:] for line in hunk.splitlines() if line[0] in " -")
        after = "\n".join(line[1:] for line in hunk.splitlines() if line[0] in " +")
        assert text.count(before) == 1, f"{file.name}: {before!r}"
        text = text.replace(before, after)
    file.write_text(text)


def test_the_page_is_followed_and_trains(planted_shards: Path, tmp_path: Path) -> None:
    """A copy of the package with the page's task, method and encoder trains with all of them."""
    page = (ROOT / "docs" / "extending.md").read_text()
    shutil.copytree(ROOT / "distunlearn", tmp_path / "distunlearn", ignore=shutil.ignore_patterns("__pycache__"))
    blocks = BLOCK.findall(page)
    assert len(blocks) == 6
    for kind, name, text in blocks:
        file = tmp_path / name
        if kind == "diff":
            apply(text, file)
        else:
            assert not file.exists()
            file.write_text(text)
    commands = COMMAND.findall(page)
    assert len(commands) == 3
    extra = [word.strip("'") for line in commands for word in re.findall(r"--set ('[^']+'|\S+)", line)]
    options = [word for word in set_options() if word != "--set" and not word.startswith("encoder.")]
    given = [option for override in (*options, *extra) for option in ("--set", override)]
    done = subprocess.run(
        [sys.executable, "-m", "distunlearn", "train", "--preset", "demo", "--shards", str(planted_shards), "--out", str(tmp_path / "run"), *given],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "unlearning" / "predictions.tsv").is_file()
    assert "name: pyramid" in (tmp_path / "run" / "config.yaml").read_text()
