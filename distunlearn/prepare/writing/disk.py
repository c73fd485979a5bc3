"""Files that are whole or not there, and tars whose bytes depend on nothing but what is put into them."""

import io
import os
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
import xxhash
from jaxtyping import Num

TAR_BLOCK = 512
BUFFER = 1 << 22
"""Tars that are written in small pieces are read more slowly for as long as they are in the page cache."""


@contextmanager
def whole_file(path: Path, *, mode: int = 0o666) -> Iterator[BinaryIO]:
    """A file that appears under its name only when it is complete and on the disk.

    Args:
        path: its name.
        mode: who may read it (before the umask); 0o600 for what must stay with its owner.
    """
    part = path.with_name(f".{path.name}.part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL, mode), "w+b", buffering=BUFFER) as stream:
        yield stream
        stream.flush()
        os.fsync(stream.fileno())
    part.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)


def write_private(path: Path, text: str) -> None:
    """Write a text that only its owner may read."""
    with whole_file(path, mode=0o600) as stream:
        stream.write(text.encode())


def file_digest(path: Path) -> str:
    """xxh3_128 hex digest of a file."""
    digest = xxhash.xxh3_128()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


class Tar:
    """A tar in the making: byte for byte webdataset's `TarWriter(mtime=0, encoder=False)`, without importing torch."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream
        self.tar = tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115 - `close` does

    def add(self, name: str, data: bytes) -> int:
        """Append a member and give the offset of its first byte."""
        info = tarfile.TarInfo(name)
        info.size, info.mtime, info.mode, info.uname, info.gname = len(data), 0, 0o444, "bigdata", "bigdata"
        offset = self.stream.tell() + TAR_BLOCK
        self.tar.addfile(info, io.BytesIO(data))
        return offset

    def add_array(self, name: str, array: Num[np.ndarray, "..."]) -> int:
        """Append an array as .npy and give the offset of its first value."""
        npy = io.BytesIO()
        np.save(npy, array, allow_pickle=False)
        return self.add(name, npy.getvalue()) + npy.getbuffer().nbytes - array.nbytes

    def close(self) -> None:
        """Write the end of the archive."""
        self.tar.close()
