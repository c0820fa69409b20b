"""The path behind a prefix such as `folder:`, as users type it."""

from __future__ import annotations

from pathlib import Path

from ferbench.errors import UnknownName


def own_path(name: str, prefix: str) -> Path:
    """The absolute path of a dataset's name, the user's home expanded. Whether anything lies there is not said.

    Raises
    ------
    UnknownName : nothing behind the prefix, or a text that is no path
    """
    text = name.removeprefix(prefix)
    if not text:
        raise UnknownName("dataset", name, (), advice=f"write a path after {prefix}")
    try:
        path = Path(text).expanduser().absolute()
        path.exists()
    except (OSError, RuntimeError, ValueError) as error:
        # A home that nobody has, a text that no file system takes.
        raise UnknownName("dataset", name, (), advice=f"{text!r} cannot be looked for ({error})") from error
    return path
