"""Buffers and requests of read-ahead: where memory lies, and when requests are worked out."""

from collections.abc import Callable
from pathlib import Path

import pytest
from written_study import SHAPE

from distunlearn.streaming.manifest import Study, read_study
from distunlearn.streaming.prefetch import ALIGNMENT, BURST, Buffers, in_bursts


@pytest.fixture
def study(study_folder: Callable[..., Path]) -> Study:
    """One site."""
    return read_study(study_folder(a=[50.0]))


def test_buffers_begin_at_a_cache_line_and_are_one_memory_for_torch_and_numpy(study: Study) -> None:
    """The kernel copies a third slower to elsewhere; what a reader writes is what torch sees."""
    buffers = Buffers(study, 2)
    for scans in (1, 5, 3):
        buffer = buffers.take(scans)
        assert buffer.tensor.shape == buffer.array.shape == (scans, 1, *SHAPE)
        assert buffer.tensor.data_ptr() == buffer.array.ctypes.data
        assert buffer.tensor.data_ptr() % ALIGNMENT == 0


def test_a_buffer_is_used_again_when_its_turn_comes(study: Study) -> None:
    """A ring of two: never the same twice in a row, and the one before the last again; a smaller cut is of the same memory."""
    buffers = Buffers(study, 2)
    first, second, third = (buffers.take(scans).tensor.data_ptr() for scans in (5, 5, 3))
    assert first != second
    assert third == first


def test_requests_are_worked_out_in_bursts_and_none_is_lost() -> None:
    """A burst at a time is drawn, no more, and everything comes in order."""
    source = iter(range(2 * BURST + 7))
    requests = in_bursts(source)
    assert next(requests) == 0
    assert next(source) == BURST  # taken from under its hands: what was not drawn yet
    assert list(requests) == [*range(1, BURST), *range(BURST + 1, 2 * BURST + 7)]
