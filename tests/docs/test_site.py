"""The pages as a site: links lead somewhere, Sphinx warns of nothing, and a page that is opened connects to nobody."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from markdown_blocks import PAGES, ROOT
from markdown_it import MarkdownIt

FETCHED = re.compile(
    r"""<(?:script|link|img|iframe|source)\b[^>]*\b(?:src|href)=["'](?:https?:)?//|url\(["']?(?:https?:)?//"""
)


def links(page: Path) -> list[str]:
    """Where the links of a page lead."""
    inline = [token for token in MarkdownIt().parse(page.read_text()) if token.type == "inline"]
    found = [child for token in inline for child in token.children or [] if child.type == "link_open"]
    return [str(child.attrs["href"]) for child in found]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_within_the_repository_lead_to_files(page: Path) -> None:
    """Read as files, without the site; `docs/reference/` alone is written when the site is."""
    inside = [link.partition("#")[0] for link in links(page) if "://" not in link and not link.startswith("#")]
    gone = [link for link in inside if "reference/" not in link and not (page.parent / link).exists()]
    assert gone == []


def test_what_a_page_would_fetch_is_noticed() -> None:
    """The expression below finds scripts, styles, fonts and pictures of other hosts, and no mere links."""
    for text in (
        '<script async src="https://cdn.example.org/x.js">',
        "<link rel='stylesheet' href='//fonts.example.org/css'>",
        "@font-face { src: url(https://fonts.example.org/a.woff2) }",
        '<img alt="" src="http://example.org/badge.svg">',
    ):
        assert FETCHED.search(text)
    assert not FETCHED.search('<a href="https://example.org">there</a> <img src="_static/a.svg">')


@pytest.mark.slow
def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    """As `make docs` does; every page is in it, the reference has the configuration and every command, nothing is fetched."""
    pytest.importorskip("sphinx", reason="pip install --group docs")
    site = tmp_path / "site"
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "--quiet", "--fail-on-warning", str(ROOT / "docs"), str(site)],
        capture_output=True, text=True, check=False, env={"PYTHONPATH": str(ROOT), "PATH": ""},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for page in (ROOT / "docs").rglob("*.md"):
        assert (site / page.relative_to(ROOT / "docs")).with_suffix(".html").is_file(), page
    commands = (site / "reference" / "cli.html").read_text()
    assert 'id="distunlearn-train"' in commands
    assert "--orientation-from" in commands
    assert "checkpoint_minutes" in (site / "reference" / "config.html").read_text()
    shown = [path for path in site.rglob("*") if path.suffix in {".html", ".css"}]
    assert [path for path in shown if FETCHED.search(path.read_text())] == []
