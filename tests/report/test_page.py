"""The HTML page."""

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from fabricated_run import write_run

from distunlearn.errors import UserError
from distunlearn.report import headline, sections, write_report
from distunlearn.report.record import read_run
from distunlearn.report.results import result_rows

VOID = {"meta", "img", "br", "link"}


class Reader(HTMLParser):
    """Collects what a page links to and whether its tags close."""

    def __init__(self) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.text: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note links and open tags."""
        self.sources += [value for name, value in attrs if name in {"src", "href", "srcset", "data"} and value]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Every tag closes the one that was opened last."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Collect the words."""
        self.text.append(data)


def read(path: Path) -> tuple[Reader, str]:
    """A page's structure and its words."""
    reader = Reader()
    reader.feed(path.read_text())
    assert reader.open == []
    return reader, " ".join(" ".join(reader.text).split())


@pytest.fixture(scope="module")
def page(probed_run: Path) -> Path:
    """The page of a run."""
    return write_report([probed_run])


def test_the_page_needs_nothing_but_itself(page: Path) -> None:
    """Every image travels inside, no script, no style sheet and no font comes from elsewhere."""
    reader, _ = read(page)
    assert page.name == "report.html"
    assert len(reader.sources) >= 14
    assert all(source.startswith("data:image/svg+xml;base64,") for source in reader.sources)
    assert not re.search(r"<script|@import|url\(", page.read_text())


def test_the_verdict_comes_first_and_its_figures_with_it(page: Path) -> None:
    """A reader who stops after the first lines knows the verdict, the interval, the floor and that it was simulated."""
    _, words = read(page)
    places = [
        words.index(part)
        for part in (
            "were simulated",
            "Not separable beyond age",
            "age with the model's error tells",
            "Results",
            "Training",
        )
    ]
    assert places == sorted(places)


def test_what_people_expect_is_there(page: Path) -> None:
    """The paper's three figures, calibration, bias, losses, every probe, the data and the limits."""
    _, words = read(page)
    wanted = (
        "Ages of each site", "t-SNE: standard", "t-SNE: unlearning", "Error by age: unlearning", "Calibration", "Age bias",
        "Task loss", "Domain loss", "Confusion loss", "Validation error", "RBF SVM", "age with the model's error",
        "membership", "not the images", "learning_rate",
    )  # fmt: skip
    assert [part for part in wanted if part not in words] == []


def test_travelling_people_and_collapse_are_told_with_units(page: Path, probed_run: Path) -> None:
    """How far two scanners are apart in years and in features, how they agree, and what the collapse check found."""
    _, words = read(page)
    found = json.loads((probed_run / "unlearning" / "probe.json").read_text())
    apart = [pair["disagreement"]["value"] for pair in found["travellers"]["pairs"].values()]
    for part in (
        f"{sum(apart) / len(apart):.2f} years two scanners apart",
        f"ICC(2,1) {found['travellers']['agreement']:.2f}",
        f"are {found['travellers']['feature_distance']:.2f} times as far apart",
        f"Collapse check: nothing is wrong (features vary by {found['collapse']['feature_variation']:.0%}",
    ):
        assert part in words


def test_remarks_on_the_training_are_repeated(probed_run: Path, tmp_path: Path) -> None:
    """What the trainer would have said after a stage's last epoch is on the page; nothing where all is well."""
    run = shutil.copytree(probed_run, tmp_path / "run")
    assert sections.health(read_run(run)) == ""
    line = {"stage": "unlearning", "epoch": 11, "step": 119, "val/spread": 0.02}
    with (run / "metrics.jsonl").open("a") as file:
        file.writelines(json.dumps(line | {"epoch": epoch}) + "\n" for epoch in (9, 10, 11))
    assert "unlearning: the task is not learned yet" in sections.health(read_run(run))


def test_nobody_is_named(page: Path, probed_run: Path) -> None:
    """No scan's key and no subject's pseudonym is on the page."""
    _, words = read(page)
    table = pd.read_csv(probed_run / "standard" / "predictions.tsv", sep="\t", dtype=str)
    names = {*table["key"], *table["subject"], *table["traveller"].dropna()}
    assert not names & set(re.findall(r"\w+", words))


def test_the_same_files_give_the_same_page(page: Path, probed_run: Path, tmp_path: Path) -> None:
    """Nothing of the page depends on when or how often it is made."""
    assert write_report([probed_run], tmp_path / "again.html").read_bytes() == page.read_bytes()


def test_several_runs_are_compared(probed_run: Path, tmp_path: Path) -> None:
    """Every run has its verdict, its rows and its own part; settings that differ are listed."""
    other = tmp_path / "other"
    shutil.copytree(probed_run, other)
    (other / "config.yaml").write_text((other / "config.yaml").read_text().replace("epochs: 6", "epochs: 7"))
    _, words = read(write_report([probed_run, other], tmp_path / "both.html"))
    for part in ("run: unlearning", "other: unlearning", "What differs", "Run other", "Error against scanner"):
        assert part in words
    assert "stages.unlearning.epochs 6 7" in words


def test_a_run_that_was_not_probed_says_what_to_do(fabricated_run: Path, tmp_path: Path) -> None:
    """Without probes there is no verdict, and the command for one is named."""
    shutil.copytree(fabricated_run, tmp_path / "bare", ignore=shutil.ignore_patterns("probe.json"))
    shown = headline.verdicts(result_rows([read_run(tmp_path / "bare")]))
    assert "Not probed yet" in shown
    assert "distunlearn probe" in shown


def test_names_of_sites_are_text_and_not_markup(tmp_path: Path) -> None:
    """A site called like a tag is shown, not obeyed."""
    run = write_run(tmp_path / "run")
    for path in (run / "scans.tsv", run / "standard" / "predictions.tsv", run / "unlearning" / "predictions.tsv"):
        path.write_text(path.read_text().replace("oasis", "<b>oasis"))
    record = read_run(run)
    for shown in (headline.results(result_rows([record]), record.sites), sections.data(record)):
        assert "&lt;b&gt;oasis" in shown
        assert "<b>oasis" not in shown


def test_no_run_and_no_run_folder_are_refused(tmp_path: Path) -> None:
    """Each is one line with the remedy."""
    with pytest.raises(UserError, match="at least one run"):
        write_report([])
    with pytest.raises(UserError, match="no run folder"):
        write_report([tmp_path])
