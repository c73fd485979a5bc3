"""The code in Markdown pages: blocks, fenced or indented, and words within a line; and the commands in them."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("*/README.md")])
"""Everything that is written for users, but for what is written from the code."""
PAGES = [page for page in PAGES if page.parent.name != "reference"]
SHELL = ("", "sh", "text")
"""Languages of blocks that hold commands: indented; run by a test; only shown."""
OPTIONAL = re.compile(r"\[(--[^\]]*)\]")
"""How a page says that an option may be left out."""
PASSED_ON = {
    "train.sbatch": ("train", 0),
    "elastic.sh": ("train", 0),
    "site.sh": ("train", 0),
    "one_machine.sh": ("train", 1),
    "sweep.sbatch": ("train --out RUN", 2),
    "shard_array.sbatch": ("shard", 0),
}
"""Scripts that hand their words to a command, after so many of their own."""


@dataclass(frozen=True)
class Block:
    """A block of code."""

    page: Path
    line: int
    language: str
    file: str
    """The file that it is the content of, `file=NAME` behind the language; none as a rule."""
    text: str


def blocks(page: Path) -> list[Block]:
    """The blocks of a page, in order."""
    found = []
    for token in MarkdownIt().parse(page.read_text()):
        if token.type in {"fence", "code_block"}:
            language, _, rest = token.info.partition(" ")
            file = rest.removeprefix("file=") if rest.startswith("file=") else ""
            found.append(Block(page, (token.map or [0])[0] + 1, language, file, token.content))
    return found


def spans(page: Path) -> list[str]:
    """What stands between backticks within lines."""
    inline = [token for token in MarkdownIt().parse(page.read_text()) if token.type == "inline"]
    return [child.content for token in inline for child in token.children or [] if child.type == "code_inline"]


def commands(text: str) -> Iterator[list[str]]:
    """The words behind `distunlearn`, or behind a script that hands them on, of each line that has such."""
    for line in text.replace("\\\n", " ").splitlines():
        if not re.search(r"\bdistunlearn\b|\.sbatch|\.sh\b", line):
            continue
        words = shlex.split(OPTIONAL.sub(r"\1", line), comments=True)
        for place, word in enumerate(words):
            if word == "distunlearn":
                yield words[place + 1 :]
            elif (script := Path(word).name) in PASSED_ON and place + 1 < len(words):
                before, own = PASSED_ON[script]
                yield [*before.split(), *words[place + 1 + own :]]


def script(page: Path) -> str:
    """A page as a shell script: its `sh` blocks, and its `file=` blocks written to their files, in order."""
    parts = []
    for block in blocks(page):
        if block.file:
            parts.append(f"cat > {shlex.quote(block.file)} << 'END-OF-BLOCK'\n{block.text}END-OF-BLOCK\n")
        elif block.language == "sh":
            parts.append(block.text)
    return "set -euo pipefail\n" + "".join(parts)
