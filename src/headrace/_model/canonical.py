"""
Canonical: the form of any value in bytes, worked out from what the value holds; the same in every process.

Knows Python's own types and the protocols by which objects are taken apart. Never repr or id, and no library by name.
"""

from __future__ import annotations

import copyreg
import datetime as dt
import functools
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterable, Mapping
from enum import Enum
from hashlib import blake2b
from types import BuiltinFunctionType, FunctionType, MappingProxyType, MethodType, ModuleType, NoneType
from typing import Any, Final, TypeAlias

from headrace.errors import short

DEPTH: Final = 500
INLINE: Final = 64
LONG: Final = 200
SIZE: Final = 16
NEW: Final = vars(copyreg)["__newobj__"]
# Told nothing of the classes of the user's values, a checker has nothing to say of what is done with them.
class_of: Callable[[Any], Any] = type
PERSON: Final = b"headrace forms"

# What takes a value apart: yields each part with the step that leads there, is sent its form, gives that of the whole.
# A generator rather than a function that calls itself: how deep a value may be nested is ours to say, not the stack's.
Step: TypeAlias = "int | str | tuple[Any]"
Parts: TypeAlias = Generator[tuple[Step, Any], bytes, bytes]
Way: TypeAlias = Callable[[Any], Parts]


class Unhashable(Exception):
    """
    A value, or a part of one, has no content that tells it apart from others.

    Attributes:
        why: The reason, without a full stop.
        path: How to get from the whole value to the part, as in Python: `['rows'][3].lock`; empty for the value itself.
    """

    def __init__(self, why: str, path: str = "") -> None:
        super().__init__(why, path)
        self.why = why
        self.path = path

    def __str__(self) -> str:
        return f"{self.path or 'the value'}: {self.why}"


def leaf(letter: bytes, content: bytes | bytearray) -> bytes:
    """Give the form of a value without parts: itself where it is short, else its digest. *letter* is its kind's own."""
    if len(content) <= INLINE:
        return letter + len(content).to_bytes(1, "big") + content
    return node(b"leaf " + letter, (content,))


def node(name: bytes, forms: Iterable[bytes | bytearray | memoryview]) -> bytes:
    """Give the form of what has parts: a digest of their *forms*, each of which says where it ends, and of *name*."""
    hashed = blake2b(name + b":", digest_size=SIZE, person=PERSON)
    for form in forms:
        hashed.update(form)
    return b"#" + hashed.digest()


def text(value: str) -> bytes:
    """Give the form of a str; lone surrogates have one, too."""
    return leaf(b"s", value.encode("utf-8", "surrogatepass"))


def whole(value: int) -> bytes:
    """Give the form of an int of any size."""
    return leaf(b"i", value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True))


def named(value: Any) -> bytes:
    """Give the form of a class or function by its name alone."""
    return leaf(b"t", full_name(value).encode("utf-8", "surrogatepass"))


def full_name(value: Any) -> str:
    """Say how a class or function is called, with its module; that of paths has another name in 3.13 alone."""
    return f"{value.__module__}.{value.__qualname__}".replace("pathlib._local.", "pathlib.", 1)


NOTHING: Final = leaf(b"c", b"None")
ABSENT: Final = leaf(b"c", b"absent")
# Forms of exactly these types; of a subclass there is more to say.
LEAVES: Final[dict[type, Callable[[Any], bytes]]] = {
    NoneType: lambda _: NOTHING,
    bool: lambda value: leaf(b"?", b"1" if value else b"0"),
    int: whole,
    float: lambda value: leaf(b"f", value.hex().encode()),  # hex() knows one NaN only
    complex: lambda value: leaf(b"z", f"{value.real.hex()} {value.imag.hex()}".encode()),
    str: text,
    bytes: lambda value: leaf(b"b", value),
    bytearray: lambda value: leaf(b"a", value),
    dt.date: lambda value: leaf(b"d", value.isoformat().encode()),
    dt.timedelta: lambda value: leaf(b"e", f"{value.days} {value.seconds} {value.microseconds}".encode()),
    ModuleType: lambda value: leaf(b"m", value.__name__.encode()),
}


# -- Python's own containers --------------------------------------------------------------------------------


def ordered(name: bytes) -> Way:
    """Give the way of containers whose items have places."""

    def parts(value: Any) -> Parts:
        forms: list[bytes] = []
        for place, item in enumerate(value):
            simple = LEAVES.get(class_of(item))
            forms.append((yield place, item) if simple is None else simple(item))
        return node(name, forms)

    return parts


