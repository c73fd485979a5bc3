"""How the bytes of shards are reached, as configuration; nothing here changes what is trained on but `stream`, which changes its order."""

from pydantic import Field, model_validator

from distunlearn.strict import Strict

PIPE = "pipe:"


class Access(Strict):
    """How scans are read. Without `stream`: by their offsets, from a disk or by byte ranges from a server."""

    stream: str | None = None
    """For a source that can only be read in sequence: where a shard comes from, with {site} and {shard} in it, such as
    "https://archive/{site}/{shard}", or a command with allow_pipe: "pipe:ssh archive cat /data/{site}/{shard}"."""
    allow_pipe: bool = False
    """Let `stream` be a command, which is given to a shell."""
    window: int = Field(2, gt=0)
    """With `stream`: scans are permuted within so many shards of a site at a time, which are kept in memory."""

    @model_validator(mode="after")
    def _commands_are_allowed(self) -> "Access":
        if self.stream is None:
            return self
        if self.stream.startswith(PIPE) and not self.allow_pipe:
            raise ValueError(f"stream {self.stream!r} is a command; set allow_pipe: true if it is yours")
        if "{site}" not in self.stream or "{shard}" not in self.stream:
            raise ValueError("stream must hold {site} and {shard}, which are filled in for each shard")
        return self
