"""Memory of a training on CPUs: kept between steps, not given back to the system and asked for again."""

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4


def keep_memory() -> None:
    """Tell the C library to keep what is freed.

    It maps every block of some megabytes anew and unmaps it when it is freed, so that each activation of each step costs
    a page fault every 4 KiB: of the demonstration's step an eighth of the CPU time. Elsewhere than on Linux with
    glibc nothing is done.
    """
    tune = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if tune is not None:
        tune(M_MMAP_MAX, 0)
        tune(M_TRIM_THRESHOLD, -1)
