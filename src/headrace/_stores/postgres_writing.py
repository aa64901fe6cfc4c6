"""
Writing in PostgreSQL: the functions in the database that write a batch, as one statement. Text only; runs nothing.

Sent as a script, a batch is parsed and planned anew each time, which takes the server longer than to run it: 0.9 ms
for a step, against 0.2. A function is planned once a connection, and is there whichever connection a pooler lends.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from headrace._model.ids import FIRST, PREFIX_LENGTH
from headrace._stores.rows import FLOW_COLUMNS, LOG_COLUMNS, RESULT_COLUMNS, TASK_COLUMNS

STALE: Final = "HR001"  # the code of the error where others have runs of a batch by now; its detail is their JSON array
HURRIED: Final = "SET LOCAL synchronous_commit = on"
UNHURRIED: Final = "SET LOCAL synchronous_commit = off"  # a crash of the server may take along what is committed
OWNED_COLUMNS: Final = ("run_id", "owner", "epoch", "since", "priority")
SUSPENDED_COLUMNS: Final = ("run_id", "wake_at", "waits", "epoch")
# What is planned while a table is small is kept when it has grown, and so must not read it whole.
PLANNED: Final = "RETURNS void LANGUAGE plpgsql SET enable_seqscan = off"
# A row of an older epoch than the one that is there is passed over.
NOT_OLDER: Final = "WHERE coalesce(excluded.epoch, 1) >= coalesce(kept.epoch, 1)"
# Where the first try may have been committed: lines have no key by which they would replace each other.
NOT_THERE: Final = (
    "WHERE NOT EXISTS (SELECT 1 FROM headrace.log AS kept WHERE kept.run_id = new.run_id "
    "AND kept.at = new.at AND kept.logger = new.logger AND kept.message = new.message)"
)


def insert(name: str, columns: Sequence[str], rows: str) -> str:
    """Give the statement that adds *rows*, a JSON array of objects, to a table."""
    listed = ", ".join(columns)
    return (
        f"INSERT INTO headrace.{name} AS kept ({listed}) "
        f"SELECT {listed} FROM json_populate_recordset(NULL::headrace.{name}, {rows}) AS new"
    )


def replace(columns: Sequence[str]) -> str:
    """Give the end of a statement that adds rows: those that are there already, by the first of *columns*, change."""
    changed = ", ".join(f"{column} = excluded.{column}" for column in columns[1:])
    return f"ON CONFLICT ({columns[0]}) DO UPDATE SET {changed}"


def upsert(name: str, columns: Sequence[str], rows: str) -> str:
    """
    Give the statement that writes *rows*, a JSON array of objects, into a table whose key is the first of *columns*.

    In the order of their keys, so that two processes never wait for each other's rows in a circle.
    """
    return f'{insert(name, columns, rows)} ORDER BY {columns[0]} COLLATE "C" {replace(columns)}'


# Of runs, {} giving their ids, and of those above them: a durable one is the outermost.
ABOVE: Final = (
    "WITH RECURSIVE above (id) AS ({} UNION "
    f"SELECT (SELECT left(parent_id, {PREFIX_LENGTH}) || '{FIRST}' FROM headrace.flow_run AS known "
    "WHERE known.id = above.id) FROM above WHERE id IS NOT NULL)"
)
# Has the signals whose numbers {} gives be read: those with a key are known beyond that.
READ: Final = (
    "WITH gone AS (DELETE FROM headrace.signal WHERE id = ANY ({0}) AND key IS NULL) "
    "UPDATE headrace.signal SET data = NULL WHERE id = ANY ({0}) AND key IS NOT NULL"
)
# Has nobody take over the runs that are written, until they are, and fails where somebody has: where they are on
# record, and not with the epoch of who writes. *fences* gives the epochs by run.
FENCE: Final = f"""
CREATE FUNCTION headrace.fence(fences json) {PLANNED} AS $fence$
DECLARE
    ours bigint;
    stale json;
BEGIN
    PERFORM 1 FROM json_each_text(fences) AS mine, LATERAL (
        SELECT 1 FROM headrace.run_owner WHERE run_id = mine.key AND epoch = mine.value::bigint FOR SHARE
    ) AS held;
    GET DIAGNOSTICS ours = ROW_COUNT;
    IF ours < (SELECT count(*) FROM json_object_keys(fences)) THEN
        SELECT json_agg(mine.key) INTO stale FROM json_each_text(fences) AS mine
        WHERE EXISTS (SELECT 1 FROM headrace.flow_run WHERE id = mine.key) AND NOT EXISTS (
            SELECT 1 FROM headrace.run_owner WHERE run_id = mine.key AND epoch = mine.value::bigint
        );
        IF stale IS NOT NULL THEN
            RAISE EXCEPTION 'other processes have taken over' USING ERRCODE = '{STALE}', DETAIL = stale;
        END IF;
    END IF;
