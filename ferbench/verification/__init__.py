"""Checks stored rows: every number derived again, every file hashed, and on request every answer given again.

A row is verified run by run. What agrees, what mismatches and what cannot be checked on this machine are told apart.
"""

from ferbench.verification.checks import Check, VerifiedRow
from ferbench.verification.verifier import Verifier

__all__ = ["Check", "VerifiedRow", "Verifier"]
