"""How Sphinx builds the documentation (`make docs`). The reference is written from the code, each time."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from settings import sections

import distunlearn
from distunlearn.config import RunConfig
from distunlearn.prepare.recipe import Recipe

project, author, version = "distunlearn", "the authors of distunlearn", distunlearn.__version__
extensions = ["myst_parser"]
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 4

# Fonts of the reader's system and nothing from another host: opening a page connects to nobody.
html_theme = "furo"
html_title = f"distunlearn {version}"
html_copy_source = False

ROOT = Path(__file__).parents[1]
READMES = {"launch/README.md": "reference/launch.md", "shards/README.md": "reference/recipe.md"}
"""Pages that lie beside what they are about, and where they are on the site."""
CONFIGURATION = """Every key of the file that `distunlearn train --config FILE` reads. `--set key.inner=value` sets one of them, and
`--set stages.0.epochs=5` reaches into a list; `RUN/config.yaml` holds them all. An unknown key is refused by name."""
PRESETS = "## Presets\n\nThese configurations come with the package, for `--preset NAME`; a file given beside it wins."
COMMANDS = (
    "# Commands\n\n`distunlearn COMMAND --help` says the same. Start several processes with `distunlearn launch`."
)


def write_reference(app: Any) -> None:
    """Write docs/reference/: configuration, recipes, commands (by typer's own generator), launch files."""
    folder = Path(app.srcdir) / "reference"
    folder.mkdir(exist_ok=True)
    presets = sorted((ROOT / "distunlearn" / "presets").glob("*.yaml"))
    shown = [f"**{preset.stem}**\n\n```yaml\n{preset.read_text()}```" for preset in presets]
    parts = ["# Configuration", CONFIGURATION, *sections(RunConfig), PRESETS, *shown]
    (folder / "config.md").write_text("\n\n".join(parts) + "\n")
    (folder / "recipe.md").write_text(_readme("shards") + "\n\n".join(["## Fields of a recipe", *sections(Recipe)]))
    (folder / "launch.md").write_text(_readme("launch"))
    typer = [sys.executable, "-m", "typer", "distunlearn.cli", "utils", "docs", "--name", "distunlearn"]
    commands = subprocess.run(typer, check=True, capture_output=True, text=True).stdout
    (folder / "cli.md").write_text(COMMANDS + commands[commands.index("\n## ") :])


def _readme(place: str) -> str:
    """The README of a folder, its links as they are from docs/reference/."""
    text = (ROOT / place / "README.md").read_text()
    return text.replace("](../docs/", "](../").replace("](../docker)", "](../../docker/compose.yaml)")


def follow_readmes(_app: Any, name: str, source: list[str]) -> None:
    """Let links to those READMEs lead to their pages."""
    for outside, inside in READMES.items():
        source[0] = re.sub(rf"\((\.\./)+{outside}\)", f"({'../' * name.count('/')}{inside})", source[0])


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("builder-inited", write_reference)
    app.connect("source-read", follow_readmes)
