"""CPU seconds to prepare a volume: `distunlearn shard` against the usual ways, interleaved, on the same files and grid.

    python benchmarks/prepare.py [--scans 4] [--rounds 7]
    python benchmarks/prepare.py --pool 1 2 4 8          # volumes a second of the whole work by worker processes

Scans are 256×256×176 int16 .nii.gz made of the MNI152 template with a bias field and Rician noise; every way gives
128×128×32 voxels of mean 0 and deviation 1. The peers: nibabel and scipy.ndimage.zoom as in the original code, nibabel and
torch's F.interpolate, MONAI's LoadImage, Resize and NormalizeIntensity. One thread everywhere. MONAI is needed for its row
only (`pip install monai`); without it the row is left out. Seconds are those of the processor, so that other work on the
machine hardly counts; each way has its turn in every round, and the median over rounds is given.

With --pool, volumes a second are those of the clock and mean something on a quiet machine only. The seconds of the processor
in the workers and in the one process that writes say, on any machine, how many workers that one can keep busy.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import nibabel as nib
import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter, zoom

from distunlearn.prepare.config import Preprocessing
from distunlearn.prepare.voxels.volume import prepare_volume

SHAPE = (256, 256, 176)
GRID = (128, 128, 128)
Way = Callable[[Path], np.ndarray]


def make_scans(folder: Path, count: int) -> list[Path]:
    from nilearn.datasets import load_mni152_template

    head = np.clip(load_mni152_template(resolution=1).get_fdata(), 0, None)
    head = zoom(head, [n / m for n, m in zip(SHAPE, head.shape, strict=True)], order=1)
    paths = []
    for n in range(count):
        draw = np.random.default_rng(n)
        bias = 1 + gaussian_filter(draw.normal(size=[side // 8 for side in SHAPE]), 4) * 3
        bias = zoom(bias, [m / (m // 8) for m in SHAPE], order=1)[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
        signal = 900 * head / head.max() * bias
        noisy = np.hypot(signal + draw.normal(0, 20, SHAPE), draw.normal(0, 20, SHAPE))
        paths.append(folder / f"scan{n}.nii.gz")
        nib.save(nib.Nifti1Image(noisy.astype(np.int16), np.diag([1.0, 1, 1, 1])), paths[-1])
    return paths


def normalise(values: np.ndarray) -> np.ndarray:
    return (values - values.mean()) / values.std()


def ours(path: Path) -> np.ndarray:
    return prepare_volume(path, Preprocessing()).z


def with_scipy(path: Path) -> np.ndarray:
    voxels = nib.as_closest_canonical(nib.load(path)).get_fdata()
    factors = [m / n for m, n in zip(GRID, voxels.shape, strict=True)]
    return normalise(zoom(voxels, factors, order=1, mode="grid-constant", grid_mode=True)[:, :, ::4].astype(np.float32))


def with_torch(path: Path) -> np.ndarray:
    voxels = torch.from_numpy(nib.as_closest_canonical(nib.load(path)).get_fdata(dtype=np.float32))
    resized = F.interpolate(voxels[None, None], GRID, mode="trilinear", align_corners=False)[0, 0, :, :, ::4]
    return normalise(resized.numpy())


def with_monai() -> Way:
    from monai.transforms import Compose, EnsureChannelFirst, LoadImage, NormalizeIntensity, Resize

    steps = [
        LoadImage(image_only=True),
        EnsureChannelFirst(),
        Resize(GRID, mode="trilinear"),
    ]
    pipeline, last = Compose(steps), NormalizeIntensity()
    return lambda path: np.asarray(last(pipeline(path)[..., ::4]))[0]


def compare(scans: list[Path], rounds: int) -> None:
    ways: dict[str, Way] = {
        "distunlearn": ours,
        "nibabel + scipy zoom": with_scipy,
        "nibabel + F.interpolate": with_torch,
    }
    if find_spec("monai"):
        ways["MONAI"] = with_monai()
    reference = ours(scans[0])
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    differences = {
        name: float(np.abs(way(scans[0]) - reference).max()) for name, way in ways.items()
    }  # and a warm start
    for n in range(rounds):
        for name, way in ways.items():
            start = time.process_time()
            way(scans[n % len(scans)])
            seconds[name].append(time.process_time() - start)
    own = float(np.median(seconds["distunlearn"]))
    print(
        f"{rounds} interleaved rounds over {len(scans)} scans of {'×'.join(map(str, SHAPE))}, median CPU seconds a volume"
    )
    for name in ways:
        taken = float(np.median(seconds[name]))
        print(f"{name:26} {taken:7.3f} s   {taken / own:5.1f} ×   greatest difference {differences[name]:.1e}")


TIMED = """
import os, sys, time
from pathlib import Path
from distunlearn.prepare import PrepareConfig, shard
config = PrepareConfig(workers=int(sys.argv[3]), test=0, val=0)  # copies of one scan in two splits would be refused
idle, start = time.process_time(), time.perf_counter()
shard([Path(sys.argv[1])], Path(sys.argv[2]), config)
print(time.perf_counter() - start, time.process_time() - idle, os.times().children_user + os.times().children_system)
"""


def scale(scans: list[Path], folder: Path, workers: list[int], copies: int) -> None:
    study = folder / "study"
    for n in range(copies):
        link = study / f"sub-{n:03d}/anat/sub-{n:03d}_T1w.nii.gz"
        link.parent.mkdir(parents=True)
        os.link(scans[n % len(scans)], link)
    for count in workers:
        command = [sys.executable, "-c", TIMED, str(study), str(folder / f"out{count}"), str(count)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        taken, writing, preparing = map(float, done.stdout.split())
        said = f"{count:3} workers: {copies / taken:5.1f} volumes/s in {taken:.1f} s (load {os.getloadavg()[0]:.1f})"
        if count > 1:  # with one, there is no other process
            said += (
                f"; CPU seconds a volume: {preparing / copies:.3f} in the workers, {writing / copies:.4f} in the writer"
            )
            said += f", which can serve {preparing / writing:.0f} workers"
        print(said)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--scans", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--pool", type=int, nargs="*", default=[])
    parser.add_argument("--copies", type=int, default=128)
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        scans = make_scans(Path(folder), args.scans)
        if args.pool:
            scale(scans, Path(folder), args.pool, args.copies)
        else:
            compare(scans, args.rounds)


if __name__ == "__main__":
    main()
