"""Result storages, for users: where large results lie. A storage of one's own has where, trusted and three methods."""

from __future__ import annotations

from headrace._ports import ResultStorage
from headrace._results.files import FileStorage, MemoryStorage
from headrace._results.remote import FsspecStorage, ObjectStorage, open_storage

__all__ = ["FileStorage", "FsspecStorage", "MemoryStorage", "ObjectStorage", "ResultStorage", "open_storage"]
