"""NIfTI scans and tables of any lab into checked, private shards; CPU only, no torch."""

from distunlearn.prepare.config import PrepareConfig, Preprocessing
from distunlearn.prepare.run import Summary, TooManyRefusedError, shard
from distunlearn.prepare.voxels.volume import prepare_scan, prepare_volume

__all__ = [
    "PrepareConfig",
    "Preprocessing",
    "Summary",
    "TooManyRefusedError",
    "prepare_scan",
    "prepare_volume",
    "shard",
]
