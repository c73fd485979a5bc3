"""A file that says who is behind each key, written only when asked."""

from pathlib import Path

from distunlearn.prepare.assign import Sample
from distunlearn.prepare.writing.disk import write_private
from distunlearn.shard_format import MISSING

COLUMNS = ("site", "participant_id", "session_id", "split", "key", "subject", "source")


def write_mapping(path: Path, sites: dict[str, list[Sample]]) -> None:
    """Write who is behind each key, mode 600; the file can be given back as a split file."""
    lines = ["\t".join(COLUMNS)]
    for site, samples in sites.items():
        for sample in samples:
            scan = sample.scan
            cells = (site, scan.subject, scan.session or MISSING, sample.split, sample.key, sample.subject)
            lines.append("\t".join((*cells, str(scan.path or MISSING))))
    write_private(path, "\n".join(lines) + "\n")
