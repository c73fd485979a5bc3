"""The parts of the page that are words and tables: verdict, results, probes, what was trained on what."""

from collections.abc import Sequence
from html import escape
from typing import Any

import yaml

from distunlearn.evaluate.summary import FEWEST_PEOPLE
from distunlearn.report import html
from distunlearn.report.record import RunRecord
from distunlearn.report.results import Row
from distunlearn.report.words import LIMITS, SIMULATED
from distunlearn.shard_format import SPLITS

GOOD = {"not separable beyond age": "good", "reduced": "middling"}
"""How a verdict is coloured; any other is bad or unknown."""


def verdicts(rows: Sequence[Row]) -> str:
    """The last stage's verdict of each run, with the figures that it rests on."""
    return "".join(_verdict(row) for row in rows if row.stage is row.run.last)


def _verdict(row: Row) -> str:
    if row.probe is None:
        stage = f"distunlearn probe {row.run.folder}"
        return f'<div class="verdict unknown"><h2>Not probed yet</h2><p>Run <code>{escape(stage)}</code>.</p></div>'
    head, _, rest = row.probe["sentence"].partition(": ")
    kind = GOOD.get(row.verdict, "bad" if row.verdict != "undecided" else "unknown")
    tiles = "".join(f"<div><b>{escape(value)}</b><span>{escape(label)}</span></div>" for value, label in _tiles(row))
    return (
        f'<div class="verdict {kind}"><p class="eyebrow">{escape(row.name)}</p><h2>{escape(head)}</h2>'
        f'<p>{escape(rest[:1].upper() + rest[1:])}</p><div class="tiles">{tiles}</div></div>'
    )


def _tiles(row: Row) -> list[tuple[str, str]]:
    """The few figures that people ask for first."""
    tiles = []
    if row.main:
        found = row.tried[row.main]
        was = f", from {100 * found['before']['value']:.0f}% before" if "before" in found else ""
        tiles.append((
            f"{100 * found['strongest']['value']:.0f}%",
            f"scanner told, {row.main} scans{was}; {row.beside_accuracy.split(';')[0]}",
        ))
    if row.mean_error is not None:
        median = [cell["median_error"] for cell in row.cells.values() if "mae" in cell]
        tiles.append((
            f"{row.mean_error:.2f} y",
            f"mean error over sites; answering the median {sum(median) / len(median):.2f} y",
        ))
    if row.travellers:
        apart = [pair["disagreement"]["value"] for pair in row.travellers["pairs"].values()]
        tiles.append((
            f"{sum(apart) / len(apart):.2f} y",
            f"two scanners apart on the same person ({row.travellers['people']} people)",
        ))
    return tiles


def results(rows: Sequence[Row], sites: Sequence[str]) -> str:
    """The table after the paper's Table 1."""
    body = [
        [
            escape(row.name),
            *(
                html.two_lines(
                    row.error(site) + (" (unseen)" if row.unseen(site) else ""), f"median {row.median(site)}"
                )
                for site in sites
            ),
            html.two_lines(row.accuracy, row.beside_accuracy),
            escape(row.verdict),
        ]
        for row in rows
    ]
    caption = (
        "Mean absolute error ± SD over people of the test split, in years; below it the error of answering everybody with the median of all training "
        f"targets. Sites with fewer than {FEWEST_PEOPLE} people are not shown. Scanner accuracy: balanced, in percent, of the strongest fresh probe on held-out scans, "
        "with its 95% interval; below it chance, what age with the model's own error reaches, and on which scans."
    )
    return html.table(["stage", *sites, "scanner accuracy, %", "verdict"], body, caption)


def data(run: RunRecord) -> str:
    """How many scans of each site went where, and what was done to them."""
    scans = run.scans
    splits = [split for split in SPLITS if (scans["split"] == split).any()]
    body = [
        [escape(site), *(_count(scans[(scans["site"] == site) & (scans["split"] == split)]) for split in splits)]
        for site in run.sites
    ]
    preprocessing = run.last.card.get("preprocessing", {})
    shape = run.last.card.get("shape")
    facts = [f"{name}: {_plain(value)}" for name, value in preprocessing.items()]
    done = (
        html.bullets(([f"shape: {' × '.join(map(str, shape))}"] if shape else []) + facts)
        if facts
        else html.paragraph("Not stored with this run.")
    )
    caption = "Scans; in brackets those that the task was learned on (X_p) and those that the scanner was unlearned on (X_u), where they are not all."
    return html.table(["site", *splits], body, caption) + "<h3>Preprocessing</h3>" + done


def _count(rows: Any) -> str:
    if rows.empty or rows["split"].iloc[0] != "train":
        return f"{len(rows)}"
    main, unlearn = int(rows["main"].sum()), int(rows["unlearn"].sum())
    return (
        f"{len(rows)}" if main == unlearn == len(rows) else html.two_lines(f"{len(rows)}", f"X_p {main}, X_u {unlearn}")
    )


def _plain(value: Any) -> str:
    """A value of the configuration in words: what has a name begins with it."""
    if isinstance(value, dict):
        rest = ", ".join(f"{key} {_plain(inner)}" for key, inner in value.items() if key != "name")
        return ": ".join(part for part in (str(value.get("name", "")), rest) if part)
    return ", ".join(map(_plain, value)) if isinstance(value, list) else str(value)


def how(run: RunRecord) -> str:
    """The stages in a table; the whole configuration and environment folded away."""
    stages = [stage for stage in run.config.get("stages", []) if isinstance(stage, dict)]
    body = [
        [
            escape(str(stage.get("name"))),
            *(escape(_plain(stage.get(key, "–"))) for key in ("method", "epochs", "learning_rate")),
        ]
        for stage in stages
    ]
    table = html.table(["stage", "method", "epochs", "learning rate"], body) if body else ""
    config = f"<pre>{escape(yaml.safe_dump(run.config, sort_keys=False))}</pre>"
    environment = f"<pre>{escape(yaml.safe_dump(run.environment, sort_keys=False))}</pre>"
    return (
        table
        + html.folded("The whole configuration (config.yaml)", config)
        + html.folded("Versions and machine (environment.json)", environment)
    )


def differences(runs: Sequence[RunRecord]) -> str:
    """What is not the same in the runs' configurations."""
    flat = [_flat(run.config) for run in runs]
    keys = [
        key for key in dict.fromkeys(key for each in flat for key in each) if len({each.get(key) for each in flat}) > 1
    ]
    if not keys:
        return html.paragraph("The configurations are the same.")
    return html.table(
        ["setting", *(run.name for run in runs)],
        [[escape(key), *(escape(each.get(key, "–")) for each in flat)] for key in keys],
    )


def _flat(values: Any, key: str = "") -> dict[str, str]:
    """Nested values as dotted keys; stages by their names."""
    if isinstance(values, list) and all(isinstance(each, dict) and "name" in each for each in values) and values:
        values = {each["name"]: each for each in values}
    if not isinstance(values, dict):
        return {key: str(values)}
    return {
        name: text for part, inner in values.items() for name, text in _flat(inner, f"{key}.{part}".strip(".")).items()
    }


def limits(runs: Sequence[RunRecord]) -> str:
    """What must not be concluded."""
    return html.bullets(([SIMULATED] if any(run.simulated for run in runs) else []) + list(LIMITS))
