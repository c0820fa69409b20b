"""Whether a place can carry SQLite's write-ahead log, which needs memory shared by all who open the file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

JournalMode = Literal["wal", "delete"]

#: File systems of another machine, as Linux names them. Every `fuse.*` counts too: it may be anything.
NETWORK_FILE_SYSTEMS = frozenset(
    {
        *("9p", "afs", "beegfs", "ceph", "cifs", "gfs2", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4"),
        *("ocfs2", "orangefs", "pvfs2", "smb3", "smbfs", "vboxsf"),
    }
)

_MOUNTS = Path("/proc/self/mountinfo")


def journal_mode(path: Path) -> JournalMode:
    """`wal` on local disks, `delete` (the rollback journal) on network file systems.

    Where the system does not tell (no /proc), the place is taken for local unless it is a Windows network share.
    """
    if str(path).startswith("\\\\"):
        return "delete"
    try:
        kind = file_system(path, _MOUNTS.read_text(errors="surrogateescape"))
    except OSError:
        return "wal"
    return "delete" if kind in NETWORK_FILE_SYSTEMS or kind.startswith("fuse.") else "wal"


def file_system(path: Path, mounts: str) -> str:
    """The kind of file system that holds a path, from the text of Linux's mountinfo (proc(5)); "" if none matches."""
    place = path.resolve()
    found, depth = "", -1
    for line in mounts.splitlines():
        mount, _, source = line.partition(" - ")
        fields = mount.split(" ")
        if len(fields) < 5:
            continue
        point = Path(re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), fields[4]))
        # The last of several mounts on one point is the one that is seen.
        if place.is_relative_to(point) and len(point.parts) >= depth:
            found, depth = source.split(" ")[0], len(point.parts)
    return found
