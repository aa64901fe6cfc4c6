"""The SQLite schema, by version, and the statements that write and read it. Text only; runs nothing."""

from __future__ import annotations

from typing import Final

from headrace._model.ids import FIRST, PREFIX_LENGTH
from headrace._stores.rows import FLOW_COLUMNS, HOLDS, LOG_COLUMNS, RESULT_COLUMNS, TASK_COLUMNS, TASK_READ

LAST: Final = "g"  # sorts behind every hexadecimal digit
# Not `value->>0`, which means the same: that is of SQLite 3.38, and takes longer.
VALUE: Final = "json_extract(value, '$[{}]')"
APPLICATION_ID: Final = 0x48656164  # "Head"

# A task run's id begins with its flow run's first four groups, so one b-tree serves both "this run" and "the runs of
# this flow, in order". Times are nanoseconds since 1970; tags, parameters and history are JSON.
RUNS: Final = (
    """
    CREATE TABLE flow_run (
        id TEXT PRIMARY KEY, name TEXT NOT NULL, flow_name TEXT NOT NULL, flow_version TEXT,
        state_type TEXT NOT NULL, state_name TEXT NOT NULL, message TEXT,
        created INTEGER NOT NULL, start_time INTEGER, end_time INTEGER, run_count INTEGER,
        tags TEXT, parameters TEXT, parent_id TEXT, durability TEXT NOT NULL, owner TEXT, trace_id TEXT, history TEXT,
        epoch INTEGER
    ) WITHOUT ROWID
    """,
    "CREATE INDEX flow_run_created ON flow_run (created)",
    "CREATE INDEX flow_run_parent ON flow_run (parent_id) WHERE parent_id IS NOT NULL",
    "CREATE INDEX flow_run_unfinished ON flow_run (state_type) WHERE end_time IS NULL",
    """
    CREATE TABLE task_run (
        id TEXT PRIMARY KEY, flow_run_id TEXT, task_name TEXT NOT NULL, state_type TEXT NOT NULL,
        start_time INTEGER, end_time INTEGER, name TEXT, parent_task_run_id TEXT, state_name TEXT, message TEXT,
        run_count INTEGER, tags TEXT, history TEXT, flow_attempt INTEGER, epoch INTEGER
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE log (
        id INTEGER PRIMARY KEY, run_id TEXT NOT NULL, at INTEGER NOT NULL, level INTEGER NOT NULL,
        logger TEXT NOT NULL, message TEXT NOT NULL
    )
    """,
    "CREATE INDEX log_run ON log (run_id, id)",
    f"PRAGMA application_id = {APPLICATION_ID}",
)
# What one process asks of runs in another. Rows last until they are heard, a second at most as a rule.
REQUESTS: Final = (
    """
    CREATE TABLE request (
        run_id TEXT NOT NULL, what TEXT NOT NULL, why TEXT NOT NULL, at INTEGER NOT NULL, PRIMARY KEY (run_id, what)
    ) WITHOUT ROWID
    """,
)
# What runs returned, by cache key or run id: small values in the row, as text or, after a "b", in base64. And who holds
# what for how long: a row that is taken over once it has expired.
RESULTS: Final = (
    """
    CREATE TABLE result (
        id INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL UNIQUE,
        run_id TEXT NOT NULL, task_name TEXT NOT NULL, created INTEGER NOT NULL, expires INTEGER,
        codec TEXT NOT NULL, size INTEGER NOT NULL, digest TEXT NOT NULL, storage TEXT, name TEXT,
        trace_id TEXT, data TEXT
    )
    """,
    "CREATE INDEX result_created ON result (created)",
    "CREATE INDEX result_name ON result (name) WHERE name IS NOT NULL",
    "ALTER TABLE flow_run ADD COLUMN result_key TEXT",
    "ALTER TABLE task_run ADD COLUMN result_key TEXT",
    "ALTER TABLE task_run ADD COLUMN cached_from TEXT",
    """
    CREATE TABLE lease (
        name TEXT PRIMARY KEY, owner TEXT NOT NULL, epoch INTEGER NOT NULL, expires INTEGER NOT NULL
    ) WITHOUT ROWID
    """,
)
# Limits, and what each process has and wants of their slots. `rested` says when slots came free last, by the clock of a
# boot; a claim's `beat` changes while its process goes on.
LIMITS: Final = (
    """
    CREATE TABLE slot_limit (
        name TEXT PRIMARY KEY, slots INTEGER NOT NULL, decay REAL, active INTEGER NOT NULL, rested TEXT
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE slot_claim (
        name TEXT NOT NULL, owner TEXT NOT NULL, held INTEGER NOT NULL, used INTEGER NOT NULL, wanted INTEGER NOT NULL,
        need INTEGER NOT NULL, since INTEGER NOT NULL, beat INTEGER NOT NULL, shown TEXT NOT NULL,
        PRIMARY KEY (name, owner)
    ) WITHOUT ROWID
    """,
)
# What durable runs are found again by, and what each step came to, as JSON, where that is small: a row of its own for
# it would be two more pages to write. And who has each run that has not ended: whose writes count, by its epoch, and
# how often processes ended in a row while they ran it and recorded no step beyond so many.
DURABLE: Final = (
    "ALTER TABLE flow_run ADD COLUMN flow_attempt INTEGER",
    "ALTER TABLE flow_run ADD COLUMN step_id TEXT",
    "ALTER TABLE flow_run ADD COLUMN step_args TEXT",
    "ALTER TABLE flow_run ADD COLUMN entrypoint TEXT",
    "ALTER TABLE task_run ADD COLUMN step_id TEXT",
    "ALTER TABLE task_run ADD COLUMN step_args TEXT",
    "ALTER TABLE task_run ADD COLUMN data TEXT",
    """
    CREATE TABLE run_owner (
        run_id TEXT PRIMARY KEY, owner TEXT NOT NULL, epoch INTEGER NOT NULL, since INTEGER NOT NULL,
        crashes INTEGER NOT NULL, steps INTEGER NOT NULL
    ) WITHOUT ROWID
    """,
)
# What was sent to runs: `data` until it is read; then nothing is left, unless it has a key by which it is known again.
# All of it goes with its run, but for answers: whoever asked may read them later. A durable run that crashed goes on.
SIGNALS: Final = (
    """
    CREATE TABLE signal (
        id INTEGER PRIMARY KEY AUTOINCREMENT, run_id TEXT NOT NULL, name TEXT NOT NULL, data TEXT, at INTEGER NOT NULL,
        key TEXT, asked INTEGER NOT NULL, answer TEXT
    )
    """,
    "CREATE INDEX signal_run ON signal (run_id, id)",
    "CREATE UNIQUE INDEX signal_key ON signal (run_id, key) WHERE key IS NOT NULL",
    """
    CREATE TRIGGER signal_ended AFTER UPDATE OF end_time ON flow_run
    WHEN NEW.end_time IS NOT NULL AND NOT (NEW.state_type = 'CRASHED' AND NEW.durability = 'strict')
    BEGIN DELETE FROM signal WHERE run_id = NEW.id AND answer IS NULL; END
    """,
    "CREATE TRIGGER signal_deleted AFTER DELETE ON flow_run BEGIN DELETE FROM signal WHERE run_id = OLD.id; END",
)
# A durable run that waits long is in no process: its owner is '', and `wake_at` says when it is due, NULL that a signal
# is to come first. What is looked for twice a second has an index of its own, however many runs wait or have ended.
SUSPENDED: Final = (
    "ALTER TABLE run_owner ADD COLUMN wake_at INTEGER",
    "ALTER TABLE run_owner ADD COLUMN priority INTEGER NOT NULL DEFAULT 0",
    "CREATE INDEX run_owner_had ON run_owner (since, run_id) WHERE owner <> ''",
    "CREATE INDEX run_owner_due ON run_owner (wake_at, priority) WHERE owner = ''",
    "DROP INDEX flow_run_unfinished",
    "CREATE INDEX flow_run_unfinished ON flow_run (created, id) WHERE end_time IS NULL AND owner IS NOT ''",
)
# STEPS[n] leads from version n to n + 1; an empty file goes all of them, so a new one and an old one end alike.
STEPS: Final = (RUNS, REQUESTS, RESULTS, LIMITS, DURABLE, SIGNALS, SUSPENDED)
VERSION: Final = len(STEPS)
WITH_RESULTS: Final = 3
WITH_LIMITS: Final = 4
WITH_OWNERS: Final = 5
WITH_SIGNALS: Final = 6
WITH_SUSPENDED: Final = 7
COLUMNS_OF_OWNERS: Final = ("step_id", "step_args", "entrypoint", HOLDS)


