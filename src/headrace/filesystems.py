"""Folders as result storages, under the name by which many know them."""

from __future__ import annotations

import os

from headrace._results.files import FileStorage

__all__ = ["LocalFileSystem"]


def LocalFileSystem(basepath: str | os.PathLike[str]) -> FileStorage:
    """Give the result storage that is the folder *basepath*."""
    return FileStorage(basepath)