END
$fence$
"""
# Has nobody have runs until they are due, which they are at once where a signal that one waits for is there, or where
# something was asked of it. The rows are locked first, so that who sends has been seen, or sees them suspended.
SUSPEND: Final = f"""
CREATE FUNCTION headrace.suspend(suspended json) {PLANNED} AS $suspend$
BEGIN
    PERFORM 1 FROM headrace.run_owner WHERE run_id IN (
        SELECT new.run_id FROM json_to_recordset(suspended) AS new (run_id text)
    ) FOR UPDATE;
    {ABOVE.format("SELECT run_id FROM headrace.request")}
    UPDATE headrace.run_owner AS held SET owner = '', crashes = 0, wake_at = CASE WHEN
        held.run_id IN (SELECT id FROM above) OR EXISTS (
            SELECT 1 FROM json_array_elements(new.waits) AS wait JOIN headrace.signal
            ON signal.run_id = wait.value->>0 AND name = wait.value->>1 WHERE data IS NOT NULL
        ) THEN 0 ELSE new.wake_at END
    FROM json_to_recordset(suspended) AS new (run_id text, wake_at bigint, waits json, epoch bigint)
    WHERE held.run_id = new.run_id AND held.epoch = new.epoch;
END
$suspend$
"""
# Writes a batch, of which each kind of row is a JSON array of objects or NULL. A run's first row makes its writer the
# owner; it is nobody's any more once it has ended.
WRITE: Final = f"""
CREATE FUNCTION headrace.write(
    safe boolean, again boolean, owned json, fences json, released json,
    flow_runs json, task_runs json, logs json, results json, signals bigint[], suspended json
) {PLANNED} AS $write$
BEGIN
    IF safe THEN {HURRIED}; ELSE {UNHURRIED}; END IF;
    IF owned IS NOT NULL THEN
        INSERT INTO headrace.run_owner ({", ".join(OWNED_COLUMNS)}, crashes, steps)
        SELECT {", ".join(OWNED_COLUMNS[:4])}, coalesce(priority, 0), 0, 0
        FROM json_populate_recordset(NULL::headrace.run_owner, owned)
        ON CONFLICT (run_id) DO NOTHING;
    END IF;
    IF fences IS NOT NULL THEN
        PERFORM headrace.fence(fences);
    END IF;
    IF released IS NOT NULL THEN
        DELETE FROM headrace.run_owner AS held USING json_each_text(released) AS mine
        WHERE held.run_id = mine.key AND held.epoch = mine.value::bigint;
    END IF;
    IF flow_runs IS NOT NULL THEN
        {upsert("flow_run", FLOW_COLUMNS, "flow_runs")} {NOT_OLDER};
    END IF;
    IF task_runs IS NOT NULL THEN
        {upsert("task_run", TASK_COLUMNS, "task_runs")} {NOT_OLDER};
    END IF;
    IF logs IS NOT NULL THEN
        IF again THEN
            {insert("log", LOG_COLUMNS, "logs")} {NOT_THERE};
        ELSE
            {insert("log", LOG_COLUMNS, "logs")};
        END IF;
    END IF;
    IF results IS NOT NULL THEN
        {upsert("result", RESULT_COLUMNS, "results")};
    END IF;
    IF signals IS NOT NULL THEN
        {READ.format("signals")};
    END IF;
    IF suspended IS NOT NULL THEN
        PERFORM headrace.suspend(suspended);
    END IF;
END
$write$
"""
# Writes what most batches of durable flows are, one step: 0.2 ms of the server's time, where WRITE takes 0.27.
WRITE_STEP: Final = f"""
CREATE FUNCTION headrace.write_step(root text, known bigint, step json) {PLANNED} AS $write$
DECLARE
    new headrace.task_run := json_populate_record(NULL::headrace.task_run, step);
BEGIN
    {HURRIED};
    PERFORM 1 FROM headrace.run_owner WHERE run_id = root AND epoch = known FOR SHARE;
    IF NOT FOUND THEN
        PERFORM headrace.fence(json_build_object(root, known));
    END IF;
    INSERT INTO headrace.task_run AS kept ({", ".join(TASK_COLUMNS)})
    VALUES ({", ".join(f"new.{column}" for column in TASK_COLUMNS)}) {replace(TASK_COLUMNS)} {NOT_OLDER};
END
$write$
"""
# The same as a statement to be prepared, which takes the server half of that; its values are the row's, the root's id,
# and the epoch. Writes nothing where the run is not on record with that epoch: WRITE_STEP finds out why.
LONE_STEP: Final = (
    f"WITH held AS MATERIALIZED (SELECT FROM headrace.run_owner WHERE run_id = ${len(TASK_COLUMNS) + 1} "
    f"AND epoch = ${len(TASK_COLUMNS) + 2} FOR SHARE) "
    f"INSERT INTO headrace.task_run AS kept ({', '.join(TASK_COLUMNS)}) "
    f"SELECT {', '.join(f'${number}' for number in range(1, len(TASK_COLUMNS) + 1))} FROM held "
    f"{replace(TASK_COLUMNS)} {NOT_OLDER}"
)