def as_of(version: int, statement: str) -> str | None:
    """Give the reading *statement* for a file of an older *version*, which looking changes not; None: it has none."""
    if version < WITH_LIMITS and " FROM slot_" in statement:
        return None
    if version < WITH_SIGNALS and " FROM signal" in statement:
        return None
    if version < WITH_SUSPENDED:
        if " WHERE owner = ''" in statement:
            return None
        statement = statement.replace("wake_at, priority", "NULL, 0")
    if version < WITH_OWNERS:
        statement = statement.partition(" UNION ALL ")[0]  # rows of task runs that hold what these came to
        if " FROM run_owner" in statement:
            return None
        statement = statement.replace(", data, epoch", ", NULL, epoch")
        for column in COLUMNS_OF_OWNERS:
            statement = statement.replace(column, "NULL")
        if " FROM flow_run" in statement:
            statement = statement.replace("flow_attempt", "NULL")
    if version >= WITH_RESULTS:
        return statement
    if " FROM result" in statement or " JOIN result" in statement:
        return None
    return statement.replace("result_key", "NULL").replace("cached_from", "NULL")


def upsert(table: str, columns: tuple[str, ...]) -> str:
    """
    Give the statement that writes a JSON array of rows, each an array of *columns*, or of the first of them.

    One statement a batch: each gives the interpreter's lock away and must get it back, 5 ms beside a busy thread. A row
    of an older epoch than the one that is there is passed over.
    """
    values = ", ".join(VALUE.format(place) for place in range(len(columns)))
    changed = ", ".join(f"{column} = excluded.{column}" for column in columns[1:])
    return (
        f"INSERT INTO {table} ({', '.join(columns)}) SELECT {values} FROM json_each(?) WHERE true "
        f"ON CONFLICT (id) DO UPDATE SET {changed} WHERE coalesce(excluded.epoch, 1) >= coalesce({table}.epoch, 1)"
    )


