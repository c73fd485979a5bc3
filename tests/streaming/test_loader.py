"""What a rank gets is what the plan says, read whole and checked."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import reading
import torch
from written_study import SHAPE, rename_person, seed_of, stored_values, write_site

from distunlearn.batch import Batch
from distunlearn.errors import UserError
from distunlearn.streaming.loader import Loader, evaluation_batches
from distunlearn.streaming.manifest import Study, read_study
from distunlearn.streaming.placement import Placement
from distunlearn.streaming.plan import Plan
from distunlearn.streaming.reader import open_reader
from distunlearn.streaming.select import select
from distunlearn.streaming.selection import Selection

Folder = Callable[..., Path]


@pytest.fixture
def study(study_folder: Folder) -> Study:
    """Three sites of 1, 7 and 30 training scans."""
    return read_study(
        study_folder(tiny=[50.0], small=[50.0 + i for i in range(7)], large=[40.0 + i for i in range(30)])
    )


def loader(study: Study, batch: int = 8, **options: object) -> Loader[str]:
    """A loader of both roles, X_u being other draws of the same scans."""
    chosen = select(study, Selection(), split="train")
    roles = {role: (chosen, Plan(chosen.counts, batch, 0, role)) for role in ("main", "unlearn")}
    return Loader(study, roles, **options)  # type: ignore[arg-type]


def scans(batches: Loader[str], start: int, stop: int, role: str = "main") -> list[list[int]]:
    """Rows of the table, a list a step."""
    return [batch[role].scan.tolist() for batch in batches.batches(start, stop)]


def test_a_batch_holds_the_values_that_were_written(study: Study) -> None:
    """On a device the volumes are scale times the stored values, one channel first, with site and labels beside them."""
    for roles in loader(study, target=("age", "sex")).batches(0, 3):
        batch = roles["main"].to("cpu")
        assert batch.volume.shape == (8, 1, *SHAPE)
        assert batch.volume.dtype == torch.float32
        for i, row in enumerate(batch.scan.tolist()):
            scan = study.table.iloc[row]
            expected = stored_values(SHAPE, "int16", seed_of(scan["key"])) * np.float32(0.001)
            np.testing.assert_allclose(batch.volume[i, 0].numpy(), expected, rtol=1e-6)
            assert batch.domain[i] == scan["domain"]
            assert batch.target[i].tolist() == [scan["age"], "FM".index(scan["sex"])]


def test_tables_of_features_are_batches_of_rows(tmp_path: Path) -> None:
    """Float features come as (B, F), and moving them to a device copies them out of the buffer."""
    write_site(tmp_path, "tables", {"train": [50.0] * 6}, shape=(9,), dtype="float32")
    study = read_study(tmp_path)
    batches = loader(study, batch=4, depth=1).batches(0, 6)
    first = next(batches)["main"].to("cpu")
    before = first.volume.clone()
    for _ in batches:
        pass
    assert first.volume.shape == (4, 9)
    assert torch.equal(first.volume, before)


@pytest.mark.parametrize("world_size", [1, 2, 3, 5, 16])
def test_the_ranks_read_the_global_batch_of_the_plan(study: Study, world_size: int) -> None:
    """For any number of ranks, dealing their scans back gives the very batch of one rank."""
    alone = scans(loader(study), 0, 4)
    ranks = [scans(loader(study, rank=rank, world_size=world_size), 0, 4) for rank in range(world_size)]
    for step in range(4):
        dealt = [0] * 8
        for rank in range(world_size):
            dealt[rank::world_size] = ranks[rank][step]
        assert dealt == alone[step]


@pytest.mark.parametrize("threads", [1, 2, 7])
@pytest.mark.parametrize("depth", [1, 2, 5])
def test_threads_and_depth_change_nothing(study: Study, threads: int, depth: int) -> None:
    """How scans are read does not decide which, nor what is in them."""
    for one, other in zip(
        loader(study).batches(0, 5), loader(study, threads=threads, depth=depth).batches(0, 5), strict=True
    ):
        assert torch.equal(one["unlearn"].scan, other["unlearn"].scan)
        assert torch.equal(one["unlearn"].volume, other["unlearn"].volume)


def bytes_read() -> int:
    """Bytes that this process has asked of the system so far, from whatever file."""
    return int(Path("/proc/self/io").read_text().split()[1])


def test_resuming_reads_nothing_but_what_follows(study: Study) -> None:
    """Starting at step 100000 gives the batches of an uninterrupted run; the system counts their bytes and no more."""
    whole, late = scans(loader(study), 99_998, 100_002), loader(study)
    before = bytes_read()
    assert scans(late, 100_000, 100_002) == whole[2:]
    wanted = 2 * 2 * 8 * 64  # two steps, two roles, eight scans of 64 bytes
    assert wanted <= bytes_read() - before < wanted + 512  # the count itself is read from a file


def test_sites_of_1_7_and_500_scans_end_on_every_rank_after_the_same_steps(tmp_path: Path) -> None:
    """In either placement every rank gets a batch with scans in it at every step of the epoch, and then no more."""
    for site, scans_there in (("a", 1), ("b", 7), ("c", 500)):
        write_site(tmp_path, site, {"train": [50.0] * scans_there}, per_shard=250)
    study = read_study(tmp_path)
    for placement in (Placement(), Placement(kind="federated")):
        for rank in range(3):
            whole = reading.loader(study, 12, rank=rank, world_size=3, placement=placement)
            batches = scans(whole, 0, whole.roles["main"][1].steps_per_epoch)
            assert len(batches) == 125
            assert all(batches)


def test_roles_with_the_same_scans_and_plan_share_one_batch(study: Study) -> None:
    """X_u = X_p is read once, and is the same object."""
    chosen = select(study, Selection(), split="train")
    same = select(study, Selection(), split="train", within=chosen)
    plan = Plan(chosen.counts, 8, 0, "main")
    for roles in Loader(study, {"main": (chosen, plan), "unlearn": (same, plan)}).batches(0, 2):
        assert roles["main"] is roles["unlearn"]
    for roles in loader(study).batches(0, 2):
        assert roles["main"].scan.tolist() != roles["unlearn"].scan.tolist()


@pytest.mark.parametrize("depth", [1, 3])
def test_a_batch_stays_whole_for_depth_steps(study: Study, depth: int) -> None:
    """Its buffer is only filled again when the depth-th batch after it is asked for."""
    held: list[tuple[Batch, torch.Tensor]] = []
    for roles in loader(study, depth=depth).batches(0, 12):
        held.append((roles["main"], roles["main"].volume.clone()))
        for batch, volume in held[-depth:]:
            assert torch.equal(batch.volume, volume)


def test_memory_is_flat(study: Study) -> None:
    """Any number of steps goes through the same few buffers."""
    places = {roles["main"].volume.data_ptr() for roles in loader(study, depth=2).batches(0, 50)}
    assert len(places) <= 4


def test_leaving_early_stops_the_readers(study: Study) -> None:
    """A loop that ends before its last step leaves no thread behind."""
    import threading

    before = threading.active_count()
    batches = loader(study).batches(0, 1000)
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


def test_nothing_but_split_train_is_trained_on(study: Study) -> None:
    """A role with even one scan of another split is refused by the loader, whoever chose it."""
    chosen = select(study, Selection(), split="test")
    with pytest.raises(UserError, match="unlearn: it has scans of split test, and only split train is ever trained on"):
        Loader(study, {"unlearn": (chosen, Plan(chosen.counts, 8, 0, "unlearn"))})
    train = select(study, Selection(), split="train")
    rows = np.append(train.rows[:-1], chosen.rows[-1])
    mixed = replace(train, rows=rows)
    with pytest.raises(UserError, match="has scans of split test"):
        Loader(study, {"main": (mixed, mixed.plan(8, seed=0, role="main"))})


def test_people_who_are_evaluated_on_are_not_unlearned_on_from_another_data_set(study: Study, tmp_path: Path) -> None:
    """The same person in split train of a second study is still a person of the first one's test split."""
    for site in study.sites:
        folder = write_site(tmp_path / "more", site, {"train": [50.0] * 3})
        if site == "small":
            rename_person(folder, f"person{site}train0001", f"person{site}test0000")
    main = select(study, Selection(), split="train")
    more = select(read_study(tmp_path / "more", study.sites), Selection(), split="train")
    roles = {"main": (main, main.plan(8, seed=0, role="main")), "unlearn": (more, more.plan(8, seed=0, role="unlearn"))}
    with pytest.raises(UserError, match="unlearn: 1 of its scans are of people whom the study holds out"):
        Loader(study, roles)


