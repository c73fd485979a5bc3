"""Whether scans were simulated, as the description of their data set says: whoever sees the results must know."""

import json
from functools import cache
from pathlib import Path

DESCRIPTION = "dataset_description.json"


@cache
def is_simulated(folder: Path) -> bool:
    """Whether a BIDS data set that a folder belongs to was made by a simulator.

    So says a `dataset_description.json` in the folder or above it, if an entry of its `GeneratedBy` has a name that speaks
    of simulating, as `distunlearn simulate` writes it. Scans without one are of people.
    """
    if any("simulat" in name.lower() for name in _makers(folder / DESCRIPTION)):
        return True
    return folder.parent != folder and is_simulated(folder.parent)


def _makers(path: Path) -> list[str]:
    if not path.is_file():
        return []
    try:
        made_by = json.loads(path.read_text()).get("GeneratedBy", [])
        return [str(each.get("Name", "")) for each in made_by]
    except (OSError, ValueError, AttributeError, TypeError):
        return []  # a description that is no JSON of the kind says nothing of a simulator
