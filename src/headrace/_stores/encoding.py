"""
Encoding: how a batch becomes the texts that SQLite takes apart: one JSON array a statement. Touches no database.

SQLite's JSON functions read it in one call; a call for each row would cost more than all the rest.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any

import orjson

from headrace._model.records import StoredResult
from headrace._ports import Batch
from headrace._stores import schema
from headrace._stores.rows import TASK_HEAD

LISTS: tuple[type[Any], ...] = (list, tuple)
DICTS: tuple[type[Any], ...] = (dict,)
LATEST = (1 << 63) - 1  # the last moment that SQLite can keep, in the year 2262


def statements(batch: Batch) -> list[tuple[str, list[Any]]]:
    """Give the statements that write *batch*, each with its rows; most task runs take the narrow one."""
    narrow: list[str] = []
    full: list[Any] = []
    for row in batch.task_runs:
        if len(row) == TASK_HEAD and row[3] == "COMPLETED" and row[1] is not None:
            run_id, _, name, _, start, end = row
            narrow.append(f"{run_id}{start:019d}{end:019d}{name}")
        else:
            full.append(row)
    flows = [(*row[:12], None if row[12] is None else as_json(row[12]), *row[13:]) for row in batch.flow_runs]
    kinds = (
        (schema.WRITE_FLOWS, flows),
        (schema.WRITE_COMPLETED, narrow),
        (schema.WRITE_KEPT, [f"{row[0]}{row[4]:019d}{row[5]:019d}{row[6]}{row[2]}" for row in batch.kept_runs]),
        (schema.WRITE_TASKS, full),
        (schema.WRITE_LOGS, batch.logs),
        (schema.WRITE_RESULTS, [result_row(one) for one in batch.results]),
    )
    return [(statement, list(rows)) for statement, rows in kinds if rows]


def result_row(one: StoredResult) -> tuple[Any, ...]:
    """Give a result as SQLite is to have it."""
    expires = None if one.expires is None else min(one.expires, LATEST)
    head = (one.key, one.run_id, one.task_name, one.created, expires, one.codec, one.size, one.digest)
    return (*head, one.storage, one.name, one.trace_id, None if one.data is None else as_text(one.data))


def as_text(data: bytes) -> str:
    """Give *data* as text that SQLite's JSON functions keep: as it is, behind a "t", or in base64, behind a "b"."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = "\0"
    return f"b{base64.b64encode(data).decode()}" if "\0" in text else f"t{text}"


def result_record(row: Sequence[Any]) -> StoredResult:
    """Read a result's row; bytes that cannot be told any more are left out, so that they are missed when asked for."""
    key, run_id, task_name, created, expires, codec, size, digest, storage, name, trace_id, text = row
    data: bytes | None = None
    if text is not None:
        try:
            data = text[1:].encode() if text[:1] == "t" else base64.b64decode(text[1:], validate=True)
        except (binascii.Error, ValueError):
            data = b""
    return StoredResult(key, run_id, task_name, created, expires, codec, size, digest, data, storage, name, trace_id)


def as_json(value: Any) -> str:
    """Give *value* as JSON text; signs that SQLite cannot keep are escaped, other strangers become their repr."""
    try:
        text = orjson.dumps(value, default=repr, option=orjson.OPT_NON_STR_KEYS)
    except TypeError:
        text = b"\\u0000"
    if b"\\u0000" in text:
        # SQLite's functions end a text at a NUL; a half of a pair of surrogates has no UTF-8 form.
        text = orjson.dumps(cleaned(value), default=repr, option=orjson.OPT_NON_STR_KEYS)
    return text.decode()


def cleaned(value: Any) -> Any:
    """Give *value* with lone surrogates and NUL escaped in every text."""
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode().replace("\0", "\\x00")
    if isinstance(value, LISTS):
        return [cleaned(item) for item in value]
    if isinstance(value, DICTS):
        return {cleaned(key): cleaned(item) for key, item in value.items()}
    return value
