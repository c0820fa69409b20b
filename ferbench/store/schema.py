"""The store's tables. What is filtered, sorted or unique is a column; the rest of a record is JSON beside it.

Runs name their stages by fingerprint in JSON; predictions refer to the stage that made them, runs to their board.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
)

metadata = MetaData()

schema_version = Table(
    "schema_version",
    metadata,
    Column("one", Integer, CheckConstraint("one = 1"), primary_key=True),
    Column("version", Integer, nullable=False),
)

boards = Table(
    "boards",
    metadata,
    Column("fingerprint", String(64), primary_key=True),
    Column("target", Text, nullable=False),
    Column("split", Text, nullable=False),
    Column("n", Integer, nullable=False),
    Column("label_set", Text, nullable=False),
    Column("protocol", Integer, nullable=False),
    Column("majority", Double, nullable=False),
    Column("excluded", Integer, nullable=False),
    Column("synthetic", Boolean, nullable=False),
)

stages = Table(
    "stages",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("fingerprint", String(64), nullable=False, unique=True),
    Column("saved_at", Double, nullable=False, index=True),
    Column("backbone", Text, nullable=False),
    Column("image_size", Integer, nullable=False),
    Column("trainable", Text, nullable=False),
    Column("precision", Text, nullable=False),
    Column("batch_size", Integer, nullable=False),
    Column("device", Text, nullable=False),
    Column("threads", Integer, nullable=False),
    Column("images_per_second", Double, nullable=False),
    Column("peak_memory_bytes", BigInteger, nullable=False),
    Column("parameters", BigInteger, nullable=False),
    Column("stage", Text, nullable=False),
    Column("result", Text, nullable=False),
    Column("features_per_second", Double),
    Column("pruned", Boolean, nullable=False, server_default=false()),
    Column("merged", Boolean, nullable=False, server_default=false()),
)

#: A log: one row for every training that happened, whether or not the stage was trained before.
trainings = Table(
    "trainings",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("stage", String(64), nullable=False, index=True),
    Column("images", BigInteger, nullable=False),
    Column("train_seconds", Double, nullable=False),
    Column("spent_seconds", Double),
    Column("micro_batch", Integer, nullable=False),
    Column("device", Text, nullable=False),
    Column("threads", Integer, nullable=False),
    Column("saved_at", Double, nullable=False),
)

predictions = Table(
    "predictions",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("stage", String(64), ForeignKey("stages.fingerprint"), nullable=False),
    Column("dataset", Text, nullable=False),
    Column("split", Text, nullable=False),
    Column("content", Text, nullable=False),
    Column("n", Integer, nullable=False),
    Column("classes", Integer, nullable=False),
    Column("ids", LargeBinary, nullable=False),
    Column("labels", LargeBinary),
    Column("probabilities", LargeBinary, nullable=False),
    Column("groups", LargeBinary),
    UniqueConstraint("stage", "dataset", "split", "content"),
)

#: What stages score on samples that are no board of theirs: further datasets' report splits.
further_scores = Table(
    "further_scores",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("stage", String(64), ForeignKey("stages.fingerprint"), nullable=False),
    Column("dataset", Text, nullable=False),
    Column("split", Text, nullable=False),
    Column("content", Text, nullable=False),
    Column("record", Text, nullable=False),
    UniqueConstraint("stage", "dataset", "split", "content"),
)

#: `interval` is how those of UAR and macro-F1 were computed, parted by a slash where they differ.
#: `correct` is one bit a sample in the board's order (numpy.packbits), so that ranking every run is one query.
runs = Table(
    "runs",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("key", String(64), nullable=False, unique=True),
    Column("entry", String(64), nullable=False, index=True),
    Column("status", String(8), nullable=False),
    Column("board", String(64), ForeignKey("boards.fingerprint"), index=True),
    Column("backbone", Text, nullable=False),
    Column("strategy", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("auxiliaries", Text, nullable=False),
    Column("weights", Text, nullable=False),
    Column("image_size", Integer, nullable=False),
    Column("recipe", Text, nullable=False),
    Column("device", Text, nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("images_seen", BigInteger, nullable=False),
    Column("train_seconds", Double, nullable=False),
    *(Column(f"{metric}{end}", Double) for metric in ("accuracy", "uar", "macro_f1") for end in ("", "_low", "_high")),
    Column("notes", Text, nullable=False),
    Column("error", Text),
    Column("train_fraction", Double, nullable=False, server_default="1"),
    Column("final_stage", String(64)),
    Column("spent_seconds", Double),
    Column("peak_memory_bytes", BigInteger),
    Column("parameters", BigInteger),
    Column("processor", Text),
    Column("threads", Integer),
    Column("precision", Text),
    Column("interval", Text),
    *(Column(name, Double) for name in ("nll", "brier", "ece", "select_accuracy", "forgotten")),
    *(Column(name, Double) for name in ("temperature", "calibrated_nll", "calibrated_ece")),
    Column("tries", Integer, nullable=False, server_default="0"),
    Column("members", Integer, nullable=False, server_default="0"),
    Column("correct", LargeBinary),
    Column("record", Text, nullable=False),
    CheckConstraint("status IN ('finished', 'failed')", name="status_word"),
    CheckConstraint(
        "status = 'failed' OR (board IS NOT NULL AND correct IS NOT NULL AND accuracy IS NOT NULL "
        "AND uar IS NOT NULL AND macro_f1 IS NOT NULL)",
        name="finished_is_complete",
    ),
)

speed_measurements = Table(
    "speed_measurements",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("backbone", Text, nullable=False),
    Column("image_size", Integer, nullable=False),
    Column("batch_size", Integer, nullable=False),
    Column("precision", Text, nullable=False),
    Column("device", Text, nullable=False),
    Column("threads", Integer, nullable=False),
    Column("compiled", Boolean, nullable=False),
    Column("processor", Text, nullable=False),
    Column("torch", Text, nullable=False),
    Column("saved_at", Double, nullable=False),
    Column("record", Text, nullable=False),
    UniqueConstraint(
        *("backbone", "image_size", "batch_size", "precision", "device", "threads", "compiled"),
        *("processor", "torch"),
    ),
)

Index("runs_by_board_and_status", runs.c.board, runs.c.status)
#: What stage speeds are looked up by, newest first: the last ones of each kind are found without sorting and without
#: reading the rows of the others, which are many times as long as their entry in the index.
Index(
    "stages_by_kind",
    *(stages.c.backbone, stages.c.image_size, stages.c.trainable, stages.c.precision, stages.c.batch_size),
    *(stages.c.device, stages.c.threads, stages.c.saved_at.desc(), stages.c.id.desc()),
)
Index("stages_by_pruned", stages.c.pruned, stages.c.fingerprint)