_ALL: Final = ", ".join(f"{column} = excluded.{column}" for column in TASK_COLUMNS[1:])
WRITE_FLOWS: Final = upsert("flow_run", FLOW_COLUMNS)
WRITE_TASKS: Final = upsert("task_run", TASK_COLUMNS)
# Nearly every row is that of a task run of a flow which completed at once. It travels as one text of fixed places (id
# 36, start 19, end 19, then the name): SQLite cuts it up in 2.1 us, where an array of six values takes it 4.6.
WRITE_COMPLETED: Final = (
    "INSERT INTO task_run (id, flow_run_id, task_name, state_type, start_time, end_time) "
    f"SELECT substr(value, 1, 36), substr(value, 1, {PREFIX_LENGTH}) || '{FIRST}', substr(value, 75), 'COMPLETED', "
    "CAST(substr(value, 37, 19) AS INTEGER), CAST(substr(value, 56, 19) AS INTEGER) FROM json_each(?) WHERE true "
    "ON CONFLICT (id) DO UPDATE SET state_type = excluded.state_type, end_time = excluded.end_time "
    "WHERE coalesce(task_run.epoch, 1) = 1"
)
# The same of one whose result is kept, with the 32 signs of its key before the name.
WRITE_KEPT: Final = (
    "INSERT INTO task_run (id, flow_run_id, task_name, state_type, start_time, end_time, result_key) "
    f"SELECT substr(value, 1, 36), substr(value, 1, {PREFIX_LENGTH}) || '{FIRST}', substr(value, 107), 'COMPLETED', "
    "CAST(substr(value, 37, 19) AS INTEGER), CAST(substr(value, 56, 19) AS INTEGER), substr(value, 75, 32) "
    "FROM json_each(?) WHERE true "
    "ON CONFLICT (id) DO UPDATE SET state_type = excluded.state_type, end_time = excluded.end_time, "
    "result_key = excluded.result_key WHERE coalesce(task_run.epoch, 1) = 1"
)
# The same of a step of a durable run, whose value is part of the row: the name of the step stands before the lengths of
# the task's name and of the arguments, and behind these three the value. Its flow run follows from its id.
_PLAIN: Final = (
    "INSERT INTO task_run (id, task_name, state_type, start_time, end_time, step_id, step_args, data) SELECT"
)
_REPLACE: Final = (
    f"ON CONFLICT (id) DO UPDATE SET {_ALL} WHERE coalesce(excluded.epoch, 1) >= coalesce(task_run.epoch, 1)"
)
_CUT: Final = "CAST(substr(value, 107, 3) AS INTEGER) AS named, CAST(substr(value, 110, 3) AS INTEGER) AS called"
_STEPS: Final = (
    f"{_PLAIN} substr(value, 1, 36), substr(value, 113, named), 'COMPLETED', CAST(substr(value, 37, 19) AS INTEGER), "
    "CAST(substr(value, 56, 19) AS INTEGER), substr(value, 75, 32), substr(value, 113 + named, called), "
    f"substr(value, 113 + named + called) FROM (SELECT value, {_CUT} FROM json_each(?))"
)
WRITE_STEPS: Final = f"{_STEPS} WHERE true {_REPLACE}"
# Where nothing but such steps end, as in flows that only go on: statement, fence and transaction in one. It writes
# nothing where somebody else has one of the runs, all under one epoch. Each statement less gives the interpreter's lock
# away once less; of a lone step it takes 16 us, where the statements of a batch take 57.
WRITE_ONLY_STEPS: Final = (
    f"{_STEPS} WHERE NOT EXISTS (SELECT 1 FROM json_each(?) AS fenced WHERE NOT EXISTS "
    f"(SELECT 1 FROM run_owner WHERE run_id = fenced.value AND epoch = ?)) {_REPLACE}"
)
_FENCED: Final = f"WHERE EXISTS (SELECT 1 FROM run_owner WHERE run_id = ? AND epoch = ?) {_REPLACE}"
WRITE_PLAIN_STEP: Final = f"{_PLAIN} ?, ?, 'COMPLETED', ?, ?, ?, ?, ? {_FENCED}"
WRITE_STEP: Final = (
    f"INSERT INTO task_run ({', '.join(TASK_COLUMNS)}) SELECT {', '.join('?' * len(TASK_COLUMNS))} {_FENCED}"
)
WRITE_LOGS: Final = (
    f"INSERT INTO log ({', '.join(LOG_COLUMNS)}) "
    f"SELECT {', '.join(VALUE.format(place) for place in range(len(LOG_COLUMNS)))} FROM json_each(?)"
)
_RESULT_VALUES: Final = ", ".join(VALUE.format(place) for place in range(len(RESULT_COLUMNS)))
WRITE_RESULTS: Final = (
    f"INSERT OR REPLACE INTO result ({', '.join(RESULT_COLUMNS)}) SELECT {_RESULT_VALUES} FROM json_each(?)"
)
# Nearly every result is a small one in JSON that never expires, of one of a few tasks. What such have in common is said
# once (name, trace, first 24 signs of the run's id), and the rest travels as one text, too: key 32, end of the run's id
# 12, created 19, digest 32, the value. Cutting that up takes 2 us a row, and taking an array of all values apart 6.
WRITE_SMALL: Final = (
    "INSERT OR REPLACE INTO result (key, run_id, task_name, created, codec, size, digest, trace_id, data) "
    "SELECT substr(value, 1, 32), :run || substr(value, 33, 12), :task, CAST(substr(value, 45, 19) AS INTEGER), "
    "'json', length(CAST(value AS BLOB)) - 96, substr(value, 64, 32), :trace, substr(value, 96) FROM json_each(:texts)"
)
_KNOWN: Final = ", ".join(column for column in RESULT_COLUMNS if column != "data")
LIST_RESULTS: Final = f"SELECT {_KNOWN}, NULL FROM result"
FORGET_RESULTS: Final = (
    f"DELETE FROM result WHERE (key, created) IN (SELECT {VALUE.format(0)}, {VALUE.format(1)} FROM json_each(?))"
)
COUNT_RESULTS: Final = "SELECT count(*), coalesce(sum(size), 0) FROM result"
# What is on record of many runs: their rows by their ids, and by what these begin with the flow runs that they called,
# their task runs, with what these came to, and results.
_UNDER: Final = (
    "(SELECT value AS prefix FROM json_each(?)) AS wanted "
    f"CROSS JOIN {{0}} ON {{1}} >= prefix AND {{1}} < prefix || '{LAST}'"
)
HISTORY: Final = (
    f"SELECT {', '.join(FLOW_COLUMNS)} FROM flow_run WHERE id IN (SELECT value FROM json_each(?))",
    f"SELECT {', '.join(FLOW_COLUMNS)} FROM {_UNDER.format('flow_run', 'parent_id')} ORDER BY created, id",
    f"SELECT {', '.join(TASK_COLUMNS)} FROM {_UNDER.format('task_run', 'id')}",
    f"SELECT {', '.join(RESULT_COLUMNS)} FROM {_UNDER.format('result', 'key')}",
)
TAKEN: Final = "SELECT DISTINCT storage, name FROM result WHERE name IN (SELECT value FROM json_each(?))"
READ_RESULTS: Final = f"SELECT {', '.join(RESULT_COLUMNS)} FROM result"
# What a step came to is in its row, where that is small, and read as any other result.
_READ_STEPS: Final = (
    "SELECT id, id, task_name, end_time, NULL, 'json', length(CAST(data AS BLOB)), NULL, NULL, NULL, NULL, 't' || data "
    "FROM task_run WHERE data IS NOT NULL AND"
)
UNDER: Final = f"{READ_RESULTS} WHERE key >= :first AND key < :last UNION ALL {_READ_STEPS} id >= :first AND id < :last"
# A run's first row makes its writer the owner; it is nobody's any more once it has ended.
OWN: Final = (
    "INSERT INTO run_owner (run_id, owner, epoch, since, crashes, steps, priority) "
    f"SELECT {VALUE.format(0)}, {VALUE.format(1)}, {VALUE.format(2)}, {VALUE.format(3)}, 0, 0, "
    f"coalesce({VALUE.format(4)}, 0) FROM json_each(?) WHERE true ON CONFLICT (run_id) DO NOTHING"
)
LET_GO: Final = "DELETE FROM run_owner WHERE run_id IN (SELECT value FROM json_each(?))"
# Of the runs given, each with the epoch of its writer: those on record that somebody else has, or has ended, by now.
STALE: Final = (
    f"WITH mine (run_id, epoch) AS (SELECT {VALUE.format(0)}, {VALUE.format(1)} FROM json_each(?)) "
    "SELECT run_id FROM mine WHERE NOT EXISTS (SELECT 1 FROM run_owner WHERE run_owner.run_id = mine.run_id "
    "AND run_owner.epoch = mine.epoch) AND EXISTS (SELECT 1 FROM flow_run WHERE id = mine.run_id)"
)
_OWNED: Final = "SELECT run_id, owner, epoch, since, crashes, steps, wake_at, priority FROM run_owner"
LIST_OWNED: Final = f"{_OWNED} WHERE owner <> '' ORDER BY since, run_id"
READ_OWNED: Final = f"{_OWNED} WHERE run_id = ?"
TAKE: Final = (
    "UPDATE run_owner SET owner = :owner, epoch = epoch + 1, since = :now, crashes = :crashes, steps = :steps, "
    "wake_at = NULL WHERE run_id = :run_id AND epoch = :epoch AND owner = :had"
)
# The ids of runs, {} giving them, and of those above them: a durable one is the outermost. Not a join: where somebody
# has had the file analyzed, SQLite reads all flow runs to make a filter for it.
_ABOVE: Final = (
    "WITH RECURSIVE above (id) AS ({} UNION "
    f"SELECT (SELECT substr(parent_id, 1, {PREFIX_LENGTH}) || '{FIRST}' FROM flow_run WHERE flow_run.id = above.id) "
    "FROM above WHERE id IS NOT NULL) SELECT id FROM above"
)
# The signals that each waits for are looked for by their run, and requests from the other end: there is hardly any.
SUSPEND: Final = (
    "INSERT INTO run_owner (run_id, owner, epoch, since, crashes, steps, wake_at) "
    "SELECT held.run_id, '', epoch, since, 0, steps, CASE WHEN "
    f"held.run_id IN ({_ABOVE.format('SELECT run_id FROM request')}) OR EXISTS ("
    f"SELECT 1 FROM json_each(told.value, '$[2]') JOIN signal ON run_id = {VALUE.format(0)} "
    f"AND name = {VALUE.format(1)} WHERE data IS NOT NULL) THEN 0 ELSE json_extract(told.value, '$[1]') END "
    "FROM json_each(?) AS told JOIN run_owner AS held ON held.run_id = json_extract(told.value, '$[0]') WHERE true "
    "ON CONFLICT (run_id) DO UPDATE SET owner = '', crashes = 0, wake_at = excluded.wake_at"
)
# Begins with its verb: Python counts the rows that such a statement changes, and none where WITH stands before it.
ROUSE: Final = f"UPDATE run_owner SET wake_at = 0 WHERE owner = '' AND run_id IN ({_ABOVE.format('SELECT ?')})"
DUE: Final = f"{_OWNED} WHERE owner = '' AND wake_at <= ? ORDER BY priority DESC, wake_at, run_id LIMIT ?"
NEXT_DUE: Final = "SELECT min(wake_at) FROM run_owner WHERE owner = '' AND wake_at > ?"
STILL_DUE: Final = (
    f"SELECT run_id FROM json_each(?) JOIN run_owner ON run_id = {VALUE.format(0)} AND epoch = {VALUE.format(1)} "
    "WHERE owner = ''"
)
CLAIM_DUE: Final = (
    "UPDATE run_owner SET owner = ?, epoch = epoch + 1, since = ?, wake_at = NULL "
    "WHERE run_id IN (SELECT value FROM json_each(?))"
)
READ_UNFINISHED: Final = (
    f"SELECT {', '.join(FLOW_COLUMNS)} FROM flow_run WHERE end_time IS NULL AND owner IS NOT '' ORDER BY created, id"
)
REOPEN: Final = (
    "INSERT INTO run_owner (run_id, owner, epoch, since, crashes, steps) "
    "SELECT id, :owner, :epoch, :since, :crashes, :steps FROM flow_run "
    "WHERE id = :run_id AND coalesce(epoch, 1) = :epoch - 1 ON CONFLICT (run_id) DO NOTHING"
)
# The end of a run whose process told of none. What it went through before is told by its history, or by its start.
_CRASHED: Final = (
    "state_type = :type, state_name = :name, message = :why, end_time = :at, history = "
    "json_insert(coalesce(history, CASE WHEN start_time IS NULL THEN '[]' ELSE "
    "json_array(json_array('RUNNING', 'Running', start_time, NULL)) END), "
    "'$[#]', json_array(:type, :name, :at, :why))"
)
CRASH_FLOW: Final = f"UPDATE flow_run SET {_CRASHED} WHERE id = :id AND end_time IS NULL AND owner IS :owner"
CRASH_TASKS: Final = f"UPDATE task_run SET {_CRASHED} WHERE id >= :first AND id < :last AND end_time IS NULL"
LEASES: Final = "SELECT name, owner, expires FROM lease WHERE name >= ? AND name < ?"
KEYS: Final = "SELECT id, key FROM result WHERE id > ? ORDER BY id LIMIT ?"
LOOK: Final = f"{READ_RESULTS} WHERE key = :key UNION ALL {_READ_STEPS} id = :key"
RECALL: Final = (
    f"{READ_RESULTS} WHERE key IN (SELECT value FROM json_each(:keys)) "
    f"UNION ALL {_READ_STEPS} id IN (SELECT value FROM json_each(:keys))"
)
# Given where nobody has it, where it is one's own, or where its time is over; the new holder's epoch is the next.
CLAIM: Final = (
    "INSERT INTO lease (name, owner, epoch, expires) VALUES (:name, :owner, 1, :until) "
    "ON CONFLICT (name) DO UPDATE SET owner = :owner, expires = :until, "
    "epoch = epoch + (owner <> :owner) WHERE owner = :owner OR owner = :dead OR expires <= :now"
)
HOLDER: Final = "SELECT owner, expires FROM lease WHERE name = ?"
RENEW: Final = "UPDATE lease SET expires = ? WHERE owner = ? AND name IN (SELECT value FROM json_each(?))"
RELEASE: Final = "DELETE FROM lease WHERE name = ? AND owner = ?"
_LIMIT: Final = "SELECT name, slots, decay, active, rested FROM slot_limit"
LIST_LIMITS: Final = f"{_LIMIT} ORDER BY name"
FIND_LIMITS: Final = f"{_LIMIT} WHERE name IN (SELECT value FROM json_each(?)) ORDER BY name"
READ_LIMIT: Final = f"{_LIMIT} WHERE name = ?"
WRITE_LIMIT: Final = (
    "INSERT INTO slot_limit (name, slots, decay, active) VALUES (?, ?, ?, ?) ON CONFLICT (name) DO UPDATE "
    "SET slots = excluded.slots, decay = excluded.decay, active = excluded.active"
)
NOTE_REST: Final = "UPDATE slot_limit SET rested = ? WHERE name = ?"
FORGET_LIMIT: Final = "DELETE FROM slot_limit WHERE name = ?"
_CLAIM: Final = "name, owner, held, used, wanted, need, since, beat, shown"
READ_CLAIMS: Final = f"SELECT {_CLAIM} FROM slot_claim WHERE name = ? ORDER BY owner"
LIST_CLAIMS: Final = f"SELECT {_CLAIM} FROM slot_claim ORDER BY name, owner"
COUNT_HELD: Final = "SELECT coalesce(sum(held), 0) FROM slot_claim WHERE name = ?"
WRITE_CLAIM: Final = f"INSERT OR REPLACE INTO slot_claim ({_CLAIM}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
FORGET_CLAIM: Final = "DELETE FROM slot_claim WHERE name = ? AND owner = ?"
FORGET_CLAIMS: Final = "DELETE FROM slot_claim WHERE name = ?"
_GOES_ON: Final = "(end_time IS NULL OR (state_type = 'CRASHED' AND durability = 'strict'))"
SEND: Final = (
    "INSERT INTO signal (run_id, name, data, at, key, asked) SELECT id, :name, :data, :at, :key, :asked FROM flow_run "
    f"WHERE id = :run_id AND {_GOES_ON} ON CONFLICT (run_id, key) WHERE key IS NOT NULL DO NOTHING"
)
RECEIVES: Final = f"SELECT 1 FROM flow_run WHERE id = ? AND {_GOES_ON}"
_THOSE: Final = "run_id IN (SELECT value FROM json_each(:run_ids))"
READ_SIGNALS: Final = (
    f"SELECT run_id, name, data, at, key, asked, id FROM signal WHERE {_THOSE} AND data IS NOT NULL "
    "AND (:name IS NULL OR name = :name) ORDER BY id LIMIT :limit"
)
FRESH: Final = f"SELECT DISTINCT run_id, name FROM signal WHERE {_THOSE} AND data IS NOT NULL"
FORGET_READ: Final = "DELETE FROM signal WHERE key IS NULL AND id IN (SELECT value FROM json_each(?))"
NOTE_READ: Final = "UPDATE signal SET data = NULL WHERE id IN (SELECT value FROM json_each(?))"
ANSWER: Final = "UPDATE signal SET answer = ? WHERE run_id = ? AND key = ? AND answer IS NULL"
READ_ANSWER: Final = "SELECT answer FROM signal WHERE run_id = ? AND key = ?"
# Only of a run that is there and goes on.
ASK: Final = (
    "INSERT INTO request (run_id, what, why, at) SELECT id, ?, ?, ? FROM flow_run "
    "WHERE id = ? AND end_time IS NULL "
    "ON CONFLICT (run_id, what) DO UPDATE SET why = excluded.why, at = excluded.at"
)
FORGET_ENDED: Final = (
    "DELETE FROM request WHERE NOT EXISTS (SELECT 1 FROM flow_run WHERE id = request.run_id AND end_time IS NULL)"
)
FORGET_HEARD: Final = (
    f"DELETE FROM request WHERE (run_id, what) IN (SELECT {VALUE.format(0)}, {VALUE.format(1)} FROM json_each(?))"
)
READ_REQUESTS: Final = "SELECT run_id, what, why, at FROM request ORDER BY at, run_id"
READ_FLOWS: Final = f"SELECT {', '.join(FLOW_COLUMNS)} FROM flow_run"
READ_TASKS: Final = f"SELECT {', '.join(TASK_READ)} FROM task_run"