@pytest.mark.parametrize("world_size", [1, 2, 5, 40])
def test_evaluation_sees_every_scan_once_and_in_order(study: Study, world_size: int) -> None:
    """Nothing is padded or repeated, whatever the number of ranks; a rank may have nothing to do."""
    rows = np.flatnonzero(study.table["split"] == "train")
    seen = [
        batch.scan
        for rank in range(world_size)
        for batch in evaluation_batches(study, rows, 4, rank=rank, world_size=world_size)
    ]
    assert torch.cat(seen).tolist() == rows.tolist()


@pytest.mark.parametrize("threads", [1, 8])
def test_a_flipped_bit_is_named_and_not_trained_on(study: Study, threads: int) -> None:
    """The scan, its shard and its site are named, and no batch with it comes out, whichever thread has met it."""
    scan = study.table[(study.table["site"] == "small") & (study.table["split"] == "train")].iloc[3]
    shard = Path(study.root) / "small" / scan["shard"]
    content = bytearray(shard.read_bytes())
    content[scan["offset"] + 17] ^= 4
    shard.write_bytes(content)
    yielded: list[int] = []
    with pytest.raises(
        UserError, match=rf"site small: scan {scan['key']} in shard {scan['shard']}: its bytes are not those"
    ):
        yielded.extend(
            row
            for roles in loader(study, threads=threads, depth=1).batches(0, 9)
            for batch in roles.values()
            for row in batch.scan.tolist()
        )
    assert scan.name not in yielded