def unordered(name: bytes) -> Way:
    """Give the way of sets: sorted by the forms of the elements, which need no order of their own."""

    def parts(value: Any) -> Parts:
        return node(name, (yield from elements(value)))

    return parts


def elements(value: Iterable[Any]) -> Generator[tuple[Step, Any], bytes, list[bytes]]:
    """Give the forms of a set's elements, sorted."""
    forms: list[bytes] = []
    for item in value:
        simple = LEAVES.get(class_of(item))
        forms.append((yield "{…}", item) if simple is None else simple(item))
    return sorted(forms)


def mapped(name: bytes) -> Way:
    """Give the way of mappings, whose order does not count."""

    def parts(value: Any) -> Parts:
        forms = yield from pairs(value.items())
        return node(name, sorted(forms))

    return parts


def pairs(items: Iterable[tuple[Any, Any]]) -> Generator[tuple[Step, Any], bytes, list[bytes]]:
    """Give the forms of pairs of a key and a value."""
    forms: list[bytes] = []
    for place, (key, item) in enumerate(list(items)):
        simple = LEAVES.get(class_of(key))
        first = (yield f".keys()[{place}]", key) if simple is None else simple(key)
        simple = LEAVES.get(class_of(item))
        forms.append(first + ((yield (key,), item) if simple is None else simple(item)))
    return forms


def moment(value: Any) -> Parts:
    """Take a datetime or time apart; its time zone is a part of its own, and not asked for anything."""
    written = value.replace(tzinfo=None).isoformat()
    forms = named(type(value)), leaf(b"d", written.encode()), whole(value.fold), (yield ".tzinfo", value.tzinfo)
    return node(b"moment", forms)


def viewed(value: memoryview) -> Parts:
    """Take a memoryview apart."""
    shape = yield ".shape", value.shape
    return node(b"view", (text(value.format), shape, value if value.c_contiguous else value.tobytes()))


def member(value: Enum) -> Parts:
    """Take a member of an enum apart; one whose value has no form, such as object(), goes by its name."""
    try:
        content = yield ".value", value._value_
    except Unhashable:
        content = text(value._name_)
    return node(b"enum", (named(type(value)), content))


# -- objects ------------------------------------------------------------------------------------------------

# Their own content is no field of a dataclass that is derived from them.
CONTENTFUL: Final = frozenset(
    (list, tuple, set, frozenset, dict, str, bytes, bytearray, int, float, complex, BaseException)
)


def stated(value: Any) -> Parts:
    """Ask an object what it is to be hashed by."""
    kind = class_of(value)
    return node(b"stated", (named(kind), (yield ".__headrace_hash__()", kind.__headrace_hash__(value))))


def fields_of(kind: Any) -> tuple[str, ...] | None:
    """
    Give the names of what makes up a dataclass, attrs class or pydantic model: all that its == compares.

    None for other classes, and for a class that was derived from one of these without being made one itself.
    """
    own: Mapping[str, Any] = kind.__dict__
    if not CONTENTFUL.isdisjoint(kind.__mro__):
        return None
    if "__attrs_attrs__" in own:
        return tuple(field.name for field in kind.__attrs_attrs__ if field.eq)
    if "__dataclass_fields__" in own:
        fields = kind.__dataclass_fields__.values()
        return tuple(field.name for field in fields if field._field_type.name == "_FIELD" and field.compare)
    for found in ("__pydantic_fields__", "model_fields"):
        if isinstance(own.get(found), dict) and "__pydantic_core_schema__" in own:
            return (*own[found], "__pydantic_extra__", "__pydantic_private__")
    return None


def recorded(names: tuple[str, ...]) -> Way:
    """Give the way of a class with fields of these *names*; those that are not set count as that."""

    def parts(value: Any) -> Parts:
        forms = [named(type(value))]
        for name in names:
            forms.append(text(name))
            try:
                content = object.__getattribute__(value, name)
            except AttributeError:
                forms.append(ABSENT)
            else:
                forms.append((yield f".{name}", content))
        return node(b"record", forms)

    return parts


