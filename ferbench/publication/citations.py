"""What to cite for a row: the works that its parts come from, as the plugins name them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from ferbench.catalog import Catalog
from ferbench.composition import JOIN
from ferbench.errors import FerbenchError
from ferbench.pages.row import Citation
from ferbench.publish.latex_text import escaped
from ferbench.quantities import joined
from ferbench.records import Run
from ferbench.references import parse_reference
from ferbench.snapshot.redaction import name_without_folders, without_folders

#: What ends a sentence or a pair of brackets behind a doi or an address is not part of it.
_DOI = re.compile(r"\b(10\.\d{4,9}/[^\s;,\"<>{}]+[^\s;,.)\"<>{}])")
_ARXIV = re.compile(r"\barxiv[:\s.]*(?:org/abs/)?(\d{4}\.\d{4,5}|[a-z-]+/\d{7})", re.IGNORECASE)
_ADDRESS = re.compile(r"\bhttps?://[^\s;,\"<>]+[^\s;,.)\"<>]")

_NOT_KNOWN = "licence not known here"

#: What stands before an identifier in a citation's text.
_INTRODUCED = re.compile(r"[\s,;(]*(?:\b(?:doi|arxiv)\b[:\s]*)?$", re.IGNORECASE)


def citations_of(runs: Sequence[Run], catalog: Catalog, members: Sequence[Run] = ()) -> tuple[Citation, ...]:
    """A row's backbone, datasets and strategy, each with its citation and licence, and ferbench itself.

    Backbones and strategies that no plugin here provides, or that name neither citation nor licence, are left out. Of
    every dataset it is said where no licence is known.

    Parameters
    ----------
    runs : the row's finished runs
    members : of an ensemble, runs of the rows that it is made of
    """
    cell = runs[0].cell
    names: dict[tuple[str, str, str], list[str]] = {}
    for kind, whole, part in _parts([*members, runs[0]], catalog):
        text, licence = getattr(part, "citation", ""), getattr(part, "licence", "")
        licence = licence or (_NOT_KNOWN if kind == "dataset" else "")
        name, alike = name_without_folders(whole), names.setdefault((kind, text, licence), [])
        if (text or licence) and name not in alike:
            alike.append(name)
    found = [
        citation(f"{kind}{'s' * (len(named) > 1)} {joined(named)}", text, licence)
        for (kind, text, licence), named in names.items()
        if named
    ]
    environment = runs[0].environment
    commit = f", commit {environment.git_commit}".replace("+", " with changes") if environment.git_commit else ""
    what = "ensemble" if runs[0].members else f"{cell.strategy} row"
    software = Citation("software", f"ferbench {environment.ferbench}{commit}; this {what} is {runs[0].row}")
    return (*found, software)


def citation(what: str, text: str, licence: str = "") -> Citation:
    """A citation with where it leads to, by what its text names first: a doi, an arXiv number, an address."""
    text = without_folders(text)
    key = re.sub(r"[^a-z0-9]+", "-", what.rpartition(" ")[2].casefold()).strip("-") or "row"
    if doi := _DOI.search(text):
        bibtex = _entry(key, _before(text, doi.start()) or text, {"doi": doi[1], "url": f"https://doi.org/{doi[1]}"})
        return Citation(what, text, f"https://doi.org/{doi[1]}", bibtex, licence)
    if arxiv := _ARXIV.search(text):
        fields = {"eprint": arxiv[1], "archiveprefix": "arXiv", "url": f"https://arxiv.org/abs/{arxiv[1]}"}
        title = _before(text, arxiv.start()) or text
        return Citation(what, text, fields["url"], _entry(key, title, fields), licence)
    address = _ADDRESS.search(text)
    return Citation(what, text, address[0] if address else None, None, licence)


def _parts(runs: Sequence[Run], catalog: Catalog) -> Iterator[tuple[str, str, object]]:
    trained = [run.cell for run in runs if not run.members]
    for cell in trained:
        yield from _found("backbone", cell.backbone, catalog.backbone)
    for part in dict.fromkeys(part for cell in trained for part in cell.strategy.split(JOIN)):
        yield from _found("strategy", part, catalog.strategy)
    for reference in dict.fromkeys(name for run in runs for name in (run.cell.target, *run.cell.auxiliaries)):
        try:
            dataset = parse_reference(reference, catalog.dataset).dataset
        except FerbenchError:
            yield "dataset", reference, None
        else:
            yield "dataset", dataset.name, dataset


def _found(kind: str, name: str, find: Callable[[str], object]) -> Iterator[tuple[str, str, object]]:
    try:
        yield kind, name, find(name)
    except FerbenchError:
        return


def _before(text: str, place: int) -> str:
    """What a citation says before its identifier."""
    return _INTRODUCED.sub("", text[:place]).strip()


def _entry(key: str, text: str, fields: dict[str, str]) -> str:
    """BibTeX of a work of which authors and title are not told apart."""
    lines = [f"  title = {{{_latex(text)}}},"]
    lines += [f"  {name} = {{{value}}}," for name, value in fields.items()]
    return "\n".join([f"@misc{{{key},", *lines, "}"])


def _latex(text: str) -> str:
    # BibTeX counts braces, whatever stands before them.
    return escaped(text).replace(r"\{", r"\textbraceleft{}").replace(r"\}", r"\textbraceright{}")
