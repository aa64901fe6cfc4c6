"""
Encoding: how a batch becomes the texts that SQLite takes apart: one JSON array a statement. Touches no database.

SQLite's JSON functions read it in one call; a call for each row would cost more than all the rest.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, TypeAlias

import orjson

from headrace._model.ids import PREFIX_LENGTH
from headrace._model.records import StoredResult
from headrace._ports import Batch
from headrace._stores import schema
from headrace._stores.rows import RESULT_COLUMNS, TASK_COLUMNS, TASK_HEAD

Statement: TypeAlias = "tuple[str, tuple[Any, ...] | dict[str, Any]]"  # with its values
LISTS: tuple[type[Any], ...] = (list, tuple)
DICTS: tuple[type[Any], ...] = (dict,)
SEVERAL = 4  # statements for results in a batch: each gives the interpreter's lock away, and must get it back
TAGS, HISTORY, STEP, STEP_ARGS, DATA = map(TASK_COLUMNS.index, ("tags", "history", "step_id", "step_args", "data"))
NOTHING_ELSE = (None,) * (STEP - TASK_HEAD)
LONG = 1_000  # characters of a name, or of arguments, of which three digits do not tell
SAID = tuple(
    map(
        TASK_COLUMNS.index,
        ("task_name", "name", "state_name", "message", "result_key", "cached_from", "step_args", "data"),
    )
)
NULLS = (None,) * len(TASK_COLUMNS)
DIGEST = 16  # bytes
DIGESTED = RESULT_COLUMNS.index("digest")
LATEST = (1 << 63) - 1  # the last moment that SQLite can keep, in the year 2262


def statements(batch: Batch) -> list[Statement]:
    """Give the statements that write *batch*, each with its values; most task runs take the narrow one."""
    narrow: list[str] = []
    steps: list[str] = []
    full: list[Any] = []
    for row in batch.task_runs:
        if len(row) == TASK_HEAD and row[3] == "COMPLETED" and row[1] is not None:
            run_id, _, name, _, start, end = row
            narrow.append(f"{run_id}{start:019d}{end:019d}{name}")
        elif is_plain_step(row):
            steps.append(step_text(row))
        else:
            full.append(row)
    flows = [(*row[:12], None if row[12] is None else as_json(row[12]), *row[13:]) for row in batch.flow_runs]
    kinds: tuple[tuple[str, Sequence[Any]], ...] = (
        (schema.WRITE_FLOWS, flows),
        (schema.WRITE_COMPLETED, narrow),
        (schema.WRITE_KEPT, [f"{row[0]}{row[4]:019d}{row[5]:019d}{row[6]}{row[2]}" for row in batch.kept_runs]),
        (schema.WRITE_STEPS, steps),
        (schema.WRITE_TASKS, full),
        (schema.WRITE_LOGS, batch.logs),
    )
    written: list[Statement] = [(statement, (as_json(rows),)) for statement, rows in kinds if rows]
    return [*written, *results(batch.results)] if batch.results else written


def is_plain_step(row: Sequence[Any]) -> bool:
    """Tell whether *row* is the usual one of a step: it completed at once, and only its value is to be told."""
    if len(row) != DATA + 1 or row[TASK_HEAD:STEP] != NOTHING_ELSE or row[3] != "COMPLETED" or row[STEP] is None:
        return False
    texts = (row[2], row[STEP_ARGS] or "")
    return row[DATA] is not None and all(map(fits, texts))


def step_text(row: Sequence[Any]) -> str:
    """Give the usual row of a step as one text, see `schema.WRITE_STEPS`."""
    run_id, _, name, _, start, end = row[:TASK_HEAD]
    step_id, told, data = row[STEP:]
    return f"{run_id}{start:019d}{end:019d}{step_id}{len(name):03d}{len(told):03d}{name}{told}{data}"


def goes_alone(row: Sequence[Any]) -> bool:
    """Tell whether *row* is a step's whose values a statement takes as they are: none is a list, or to be cleaned."""
    if len(row) <= DATA or row[TAGS] is not None or row[HISTORY] is not None:
        return False
    for place in SAID:
        text = row[place]
        if text is not None and not keeps_length(text):
            return False
    return True


def fits(text: str) -> bool:
    """Tell whether three digits tell how long *text* is in SQLite."""
    return len(text) < LONG and keeps_length(text)


