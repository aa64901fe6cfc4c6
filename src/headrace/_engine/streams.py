"""
Streams: the life of a generator's run. The same beginning, attempts and end as a call's, entered and left at each item.

A run is current only while its body runs: between two items the consumer's own context holds. What has yielded is tried
again, or resumed, only where it says how it goes on; else its consumer would be handed items twice.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import contextmanager, suppress
from typing import Any, Final

from headrace._engine.admission import holding, slots_of_tags
from headrace._engine.begin import begin_flow, begin_task, hear, plain_arguments, preparation
from headrace._engine.context import current_run
from headrace._engine.inputs import bare, bind, explained, spread
from headrace._engine.life import admit, fail, finish, interrupt, ready, release
from headrace._engine.lines import warn
from headrace._engine.prints import captured
from headrace._engine.runs import FlowRunning, Run
from headrace._engine.scopes import broken, cut_short, whole
from headrace._engine.spec import Spec
from headrace._engine.steps import Elapsed, again, announce, too_long
from headrace._model import outcomes
from headrace._model.annotations import watch
from headrace._model.events import RUNNING
from headrace._model.states import State, StateType
from headrace._ports import Host
from headrace.errors import LostRun, NonDeterministicItems, StoreUnavailable

END: Final = object()
StreamLife = Callable[..., AsyncGenerator[Any, Any]]


class Source:
    """The user's generator, sync or async, resumed one item at a time within what is left of its timeout."""

    def __init__(self, spec: Spec, host: Host, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.spec = spec
        self.host = host
        self.left = spec.timeout
        self.generator = spec.fn(*args, **kwargs)
        self.returned: Any = None

    async def resume(self, run: Run, given: Any, thrown: BaseException | None) -> Any:
        """Hand in what the consumer sent or threw; give the next item, or END."""
        step = self.step_async if self.spec.is_async else self.step
        if self.left is None:
            return await self.step_async(given, thrown) if self.spec.is_async else self.step(given, thrown)
        before = self.host.clock.now()
        try:
            return await self.host.call(run, max(self.left, 0.0), step, (given, thrown), {})
        except Elapsed:
            raise too_long(run, self.spec.timeout or 0.0) from None
        finally:
            self.left -= (self.host.clock.now() - before) / 1e9

    def step(self, given: Any, thrown: BaseException | None) -> Any:
        """Resume a sync generator."""
        try:
            return self.generator.send(given) if thrown is None else self.generator.throw(thrown)
        except StopIteration as end:
            self.returned = end.value
            return END

    async def step_async(self, given: Any, thrown: BaseException | None) -> Any:
        """Resume an async generator."""
        try:
            return await (self.generator.asend(given) if thrown is None else self.generator.athrow(thrown))
        except StopAsyncIteration:
            return END

    async def close(self) -> None:
        """End the generator early."""
        if self.spec.is_async:
            await self.generator.aclose()
        else:
            self.generator.close()


@contextmanager
def inside(run: Run) -> Generator[None, None, None]:
    """Make *run* the current one, its span the current span, and its slots those that are had, while its body runs."""
    trace = run.scope.trace
    before = current_run.set(run)
    had = holding.get()
    if run.slots is not None:
        holding.set(run.slots)
    around = None if trace is None else trace.attach(run)
    try:
        if run.spec.prints:
            with captured():
                yield
        else:
            yield
    finally:
        holding.set(had)
        if trace is not None:
            trace.detach(around)
        current_run.reset(before)


def stream_life(spec: Spec, host: Host) -> StreamLife:
    """Compile *spec* into the async generator function that is one call of it."""
    begin = begin_task if spec.kind == "task" else begin_flow
    prepare = preparation(spec) or plain_arguments

    async def live(
        args: tuple[Any, ...], kwargs: dict[str, Any], wait_for: Any = None, returned: list[Any] | None = None
    ) -> AsyncGenerator[Any, Any]:
        run = begin(spec, host, None)
        try:
            with inside(run):
                if wait_for is not None or watch.states or prepare is not plain_arguments:
                    if watch.promises:
                        await admit(run, host, None, args, kwargs, wait_for)
                    args, kwargs = prepare(run, args, kwargs, wait_for)
                run.args, run.kwargs = args, kwargs
                run.started = host.clock.now()
                if run.settles:
                    await ready(run, host)
                else:
                    run.scope.tell((run, RUNNING, run.started, None))
            items = attempts(run, host, args, kwargs, returned)
            given: Any = None
            thrown: BaseException | None = None
            while True:
                try:
                    item = await (items.asend(given) if thrown is None else items.athrow(thrown))
                except StopAsyncIteration:
                    break
                given, thrown = None, None
                run.yields = True
                try:
                    given = yield item
                    hear(run)
                except GeneratorExit:
                    await items.aclose()
                    raise
                except BaseException as caught:
                    thrown = caught
                finally:
                    run.yields = False
            with inside(run):
                if type(run) is FlowRunning:
                    await whole(run, host)
                await finish(run, host, State(StateType.COMPLETED), True)
        except BaseException as stop:
            raised = await left(run, host, stop, args, kwargs)
            if raised is not stop:
                raise raised from None
            bare(stop)
            raise
        finally:
            let_go(run)
            release(run, host)

    return live


async def left(
    run: Run, host: Host, stop: BaseException, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> BaseException:
    """End *run*, which *stop* has left, after all that was submitted in it; give what its consumer gets."""
    if isinstance(stop, Exception):
        stop = explained(run.spec, stop, args, kwargs)
    with inside(run):
        if type(run) is FlowRunning:
            if isinstance(stop, GeneratorExit):
                await cut_short(run, host)
            stop = await broken(run, host, stop)
        if run.ended:
            return stop
        if isinstance(stop, Exception):
            await fail(run, host, stop)
        elif isinstance(stop, GeneratorExit):
            # Who stops listening has had enough: that is no crash of the run, and no time to hear of the store's.
            with suppress(StoreUnavailable, LostRun):
                await finish(run, host, State(StateType.COMPLETED, message="Its consumer stopped early."), True)
        else:
            return await interrupt(run, host, stop) or stop
    return stop


def let_go(run: Run) -> None:
    """Give back the slots that *run* has while its body rests at a yield."""
    has, run.slots = run.slots, None
    if has is not None:
        has.end()


async def attempts(
    run: Run, host: Host, args: tuple[Any, ...], kwargs: dict[str, Any], returned: list[Any] | None
) -> AsyncGenerator[Any, Any]:
    """Yield what is on record, then the items of each attempt from where the one before has come to."""
    count = 0
    given: Any = None
    thrown: BaseException | None = None
    source: Source | None = None
    tape = run.tape
    while tape is not None and (items := await tape.ahead(host)) is not None:
        for item in items:
            thrown, count = None, count + 1
            try:
                yield item
            except Exception as caught:
                thrown = caught  # for the body, if it is run at all: what it had made of that is on record
    if tape is not None and run.final is not None:
        _, value = run.final.result()
        if returned is not None:
            returned.append(value)
        return
    if tape is not None:
        tape.leave()
    while True:
        with inside(run):
            try:
                if source is None:
                    if run.tags and run.spec.kind == "task":
                        run.slots = await slots_of_tags(run, host)
                    await announce(run, host)
                    source = await begun(run, host, args, kwargs, count)
                item = await source.resume(run, given, thrown)
            except Exception as raised:
                let_go(run)
                error = explained(run.spec, raised, args, kwargs)
                if not await worth_repeating(run, host, error, count):
                    if error is raised:
                        raise
                    raise error from None
                source, given, thrown = None, None, None
                continue
        if item is END:
            if tape is not None:
                tape.end = [count, source.returned]
            if returned is not None:
                returned.append(source.returned)
            return
        if tape is not None:
            await keep(run, host, item, source)
        count += 1
        given, thrown = None, None
        try:
            given = yield item
        except GeneratorExit:
            with inside(run):
                await source.close()
            raise
        except BaseException as caught:
            thrown = caught


async def begun(run: Run, host: Host, args: tuple[Any, ...], kwargs: dict[str, Any], count: int) -> Source:
    """
    Begin the generator behind its first *count* items: with their number, or from its start, and past them.

    Raises:
        NonDeterministicItems: They are others this time, and those are on record.
    """
    way, tape = run.spec.goes_on, run.tape
    if count and way == "from":
        parameters = bind(run.spec, args, kwargs)
        args, kwargs = spread(run.spec, {**parameters, "resume_from": parameters["resume_from"] + count})
    run.items = count if way == "from" else 0
    source = Source(run.spec, host, args, kwargs)
    while run.items < count:
        item = await source.resume(run, None, None)
        try:
            if tape is not None:
                tape.see_same(run.items, *(() if item is END else (item,)))
            elif item is END:
                raise NonDeterministicItems(run.label, run.items, "there", "missing")
        except NonDeterministicItems:
            await source.close()
            raise
        run.items, run.calls = run.items + 1, None
    return source


async def keep(run: Run, host: Host, item: Any, source: Source) -> None:
    """Have *item*, which *source* has just yielded, recorded; where that cannot be, end it."""
    try:
        await run.tape.keep(item, host)
    except BaseException:
        with inside(run):
            await source.close()
        raise
    run.items, run.calls = run.items + 1, None


async def worth_repeating(run: Run, host: Host, error: Exception, count: int) -> bool:
    """Decide whether to begin the generator anew after *error*, behind its first *count* items."""
    policy = run.spec.policy
    if policy is None or isinstance(error, NonDeterministicItems):
        return False
    if count and run.spec.goes_on is None:
        warn(run, "Is not retried: its consumer already has items of it, and would get them twice")
        return False
    return await again(run, host, policy, outcomes.from_error(run.spec.kind, error, run.id))


def stepwise(
    life: AsyncGenerator[Any, Any], returned: list[Any], drive: Callable[[Any], Any]
) -> Generator[Any, Any, Any]:
    """Give the life of a sync generator's run as a sync generator."""
    step: Any = life.asend(None)
    while True:
        try:
            item = drive(step)
        except StopAsyncIteration:
            return returned[0] if returned else None
        try:
            given = yield item
        except GeneratorExit:
            drive(life.aclose())
            raise
        except BaseException as error:
            step = life.athrow(error)
        else:
            step = life.asend(given)
