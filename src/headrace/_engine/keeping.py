"""
Keeping: the step that looks for a result instead of running the body, and keeps what the body returned.

What goes wrong with a result never fails the run that has it: it is said, and the run goes on as without. Packing and
reading are the vault's, which the journal knows.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from functools import partial
from typing import Any, Final

from headrace._engine import lines
from headrace._engine.contexts import as_it_stands
from headrace._engine.flights import Clearance, compute, landed
from headrace._engine.inputs import named, own_frames
from headrace._engine.ledger import Ledger
from headrace._engine.plans import Keeps, Plan, plan_of
from headrace._engine.policies import CachePolicy, Call
from headrace._engine.present import nearest_flow
from headrace._engine.runs import Run
from headrace._engine.scopes import settled
from headrace._engine.spec import Spec
from headrace._engine.steps import Body
from headrace._engine.transactions import TransactionState, Work, current
from headrace._engine.upstream import FLAT
from headrace._model import outcomes
from headrace._model.annotations import watch
from headrace._model.events import CACHED, RESULT, ROLLED_BACK
from headrace._model.ids import trace_text
from headrace._model.records import StoredResult
from headrace._model.states import STATES, State, StateType
from headrace._ports import Host
from headrace.errors import HashError, HeadraceError, OptionError, OptionTypeError, short

SKEW: Final = 60 * 1_000_000_000  # how far clocks of machines may differ, in nanoseconds
Args = tuple[Any, ...]
Named = dict[str, Any]


def keeping(spec: Spec, host: Host, body: Body) -> Body:
    """Keep results, and find them again, as the options of *spec* and the flow around say."""
    plan = plan_of(spec)
    if spec.kind == "flow" and spec.asks:
        spec.keeps = plan.own
    hooked = bool(spec.hooks["on_commit"] or spec.hooks["on_rollback"])
    own = plan.own
    plain = plan.usual and plan.template is None

    def kept(run: Run, args: Args, kwargs: Named) -> Awaitable[Any]:
        above = current.get() if spec.kind == "task" else None
        if above is None and not hooked:
            return keep(run, args, kwargs, None)
        return within(spec, host, keep, run, args, kwargs, above)

    async def keep(run: Run, args: Args, kwargs: Named, work: Work | None) -> Any:
        scope = run.scope
        keeps = own if scope.keeps is None else own.under(scope.keeps)
        if not (keeps.persist and scope.journal.keeps_results):
            return await body(run, args, kwargs)
        key = None if plan.policy is None else key_of(run, plan.policy, args, kwargs)
        if key is not None and plain and work is None and keeps.usual and scope.level != "off":
            ledger = scope.journal.ledger
            if ledger.denies(key, host.clock.now()) and ledger.slip_off(key, run):
                try:  # the usual miss, in a hurry: nobody has it, and nobody else computes it
                    value = await body(run, args, kwargs)
                    if watch.promises and value.__class__ not in FLAT:
                        value = await settled(run, host, value)
                    if kept_small(run, host, plan, ledger, key, value):
                        return value
                    return await Asking(run, host, plan, keeps, None).keep(key, value, args, kwargs)
                finally:
                    ledger.land(key)
        asking = Asking(run, host, plan, keeps, work)
        if key is None or not asking.opened(key):
            value = await body(run, args, kwargs)
            return await asking.keep(run.id, await bare(run, host, value), args, kwargs)
        if work is not None:
            work.key, work.mark = key, asking.mark(key)
        return await cached(asking, key, body, args, kwargs)

    return kept


async def within(spec: Spec, host: Host, keep: Any, run: Run, args: Args, kwargs: Named, above: Work | None) -> Any:
    """Have *run* be a transaction of its own, below the one *above*, and *keep* what its body returns."""
    work = Work(run.label, None, above, run)
    work.state = TransactionState.ACTIVE
    token = current.set(work)
    try:
        value = await keep(run, args, kwargs, work)
    except BaseException as error:
        await work.end(host, error)
        raise
    else:
        if run.cached_from is None:  # else nothing was done now, so nothing is to be undone
            work.ready(spec.hooks["on_commit"], spec.hooks["on_rollback"])
        await work.end(host, None)
    finally:
        work.within = False
        current.reset(token)
        if work.mark is not None:
            run.scope.journal.ledger.computed(work.mark)
    return undone(work, value) if work.is_rolled_back() else value


def kept_small(run: Run, host: Host, plan: Plan, ledger: Ledger, key: str, value: Any) -> bool:
    """Have *value* stored under *key* with the end of *run*, and known, if it is small JSON; tell whether it is."""
    packed = ledger.vault.small(value)
    if packed is None or run.ended:
        return False
    data, digest = packed
    run.result_key = key
    run.kept = kept = record(run, host, plan, key, "json", len(data), digest, data)
    ledger.pending[key] = kept
    ledger.keep(key, kept)
    return True


def record(
    run: Run,
    host: Host,
    plan: Plan,
    key: str,
    codec: str,
    size: int,
    digest: str,
    data: bytes | None,
    storage: str | None = None,
    name: str | None = None,
) -> StoredResult:
    """Give what is recorded under *key* of what was packed just now."""
    now, trace = host.clock.now(), run.scope.trace
    expires = None if plan.lasts is None else now + plan.lasts
    traced = None if trace is None else trace_text(trace.trace_id)
    return StoredResult(key, run.id, run.spec.name, now, expires, codec, size, digest, storage, name, traced, data)


def key_of(run: Run, policy: CachePolicy, args: Args, kwargs: Named) -> str | None:
    """Give the cache key of a call; None where it is not to be cached, or none can be made, which is said."""
    try:
        key: Any = policy.part(Call(run, args, kwargs))
        if key is None or isinstance(key, str):
            return key or None
        raise OptionTypeError(f"A cache key is a text, or None for no caching, not {short(key)}.")
    except HashError as refused:
        if once(run.spec, "hash"):
            lines.warn(run, "Is not cached: %s", refused)
    except Exception as error:
        say_keyless(run, error)
    return None


def say_keyless(run: Run, error: Exception) -> None:
    """Say that *run* goes on uncached."""
    info = (type(error), error, own_frames(error))
    lines.say(
        run,
        logging.ERROR,
        "No cache key could be made; the run goes on, and is not cached",
        exc_info=info,
        kept=True,
    )


def undone(work: Work, value: Any) -> Any:
    """Give what a run ends with that returned *value* and was rolled back by its own transaction."""
    if isinstance(value, STATES):
        return value
    state: State[Any] = State(StateType.COMPLETED, ROLLED_BACK[1], message=f"{work.label} was rolled back.", data=value)
    return state


async def cached(asking: Asking, key: str, body: Body, args: Args, kwargs: Named) -> Any:
    """Give the result under *key* as a Cached state; else run the body and keep what it returns."""
    run, host, work, ledger = asking.run, asking.host, asking.work, asking.ledger
    journal, mark = run.scope.journal, asking.mark(key)
    refresh = asking.refreshes
    while True:
        before = ledger.landings
        if not refresh:
            state = await asking.found(key)
            if state is not None:
                return state
        if work is not None and work.holds(mark):
            flight = Clearance(True)  # a block around it has this key: waiting would never end
            break
        serial, locks = asking.plan.serial, asking.locks
        flight = await compute(ledger, journal, host, mark, run, serial=serial, locks=locks)
        if flight.ours:
            break
    try:
        value: Any = None
        if (flight.claimed or not flight.flying or ledger.landings != before) and not refresh:
            # Who had it before may have kept it since we looked.
            value = await asking.found(key, certain=bool(flight.claimed))
        if value is None:
            value = await body(run, args, kwargs)
            value = await asking.keep(key, await bare(run, host, value), args, kwargs)
    except BaseException:
        await landed(ledger, journal, mark, flight, host)
        raise
    if work is not None and flight.claimed:
        work.release = partial(landed, ledger, journal, mark, flight)
    else:
        await landed(ledger, journal, mark, flight, host)
    return value


async def bare(run: Run, host: Host, value: Any) -> Any:
    """Give *value* with the futures in it replaced by what they came to."""
    if watch.promises and value.__class__ not in FLAT:
        return await settled(run, host, value)
    return value


class Asking:
    """One call that looks for its result, and keeps it."""

    __slots__ = ("host", "keeps", "ledger", "plan", "run", "work")

    def __init__(self, run: Run, host: Host, plan: Plan, keeps: Keeps, work: Work | None) -> None:
        self.run = run
        self.host = host
        self.plan = plan
        self.keeps = keeps
        self.work = work
        self.ledger: Ledger = run.scope.journal.ledger

    @property
    def refreshes(self) -> bool:
        """Whether the result is computed anew."""
        return self.keeps.refresh if self.plan.refreshes is None else self.plan.refreshes

    @property
    def locks(self) -> Any:
        """The user's own lock manager."""
        return None if self.plan.policy is None else self.plan.policy.lock_manager

    @property
    def beside(self) -> bool:
        """Whether the result is to lie in a storage, however small it is."""
        return self.plan.template is not None or self.keeps.storage is not None

    def mark(self, key: str) -> str:
        """Give what *key* is called in this process, where keys of several storages meet."""
        keys = self.keys
        return key if keys is None else f"{keys.where}\n{key}"

    @property
    def keys(self) -> Any:
        """The storage in which keys are recorded in place of the store."""
        policy = self.plan.policy
        return None if policy is None or policy.key_storage is None else self.ledger.vault.storage(policy.key_storage)

    def opened(self, key: str) -> bool:
        """Tell whether the storage in which *key* would be recorded could be opened, if it is not the store."""
        try:
            self.mark(key)
        except Exception as error:
            say_keyless(self.run, error)
            return False
        return True

    async def found(self, key: str, *, certain: bool = False) -> State[Any] | None:
        """Give the result under *key* as a Cached state; None where there is none that counts, as far as is known."""
        staged = None if self.work is None else self.work.find(key)
        if staged is not None:
            return await self.used(key, staged)
        mark = self.mark(key)
        known = self.ledger.find(mark)
        if known is not None:
            state = await self.used(key, known)
            if state is not None:
                self.ledger.keep(mark, known)
                return state
            self.ledger.forget(mark)  # it has expired, or was damaged: somebody may have made another by now
            certain = True
        stored = await self.looked_up(key, certain)
        state = None if stored is None else await self.used(key, stored)
        if state is not None and stored is not None and self.keeps.in_memory:
            self.ledger.keep(mark, stored)
        return state

    async def used(self, key: str, result: StoredResult) -> State[Any] | None:
        """Give *result* as a Cached state; None where it does not count any more, or cannot be read, which is said."""
        run, host = self.run, self.host
        if not fresh(result, host.clock.now()):
            return None
        vault = self.ledger.vault
        try:
            if result.data is not None:
                value = vault.unpack(result)
            else:
                value = await host.aside(partial(vault.unpack, result))
        except HeadraceError as error:
            lines.warn(run, "Computes its result anew: %s", error)
            return None
        run.result_key, run.cached_from, run.cached_trace = key, result.run_id, result.trace_id
        return State(StateType.COMPLETED, CACHED[1], data=value)

    async def looked_up(self, key: str, certain: bool) -> StoredResult | None:
        """Give what is stored under *key*."""
        keys = self.keys
        if keys is not None:
            try:
                fetched: StoredResult | None = await self.host.aside(partial(self.ledger.vault.fetch, keys, key))
            except HeadraceError as error:
                lines.warn(self.run, "Could not look for its result: %s", error)
                return None
            return fetched
        scope = self.run.scope
        if scope.level == "off":
            return None
        went_well, stored = self.ledger.glance(
            key, self.host.clock.now, may_block=not self.host.on_loop, certain=certain
        )
        if not went_well:
            stored = await self.host.recall(scope.journal, key)
        return stored

    async def keep(self, key: str, value: Any, args: Args, kwargs: Named) -> Any:
        """Keep *value* under *key*, and give it back; what cannot be kept is said."""
        run, host, vault = self.run, self.host, self.ledger.vault
        if value.__class__ not in FLAT and outcomes.from_value(value) is not None:
            return value  # a state, which says more than a value; another run is to judge anew
        try:
            name = self.name(key, args, kwargs)
            storage, codec = vault.storage(self.keeps.storage), vault.codec(self.keeps.codec)
            beside = self.beside
            heavy = beside or vault.heavy(value)
            if heavy and run.scope.level == "off" and not beside:
                return value  # nobody would find it again
            pack = partial(vault.pack, value, codec, storage, name, beside=beside)
            packed = await host.aside(pack) if heavy else pack()
            parts = (packed.codec, packed.size, packed.digest, packed.data, packed.storage, packed.name)
            result = record(run, host, self.plan, key, *parts)
        except HeadraceError as error:
            lines.warn(run, "Its result is not kept: %s", error)
            return value
        if self.work is None:
            self.write(result)
            await self.publish(result, host)
        else:
            run.result_key = key
            self.work.records[key] = result
            self.work.write = partial(self.write, result)
            self.work.publish = None if self.keys is None else partial(self.publish, result)
        return value

    async def publish(self, result: StoredResult, host: Host) -> None:
        """Record *result* in the storage of keys, if there is one."""
        keys = None if result.key == self.run.id else self.keys
        if keys is None:
            return
        try:
            await host.aside(partial(self.ledger.vault.enter, keys, result))
        except HeadraceError as error:
            lines.warn(self.run, "Its result is not kept: %s", error)

    def write(self, result: StoredResult) -> None:
        """Have *result* stored, and known: together with the end of its run, unless others wait for it."""
        run = self.run
        run.result_key = result.key
        if run.scope.level != "off":
            self.ledger.pending[result.key] = result
            if self.work is None and self.plan.usual and not run.ended:
                run.kept = result
            else:
                run.scope.journal.tell((run, RESULT, result.created, result))
        if result.key == result.run_id:
            return  # not cached, so nobody looks for it
        if self.keeps.in_memory:
            self.ledger.keep(self.mark(result.key), result)
        else:
            self.ledger.forget(self.mark(result.key))

    def name(self, key: str, args: Args, kwargs: Named) -> str:
        """
        Give the name under which the result lies in a storage.

        Raises:
            OptionError: The template asks for what is not there.
        """
        template = self.plan.template
        if template is None:
            return key
        run = self.run
        flow = nearest_flow(run)
        known: dict[str, Any] = {"parameters": named(run.spec, args, kwargs)}
        if flow is not None:
            known["flow_run"] = flow.record(as_it_stands(flow))
        if run.spec.kind == "task":
            known["task_run"] = run.record(as_it_stands(run))
        try:
            return template.format(**known)
        except Exception as error:
            raise OptionError(
                f"result_storage_key {template!r} of {run.spec.kind} {run.spec.name!r} failed with "
                f"{type(error).__name__}: {error}. It can use {', '.join(sorted(known))}."
            ) from None


def fresh(result: StoredResult, now: int) -> bool:
    """
    Tell whether *result* still counts.

    One that expires and was made in the future does not: the clock went back, and nobody knows how old it is.
    """
    return result.expires is None or result.created - SKEW <= now < result.expires


def once(spec: Spec, what: str) -> bool:
    """Tell whether *what* is said of *spec* for the first time."""
    first = what not in spec.said
    spec.said.add(what)
    return first
