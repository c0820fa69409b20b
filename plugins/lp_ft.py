"""Linear probing, then fine-tuning: Kumar et al., ICLR 2022 (arXiv 2202.10054)."""

from __future__ import annotations

from ferbench import Recipe, StageSpec, Strategy, hookimpl


def stages(target: str, auxiliaries: tuple[str, ...], recipe: Recipe) -> tuple[StageSpec, ...]:
    """The head alone on the target with half the budget, then everything with the other half.

    A head that fits already lets fine-tuning distort the features less. The equal parts are this plugin's choice; the
    paper tunes both lengths.
    """
    probe = StageSpec((target,), 0.5, (("trainable", "head"), ("augment", "none")))
    return probe, StageSpec((target,), 0.5)


@hookimpl
def ferbench_register_strategies() -> list[Strategy]:
    return [
        Strategy(
            name="lp-ft",
            stages=stages,
            summary="linear probe, then full fine-tuning, on the target",
            citation="Kumar et al., ICLR 2022, arXiv 2202.10054",
        )
    ]
