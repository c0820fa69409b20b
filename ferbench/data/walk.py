"""Everything below a folder, with links followed by one rule that ends wherever they lead."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISDIR, S_ISLNK


@dataclass(frozen=True, slots=True)
class Entry:
    """What is no folder, or a link to a folder that was not followed.

    path : below the root, with slashes
    place : where it lies
    status : of what a link leads to; of the link itself where it leads to nothing
    target : where a link leads, in real folders; None for what is no link
    fault : why a link leads to nothing
    """

    path: str
    place: str
    status: os.stat_result
    target: Path | None = None
    fault: OSError | None = None

    @property
    def is_folder(self) -> bool:
        """Whether it is a link to a folder that was not followed."""
        return S_ISDIR(self.status.st_mode)

    @property
    def is_broken(self) -> bool:
        """Whether it is a link to nothing."""
        return S_ISLNK(self.status.st_mode)


def walk(
    root: Path,
    *,
    outside: bool,
    passed_over: Callable[[str, str], bool] | None = None,
    on_fault: Callable[[OSError], None] | None = None,
) -> Iterator[Entry]:
    """All entries below a folder: in each folder sorted by name, those below a folder after all of its own.

    A link to a folder is followed, but never to a folder that it lies in, whether the way there is plain or through
    other links; and where it lies in a linked folder itself, only to what no link has led to yet. So folders that are
    linked to each other are listed a limited number of times, and nothing goes missing.

    Parameters
    ----------
    outside : follow links to folders that do not lie in `root` too
    passed_over : whether to leave out an entry by the path of its folder ("" for the root, else with a slash at its
        end) and its name, with all that is below it
    on_fault : takes the error of a folder that is not there or must not be read, and the others are listed

    Raises
    ------
    OSError : such a folder, named by `filename`, where nobody takes its error
    """
    real_root = Path(os.path.realpath(root))
    followed: set[Path] = set()
    to_do = [_Folder(str(root), "", real_root, ())]
    while to_do:
        folder = to_do.pop()
        if folder.link is not None:
            leads_out = not folder.real.is_relative_to(real_root)
            again = folder.real in followed and len(folder.above) > 1
            if again or (leads_out and not outside) or folder.lies_in_itself():
                yield folder.link
                continue
            followed.add(folder.real)
        try:
            with os.scandir(folder.place) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            if on_fault is None:
                raise
            on_fault(error)
            continue
        below: list[_Folder] = []
        for entry in entries:
            if passed_over is not None and passed_over(folder.prefix, entry.name):
                continue
            if entry.is_symlink():
                link = _link(entry, folder.prefix)
                if link.is_folder and link.target is not None:
                    below.append(_Folder(link.place, f"{link.path}/", link.target, (*folder.above, folder.real), link))
                else:
                    yield link
            elif entry.is_dir():
                real = folder.real / entry.name
                below.append(_Folder(entry.path, f"{folder.prefix}{entry.name}/", real, folder.above))
            else:
                yield Entry(folder.prefix + entry.name, entry.path, entry.stat())
        to_do.extend(reversed(below))


@dataclass(frozen=True, slots=True)
class _Folder:
    """One that is still to be listed.

    real : where it is, without links
    above : the real folders of all links on the way to it
    link : by which it was found
    """

    place: str
    prefix: str
    real: Path
    above: tuple[Path, ...]
    link: Entry | None = None

    def lies_in_itself(self) -> bool:
        return any(folder.is_relative_to(self.real) for folder in self.above)


def _link(entry: os.DirEntry[str], prefix: str) -> Entry:
    target = Path(os.path.realpath(entry.path))
    try:
        return Entry(prefix + entry.name, entry.path, entry.stat(), target)
    except OSError as error:
        return Entry(prefix + entry.name, entry.path, entry.stat(follow_symlinks=False), target, error)
