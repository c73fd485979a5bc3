"""Where each scan of a study lies, and whether bytes are its own: what every reader has to know."""

import numpy as np
import xxhash

from distunlearn.errors import UserError
from distunlearn.streaming.manifest import Study


class Places:
    """Where each scan of a study lies, and whether bytes are its own."""

    def __init__(self, study: Study, root: str) -> None:
        table = study.table
        self.shards: list[tuple[str, str]] = list(zip(table["site"], table["shard"], strict=True))
        """Site and name of each scan's shard."""
        self.paths = [f"{root}/{site}/{shard}" for site, shard in self.shards]
        self.offsets: list[int] = table["offset"].tolist()
        self.size = int(np.prod(study.shape)) * np.dtype(study.dtype).itemsize
        self._keys: list[str] = table["key"].tolist()
        self._digests: list[str] = table["xxh3"].tolist()

    def check(self, row: int, values: memoryview) -> None:
        """Refuse bytes that are not those of the scan.

        Raises:
            UserError: the scan, its shard and its site, and what to do.
        """
        if xxhash.xxh3_128_hexdigest(values) != self._digests[row]:
            raise self.damage(row, "its bytes are not those that were written")

    def damage(self, row: int, what: str) -> UserError:
        """The line that names a damaged scan and what to do."""
        site, shard = self.shards[row]
        return UserError(
            f"site {site}: scan {self._keys[row]} in shard {shard}: {what}; copy the shard again, or run `distunlearn shard` for this site"
        )
