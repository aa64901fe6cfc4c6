"""Objects are told apart by what they hold: fields, attributes, what they say of themselves; and asked nothing else."""

from __future__ import annotations

import collections
import copyreg
import dataclasses
import datetime as dt
import enum
import functools
import re
import types
import uuid
from typing import Any, ClassVar, NoReturn

import attrs
import pydantic
import pytest

from headrace._model.hashing import digest
from tests.unit._model.test_hashing_values import Both, Plain, Slotted, Texts


@dataclasses.dataclass
class Base:
    name: str
    seen: list[str] = dataclasses.field(default_factory=list[str], compare=False)
    shared: ClassVar[list[int]] = []
    setting: dataclasses.InitVar[int] = 0

    def __post_init__(self, setting: int) -> None:
        self.cache = setting


@dataclasses.dataclass
class Child(Base):
    size: int = 1


class Undecorated(Base):
    extra = 0


@dataclasses.dataclass
class Rows(list[int]):
    name: str


@attrs.define
class Frame:
    name: str
    note: str = attrs.field(default="", eq=False)


@attrs.frozen(slots=False)
class Cached:
    name: str

    @functools.cached_property
    def length(self) -> int:
        return len(self.name)


class Model(pydantic.BaseModel):
    name: str
    rows: list[int] = []
    _private: int = pydantic.PrivateAttr(0)

    @functools.cached_property
    def length(self) -> int:
        return len(self.name)


class Twin(pydantic.BaseModel):
    name: str
    rows: list[int] = []


class Open(pydantic.BaseModel, extra="allow"):
    name: str


@pydantic.dataclasses.dataclass
class Checked:
    name: str


class Lazy:
    def __init__(self, name: str) -> None:
        self.name = name

    @functools.cached_property
    def length(self) -> int:
        return len(self.name)


class Silent:
    """An object that answers no question but how it is taken apart."""

    def __init__(self, key: Any) -> None:
        self.__dict__["key"] = key

    def refuse(self, *_: Any) -> NoReturn:
        raise AssertionError("the user's code was run")

    __eq__ = __hash__ = __repr__ = __str__ = __len__ = __iter__ = __bool__ = __lt__ = refuse
    __getattr__ = __contains__ = __format__ = __sizeof__ = __dir__ = refuse


def of_each_class(name: str) -> list[Any]:
    """Give objects of many classes that all hold *name*, made anew."""
    return [
        *(
            Base(name),
            Child(name),
            Undecorated(name),
            Frame(name),
            Cached(name),
            Checked(name),
            Lazy(name),
            Texts(name),
        ),
        *(Model(name=name), Twin(name=name), Open.model_validate({"name": "a", "more": name}), ValueError(name)),
        *(
            Slotted((name,)),
            Both(1, name),
            Plain(name=name),
            types.SimpleNamespace(name=name),
            uuid.UUID(int=ord(name)),
        ),
        *(collections.deque([name]), collections.Counter([name]), collections.defaultdict(int, {name: 1}), (name,)),
    ]


def test_equal_objects_have_equal_digests_and_others_have_others() -> None:
    one, again, other = ([digest(each) for each in of_each_class(name)] for name in "aab")

    assert one == again
    assert len({*one, *other}) == 2 * len(one)


def test_a_dataclass_counts_by_the_fields_that_are_compared() -> None:
    assert digest(Base("a", ["x"], setting=1)) == digest(Base("a", ["y"], setting=2))
    assert digest(Child("a", size=1)) != digest(Child("a", size=2))


def test_a_class_derived_from_a_dataclass_counts_by_all_it_holds() -> None:
    one, other = Undecorated("a"), Undecorated("a")
    other.extra = 1

    assert digest(one) != digest(other)


def test_a_dataclass_that_is_a_list_counts_by_its_items_too() -> None:
    one, other = Rows("a"), Rows("a")
    other.append(1)

    assert digest(one) != digest(other)


def test_a_field_that_was_never_set_is_no_field_that_is_none() -> None:
    unset = Slotted.__new__(Slotted)
    frame = Frame.__new__(Frame)

    assert digest(unset) != digest(Slotted(None))
    assert digest(frame) == digest(Frame.__new__(Frame)) != digest(Frame("a"))


def test_an_attrs_class_counts_by_the_fields_that_are_compared() -> None:
    assert digest(Frame("a", "x")) == digest(Frame("a", "y")) != digest(Frame("b", "x"))


