"""One process a site, each of which can open the folder of its site and no other."""

import os
import subprocess
from pathlib import Path

import pytest

ONE_MACHINE = Path(__file__).parents[2] / "launch/federated/one_machine.sh"
# Stands in for site.sh: says which site it is, what it was told, and every file that it can find among the shards.
LOOK = """#!/bin/sh
cd {shards}
echo "$NUMBER of $SITES: $(find . -type f -exec cat {{}} +) $*" >> {seen}
[ "$NUMBER" != "${{FAILS:-none}}" ]
"""


@pytest.fixture
def played(tmp_path: Path) -> tuple[Path, Path]:
    """Shards of three sites, and where their processes note what they see."""
    if subprocess.run(["unshare", "--map-root-user", "--mount", "true"], check=False, capture_output=True).returncode:
        pytest.skip("this system lets nobody make mount namespaces")
    for site in ("alpha", "beta", "gamma"):
        (tmp_path / "shards" / site).mkdir(parents=True)
        (tmp_path / "shards" / site / "scan").write_text(f"scan-of-{site}")
    look = tmp_path / "look.sh"
    look.write_text(LOOK.format(shards=tmp_path / "shards", seen=tmp_path / "seen"))
    look.chmod(0o755)
    return tmp_path / "shards", tmp_path / "seen"


def play(shards: Path, **settings: str) -> int:
    """Run the script; its exit status."""
    environment = os.environ | {"COMMAND": str(shards.parent / "look.sh"), **settings}
    return subprocess.run([ONE_MACHINE, shards, "--out", "x"], env=environment, check=False).returncode


def test_every_process_sees_its_own_site_only(played: tuple[Path, Path]) -> None:
    """Sites are numbered by name; the others' folders are not there for a process, and are untouched afterwards."""
    shards, seen = played
    assert play(shards) == 0
    assert sorted(seen.read_text().splitlines()) == [
        f"{number} of 3: scan-of-{site} --out x" for number, site in enumerate(("alpha", "beta", "gamma"))
    ]
    assert {path.name for path in shards.iterdir()} == {"alpha", "beta", "gamma"}


def test_a_site_that_fails_is_heard_of(played: tuple[Path, Path]) -> None:
    """When one site's process fails, so does the whole."""
    shards, _ = played
    assert play(shards, FAILS="1") != 0
