"""Keys that name nobody: HMAC-SHA256 of the source's names with a secret that stays at the site."""

import hashlib
import hmac
import secrets
from pathlib import Path

from filelock import FileLock

from distunlearn.errors import UserError
from distunlearn.prepare.writing.disk import write_private

DIGITS = 20
"""Hex digits of a pseudonym: 80 bits."""
STUDY = "study"
"""Name of the secret with which the codes of travellers are hidden, shared by the sites of a study."""


class Secrets:
    """The secrets of a study, one file of mode 600 a site, made when first needed.

    The same secret gives the same keys; without it a list of all possible names does not lead back to anybody.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def site(self, site: str) -> bytes:
        """The secret of one site."""
        return self._secret(f"site-{site}.secret")

    def study(self) -> bytes:
        """The secret that the sites of a study share."""
        return self._secret(f"{STUDY}.secret")

    def _secret(self, name: str) -> bytes:
        path = self.folder / name
        if not path.exists():
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with FileLock(self.folder / "secrets.lock"):  # two processes that start together must not make two
                if not path.exists():
                    write_private(path, secrets.token_hex(32) + "\n")
        try:
            secret = bytes.fromhex(path.read_text().strip())
        except (OSError, ValueError):
            raise UserError(
                f"secret {name}: is no line of hex digits; put the right one back, or take it away to start with new keys"
            ) from None
        if len(secret) < 16:
            raise UserError(f"secret {name}: is shorter than 32 hex digits; put the right one back")
        return secret


def pseudonym(secret: bytes, *names: str) -> str:
    """Twenty hex digits that stand for the names, always the same for the same secret."""
    message = b"".join(len(name.encode()).to_bytes(4, "big") + name.encode() for name in names)
    return hmac.new(secret, message, hashlib.sha256).hexdigest()[:DIGITS]
