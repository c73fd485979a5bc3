"""`inspect`: what is told of shards before anybody trains on them."""

from io import StringIO
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from rich.console import Console

from distunlearn.prepare import PrepareConfig, shard
from distunlearn.report import inspection
from distunlearn.report.inspection.look import Inspection


def write_site(folder: Path, ages: list[str], *, odd: int | None = None) -> None:
    """A BIDS folder of people of these ages; the scan of one may be unlike the others."""
    lines = ["participant_id\tage\tsex\tsplit"]
    for n, age in enumerate(ages):
        draw = np.random.default_rng([n, len(folder.name)])
        voxels = draw.normal(500, 20, (12, 14, 10)) * np.linspace(0.5, 1.5, 12).reshape(-1, 1, 1)
        if n == odd:
            voxels = voxels[::-1] * 4
        path = folder / f"sub-{n:02d}/anat/sub-{n:02d}_T1w.nii"
        path.parent.mkdir(parents=True)
        nib.save(nib.Nifti1Image(voxels.astype(np.int16), np.diag([2.0, 2, 2, 1])), path)
        lines.append(f"sub-{n:02d}\t{age}\t{'FM'[n % 2]}\t{'test' if n % 5 == 4 else 'train'}")
    (folder / "participants.tsv").write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three sites: 30 people of 20 to 49, 12 of 40 to 51 of whom one is odd, 5 of 70 to 74 of whom one has no age."""
    folder = tmp_path_factory.mktemp("inspection")
    write_site(folder / "study/young", [str(20 + n) for n in range(30)])
    write_site(folder / "study/middle", [str(40 + n) for n in range(12)], odd=3)
    write_site(folder / "study/old", ["n/a", *(str(70 + n) for n in range(1, 5))])
    config = PrepareConfig.read({"preprocessing": {"size": (16, 16, 16)}, "workers": 1}, "test")
    shard([folder / "study"], folder / "out", config)
    return folder / "out"


@pytest.fixture(scope="module")
def found(shards: Path) -> Inspection:
    """The inspection of those."""
    return inspection.look(shards)


def test_counts_and_labels_are_those_of_the_tables(found: Inspection) -> None:
    """Scans, people, splits, values of the label and how many miss it."""
    facts = {site.site: site for site in found.sites}
    assert {site: (f.counts.written, f.splits["train"], f.splits["test"], f.missing) for site, f in facts.items()} == {
        "middle": (12, 10, 2, 0),
        "old": (5, 4, 1, 1),
        "young": (30, 24, 6, 0),
    }
    assert sorted(facts["old"].values) == [71, 72, 73, 74]
    assert facts["young"].others == {"sex": "F 15, M 15"}


def test_rules_that_cannot_be_used_say_why_and_which_sites_stand_apart(found: Inspection) -> None:
    """Sites that do not overlap in age: the rule `overlap` has no scans, and the sites without it are named."""
    rules = {row.rule: row for row in found.unlearning}
    assert rules["all"].scans == {"middle": 10, "old": 4, "young": 24}
    assert rules["overlap"].scans == {}
    assert "do not overlap in age" in rules["overlap"].said
    assert any("without old the others do, from 40 to 49" in line for line in found.warnings)


def test_an_overlap_is_counted_as_training_would_take_it(shards: Path, tmp_path: Path) -> None:
    """With the two sites that overlap, X_u is the training scans of 40 to 48 years of both."""
    for site in ("young", "middle"):
        (tmp_path / site).symlink_to(shards / site)
    rules = {row.rule: row for row in inspection.look(tmp_path).unlearning}
    assert rules["overlap"].scans == {"middle": 8, "young": 8}
    assert rules["overlap"].said == "age 40 to 48"


def test_a_scan_that_is_unlike_its_site_is_named(found: Inspection, shards: Path) -> None:
    """The mirrored, four times brighter scan stands out by its voxels and its intensities, and no other does."""
    assert {(outlier.site, outlier.why.split(" ")[1]) for outlier in found.outliers} == {
        ("middle", "voxels"),
        ("middle", "intensities"),
    }
    assert len({outlier.key for outlier in found.outliers}) == 1


def test_warnings_name_small_sites_empty_splits_and_missing_labels(found: Inspection) -> None:
    """What should be known before training."""
    told = "\n".join(found.warnings)
    assert "fewer than 20 scans to train on" in told
    assert "middle 10, old 4" in told
    assert "nobody in val" in told
    assert "scans without age, which can be unlearned but not learnt from: old 1" in told


def test_the_terminal_shows_every_site_within_eighty_columns(found: Inspection) -> None:
    """No line is longer than a plain terminal's; the distribution is drawn."""
    stream = StringIO()
    Console(file=stream, width=80).print(inspection.in_words(found))
    lines = stream.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert all(any(line.strip().startswith(site) for line in lines) for site in ("young", "middle", "old"))
    assert "█" in stream.getvalue()


def test_the_page_needs_nothing_from_outside_and_holds_everything(found: Inspection, tmp_path: Path) -> None:
    """One file: pictures and style inside, no address to load from."""
    text = inspection.write_page(found, tmp_path / "deep/page.html").read_text()
    assert "http" not in text.replace("http://www.w3.org", "")
    for words in (
        "Age at each site",
        "What would be unlearned on",
        "Scans and mean of each site",
        "Odd scans",
        "data:image/svg+xml",
    ):
        assert words in text


def test_only_so_many_scans_are_read_as_asked_for(shards: Path) -> None:
    """A large site costs no more than a small one."""
    assert inspection.look(shards, most=4).content.read == {"middle": 4, "old": 4, "young": 4}
