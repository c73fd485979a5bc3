"""What a process gave the system to send, from strace's record of its calls, and what of a study could be seen in it."""

import base64
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from distunlearn.streaming.manifest import Study
from distunlearn.streaming.reader import open_reader

SEEN = "sendto,sendmsg,sendmmsg,write,writev,pwrite64,pwritev,pwritev2"
"""Calls that give bytes to the system, which strace shows."""
UNSEEN = "sendfile,splice,vmsplice,tee,process_vm_writev,io_uring_setup"
"""Calls by which bytes can leave that strace does not show."""
WINDOW = 12
"""Neighbouring values of a scan that are looked for."""

_BEGUN = re.compile(r"(\d+) +(\w+)\((\d+)<([^<>]*(?:->[^<>]*)?)(?:<[^<>]*>)?>, ")
_RESULT = re.compile(r"\) += (-?\d+)[^\"]*$")


def strace(out: Path) -> tuple[str, ...]:
    """The words to put before a command so that every byte that it and its children give to the system is written to a file."""
    calls = f"trace={SEEN},{UNSEEN}"
    return ("strace", "-f", "--seccomp-bpf", "-qq", "-yy", "-xx", "-s", "1048576", "-e", calls, "-o", str(out))


class Sent(NamedTuple):
    """One call that gave bytes to the system."""

    to: str
    """What the descriptor is: a path, or a connection such as TCP:[127.0.0.1:38440->127.0.0.1:49273]."""
    content: bytes
    """As much of it as the system took."""


class Stretch(NamedTuple):
    """What was sent between two marks of a process: lines `PHASE name` that it wrote to its terminal."""

    phase: str
    sent: list[Sent]

    @property
    def network(self) -> bytes:
        """What went to any kind of socket."""
        return b"".join(sent.content for sent in self.sent if not sent.to.startswith(("/", "pipe:", "anon_inode:")))

    @property
    def everywhere(self) -> bytes:
        """What went anywhere, also into files."""
        return b"".join(sent.content for sent in self.sent)


def stretches(trace: Path) -> list[Stretch]:
    """A trace cut at the marks. What is written to the terminal (descriptors 1 and 2) is not sent.

    Raises:
        AssertionError: a call was made whose bytes strace does not show.
    """
    found = [Stretch("start", [])]
    for descriptor, sent in _calls(trace):
        if descriptor not in {1, 2}:
            found[-1].sent.append(sent)
        elif mark := re.fullmatch(rb"PHASE (\w+)\n", sent.content):
            found.append(Stretch(mark[1].decode(), []))
    return found


def _calls(trace: Path) -> Iterator[tuple[int, Sent]]:
    begun: dict[str, tuple[re.Match[str], bytes]] = {}
    for line in trace.read_text().splitlines():
        process = line.split(" ", 1)[0]
        if call := _BEGUN.match(line):
            assert call[2] not in UNSEEN.split(","), f"strace does not show what {call[2]} sends"
            content = b"".join(map(_unescaped, re.findall(r'"((?:\\x[0-9a-f]{2})*)"', line)))
            begun[process] = call, content
        if (result := _RESULT.search(line)) and process in begun:
            call, content = begun.pop(process)
            taken = len(content) if call[2] == "sendmmsg" else max(int(result[1]), 0)
            yield int(call[3]), Sent(_name(call[4]), content[:taken])


def _unescaped(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))


def _name(text: str) -> str:
    return _unescaped(text).decode() if text.startswith("\\x") else text


def forms(study: Study) -> dict[str, list[bytes]]:
    """What would be seen if a scan of a study, its person's age or its key were sent, in any common form."""
    every = np.arange(len(study.table))
    stored = np.empty((len(every), *study.shape), study.dtype)
    open_reader(study).read(every, stored)
    middle = int(np.prod(study.shape)) // 2
    stored = stored.reshape(len(every), -1)[:, middle : middle + WINDOW]
    values = torch.from_numpy(stored).float() * torch.tensor(study.table["scale"]).float()[:, None]
    looked_for = {
        "stored": [scan.tobytes() for scan in stored],
        "age": [np.array(age, kind).tobytes() for age in study.table["age"].dropna() for kind in ("f4", "f8")],
        "key": [key.encode() for key in study.table["key"]],
    }
    for kind in (torch.float64, torch.float32, torch.float16, torch.bfloat16):
        looked_for[str(kind).removeprefix("torch.")] = [
            scan.to(kind).view(torch.uint8).numpy().tobytes() for scan in values
        ]
    return looked_for | {
        f"{name} in base64": [base64.b64encode(form[start:])[:-4] for form in looked_for[name] for start in range(3)]
        for name in looked_for
        if name != "age"
    }


def found(content: bytes, looked_for: dict[str, list[bytes]]) -> set[str]:
    """The forms of which any is in what was sent."""
    return {name for name, of_name in looked_for.items() if any(form in content for form in of_name)}


def network_of(trace: Path) -> bytes:
    """Everything that a process sent over the network from its start to its end."""
    return b"".join(stretch.network for stretch in stretches(trace))


def by_phase(found_stretches: Iterable[Stretch]) -> dict[str, bytes]:
    """What went anywhere in each phase."""
    parts: dict[str, list[bytes]] = {}
    for stretch in found_stretches:
        parts.setdefault(stretch.phase, []).append(stretch.everywhere)
    return {name: b"".join(contents) for name, contents in parts.items()}