def keeps_length(text: str) -> bool:
    """Tell whether *text* is in SQLite what it is here: nothing in it is to be escaped."""
    return "\0" not in text if text.isascii() else cleaned(text) == text


def only_steps(batch: Batch) -> Statement | None:
    """
    Give the one statement that writes *batch*, with its values, where that is but steps of durable runs; else None.

    It writes as many rows, or none where somebody else has one of the runs.
    """
    count = len(batch.task_runs)
    if not count or count != len(batch) or not batch.fences or batch.owned or batch.released:
        return None
    if count == 1 and len(batch.fences) == 1:
        (fence,) = batch.fences.items()
        return lone_step(batch.task_runs[0], fence)
    epoch, *others = set(batch.fences.values())
    if others or not all(map(is_plain_step, batch.task_runs)):
        return None
    return schema.WRITE_ONLY_STEPS, (as_json([*map(step_text, batch.task_runs)]), as_json([*batch.fences]), epoch)


def lone_step(row: Sequence[Any], fence: tuple[str, int]) -> Statement | None:
    """Do what `only_steps` does for the *row* of a single one, of the run that *fence* names."""
    if is_plain_step(row):
        return schema.WRITE_PLAIN_STEP, (row[0], row[2], row[4], row[5], *row[STEP : DATA + 1], *fence)
    if not goes_alone(row):
        return None
    above = row[1] if row[STEP] is None else None
    return schema.WRITE_STEP, (row[0], above, *row[2:], *NULLS[len(row) :], *fence)


def results(kept: Sequence[StoredResult]) -> list[Statement]:
    """Give the statements that write results, each with its values: the narrow one, for each of a few tasks."""
    alike: dict[tuple[str, str | None, str], list[str]] = {}
    for one in kept:
        text = small_result(one)
        if text is None:
            break
        alike.setdefault((one.task_name, one.trace_id, one.run_id[:PREFIX_LENGTH]), []).append(text)
    else:
        # The last under a key is to win, so several statements must have no key in common.
        if len(alike) == 1 or (len(alike) <= SEVERAL and len({one.key for one in kept}) == len(kept)):
            return [
                (schema.WRITE_SMALL, {"texts": as_json(texts), "task": cleaned(task), "trace": trace, "run": run})
                for (task, trace, run), texts in alike.items()
            ]
    return [(schema.WRITE_RESULTS, (as_json([result_row(one) for one in kept]),))]


def small_result(one: StoredResult) -> str | None:
    """Give a result as one text of fixed places; None where it is not a small one of the usual kind."""
    key, run_id, _, created, expires, codec, size, digest, storage, _, _, data = one
    if expires is not None or codec != "json" or storage is not None or data is None or len(data) != size:
        return None
    # All as long as their places, and of signs that need no escape: that would be longer.
    if len(key) != 32 or not (key.isascii() and key.isalnum()) or len(run_id) != 36 or len(digest) != 32:
        return None
    text = as_text(data)
    return f"{key}{run_id[PREFIX_LENGTH:]}{created:019d}{digest}{text}" if text[0] == "t" and created >= 0 else None


def result_row(one: StoredResult) -> tuple[Any, ...]:
    """Give a result as SQLite is to have it."""
    if one.expires is not None and one.expires > LATEST:
        one = one._replace(expires=LATEST)
    return (*one[:-1], None if one.data is None else as_text(one.data))


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
    if digest is None:  # part of a row: not kept apart from what it is of
        digest = blake2b(data or b"", digest_size=DIGEST).hexdigest()
    return StoredResult(key, run_id, task_name, created, expires, codec, size, digest, storage, name, trace_id, data)


def part(row: Sequence[Any]) -> StoredResult:
    """Give what the step of the task run's *row* came to, which is part of the row."""
    run_id, _, task_name, _, _, end, *_ = row
    data: str = row[DATA]
    told = ("json", len(data.encode()), None, None, None, None, f"t{data}")
    return result_record((run_id, run_id, task_name, end, None, *told))


def latest(rows: Sequence[Sequence[Any]]) -> list[Sequence[Any]]:
    """
    Give rows of results with those last that are parts of task runs' rows: of two under one key, the later is to win.

    The other is an earlier attempt's, which was larger, or an exception. Parts have no digest.
    """
    return sorted(rows, key=lambda row: row[DIGESTED] is None)


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
