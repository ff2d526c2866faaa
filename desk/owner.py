"""Who holds a lane: a process, told apart from all others, and whether it is known to be no more.

It must never call a process dead that another machine, or another room of ids, may have.
"""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path


def me() -> str:
    """This process, as it signs its claims."""
    return f"{MACHINE}:{os.getpid()}:{started(os.getpid())}"


def is_dead(owner: str) -> bool:
    """True if the owner was a process of this machine and is no more."""
    host, pid, since = owner.rsplit(":", 2)
    if host != MACHINE:
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return started(int(pid)) != since


def started(pid: int) -> str:
    """When a process of this machine started, in the kernel's ticks; empty where that is not told.

    With it, a process id that was given out again is not taken for the process of before.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    fields = stat.rpartition(")")[2].split()
    # A zombie has ended; only its parent has not asked yet.
    return "" if fields[0] == "Z" else fields[19]


def _machine() -> str:
    """This machine, or container: where a process id means one process.

    Two rented machines may both be called localhost; the kernel's boot and its room of ids tell them apart.
    """
    said = [socket.gethostname()]
    with contextlib.suppress(OSError):
        said.append(Path("/proc/sys/kernel/random/boot_id").read_text()[:8])
        said.append(str(Path("/proc/self/ns/pid").stat().st_ino))
    return "/".join(said)


MACHINE = _machine()
