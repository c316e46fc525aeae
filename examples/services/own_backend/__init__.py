"""The backend of the page "Write your own backend": services found through one SQLite file.

`SqliteService` is the registry. It needs the standard library and services-core alone, and Linux.
"""

from own_backend.registry import SqliteService

__all__ = ["SqliteService"]
