"""What an exported network must be known by: names, preprocessing, origin and licences, as plain values for JSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping

from ferbench.catalog import Catalog
from ferbench.errors import FerbenchError
from ferbench.references import parse_reference
from ferbench.snapshot.licence import permits_of
from ferbench.snapshot.redaction import without_folders, without_location
from ferbench.store import Store
from ferbench.trained import Trained
from ferbench.version import VERSION

#: What config.json says it is; raised where an older ferbench would misread it.
FORMAT = 1


def about(trained: Trained, store: Store, catalog: Catalog, *, passed_on: bool) -> dict[str, object]:
    """The content of config.json. Scripts rely on it: fields may be added, never changed.

    passed_on : the user says that the weights may be, whatever the licences withhold
    """
    run, stage, backbone = trained.run, trained.stage, trained.backbone
    assert run.board is not None
    trained_on = chain_datasets(trained, store)
    return {
        "ferbench_export": FORMAT,
        "ferbench": VERSION,
        "row": run.row,
        "seed": run.cell.seed,
        "stage": stage.fingerprint,
        "backbone": without_folders(backbone.name),
        "backbone_version": backbone.version,
        "library": backbone.library,
        "plugins": list(plugin_files(trained, catalog)),
        "classifier": backbone.classifier,
        "head_fit": stage.recipe.head_fit,
        "labels": list(trained.classes),
        "label_set": run.cell.recipe.label_set,
        "image_size": trained.image_size,
        "grey": stage.recipe.grey,
        "mean": list(backbone.mean),
        "std": list(backbone.std),
        "temperature": trained.temperature,
        "faces": trained.stage.recipe.faces,
        "face_detector": "" if trained.stage.recipe.faces == "none" else trained.stage.recipe.face_detector,
        "faces_found_by": trained.stage.detector,
        "strategy": run.cell.strategy,
        "target": without_location(run.cell.target),
        "auxiliaries": [without_location(name) for name in run.cell.auxiliaries],
        "trained_on": [without_location(name) for name in trained_on],
        "initial_weights": run.weights.source,
        "recipe": dataclasses.asdict(stage.recipe),
        "board": {
            "fingerprint": run.board.fingerprint,
            "target": without_location(run.board.target),
            "split": run.board.split,
            "n": run.board.n,
            "protocol": run.board.protocol,
        },
        "licences": _licences(trained, trained_on, catalog),
        "withheld_by": list(withheld_by(trained_on, catalog)),
        "passed_on": passed_on,
    }


def as_texts(values: Mapping[str, object]) -> dict[str, str]:
    """The same for formats whose metadata is text alone: what is no text is JSON."""
    return {
        key: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False) for key, value in values.items()
    }


def plugin_files(trained: Trained, catalog: Catalog) -> tuple[str, ...]:
    """Names of the user's own files that the backbone comes from; empty for an installed plugin."""
    owners = {name for name, _ in catalog.sources(trained.backbone.name, trained.run.cell.strategy, ())}
    own = {name for name, _ in catalog.sources("", trained.run.cell.strategy, ())}
    plugins = [each for each in catalog.plugins() if each.name in owners - own and each.path is not None]
    return tuple(each.path.name for each in plugins if each.path and each.origin == str(each.path))


def chain_datasets(trained: Trained, store: Store) -> tuple[str, ...]:
    """What the chain was trained on, in order; of a stage that the store lacks, what the cell names."""
    run = trained.run
    found: list[str] = []
    for fingerprint in run.stages:
        stage = store.stage(fingerprint)
        named = (*run.cell.auxiliaries, run.cell.target) if stage is None else tuple(p.dataset for p in stage.parts)
        found.extend(named)
    return tuple(dict.fromkeys(found))


def withheld_by(datasets: tuple[str, ...], catalog: Catalog) -> tuple[str, ...]:
    """Those whose licence does not permit that weights trained on them are passed on; unknown ones are among them."""
    permits = permits_of(catalog.dataset)
    return tuple(without_location(name) for name in datasets if "weights" not in permits(name))


def _licences(trained: Trained, datasets: tuple[str, ...], catalog: Catalog) -> dict[str, str]:
    """By backbone and dataset, in words; empty where none is told."""
    found = {without_folders(trained.backbone.name): trained.backbone.licence}
    for name in datasets:
        try:
            licence = parse_reference(name, catalog.dataset).dataset.licence
        except FerbenchError:
            licence = ""  # of a plugin that is not here
        found[without_location(name)] = licence
    return found