def reduced(kind: Any) -> Way:
    """Give the way of any other class: as copy and pickle take it apart."""
    derived = functools.cache(lambda: cached_properties(kind))
    is_set = not {set, frozenset}.isdisjoint(kind.__mro__)
    is_sorted = OrderedDict not in kind.__mro__

    def parts(value: Any) -> Parts:
        if kind is object:
            raise Unhashable("a bare object() has no content to be told apart by")
        own = copyreg.dispatch_table.get(kind)
        made: Any = kind.__reduce_ex__(value, 4) if own is None else own(value)
        if isinstance(made, str):
            return node(b"global", (text(str(getattr(value, "__module__", None))), text(made)))
        function, args, state, items, entries = [*made, None, None, None][:5]
        forms = [named(kind), (yield from called(function))]
        if is_set:
            forms.append(node(b"elements", (yield from elements(value))))
        else:
            forms.append(node(b"args", (yield from given(kind, function, args))))
        forms.append((yield from held(state, derived)))
        if items is not None:
            forms.append((yield "", list(items)))
        if entries is not None:
            found = yield from pairs(entries)
            forms.append(node(b"entries", sorted(found) if is_sorted else found))
        return node(b"object", forms)

    return parts


def called(function: Any) -> Parts:
    """Give the form of what an object is made again by: its name, if it has one that can be imported."""
    kind = class_of(function)
    if issubclass(kind, type) or kind is FunctionType:
        return named(function)
    owner = getattr(function, "__self__", None)
    if kind is BuiltinFunctionType and (owner is None or type(owner) is ModuleType):
        return named(function)
    if kind in {BuiltinFunctionType, MethodType} and issubclass(type(owner), type):
        return node(b"called", (named(owner), text(function.__name__)))
    return (yield ".__reduce_ex__(4)[0]", function)


def given(kind: Any, function: Any, args: Any) -> Generator[tuple[Step, Any], bytes, list[bytes]]:
    """Give the forms of what an object is made again from. A lone argument is taken for the object in paths."""
    forms: list[bytes] = []
    rest = args[1:] if function is NEW else args
    if len(rest) < len(args):
        forms.append(named(args[0]))
    names: tuple[str, ...] = getattr(kind, "_fields", ()) if tuple in kind.__mro__ else ()
    for place, value in enumerate(rest):
        if len(names) == len(rest):
            step = f".{names[place]}"
        else:
            step = "" if len(rest) == 1 else f".__reduce_ex__(4)[1][{place + len(args) - len(rest)}]"
        forms.append((yield step, value))
    return forms


def cached_properties(kind: Any) -> set[str]:
    """Name those of a class. What they work out is no content: an object is the same before and after one is asked."""
    lookup: dict[str, Any] = {}
    for base in kind.__mro__[::-1]:
        lookup.update(base.__dict__)
    return {name for name, found in lookup.items() if class_of(found).__name__ == "cached_property"}


def held(state: Any, derived: Callable[[], set[str]]) -> Parts:
    """Give the form of the state of an object: of its attributes, without the *derived*, in slots or not."""
    if state is None:
        return NOTHING
    pair = class_of(state) is tuple and len(state) == 2
    dicts = [each for each in (state if pair else (state,)) if each is not None]
    if not all(map(is_attributes, dicts)):
        return (yield ".__getstate__()", state)
    forms: list[bytes] = []
    for each in dicts:
        for name in sorted(each.keys() - derived()):
            forms += [text(name), (yield f".{name}", each[name])]
    return node(b"state", forms) if forms else NOTHING


def is_attributes(state: Any) -> bool:
    """Tell whether *state* looks like the __dict__ of an object."""
    return class_of(state) is dict and all(class_of(name) is str for name in state)


WAYS: Final[dict[type, Way]] = {
    list: ordered(b"list"),
    tuple: ordered(b"tuple"),
    set: unordered(b"set"),
    frozenset: unordered(b"frozenset"),
    dict: mapped(b"dict"),
    MappingProxyType: mapped(b"mappingproxy"),
    class_of(vars(copyreg).keys()): unordered(b"keys"),
    class_of(vars(copyreg).values()): ordered(b"values"),
    class_of(vars(copyreg).items()): unordered(b"items"),
    dt.datetime: moment,
    dt.time: moment,
    memoryview: viewed,
}


# -- the walk -----------------------------------------------------------------------------------------------


class Job:
    """A value that is being taken apart."""

    __slots__ = ("loops", "parts", "step", "value")

    def __init__(self, value: Any, parts: Parts, loops: int) -> None:
        self.value = value
        self.parts = parts
        self.loops = loops
        self.step: Step = ""


