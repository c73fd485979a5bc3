"""A source that can only be read from front to end gives the plan's samples in the plan's order."""

import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from reading import damage_is_named, loader, read_first

from distunlearn.errors import UserError
from distunlearn.streaming import sequence
from distunlearn.streaming.access import Access
from distunlearn.streaming.manifest import Study, read_study
from distunlearn.streaming.reader import IndexReader, open_reader
from distunlearn.streaming.sequence import SequentialReader

Folder = Callable[..., Path]


@pytest.fixture
def folder(study_folder: Folder) -> Path:
    """Two sites of 2 and 8 training shards."""
    return study_folder(small=[50.0] * 9, large=[40.0] * 38)


def piped(folder: Path, **options: Any) -> Study:
    """The study with its shards behind a command."""
    return read_study(folder, access=Access(stream=f"pipe:cat {folder}/{{site}}/{{shard}}", allow_pipe=True, **options))


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The shards that were streamed, in order."""
    names: list[str] = []
    plain = sequence._opened

    def counted(template: str, site: str, name: str) -> Any:
        names.append(name)
        return plain(template, site, name)

    monkeypatch.setattr(sequence, "_opened", counted)
    return names


@pytest.mark.parametrize("window", [1, 2, 3])
def test_a_sequence_gives_what_the_index_reader_gives_for_the_same_plan(
    folder: Path, window: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Same plan, same samples, same order, same bytes: which reader fetches them cannot be told."""
    study = piped(folder, window=window)
    assert isinstance(open_reader(study), SequentialReader)
    streamed = [(b["main"].scan.clone(), b["main"].volume.clone()) for b in loader(study, 10).batches(0, 20)]
    monkeypatch.setattr("distunlearn.streaming.loader.open_reader", IndexReader)
    for (scan, volume), roles in zip(streamed, loader(study, 10).batches(0, 20), strict=True):
        assert torch.equal(scan, roles["main"].scan)
        assert torch.equal(volume, roles["main"].volume)


def test_each_shard_is_streamed_once_a_cycle(folder: Path, opened: list[str]) -> None:
    """Draws stay within a window, so no shard has to be fetched again before its scans are due again."""
    study = piped(folder)
    every = loader(study, 10, threads=1)  # several may ask for a window of so few scans after the next two
    chosen, plan = every.roles["main"]
    for _ in every.batches(0, 40):
        pass
    cycles = np.ceil(plan.drawn_before(40) / chosen.counts)
    times = Counter(opened)
    assert len(times) == 10
    for site, most in zip(study.sites, cycles, strict=True):
        assert max(count for name, count in times.items() if name.startswith(site)) <= most


def test_resuming_streams_the_current_window_only(folder: Path, opened: list[str]) -> None:
    """Starting in the middle of an epoch opens the shards of that moment, not those before."""
    study = piped(folder)
    whole = [roles["main"].scan.tolist() for roles in loader(study, 10).batches(0, 5)]
    opened.clear()
    assert [roles["main"].scan.tolist() for roles in loader(study, 10).batches(4, 5)] == whole[4:]
    assert sum(name.startswith("large-") for name in opened) <= 2


def test_few_shards_are_kept(folder: Path) -> None:
    """Memory holds this window and the next, however long the run."""
    reader = SequentialReader(piped(folder, window=1))
    study = piped(folder, window=1)
    rows = np.flatnonzero((study.table["site"] == "large") & (study.table["split"] == "train"))
    reader.read(rows, np.empty((len(rows), *study.shape), dtype=np.int16))
    assert len(reader._kept["large"]) == 2


def test_a_command_needs_to_be_allowed() -> None:
    """A command runs only where the user's own configuration says so, and its shard has to be named in it."""
    with pytest.raises(UserError, match="is a command; set allow_pipe: true if it is yours"):
        Access.read({"stream": "pipe:cat /data/{site}/{shard}"}, "data.access")
    with pytest.raises(UserError, match=r"must hold \{site\} and \{shard\}"):
        Access.read({"stream": "pipe:cat /data", "allow_pipe": True}, "data.access")


def test_a_manifest_cannot_bring_a_command(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name of a shard that would be more than a name is refused, and what is filled in is quoted."""
    manifest = folder / "small" / "manifest.json"
    manifest.write_text(manifest.read_text().replace("small-test-000000.tar", "x; touch hacked #.tar"))
    with pytest.raises(UserError, match="is no plain file name"):
        piped(folder)
    started: list[str] = []
    plain = subprocess.Popen
    monkeypatch.setattr(
        sequence.subprocess, "Popen", lambda command, **options: (started.append(command), plain(command, **options))[1]
    )
    with sequence._opened("pipe:echo {site} {shard}", "$(touch hacked)", "a b.tar") as read:
        assert read(-1) == b"$(touch hacked) a b.tar\n"
    assert started == ["echo '$(touch hacked)' 'a b.tar'"]


def test_damage_in_a_sequence_is_named(folder: Path) -> None:
    """A changed byte, a cut stream and a failing command each end the run with the site and shard."""
    study = piped(folder)
    shard = damage_is_named(study, folder)
    shard.unlink()
    with pytest.raises(UserError, match=rf"shard {shard.name}: the shard ends before it"):
        read_first(study)


def test_a_command_that_fails_after_its_last_byte_is_not_believed(folder: Path) -> None:
    """A transfer that ends with an error may not be what it seems."""
    study = read_study(folder, access=Access(stream=f"pipe:cat {folder}/{{site}}/{{shard}}; exit 3", allow_pipe=True))
    with pytest.raises(UserError, match=r"cannot be streamed \(the command ended with status 3\)"):
        read_first(study)