def test_a_model_counts_by_all_that_its_equality_compares() -> None:
    one, other = Model(name="a"), Model(name="a")
    other._private = 1

    assert digest(one) == digest(Model(name="a", rows=[])) != digest(other)
    assert digest(Open(name="a")) != digest(Open.model_validate({"name": "a", "more": 1}))
    assert digest(Model(name="a")) != digest(Twin(name="a"))


@pytest.mark.parametrize("one", [Lazy("abc"), Cached("abc"), Model(name="abc")])
def test_an_object_is_the_same_after_a_cached_property_was_asked(one: Any) -> None:
    before = digest(one)

    assert one.length == 3
    assert digest(one) == before


def test_attributes_have_no_order() -> None:
    assert digest(Plain(a=1, b=2)) == digest(Plain(b=2, a=1))
    assert digest(Plain(a=1, b=2)) != digest(Plain(a=2, b=1))


def test_subclasses_of_plain_types_are_types_of_their_own_with_what_they_hold_beside() -> None:
    class Named(dict[str, int]):
        name = ""

    one, other = Named(a=1), Named(a=1)
    other.name = "x"

    assert len({digest(one), digest(other), digest({"a": 1})}) == 3
    assert digest(Named(a=1, b=2)) == digest(Named(b=2, a=1))


def test_sets_of_a_class_have_no_order() -> None:
    class Elements(set[Any]):
        pass

    words = [f"word {number}" for number in range(100)]

    assert digest(Elements(words)) == digest(Elements(reversed(words))) != digest(set(words))
    assert digest({*words, 1, None, (2, 3)}) == digest({(2, 3), None, 1, *reversed(words)})


def test_an_ordered_dict_has_an_order_and_other_dicts_have_none() -> None:
    one: dict[str, Any] = {"a": 1, "b": (2,)}
    other: dict[str, Any] = {"b": (2,), "a": 1}

    assert digest(one) == digest(other)
    assert digest(collections.defaultdict(int, one)) == digest(collections.defaultdict(int, other))
    assert digest(collections.OrderedDict(one)) != digest(collections.OrderedDict(other))


def test_a_class_says_itself_what_it_is_hashed_by() -> None:
    class Said(dict[str, int]):
        def __headrace_hash__(self) -> Any:
            return {"a": self["a"]}

    class Other(Said):
        pass

    assert digest(Said(a=1, b=2)) == digest(Said(a=1, b=3)) != digest(Said(a=2))
    assert digest(Other(a=1)) != digest(Said(a=1)) != digest({"a": 1})


def test_nothing_else_of_an_object_is_called() -> None:
    one = Silent([1, (2,)])

    assert digest([one, {"a": one}, (one,)]) == digest([Silent([1, (2,)]), {"a": one}, (one,)])
    assert digest(one) != digest(Silent([1, (3,)]))


def test_how_a_class_is_registered_with_copyreg_counts() -> None:
    class Registered:
        def __init__(self, key: str) -> None:
            self.key = key
            self.opened = object()

    copyreg.pickle(Registered, lambda value: (Registered, (value.key,)))
    try:
        assert digest(Registered("a")) == digest(Registered("a")) != digest(Registered("b"))
    finally:
        del copyreg.dispatch_table[Registered]


def test_members_of_enums_count_by_class_and_value() -> None:
    def made(name: str, value: Any) -> Any:
        make: Any = enum.Enum
        return make(name, {"MEMBER": value}, module="somewhere").MEMBER

    assert digest(made("A", 1)) == digest(made("A", 1))
    assert len({digest(made("A", 1)), digest(made("A", "1")), digest(made("B", 1)), digest(made("A", object()))}) == 4


def test_moments_count_as_they_are_written() -> None:
    utc = dt.datetime(2024, 7, 1, 12, tzinfo=dt.UTC)
    moved = utc.astimezone(dt.timezone(dt.timedelta(hours=2)))

    assert utc == moved
    assert digest(utc) != digest(moved)
    assert digest(utc) == digest(dt.datetime.fromisoformat("2024-07-01T12:00+00:00"))


def test_patterns_and_uuids_count_by_content() -> None:
    assert digest(re.compile("a", re.M)) == digest(re.compile("a", re.MULTILINE)) != digest(re.compile("a"))
    assert digest(uuid.UUID(int=5)) == digest(uuid.UUID(str(uuid.UUID(int=5))))
    assert digest(uuid.UUID(int=5)) == digest(uuid.UUID(int=5, is_safe=uuid.SafeUUID.safe))
