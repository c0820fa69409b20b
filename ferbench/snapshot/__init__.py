"""Snapshots: rows as text, to be kept under version control, sent and merged.

A snapshot is a folder with two files. Both are made of the rows alone: the same rows give the same bytes, whatever
store they come from, in whatever order they were computed there. (Of predictions.csv.gz that holds for one zlib; what
it unpacks to is the same everywhere.) Beside them lie pages, made of these two files alone
(`publication.from_snapshot`).

`runs.jsonl`, UTF-8, one JSON object a line, keys sorted, no spaces. The lines come in this order:

1. `{"kind": "snapshot", "format": 1}`, and where names of samples are withheld `"withheld"`: for each `content` (as
   below) the `names` that are not there, `ids` or `groups`
2. `{"kind": "board", "board": …}`, by fingerprint: records.Board
3. `{"kind": "stage", "stage": …, "result": …}`, by fingerprint: stages.Stage and records.StageResult
4. `{"kind": "run", "run": …}`, by entry and seed, failed ones too: records.Run, whose `board` is a fingerprint
5. `{"kind": "further", "stage": …, "further": …}`, by stage: records.FurtherScores
6. `{"kind": "predictions", …}`, one for each block of predictions.csv.gz, in its order: `row` and `seed` of the run
   that it stands under, `stage` (of the chain, from 1), `dataset`, `split`, `content` (the hash of the samples; the
   board's fingerprint for its own), `n`, and whether `labels` and `groups` are known

`predictions.csv.gz`, UTF-8 under gzip without a time, one line a sample, in the store's order of samples, with a
header: `row,seed,stage,dataset,split,content,id,group,label,predicted,p_angry,…`. A block is the lines of one run,
stage and content (its first 10 digits). Under each run stand its last stage's predictions of report, of select, and of
whatever its figures were computed from; those of stages before the last stand under the first run that needs them.
Labels are names; what is not known is empty, as are columns of classes that the row's label set lacks. Probabilities
have 6 digits that count. (Read `row` as text: pandas would take `12345e6789` for a number.)

Every figure in runs.jsonl that follows from predictions was computed from these six digits, and is rounded to six. Who
reads a snapshot computes them again, and refuses a run that claims others.

Where a machine keeps things is not published: of paths the name alone is left, behind `…/`. Nor are the ids and groups
of samples that a dataset's licence does not permit (`licence`, `redaction.withheld`): ids are then `1`, `2`, … in the
order of samples, groups `group 1`, `group 2`, … by their first sample, so that films and people lose their names and
those that were together stay so. Figures and hashes are of what is published: an interval over groups is drawn over
groups by these names, so that it may differ from the store's in its last digits.

Fields that records got later are left out where they say nothing (`layout.LATER`), so that an older ferbench reads
rows that do without them.
"""

from ferbench.snapshot.found import Found, Refused
from ferbench.snapshot.from_store import read_store
from ferbench.snapshot.reader import is_snapshot, read_snapshot
from ferbench.snapshot.writer import Written, write_snapshot

__all__ = ["Found", "Refused", "Written", "is_snapshot", "read_snapshot", "read_store", "write_snapshot"]
