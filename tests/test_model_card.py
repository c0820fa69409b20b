"""Model cards, read by the Hugging Face Hub's own library, and their Markdown by markdown-it."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import yaml
from huggingface_hub import ModelCard as HubCard
from huggingface_hub.repocard_data import eval_results_to_model_index
from hypothesis import given, settings
from hypothesis import strategies as st
from made_rows import CLASSES, ENVIRONMENT, made_board, made_row
from markdown_it import MarkdownIt
from tiny import bar_dataset, tiny_backbone, tiny_catalog

from ferbench.leaderboard import leaderboards
from ferbench.pages.row import Citation
from ferbench.publication.model_cards import model_card_of
from ferbench.publish.model_card import ModelCard, model_card
from ferbench.recipes import Recipe
from ferbench.records import Board, Entry, Interval
from ferbench.stages import Stage, TrainingPart
from ferbench.store import open_store

MEAN = Interval(0.4432, 0.0123, 0.41, 0.48, "t")
ENTRY = Entry(
    **{"row": "0123456789", "rank": 2, "backbone": "tiny", "strategy": "cascade", "auxiliaries": ("big",)},  # type: ignore[arg-type]
    **{"weights": "random", "image_size": 48, "device": "cpu", "seeds": (0, 1), "accuracy": MEAN},  # type: ignore[arg-type]
    **{"uar": dataclasses.replace(MEAN, mean=1 / 3), "macro_f1": MEAN, "images_seen": 10_000},  # type: ignore[arg-type]
    **{"train_seconds": 60.0, "recipe": (("lr", 0.01), ("grey", True)), "nll": 1.5, "ece": 0.05},  # type: ignore[arg-type]
)
STAGE = Stage(
    *("f" * 64, 0, "tiny", None, (TrainingPart("big", "tr", "c" * 64, 2000),), CLASSES),  # type: ignore[arg-type]
    *(Recipe(), 0, None),
)
CARD = ModelCard(
    entry=ENTRY,
    board=Board("b" * 64, "films", "val", 431, "basic7", 1, 0.2),
    labels=CLASSES,
    chain=(STAGE,),
    trained_on=("big", "films"),
    mean=(0.5, 0.5, 0.5),
    std=(0.25, 0.25, 0.25),
    environments=(ENVIRONMENT,),
    notes=("tuned: lr",),
    citations=(Citation("backbone tiny", "Someone 2020", licence="MIT"), Citation("software", "ferbench 0.1")),
    withheld_by=("films",),
    command="ferbench run -b tiny",
)


def body(text: str) -> str:
    return text.split("\n---\n", 1)[1]


def section(text: str, title: str) -> str:
    return re.split(r"^## ", text.split(f"## {title}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]


def test_the_hub_reads_the_scores() -> None:
    text = model_card(CARD)
    card = HubCard(text)
    assert card.data.model_name == "tiny-cascade-0123456789" and card.data.pipeline_tag == "image-classification"
    results = card.data.eval_results
    assert results is not None
    assert [(each.metric_type, each.metric_value, each.metric_args) for each in results] == [
        ("accuracy", 0.4432, None),
        ("recall", 0.3333, {"average": "macro"}),
        ("f1", 0.4432, {"average": "macro"}),
    ]
    assert {(each.task_type, each.dataset_type, each.dataset_name, each.dataset_split) for each in results} == {
        ("image-classification", "films", "films val", "val")
    }
    head = yaml.safe_load(text.split("---\n")[1])
    assert head["model-index"] == eval_results_to_model_index(card.data.model_name, results)
    assert (head["license"], head["datasets"], head["metrics"]) == (
        "other",
        ["big", "films"],
        ["accuracy", "recall", "f1"],
    )
    assert yaml.safe_load(card.data.to_yaml()) == head
    turned = dataclasses.replace(CARD, board=dataclasses.replace(CARD.board, target="a\u202eb", split="c\u202ed"))
    assert "a\ufffdb c\ufffdd" in model_card(turned) and "\u202e" not in model_card(turned)
    assert "synthetic-data" not in head["tags"]
    # The target is named in any case, as the Hub takes names.
    own = dataclasses.replace(CARD, board=dataclasses.replace(CARD.board, target="folder:…/faces"))
    assert yaml.safe_load(model_card(own).split("---\n")[1])["datasets"] == ["big", "films", "folder-faces"]


def test_the_text_says_what_must_be_known() -> None:
    text = body(model_card(CARD))
    scores = section(text, "Scores")
    assert "| Accuracy | 44.3 | 1.2 | 41.0–48.0 | Student's t over seeds | 431 |" in scores
    assert "mean over 2 seeds (0, 1)" in scores and "right in 20.0 %" in scores and "does not beat" not in scores
    assert section(text, "Labels").split()[-14:] == [
        each for place, name in enumerate(CLASSES) for each in (f"{place}.", name)
    ]
    assert "| 1 | big tr (2,000) | 200,000 | all | 0.01 | 224 px |" in text
    assert "As predicted: NLL 1.50, ECE (15 bins) 5.0 %. No temperature was fitted." in text
    assert "not what a person feels" in text and "synthetic" not in text and "One seed" not in text
    assert "| grey | true |" in text and "tuned: lr" in text and "ferbench run -b tiny" in text
    assert "- backbone tiny: Someone 2020" in section(text, "To cite")
    licence = section(text, "Licence")
    assert "- backbone tiny: MIT" in licence
    assert "withheld, ask" in licence and "the licence of films is not known to permit it" in licence


def test_what_changes_what_is_said() -> None:
    def said(**changes: object) -> str:
        return body(model_card(dataclasses.replace(CARD, **changes)))  # type: ignore[arg-type]

    assert "Weights may be passed on as far as the data is concerned: the licence of big and films" in said(
        withheld_by=()
    )
    assert "withheld, ask" in said(withheld_by=(), trained_on=())
    assert "at the word of whoever exported them: the licences of big and films are not" in said(
        withheld_by=("big", "films"), passed_on=True
    )
    assert "those of seed 4" in said(seed=4)
    assert "The command is not known." in said(command="")
    low = dataclasses.replace(ENTRY, accuracy=dataclasses.replace(MEAN, mean=0.2), seeds=(0,))
    assert "does not beat that" in said(entry=low) and "One seed was run" in said(entry=low)
    synthetic = said(board=dataclasses.replace(CARD.board, synthetic=True))
    assert "Faces of its data are synthetic" in synthetic
    ensemble = said(entry=dataclasses.replace(ENTRY, members=3), chain=())
    mixed = dataclasses.replace(CARD, entry=dataclasses.replace(ENTRY, members=3), chain=(), member_rows=3)
    assert "An ensemble of 3 rows of ferbench" in model_card(mixed) and ": the mean of" in model_card(mixed)
    over_seeds = model_card(dataclasses.replace(mixed, member_rows=1, weighted=True))
    assert "An ensemble of 3 runs of 1 row of ferbench" in over_seeds and ": the weighted mean of" in over_seeds
    assert "ensemble of 3 runs" in ensemble and "## Recipe" not in ensemble and "There are no weights" in ensemble
    scaled = said(entry=dataclasses.replace(ENTRY, temperature=1.25, calibrated_nll=1.4, calibrated_ece=0.02))
    assert "temperature 1.25, fitted on select samples (mean over seeds): NLL 1.40, ECE 2.0 %." in scaled


SIGNS = [
    *"#-*_`|<>&[]()!:{}'\"\\%@ \n\t\x1b\x85\u2028\u202eaé0",
    "---",
    "\n---\n",
    "```",
    "<script>",
    "1. ",
    ": ",
    "# ",
]


@settings(max_examples=40)
@given(st.lists(st.sampled_from(SIGNS), min_size=1, max_size=8).map("".join))
def test_any_name_is_text_in_both_parts(name: str) -> None:
    entry = dataclasses.replace(ENTRY, backbone=name, strategy=name, weights=name, auxiliaries=(name,))
    text = model_card(
        dataclasses.replace(
            CARD,
            entry=entry,
            board=dataclasses.replace(CARD.board, target=name, split=name),
            trained_on=(name,),
            notes=(name,),
            citations=(Citation(name, name, licence=name),),
            withheld_by=(name,),
            command=name,
        )
    )
    card = HubCard(text)
    assert card.data.eval_results is not None
    assert card.data.eval_results[0].dataset_name == re.sub(
        # Signs that cannot be seen, and one that turns others round.
        "[\x1b\u202e]",
        "\ufffd",
        " ".join(f"{name} {name}".split()),
    )
    assert card.data.model_name is not None and re.fullmatch(r"[A-Za-z0-9-]+", card.data.model_name)
    tokens = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).parse(card.text)
    assert sum(token.type == "heading_open" for token in tokens) == 1 + card.text.count("\n## ") == 11
    assert not [token for token in tokens if token.type.startswith("html")]
    assert {child.type for token in tokens for child in token.children or ()} <= PLAIN
    fences = [token.content for token in tokens if token.type == "fence"]
    assert len(fences) == (1 if name.strip() else 0)


PLAIN = {"text", "text_special", "strong_open", "strong_close", "softbreak"}


def test_a_card_of_a_stored_row_takes_licences_from_the_plugins(tmp_path: Path) -> None:
    free = dataclasses.replace(bar_dataset("free", 7), licence="CC0", licence_permits=("ids", "groups", "weights"))
    with open_store(str(tmp_path / "board.sqlite")) as store:
        board = made_board("free")
        made_row(store, "cascade", 0.6, board=board, backbone="named", auxiliaries=("free",))
        made_row(store, "single-stage", 0.5, board=board, backbone="/home/someone/net.pt")
        (table,) = leaderboards(store.leaderboard_rows())
        runs = {entry.row: store.runs(row=entry.row) for entry in table.entries}
        chain = [(store.stage(name), store.stage_result(name)) for name in runs[table.entries[0].row][0].stages[1:]]
    named = dataclasses.replace(tiny_backbone("named"), licence="MIT", citation="Someone 2021")
    catalog = tiny_catalog(free, named)
    first, second = (model_card_of(entry, runs[entry.row], board, catalog, "ferbench run") for entry in table.entries)
    assert first.withheld_by == () and first.trained_on == ("free",) and first.labels == CLASSES
    assert first.mean == (0.5, 0.5, 0.5) and first.environments == (ENVIRONMENT,)
    assert ("backbone named", "MIT") in [(each.what, each.licence) for each in first.citations]
    (entry, _) = table.entries
    (stage,) = model_card_of(entry, runs[entry.row], board, catalog, "", chain=chain).chain
    assert stage.classes == CLASSES
    text = model_card(first)
    assert "the licence of free permits it" in text and "Someone 2021" in text
    # Of what no plugin here provides nothing is known, so nothing is permitted; and nobody's folders are told.
    assert second.withheld_by == ("big",) and second.mean == ()
    assert "someone" not in model_card(second)
