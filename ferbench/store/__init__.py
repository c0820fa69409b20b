"""Where results are kept: SQLite by default, PostgreSQL by URL. Only this package knows SQL."""

from ferbench.store.kept import KeptRun
from ferbench.store.repository import Store, open_store

__all__ = ["KeptRun", "Store", "open_store"]