class Walk:
    """
    One look at a value and all that it holds; a part that is held in two places is taken apart once.

    Args:
        dumped: Gives a dict or list that is JSON all the way down as such, None for others.
        ways: How values of exactly these classes are taken apart, beside Python's own containers.
        library: Gives the way of a class that is known by name, None for others.
    """

    def __init__(
        self, dumped: Callable[[Any], bytes | None], ways: Mapping[type, Way], library: Callable[[Any], Way | None]
    ) -> None:
        self.dumped = dumped
        self.library = library
        self.jobs: list[Job] = []
        self.active: set[int] = set()
        # With the value, which therefore lives, so that no other gets its id.
        self.known: dict[int, tuple[Any, bytes]] = {}
        self.ways = {**WAYS, **ways}
        self.loops = 0

    def form(self, value: Any) -> bytes:
        """
        Give the form of *value*, which is known not to be JSON all the way down.

        Raises:
            Unhashable: A part of it has none.
        """
        found = self.entered(value, dumped=False)
        failure: Unhashable | None = None
        while self.jobs:
            job = self.jobs[-1]
            try:
                # The first thing that a generator is sent is None, which is what entering its value gave.
                sent: Any = found
                job.step, part = job.parts.send(sent) if failure is None else job.parts.throw(failure)
            except StopIteration as done:
                found, failure = self.left(done.value), None
                continue
            except MemoryError:
                raise
            except Exception as error:
                failure = self.failed(error)
                continue
            failure = None
            try:
                found = self.entered(part)
            except Unhashable as error:
                failure = self.deeper(error)
        if failure is not None:
            if len(failure.path) > LONG:
                failure.path = f"{failure.path[:80]}…{failure.path[-80:]}"
            try:
                raise failure
            finally:
                failure = None  # its traceback holds this frame
        assert found is not None
        return found

    def entered(self, value: Any, *, dumped: bool = True) -> bytes | None:
        """Give the form of *value*, or None once it is the last of the jobs; *dumped* if it may be JSON."""
        kind = class_of(value)
        simple = LEAVES.get(kind)
        if simple is not None:
            return simple(value)
        if issubclass(kind, type):
            return named(value)
        place = id(value)
        if place in self.known:
            return self.known[place][1]
        if place in self.active:
            return self.again(value)
        if len(self.jobs) >= DEPTH:
            raise Unhashable(f"it is nested deeper than {DEPTH} levels")
        if dumped and (kind is dict or kind is list):
            dump = self.dumped(value)
            if dump is not None:
                form = node(b"json", (dump,))
                self.known[place] = value, form
                return form
        way = self.ways.get(kind)
        if way is None:
            way = self.ways[kind] = self.way(kind)
        self.jobs.append(Job(value, way(value), self.loops))
        self.active.add(place)
        return None

    def way(self, kind: Any) -> Way:
        """Find how a value of class *kind* is taken apart."""
        if hasattr(kind, "__headrace_hash__"):
            return stated
        if issubclass(kind, Enum):
            return member
        known = self.library(kind)
        if known is not None:
            return known
        names = fields_of(kind)
        return reduced(kind) if names is None else recorded(names)

    def again(self, value: Any) -> bytes:
        """
        Give the form of a function that closes over itself, as every recursive one inside of another does.

        Raises:
            Unhashable: It is no function.
        """
        if type(value) is not FunctionType:
            raise Unhashable(f"an object that holds itself ({full_name(type(value))}) has no end")
        self.loops += 1
        functions = [job.value for job in reversed(self.jobs) if type(job.value) is FunctionType]
        return leaf(b"^", f"{[one is value for one in functions].index(True)}".encode())

    def left(self, form: bytes) -> bytes:
        """End the last job, and remember its *form* unless that speaks of where it stands."""
        job = self.jobs.pop()
        self.active.discard(id(job.value))
        if job.loops == self.loops:
            self.known[id(job.value)] = job.value, form
        return form

    def failed(self, error: Exception) -> Unhashable:
        """End the last job, which *error* broke off."""
        job = self.jobs.pop()
        self.active.discard(id(job.value))
        if not isinstance(error, Unhashable):
            kind = class_of(job.value)
            said = f"{type(error).__name__}: {short(str(error))[1:-1]}"
            error = Unhashable(f"an object of class {full_name(kind)} cannot be taken apart ({said})")
        return self.deeper(error)

    def deeper(self, error: Unhashable) -> Unhashable:
        """Give *error* as it is seen from the last job, by whose step it was reached."""
        if self.jobs:
            error.path = spelt(self.jobs[-1].step) + error.path
        return error


def spelt(step: Step) -> str:
    """Write a step as in Python: a str is written already, an int is a place, and a key comes wrapped."""
    if isinstance(step, str):
        return step
    key: Any = step if isinstance(step, int) else step[0]
    return f"[{short(key) if type(key) in LEAVES else f'<{type(key).__qualname__}>'}]"