def test_a_shard_that_shrinks_or_vanishes_in_a_run_is_named(study: Study) -> None:
    """Damage that comes after the start is named as well."""
    last = study.table.iloc[[-1]]
    row, shard = last.index.to_numpy(), Path(study.root) / last["site"].item() / last["shard"].item()
    out = np.empty((1, *SHAPE), dtype=np.int16)
    shard.write_bytes(shard.read_bytes()[: last["offset"].item() + 3])
    with pytest.raises(UserError, match="the shard ends before it"):
        open_reader(study).read(row, out)
    shard.unlink()
    with pytest.raises(UserError, match=r"the shard cannot be read \(No such file or directory\)"):
        open_reader(study).read(row, out)


def test_a_label_that_no_scan_has_is_refused(study: Study) -> None:
    """A target is looked for before anything is read."""
    with pytest.raises(UserError, match=r"no scan has the label 'iq' \(known: age, sex\)"):
        next(loader(study, target=("iq",)).batches(0, 1))


def test_unlearning_can_use_another_data_set(study: Study, tmp_path: Path) -> None:
    """X_u may come from a separate, unlabelled study of the same sites, if it was prepared alike."""
    for site in study.sites:
        write_site(tmp_path / "more", site, {"train": [None] * 4})
        write_site(tmp_path / "other", site, {"train": [None] * 4}, preprocessing={"normalise": "brain"})
    main = select(study, Selection(), split="train", needs=("age",))
    more = select(read_study(tmp_path / "more", study.sites), Selection(), split="train")
    roles = {"main": (main, main.plan(8, seed=0, role="main")), "unlearn": (more, more.plan(8, seed=0, role="unlearn"))}
    for batches in Loader(study, roles, target=("age",)).batches(0, 2):
        assert set(batches["unlearn"].domain.tolist()) == {0, 1, 2}
        assert batches["unlearn"].target.isnan().all()
        assert not batches["main"].target.isnan().any()
    other = select(read_study(tmp_path / "other", study.sites), Selection(), split="train")
    with pytest.raises(UserError, match="unlearn: its scans were prepared otherwise than the study's"):
        Loader(study, roles | {"unlearn": (other, other.plan(8, seed=0, role="unlearn"))})


def test_ranks_share_a_digest_exactly_when_they_would_train_on_the_same(study: Study, tmp_path: Path) -> None:
    """Other draws, another batch, other contents of a scan or another target change it; the rank does not."""
    whole = loader(study, target=("age",))
    assert whole.digest() == loader(study, target=("age",), rank=1, world_size=2).digest()
    for site, ages in (
        ("tiny", [50.0]),
        ("small", [50.0 + i for i in range(7)]),
        ("large", [40.0 + i for i in range(30)]),
    ):
        write_site(tmp_path / "other", site, {"train": ages, "test": [50.0, 60.0]}, overwritten=7)
    changed = [
        loader(study, batch=9, target=("age",)),
        loader(study),
        loader(read_study(tmp_path / "other"), target=("age",)),
    ]
    assert whole.digest() not in {other.digest() for other in changed}


def test_the_example_of_the_documentation_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What docs/streaming.md shows is what works."""
    for site in ("biobank", "oasis", "whitehall"):
        write_site(tmp_path / "shards", site, {"train": [50.0 + i for i in range(9)]})
    text = (Path(__file__).parents[2] / "docs" / "streaming.md").read_text()
    monkeypatch.chdir(tmp_path)
    names: dict[str, Batch] = {}
    exec(text.split("```python\n")[1].split("```")[0], names)
    assert names["batch"].volume.shape == (16, 1, *SHAPE)
