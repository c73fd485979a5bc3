"""docs/extending.md is followed word for word, and what comes of it is trained."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import yaml
from tiny_run import set_options

from distunlearn.config import RunConfig
from distunlearn.methods import phases_of

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


README_ROW = re.compile(
    r"^\| an? (task|method|encoder) \| `(\w+)/NAME\.py`[^|]*\| `(\w+)` and `(\w+)` in `(\S+)` \|$", re.MULTILINE
)


def test_the_readme_names_what_the_page_writes() -> None:
    """For a task, a method and an encoder: the folder of the file, and the dict and the union that its name goes into."""
    page = (ROOT / "docs" / "extending.md").read_text()
    rows = README_ROW.findall((ROOT / "README.md").read_text())
    assert [what for what, *_ in rows] == ["task", "method", "encoder"]
    blocks = BLOCK.findall(page)
    for what, folder, of_dict, of_union, place in rows:
        assert f"## A{'n' if what == 'encoder' else ''} {what}" in page
        written = [name for kind, name, _ in blocks if kind == "python" and f"/{folder}/" in name]
        changed = [text for kind, name, text in blocks if kind == "diff" and name == f"distunlearn/{place}"]
        assert len(written) == len(changed) == 1
        assert f"\n {of_dict}: dict" in changed[0]
        assert f"\n+{of_union} = " in changed[0]


def test_the_readmes_confound_is_unlearned() -> None:
    """Its two settings, as they are written there, give it a head and a place in the confusion."""
    row = next(line for line in (ROOT / "README.md").read_text().splitlines() if line.startswith("| a confound |"))
    of_run, of_method = (yaml.safe_load(code) for code in re.findall(r"`(confounds: .*?)`", row))
    stage = {"name": "s", "method": {"name": "unlearning"} | of_method}
    config = RunConfig.read({"shards": ".", "stages": [stage]} | of_run, "README.md")
    *_, confusion = phases_of(config.stages[0].method)
    assert [term.confound for term in confusion.terms] == ["site", *of_run["confounds"]]


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
