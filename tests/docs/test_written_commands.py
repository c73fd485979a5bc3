"""Every command and every configuration that is written in a page or beside a launch file is one that is understood."""

from pathlib import Path

import pytest
import typer
import yaml
from markdown_blocks import PAGES, ROOT, SHELL, Block, blocks, commands, spans

from distunlearn.cli import app
from distunlearn.config import RunConfig, load

LAUNCH_FILES = sorted(path for path in (ROOT / "launch").rglob("*") if path.suffix in {".sh", ".sbatch", ".yaml"})
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]
BASE = {"shards": "x", "stages": [{"name": "standard"}, {"name": "unlearning", "method": {"name": "unlearning"}}]}
"""What a part of a configuration is put into."""


def name_of(path: Path) -> str:
    """How a test calls a page."""
    return str(path.relative_to(ROOT))


def understood(words: list[str], *, whole: bool) -> dict[str, object]:
    """Parse a command as the program would, without running it.

    Args:
        words: behind `distunlearn`.
        whole: whether nothing that is needed may be missing.

    Returns:
        Its parameters.
    """
    name, *rest = [word for place, word in enumerate(words) if word != "…" or words[place - 1].startswith("--")]
    assert name in COMMANDS, f"no command {name!r}"
    try:
        with COMMANDS[name].make_context(name, rest) as context:
            given = dict(context.params)
    except Exception as error:
        if type(error).__name__ == "MissingParameter" and not whole:
            return {}
        raise AssertionError(f"distunlearn {' '.join(words)}: {getattr(error, 'message', error)!s}") from error
    return understood(given["command"], whole=whole) if name == "launch" else given


def shown(page: Path) -> list[list[str]]:
    """All commands in the blocks of a page, or in the comments of a launch file."""
    if page.suffix == ".md":
        return [words for block in blocks(page) if block.language in SHELL for words in commands(block.text)]
    inset = (line.removeprefix("#") for line in page.read_text().splitlines() if line.startswith("#   "))
    return list(commands("\n".join(inset)))


@pytest.mark.parametrize("page", [*PAGES, *LAUNCH_FILES], ids=name_of)
def test_every_command_is_understood(page: Path) -> None:
    """The command exists, so do its options, and nothing that it needs is missing unless the line says `…`."""
    for words in shown(page):
        understood(words, whole="…" not in words)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_within_a_sentence_exist(page: Path) -> None:
    """In backticks a command may be short, but its name and options are real."""
    for span in spans(page):
        for words in commands(span) if span.startswith("distunlearn ") else ():
            understood(words, whole=False)


def files_of(page: Path, folder: Path) -> None:
    """Write the configurations that a page gives a name to."""
    for block in blocks(page):
        if block.file.endswith(".yaml"):
            (folder / block.file).write_text(block.text)


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "extending.md"], ids=name_of)
def test_every_setting_of_a_command_is_understood(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--set` names keys that there are, with values that they take (`extending.md` adds some: see its own test)."""
    files_of(page, tmp_path)
    monkeypatch.chdir(tmp_path)
    for words in shown(page):
        given = understood(words, whole=False)
        if "overrides" not in given:
            continue
        named = given["config"]
        config = named if isinstance(named, Path) and named.is_file() else None
        preset = given["preset"] or (None if config else "demo")  # for CONFIG.yaml, which is the reader's
        load(config, preset=str(preset) if preset else None, overrides=("shards=x", *(given["overrides"] or ())))  # type: ignore[misc]


def configurations(page: Path) -> list[Block]:
    """Blocks that are a configuration or a part of one."""
    found = []
    for block in blocks(page):
        if block.language == "yaml":
            found.append(block)
        elif block.language == "" and ":" in block.text:
            keys = [line.split(":")[0] for line in block.text.splitlines() if line[:1].isalpha()]
            found += [block] if set(keys) <= set(RunConfig.model_fields) else []
    return found


def test_the_pages_hold_configurations() -> None:
    """What the next test goes through is not nothing, and holds the README's, which is only indented."""
    assert [block.language for block in configurations(ROOT / "README.md")] == [""]
    assert sum(len(configurations(page)) for page in PAGES) > 10


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_configuration_loads(page: Path) -> None:
    """Each block of YAML is a configuration, or a part of one that fits into the smallest."""
    for block in configurations(page):
        RunConfig.read({**BASE, **yaml.safe_load(block.text)}, f"{name_of(page)}:{block.line}")


def test_an_option_that_is_not_there_is_noticed() -> None:
    """The tests above can fail: a wrong command, option, value and a missing word are each found."""
    for line in (
        "distunlearn trian --out x",
        "distunlearn train --outt x",
        "distunlearn simulate x --seed one",
        "distunlearn predict --run x",
    ):
        (words,) = commands(line)
        with pytest.raises(AssertionError):
            understood(words, whole=True)
