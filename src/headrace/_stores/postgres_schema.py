"""The PostgreSQL schema, by version, and the statements that write and read it. Text only; runs nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from headrace._model.ids import FIRST
from headrace._stores.postgres_writing import ABOVE, FENCE, READ, SUSPEND, WRITE, WRITE_STEP
from headrace._stores.rows import FLOW_COLUMNS, LOG_COLUMNS, RESULT_COLUMNS, TASK_COLUMNS, TASK_READ

LAST: Final = "g"  # sorts behind every hexadecimal digit
LOCK: Final = 0x48656164  # "Head": the class of our advisory locks
CHANNEL: Final = "headrace"  # on which a process rings that has left something for others to look at
RING: Final = f"NOTIFY {CHANNEL}"
MAKING: Final = -1  # which of them is held while tables are made; those from 0 on are of limits
# All else is text, sorted by its bytes as in SQLite, whatever the locale of the database. Times are nanoseconds since
# 1970; tags, parameters and history are JSON.
INTEGERS: Final = frozenset(
    ["created", "start_time", "end_time", "run_count", "flow_attempt", "epoch", "at", "level", "expires", "size"]
)
NEEDED: Final = frozenset(
    ["flow_name", "task_name", "state_type", "created", "durability", "run_id", "at", "level", "logger", "codec",
     "size", "digest"]
)  # fmt: skip


TEXT: Final = 'text COLLATE "C"'
SORTED: Final = {"bigint": "bigint", "text": TEXT}


def kind(column: str) -> str:
    """Give the type of *column*."""
    return "bigint" if column in INTEGERS else "text"


def table(name: str, columns: Sequence[str], *more: str) -> str:
    """Give the statement that makes a table of *columns*; its key is the first, unless *more* says otherwise."""
    parts = [f"{column} {SORTED[kind(column)]}{' NOT NULL' * (column in NEEDED)}" for column in columns]
    return f"CREATE TABLE headrace.{name} ({', '.join([*parts, *(more or [f'PRIMARY KEY ({columns[0]})'])])})"


# What was sent to runs: `data` until it is read; then nothing is left, unless it has a key by which it is known again.
# All of it goes with its run, but for answers: whoever asked may read them later. A durable run that crashed goes on.
SIGNALS: Final = (
    (
        f"CREATE TABLE headrace.signal (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, run_id {TEXT} NOT NULL, "
        f"name {TEXT} NOT NULL, data text, at bigint NOT NULL, key {TEXT}, asked boolean NOT NULL, answer text)"
    ),
    "CREATE INDEX signal_run ON headrace.signal (run_id, id)",
    "CREATE UNIQUE INDEX signal_key ON headrace.signal (run_id, key) WHERE key IS NOT NULL",
    """
    CREATE FUNCTION headrace.forget_signals() RETURNS trigger LANGUAGE plpgsql SET enable_seqscan = off AS $forget$
    BEGIN
        DELETE FROM headrace.signal WHERE run_id = OLD.id AND (answer IS NULL OR TG_OP = 'DELETE');
        RETURN NULL;
    END
    $forget$
    """,
    """
    CREATE TRIGGER signal_ended AFTER UPDATE OF end_time ON headrace.flow_run FOR EACH ROW
    WHEN (NEW.end_time IS NOT NULL AND NOT (NEW.state_type = 'CRASHED' AND NEW.durability = 'strict'))
    EXECUTE FUNCTION headrace.forget_signals()
    """,
    """
    CREATE TRIGGER signal_deleted AFTER DELETE ON headrace.flow_run FOR EACH ROW
    EXECUTE FUNCTION headrace.forget_signals()
    """,
)
# A schema of its own, so that a database can be shared with tables of others. Statements name it: behind a pooler, a
# search path set for a session is anybody's.
FIRST_STEP: Final = (
    "CREATE SCHEMA IF NOT EXISTS headrace",
    "CREATE TABLE headrace.version (version bigint NOT NULL)",
    "INSERT INTO headrace.version VALUES (0)",
    table("flow_run", FLOW_COLUMNS),
    "CREATE INDEX flow_run_created ON headrace.flow_run (created, id)",
    "CREATE INDEX flow_run_parent ON headrace.flow_run (parent_id) WHERE parent_id IS NOT NULL",
    (
        "CREATE INDEX flow_run_unfinished ON headrace.flow_run (created, id) "
        "WHERE end_time IS NULL AND owner IS DISTINCT FROM ''"
    ),
    table("task_run", TASK_COLUMNS),
    table("log", LOG_COLUMNS, "id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY"),
    "CREATE INDEX log_run ON headrace.log (run_id, id)",
    (
        f"CREATE TABLE headrace.run_owner (run_id {TEXT} PRIMARY KEY, owner {TEXT} NOT NULL, epoch bigint NOT NULL, "
        "since bigint NOT NULL, crashes bigint NOT NULL, steps bigint NOT NULL, wake_at bigint, "
        "priority bigint NOT NULL DEFAULT 0)"
    ),
    "CREATE INDEX run_owner_had ON headrace.run_owner (since, run_id) WHERE owner <> ''",
    "CREATE INDEX run_owner_due ON headrace.run_owner (wake_at, priority) WHERE owner = ''",
    table("request", ("run_id", "what", "why", "at"), "PRIMARY KEY (run_id, what)"),
    table("result", RESULT_COLUMNS),
    "CREATE INDEX result_created ON headrace.result (created, key)",
    "CREATE INDEX result_name ON headrace.result (name) WHERE name IS NOT NULL",
    (
        f"CREATE TABLE headrace.lease (name {TEXT} PRIMARY KEY, owner {TEXT} NOT NULL, "
        "epoch bigint NOT NULL, expires bigint NOT NULL)"
    ),
    (
        f"CREATE TABLE headrace.slot_limit (name {TEXT} PRIMARY KEY, slots bigint NOT NULL, "
        "decay double precision, active boolean NOT NULL, rested text)"
    ),
    (
        f"CREATE TABLE headrace.slot_claim (name {TEXT}, owner {TEXT}, held bigint NOT NULL, "
        "used bigint NOT NULL, wanted bigint NOT NULL, need bigint NOT NULL, since bigint NOT NULL, "
        "beat bigint NOT NULL, shown text NOT NULL, PRIMARY KEY (name, owner))"
    ),
    *SIGNALS,
    FENCE,
    SUSPEND,
    WRITE,
    WRITE_STEP,
)
# STEPS[n] leads from version n to n + 1. What a released version made is never changed here, only added to.
STEPS: Final = (FIRST_STEP,)
VERSION: Final = len(STEPS)
READ_VERSION: Final = "SELECT version FROM headrace.version"
PROCESS: Final = "SELECT pg_backend_pid()"
ALONE: Final = "SELECT pg_advisory_xact_lock($1::int, $2::int)"
UNCOMPILED: Final = "SET jit = off"  # to compile what reads 1,000 histories takes 0.6 s, and to run it 0.03
ENCODING: Final = "SELECT current_setting('server_encoding')"


READ_FLOWS: Final = f"SELECT {', '.join(FLOW_COLUMNS)} FROM headrace.flow_run"
READ_TASKS: Final = f"SELECT {', '.join(TASK_READ)} FROM headrace.task_run"
IN_STATE: Final = '(state_type = upper({0} COLLATE "C") OR lower(state_name) = lower({0} COLLATE "C"))'
COUNT_TASKS: Final = (
    f"SELECT state_type, count(*) FROM headrace.task_run WHERE id >= $1 AND id < $1 || '{LAST}' GROUP BY 1"
)
READ_CHILDREN: Final = f"{READ_FLOWS} WHERE parent_id = ANY ($1::text[]) ORDER BY created, id"
READ_BELOW: Final = f"{READ_FLOWS} WHERE parent_id >= $1 AND parent_id < $2 ORDER BY created, id"
READ_LOGS: Final = (
    f"SELECT {', '.join(f'log.{column}' for column in LOG_COLUMNS)} FROM unnest($1::text[]) AS wanted (prefix) "
    f"JOIN headrace.log ON log.run_id >= wanted.prefix AND log.run_id < wanted.prefix || '{LAST}' "
    "ORDER BY log.at, log.id LIMIT $2"
)
READ_UNFINISHED: Final = f"{READ_FLOWS} WHERE end_time IS NULL AND owner IS DISTINCT FROM '' ORDER BY created, id"
# The end of a run whose process told of none. What it went through before is told by its history, or by its start.
_CRASHED: Final = (
    "state_type = $4, state_name = $5, message = $2, end_time = $3, history = (coalesce(history::jsonb, "
    "CASE WHEN start_time IS NULL THEN '[]' ELSE "
    "jsonb_build_array(jsonb_build_array('RUNNING', 'Running', start_time, NULL)) END) "
    "|| jsonb_build_array(jsonb_build_array($4::text, $5::text, $3::bigint, $2::text)))::text"
)
CRASH_FLOW: Final = (
    f"UPDATE headrace.flow_run SET {_CRASHED} WHERE id = $1 AND end_time IS NULL AND owner IS NOT DISTINCT FROM $6 "
    "RETURNING id"
)
CRASH_TASKS: Final = (
    f"UPDATE headrace.task_run SET {_CRASHED} WHERE id >= $1 AND id < $1 || '{LAST}' AND end_time IS NULL"
)
CRASHED: Final = (
    "SELECT id FROM headrace.flow_run WHERE id = $1 AND message = $2 AND end_time = $3 AND state_type = $4 "
    "AND state_name = $5 AND owner IS NOT DISTINCT FROM $6"
)
FIND_FLOW: Final = "SELECT id FROM headrace.flow_run WHERE id = $1"
# A run's parent is a flow run or a task run: both have the ids that the flow run's prefix begins.
FIND_BELOW: Final = (
    "SELECT flow_run.id FROM unnest($1::text[]) AS wanted (prefix) JOIN headrace.flow_run "
    f"ON parent_id >= wanted.prefix AND parent_id < wanted.prefix || '{LAST}'"
)
DELETE_RUNS: Final = tuple(
    f"DELETE FROM headrace.{name} USING unnest($1::text[]) AS doomed (prefix) "
    f"WHERE {column} >= doomed.prefix AND {column} < doomed.prefix || '{LAST}'"
    for name, column in (("task_run", "id"), ("log", "run_id"), ("result", "key"))
)
DELETE_FLOWS: Final = (
    f"DELETE FROM headrace.flow_run WHERE id IN (SELECT prefix || '{FIRST}' FROM unnest($1::text[]) AS doomed (prefix))"
)
DISOWN: Final = (
    "DELETE FROM headrace.run_owner WHERE run_id IN "
    f"(SELECT prefix || '{FIRST}' FROM unnest($1::text[]) AS doomed (prefix))"
)
FORGET_ENDED: Final = (
    "DELETE FROM headrace.request WHERE NOT EXISTS "
    "(SELECT 1 FROM headrace.flow_run WHERE id = request.run_id AND end_time IS NULL)"
)
# Only of a run that is there and goes on.
ASK: Final = (
    "INSERT INTO headrace.request (run_id, what, why, at) SELECT id, $2, $3, $4 FROM headrace.flow_run "
    "WHERE id = $1 AND end_time IS NULL "
    "ON CONFLICT (run_id, what) DO UPDATE SET why = excluded.why, at = excluded.at RETURNING run_id"
)
# Locks the run's row: it does not end meanwhile, and what several send stands one behind the other.
RECEIVES: Final = (
    "SELECT 1 FROM headrace.flow_run WHERE id = $1 AND (end_time IS NULL OR (state_type = 'CRASHED' AND "
    "durability = 'strict')) FOR NO KEY UPDATE"
)
SEND: Final = (
    "INSERT INTO headrace.signal (run_id, name, data, at, key, asked) VALUES ($1, $2, $3, $4, $5, $6) "
    "ON CONFLICT (run_id, key) WHERE key IS NOT NULL DO NOTHING RETURNING id"
)
SENT: Final = (
    "SELECT 1 FROM headrace.signal WHERE run_id = $1 AND name = $2 AND data = $3 AND at = $4 "
    "AND key IS NOT DISTINCT FROM $5"
)
READ_SIGNALS: Final = (
    "SELECT run_id, name, data, at, key, asked, id FROM headrace.signal WHERE run_id = ANY ($1::text[]) "
    "AND data IS NOT NULL AND ($2::text IS NULL OR name = $2) ORDER BY id LIMIT $3"
)
FRESH: Final = "SELECT DISTINCT run_id, name FROM headrace.signal WHERE run_id = ANY ($1::text[]) AND data IS NOT NULL"
NOTE_READ: Final = READ.format("$1::bigint[]")
ANSWER: Final = "UPDATE headrace.signal SET answer = $3 WHERE run_id = $1 AND key = $2 AND answer IS NULL"
READ_ANSWER: Final = "SELECT answer FROM headrace.signal WHERE run_id = $1 AND key = $2"
FORGET_HEARD: Final = (
    "DELETE FROM headrace.request USING unnest($1::text[], $2::text[]) AS heard (run_id, what) "
    "WHERE request.run_id = heard.run_id AND request.what = heard.what"
)
READ_REQUESTS: Final = (
    "SELECT run_id, what, why, at FROM headrace.request WHERE run_id = ANY ($1::text[]) ORDER BY at, run_id"
)
_OWNED: Final = "SELECT run_id, owner, epoch, since, crashes, steps, wake_at, priority FROM headrace.run_owner"
LIST_OWNED: Final = f"{_OWNED} WHERE owner <> '' ORDER BY since, run_id"
READ_OWNED: Final = f"{_OWNED} WHERE run_id = $1"
TAKE: Final = (
    "UPDATE headrace.run_owner SET owner = $3, epoch = epoch + 1, since = $4, crashes = $5, steps = $6, wake_at = NULL "
    "WHERE run_id = $1 AND epoch = $2 AND owner = $7 RETURNING run_id"
)
TAKEN_UP: Final = (
    "SELECT run_id FROM headrace.run_owner WHERE run_id = $1 AND epoch = $2 + 1 AND owner = $3 AND since = $4"
)
# With a lower bound, for a plan that is made for any values: PostgreSQL takes it that few rows are in a range, and that
# a third are below some value, for which it would read all.
DUE: Final = f"{_OWNED} WHERE owner = '' AND wake_at BETWEEN 0 AND $1 ORDER BY priority DESC, wake_at, run_id LIMIT $2"
NEXT_DUE: Final = "SELECT min(wake_at) FROM headrace.run_owner WHERE owner = '' AND wake_at > $1"
# Of two who claim the same, one skips what the other has begun to claim.
CLAIM_DUE: Final = (
    "WITH due AS (SELECT run_id FROM headrace.run_owner JOIN unnest($1::text[], $2::bigint[]) AS said (id, known) "
    "ON run_id = said.id AND epoch = said.known WHERE owner = '' FOR UPDATE OF run_owner SKIP LOCKED) "
    "UPDATE headrace.run_owner AS held SET owner = $3, epoch = epoch + 1, since = $4, wake_at = NULL FROM due "
    "WHERE held.run_id = due.run_id RETURNING held.run_id"
)
CLAIMED: Final = (
    "SELECT run_id FROM headrace.run_owner JOIN unnest($1::text[], $2::bigint[]) AS said (id, known) "
    "ON run_id = said.id AND epoch = said.known + 1 WHERE owner = $3 AND since = $4"
)
# Held until the transaction ends: nobody suspends a run unseen while something is sent to it, or to one below it.
HOLD: Final = (
    ABOVE.format('SELECT $1::text COLLATE "C"') + " SELECT run_id, owner FROM headrace.run_owner "
    "WHERE run_id = ANY (ARRAY(SELECT id FROM above)) FOR NO KEY UPDATE"
)
ROUSE: Final = "UPDATE headrace.run_owner SET wake_at = 0 WHERE run_id = $1"
# Locked, so that one who waited for the end of another's going on sees the epoch of that.
REOPEN: Final = (
    "INSERT INTO headrace.run_owner (run_id, owner, epoch, since, crashes, steps) "
    "SELECT id, $2, $3::bigint, $4, $5, $6 FROM headrace.flow_run "
    "WHERE id = $1 AND coalesce(epoch, 1) = $3::bigint - 1 FOR SHARE ON CONFLICT (run_id) DO NOTHING RETURNING run_id"
)
LEASES: Final = "SELECT name, expires FROM headrace.lease WHERE name >= $1 AND name < $2"
FACTS: Final = (
    ("PostgreSQL", "SELECT current_setting('server_version')"),
    ("schema version", READ_VERSION),
    ("flow runs", "SELECT count(*) FROM headrace.flow_run"),
    ("task runs", "SELECT count(*) FROM headrace.task_run"),
)
SIZE: Final = (
    "SELECT coalesce(sum(pg_total_relation_size(pg_class.oid)), 0)::bigint FROM pg_class "
    "WHERE relnamespace = 'headrace'::regnamespace AND relkind = 'r'"
)

_KNOWN: Final = ", ".join(column for column in RESULT_COLUMNS if column != "data")
LIST_RESULTS: Final = f"SELECT {_KNOWN}, NULL FROM headrace.result"
COUNT_RESULTS: Final = "SELECT count(*), coalesce(sum(size), 0)::bigint FROM headrace.result"
READ_RESULTS: Final = f"SELECT {', '.join(RESULT_COLUMNS)} FROM headrace.result"
# What a step came to is in its row, where that is small, and read as any other result.
_READ_STEPS: Final = (
    "SELECT id, id, task_name, end_time, NULL, 'json', octet_length(data), NULL, NULL, NULL, NULL, 't' || data "
    "FROM headrace.task_run WHERE data IS NOT NULL AND"
)
UNDER: Final = f"{READ_RESULTS} WHERE key >= $1 AND key < $2 UNION ALL {_READ_STEPS} id >= $1 AND id < $2"
RECALL: Final = f"{READ_RESULTS} WHERE key = ANY ($1::text[]) UNION ALL {_READ_STEPS} id = ANY ($1::text[])"
# What is on record of many runs: their rows by their ids, and by what these begin with the flow runs that they called,
# their task runs, with what these came to, and results. OFFSET keeps the server from joining the other way round, and
# from going through the whole table for it: 20 ms a run where there are 100,000.
_UNDER: Final = (
    "SELECT known.* FROM unnest($1::text[]) AS wanted (prefix) CROSS JOIN LATERAL (SELECT {0} FROM headrace.{1} "
    f"WHERE {{2}} >= prefix AND {{2}} < prefix || '{LAST}' ORDER BY {{2}} OFFSET 0) AS known"
)
HISTORY: Final = (
    _UNDER.format(", ".join(FLOW_COLUMNS), "flow_run", "id"),
    _UNDER.format(", ".join(FLOW_COLUMNS), "flow_run", "parent_id") + " ORDER BY created, id",
    _UNDER.format(", ".join(TASK_COLUMNS), "task_run", "id"),
    _UNDER.format(", ".join(RESULT_COLUMNS), "result", "key"),
)
TAKEN: Final = "SELECT DISTINCT storage, name FROM headrace.result WHERE name = ANY ($1::text[])"
FORGET_RESULTS: Final = (
    "DELETE FROM headrace.result USING unnest($1::text[], $2::bigint[]) AS gone (key, created) "
    "WHERE result.key = gone.key AND result.created = gone.created"
)
# Given where nobody has it, where it is one's own, or where its time is over; the new holder's epoch is the next.
CLAIM: Final = (
    "INSERT INTO headrace.lease AS held (name, owner, epoch, expires) VALUES ($1, $2, 1, $4) "
    "ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, expires = excluded.expires, "
    "epoch = held.epoch + (held.owner <> excluded.owner)::int "
    "WHERE held.owner = excluded.owner OR held.owner = $5 OR held.expires <= $3 RETURNING name"
)
HOLDER: Final = "SELECT owner, expires FROM headrace.lease WHERE name = $1"
RENEW: Final = "UPDATE headrace.lease SET expires = $3 WHERE owner = $2 AND name = ANY ($1::text[])"
RELEASE: Final = "DELETE FROM headrace.lease WHERE name = $1 AND owner = $2"

_LIMIT: Final = "name, slots, decay, active"
LIST_LIMITS: Final = f"SELECT {_LIMIT} FROM headrace.slot_limit ORDER BY name"
FIND_LIMITS: Final = f"SELECT {_LIMIT} FROM headrace.slot_limit WHERE name = ANY ($1::text[]) ORDER BY name"
READ_LIMIT: Final = "SELECT name FROM headrace.slot_limit WHERE name = $1"
WRITE_LIMIT: Final = (
    f"INSERT INTO headrace.slot_limit ({_LIMIT}) VALUES ($1, $2, $3, $4) ON CONFLICT (name) DO UPDATE "
    "SET slots = excluded.slots, decay = excluded.decay, active = excluded.active"
)
FORGET_LIMIT: Final = "DELETE FROM headrace.slot_limit WHERE name = $1"
CLAIM_COLUMNS: Final = ("name", "owner", "held", "used", "wanted", "need", "since", "beat", "shown")
_CLAIM: Final = ", ".join(CLAIM_COLUMNS)
READ_CLAIMS: Final = f"SELECT {_CLAIM} FROM headrace.slot_claim WHERE name = $1 ORDER BY owner"
LIST_CLAIMS: Final = f"SELECT {_CLAIM} FROM headrace.slot_claim ORDER BY name, owner"
FORGET_CLAIMS: Final = "DELETE FROM headrace.slot_claim WHERE name = $1 RETURNING held"
# Each limit that is asked for, whether it exists or not, with each claim on it; and when this transaction began.
READ_ALL: Final = (
    "SELECT asked.name, slots, decay, active, rested, owner, held, used, wanted, need, since, beat, shown, "
    "(extract(epoch FROM now()) * 1000000)::bigint FROM unnest($1::text[]) AS asked (name) "
    "LEFT JOIN headrace.slot_limit USING (name) LEFT JOIN headrace.slot_claim USING (name) ORDER BY 1, owner"
)
# These take {rows}, a JSON array of objects.
WRITE_CLAIMS: Final = (
    f"INSERT INTO headrace.slot_claim ({_CLAIM}) SELECT {_CLAIM} FROM json_to_recordset({{rows}}::json) AS new "
    "(name text, owner text, held bigint, used bigint, wanted bigint, need bigint, since bigint, beat bigint, "
    "shown text) ON CONFLICT (name, owner) DO UPDATE SET "
    + ", ".join(f"{column} = excluded.{column}" for column in CLAIM_COLUMNS[2:])
)
FORGET_CLAIM: Final = (
    "DELETE FROM headrace.slot_claim USING json_to_recordset({rows}::json) AS gone (name text, owner text) "
    "WHERE slot_claim.name = gone.name AND slot_claim.owner = gone.owner"
)
NOTE_REST: Final = (
    "UPDATE headrace.slot_limit SET rested = new.rested FROM json_to_recordset({rows}::json) "
    "AS new (name text, rested text) WHERE slot_limit.name = new.name"
)
