"""Figures: what is drawn is what was measured."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fabricated_run import SCANS, SITES, Study, write_run

from distunlearn.report import figures
from distunlearn.report.drawing import COLOURS, colour, marker
from distunlearn.report.figures_data import ages, validation
from distunlearn.report.figures_error import error_by_age
from distunlearn.report.figures_scanner import tsne
from distunlearn.report.figures_scans import looks
from distunlearn.report.record import read_run


def test_a_run_has_every_figure_under_its_name(probed_run: Path) -> None:
    """One of each kind, those of a stage under the stage's name."""
    expected = {
        "ages",
        "loss/task",
        "loss/domain",
        "loss/confusion",
        "validation",
        "error_by_site",
        "scanner_accuracy",
        "travelling",
    }
    expected |= {
        f"{kind}/{stage}"
        for kind in ("tsne", "error_by_age", "calibration", "age_bias")
        for stage in ("standard", "unlearning")
    }
    assert set(figures(probed_run)) == expected


def test_mean_scans_and_saliency_are_drawn_where_they_were_made(fabricated_run: Path, tmp_path: Path) -> None:
    """A column a site with its number of people, a row for the scan and one a stage, all saliencies on one scale."""
    run = shutil.copytree(fabricated_run, tmp_path / "run")
    assert looks(read_run(run)) == {}
    images = np.arange(2 * 6 * 8, dtype=float).reshape(2, 6, 8)
    for stage, size in (("standard", 1.0), ("unlearning", 0.5)):
        np.savez(run / stage / "pictures.npz", sites=np.array(["oasis", "whitehall"]), people=np.array([20, 12]),
                 scan=images + 100, saliency=size * images)  # fmt: skip
    axes = looks(read_run(run))["looks"].axes
    assert [each.get_title() for each in axes[:3]] == ["biobank", "oasis (20)", "whitehall (12)"]
    assert [axes[place].get_ylabel() for place in (0, 3, 6)] == ["mean scan", "standard", "unlearning"]
    assert [len(each.images) for each in axes[:9]] == [0, 1, 1] * 3
    scan, saliency = axes[1].images[0], [axes[place].images[0] for place in (4, 5, 7, 8)]
    assert scan.get_cmap().name == "gray"
    assert np.array_equal(scan.get_array(), images[0].T + 100)
    assert len({image.get_clim() for image in saliency}) == 1
    assert np.array_equal(saliency[3].get_array(), 0.5 * images[1].T)


def test_the_epoch_whose_weights_were_kept_is_marked(fabricated_run: Path, tmp_path: Path) -> None:
    """A line at that epoch's last step."""
    run = shutil.copytree(fabricated_run, tmp_path / "run")
    line = {"stage": "unlearning", "epoch": 7, "step": 119, "kept/epoch": 7}
    with (run / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")
    axes = validation(read_run(run))["validation"].axes[0]
    (kept,) = [each for each in axes.lines if each.get_label() == "kept by unlearning"]
    assert list(kept.get_xdata()) == [79, 79]


def test_a_class_has_no_calibration(tmp_path: Path) -> None:
    """Figures of predicted age are drawn where age is predicted, the error by age wherever ages are known."""
    names = set(figures(write_run(tmp_path / "run", Study(classes=2))))
    assert {"error_by_age/standard", "error_by_site", "ages"} <= names
    assert not any(name.startswith(("calibration", "age_bias")) for name in names)


def test_age_distributions_have_area_one(fabricated_run: Path) -> None:
    """A site of few scans is as large as one of many, as in the paper's Fig. 2."""
    axes = ages(read_run(fabricated_run)).axes[0]
    outlines = [patch.get_path().vertices for patch in axes.patches if not patch.get_fill()]
    areas = [abs(np.trapezoid(vertices[:, 1], vertices[:, 0])) for vertices in outlines]
    assert len(areas) == len(SITES)
    assert areas == pytest.approx([1.0] * len(SITES))


def test_ages_of_many_sites_stand_in_rows(fabricated_run: Path) -> None:
    """Where distributions above each other could not be told apart: a row a site, with its median."""
    run = read_run(fabricated_run)
    copies = [run.scans.assign(site=run.scans["site"] + str(number)) for number in range(4)]
    many = replace(run, scans=pd.concat(copies))
    axes = ages(many).axes[0]
    names = [label.get_text().split(" ")[0] for label in axes.get_yticklabels()]
    assert [name for name in names if name[-1].isdigit()] == sorted({*many.scans["site"]})
    here = (run.scans["site"] == "biobank") & (run.scans["split"] != "travelling")
    middle = [line.get_xdata()[0] for line in axes.lines if line.get_marker() == "|"][names.index("biobank0")]
    assert middle == pytest.approx(run.scans.loc[here, "age"].median())


def test_a_site_of_few_people_is_not_drawn(tmp_path: Path) -> None:
    """Four people would be recognised by their ages."""
    few = dict(SCANS) | {"test": {"biobank": 30, "oasis": 4, "whitehall": 20}}
    run = read_run(write_run(tmp_path / "run", Study(scans=few)))
    drawn = error_by_age(run, run.last).axes[0].get_legend_handles_labels()[1]
    assert drawn == ["biobank", "whitehall"]


def test_tsne_is_the_same_every_time_and_shows_held_out_scans(fabricated_run: Path) -> None:
    """Twice the same picture; as many dots as there are test scans."""
    run = read_run(fabricated_run)
    first, second = ([dots.get_offsets() for dots in tsne(run, run.last).axes[0].collections] for _ in range(2))
    assert [len(dots) for dots in first] == [SCANS["test"][site] for site in SITES]
    assert all((a == b).all() for a, b in zip(first, second, strict=True))


def test_a_single_feature_can_be_drawn(fabricated_run: Path) -> None:
    """An encoder that keeps one number has a picture too."""
    run = read_run(fabricated_run)
    narrow = replace(run.last, stage=replace(run.last.stage, features=run.last.stage.features[:, :1]))
    assert len(tsne(run, narrow).axes[0].collections) == len(SITES)


@pytest.mark.parametrize("value", [0.25, np.nan])
def test_a_collapsed_or_diverged_encoder_is_drawn_without_a_crash(fabricated_run: Path, value: float) -> None:
    """Constant features are one point; features that are no numbers are words instead of a picture."""
    run = read_run(fabricated_run)
    stage = run.last
    broken = replace(stage, stage=replace(stage.stage, features=np.full_like(stage.stage.features, value)))
    axes = tsne(run, broken).axes[0]
    assert bool(axes.collections) == np.isfinite(value)


def test_sites_are_told_apart_however_many() -> None:
    """With more sites than colours the pair of colour and marker is still each site's own."""
    names = [f"site{number}" for number in range(22)]
    assert len({(colour(names, name), marker(names, name)) for name in names}) == 22
    assert len(set(COLOURS)) == len(COLOURS)
