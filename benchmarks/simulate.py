"""CPU milliseconds a simulated scan: `python benchmarks/simulate.py [VOXEL_MM]`, one process, files included."""

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from distunlearn.simulate import Study, simulate, template
from distunlearn.simulate.study import template_spacing

SCANS = 60


def cpu_seconds(work: Callable[[], object]) -> float:
    """CPU seconds of this process, all its threads."""
    start = time.process_time()
    work()
    return time.process_time() - start


def main() -> None:
    voxel_mm = float(sys.argv[1]) if len(sys.argv) > 1 else 4.0
    common = {"travelling": 0, "voxel_mm": voxel_mm}
    spacing = template_spacing(Study(scans={"biobank": 1}, **common))
    print(f"template, once a process: {cpu_seconds(lambda: template.load(spacing)):.2f} s")
    with tempfile.TemporaryDirectory() as folder:
        for site in ("biobank", "oasis", "whitehall"):
            study = Study(scans={site: SCANS}, **common)
            seconds = cpu_seconds(lambda site=site, study=study: simulate(Path(folder) / site, study, workers=1))
            stored = sum(path.stat().st_size for path in Path(folder, site).rglob("*.nii.gz"))
            print(
                f"{site}: {1000 * seconds / SCANS:.1f} CPU ms and {stored / SCANS / 1000:.0f} kB a scan of {voxel_mm:g} mm"
            )


if __name__ == "__main__":
    main()
