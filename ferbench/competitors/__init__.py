"""From rows of the store to what is compared: which rows, by what name, matched by what, and the outcome of it."""

from ferbench.competitors.answers import BoardAnswers, ReadAnswers, read_answers
from ferbench.competitors.choice import Question, choose
from ferbench.competitors.naming import Named, NamedBoard, name_competitors
from ferbench.competitors.outcome import BoardOutcome, Outcome, compare_boards, rank_over_boards
from ferbench.competitors.properties import property_key

__all__ = [
    "BoardAnswers",
    "BoardOutcome",
    "Named",
    "NamedBoard",
    "Outcome",
    "Question",
    "ReadAnswers",
    "choose",
    "compare_boards",
    "name_competitors",
    "property_key",
    "rank_over_boards",
    "read_answers",
]
