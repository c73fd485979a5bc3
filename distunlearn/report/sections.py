"""The parts of the page that say what was trained on what, and what must not be concluded."""

from collections.abc import Sequence
from html import escape
from typing import Any

import yaml

from distunlearn.probing.health import findings
from distunlearn.report import html
from distunlearn.report.record import RunRecord
from distunlearn.report.words import LIMITS, SIMULATED
from distunlearn.shard_format import SPLITS


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


def health(run: RunRecord) -> str:
    """What was remarked on after the last epoch of each stage; nothing where all seemed well."""
    lines = [{str(name): value for name, value in row.dropna().items()} for _, row in run.metrics.iterrows()]
    sites = len(run.last.stage.sites)
    said = [
        f"{stage.name}: {remark}."
        for stage in run.stages
        for remark in findings(lines[: _end(run, stage.name)], stage=stage.name, sites=sites).values()
    ]
    if not said:
        return ""
    return "<h3>Remarks at the end of each stage</h3>" + html.bullets(said)


def _end(run: RunRecord, stage: str) -> int:
    """How many lines of metrics there were when a stage ended."""
    return int((run.metrics["stage"] == stage).to_numpy().nonzero()[0].max(initial=-1)) + 1


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
            _method(stage.get("method", {})),
            *(escape(_plain(stage.get(key, "–"))) for key in ("epochs", "learning_rate", "choose")),
        ]
        for stage in stages
    ]
    table = html.table(["stage", "method", "epochs", "learning rate", "weights"], body, words=True) if body else ""
    config = f"<pre>{escape(yaml.safe_dump(run.config, sort_keys=False))}</pre>"
    environment = f"<pre>{escape(yaml.safe_dump(run.environment, sort_keys=False))}</pre>"
    return (
        table
        + html.folded("The whole configuration (config.yaml)", config)
        + html.folded("Versions and machine (environment.json)", environment)
    )


def _method(method: dict[str, Any]) -> str:
    """Its name, and its settings in small type below."""
    rest = {key: value for key, value in method.items() if key != "name"}
    return html.two_lines(str(method.get("name", "–")), _plain(rest))


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
