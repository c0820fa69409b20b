"""`ferbench publish DIR`: boards, rows and comparisons as a site of plain files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ferbench.cli.options import common_options, permits_asked, where_option
from ferbench.cli.session import (
    catalog_of,
    print_json,
    print_lines,
    reading_store,
    settings_of,
    warn,
    warn_of_failures,
    width,
)
from ferbench.errors import UsageError

if TYPE_CHECKING:
    from ferbench.components import Permit
    from ferbench.pages.board import BoardPage
    from ferbench.publication.folder import WrittenSite
    from ferbench.settings import Settings
    from ferbench.store import Store


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@click.argument("rows", nargs=-1, metavar="[ROW]...")
@where_option("Only rows that fit, as `ferbench leaderboard --where` shows them")
@click.option("--title", metavar="TEXT", default="ferbench", show_default=True, help="The site's name.")
@click.option(
    "--references/--no-references",
    default=None,
    help="Published figures of all datasets, or of none. Without either, those of the boards' datasets.",
)
@click.option(
    "--with",
    "asked",
    metavar="WHAT[,WHAT]",
    multiple=True,
    help="Show ids, groups (films, people) or pictures of samples, whatever the dataset's licence says.",
)
@click.option("--pictures/--no-pictures", default=None, help="Pictures of samples, where a licence permits them.")
@click.option("--saliency", is_flag=True, help="Show where on pictures a row looks. Needs ferbench[explain].")
@click.option(
    "--snapshot",
    "snapshot_folder",
    metavar="FOLDER",
    type=click.Path(path_type=Path, file_okay=False),
    help="Publish the rows of a snapshot and not those of the store.",
)
@click.option("--force", is_flag=True, help="Write into a folder that holds something else.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@common_options
@click.pass_context
def publish(
    context: click.Context,
    folder: Path,
    rows: tuple[str, ...],
    where: tuple[str, ...],
    title: str,
    references: bool | None,
    asked: tuple[str, ...],
    pictures: bool | None,
    saliency: bool,
    snapshot_folder: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    """Write boards, rows and comparisons as a site.

    It needs no server and no network: open DIR/index.html. The same rows give the same bytes; those of a snapshot have
    probabilities of six digits. A site that lies in DIR already is brought up to date. Without ROW, all rows are
    published.

    Of samples, only what the licence of their dataset permits is shown: ids, names of films or subjects, pictures. With
    --with, more is shown, at your own word.

    \b
    ferbench publish site --title 'FER transfer'
    ferbench publish site --where target=sfew --with groups
    """
    from ferbench.publication.files import site_files
    from ferbench.publication.folder import check_folder, write_site
    from ferbench.publication.gathering import Choice, gathered

    wanted = _asked(asked, pictures)
    check_folder(folder, force=force)
    settings = settings_of(context)
    catalog = catalog_of(context)
    warn_of_failures(catalog)
    choice = Choice(
        rows=rows,
        where=where,
        references="own" if references is None else "all" if references else "none",
        asked=wanted,
        pictures=pictures is not False,
        saliency=saliency,
    )
    with _source(settings, snapshot_folder) as store:
        site = gathered(store, catalog, settings, choice, title, warn)
        written = write_site(folder, site_files(site), force=force)
    _warn_of_beyond(site.boards)
    if as_json:
        print_json(_json(folder, written, site.boards))
    else:
        print_lines(_lines(folder, written, site.boards))


@contextmanager
def _source(settings: Settings, snapshot: Path | None) -> Iterator[Store]:
    if snapshot is None:
        with reading_store(settings) as store:
            yield store
        return
    from ferbench.publication.from_snapshot import opened_snapshot

    with opened_snapshot(snapshot) as store:
        yield store


def _asked(texts: tuple[str, ...], pictures: bool | None) -> tuple[Permit, ...]:
    from ferbench.pages.board import SHOWN

    asked = permits_asked(texts, SHOWN, f"there is {', '.join(SHOWN)}")
    if pictures is False and "pictures" in asked:
        raise UsageError("--with pictures and --no-pictures: give one of them")
    return tuple([each for each in SHOWN if each in asked or (pictures and each == "pictures")])


def _warn_of_beyond(boards: tuple[BoardPage, ...]) -> None:
    """Once for each dataset, whatever boards it has."""
    from ferbench.publish.site.boards import permits_words

    beyond = {page.table.board.target: page.beyond for page in boards if page.beyond}
    for target, permits in beyond.items():
        warn(f"published of {target}, though its licence is not known to permit it: {permits_words(permits)}")


def _withheld(boards: tuple[BoardPage, ...]) -> dict[str, list[Permit]]:
    """By dataset, what is not shown of its samples."""
    return {page.table.board.target: [*page.withheld] for page in boards}


def _lines(folder: Path, written: WrittenSite, boards: tuple[BoardPage, ...]) -> list[str]:
    from ferbench.publish.layout import wrapped
    from ferbench.publish.site.boards import permits_words
    from ferbench.quantities import counted, size

    failed = {each.row for page in boards for each in page.table.failed} - {
        each.row for page in boards for each in page.table.entries
    }
    facts = [counted(len(boards), "board"), counted(written.rows, "row")]
    facts += [f"{len(failed):,} failed"] if failed else []
    facts += [counted(written.files, "file")]
    lines = wrapped(f"{folder}: {', '.join(facts)}, {size(written.size_bytes)}", width())
    if written.removed:
        lines += wrapped(f"{counted(written.removed, 'file')} of an earlier publication removed", width())
    for target, permits in _withheld(boards).items():
        if permits:
            lines += wrapped(f"not shown of {target}: {permits_words(permits)}", width(), hanging="  ")
    return [*lines, *wrapped(f"open {folder / 'index.html'}", width())]


def _json(folder: Path, written: WrittenSite, boards: tuple[BoardPage, ...]) -> dict[str, object]:
    return {
        "folder": str(folder),
        "index": str(folder / "index.html"),
        "boards": [
            {
                "target": page.table.board.target,
                "split": page.table.board.split,
                "fingerprint": page.table.board.fingerprint,
                "page": f"{page.folder}/index.html",
                "rows": len(page.table.entries),
                "stale": page.table.stale,
                "shown": list(page.shown),
                "beyond_licence": list(page.beyond),
            }
            for page in boards
        ],
        "rows": written.rows,
        "files": written.files,
        "size_bytes": written.size_bytes,
        "removed": written.removed,
    }
