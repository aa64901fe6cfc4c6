"""What a function does has a digest: its code and defaults count, where it stands and what it is called does not."""

from __future__ import annotations

import functools
import textwrap
from collections.abc import Callable
from typing import Any

import pytest

from headrace._model.hashing import Unhashable, code_digest, digest
from tests.unit._model.test_hashing_values import Plain, closing_over, recursive, with_default

BODY = """
    def f(rows, *, limit=3):
        '''Add up.'''
        class Helper:
            size = 300
            def double(self):
                return self.size * 2
        def inner(row):
            return row in {"a", "b", "c"} or Helper().double() or [each for each in row if each > 1.5]
        try:
            return sum(inner(row) for row in rows)
        except ValueError:
            return limit
"""


def made(source: str, *, lines: int = 0, file: str = "one.py", name: str = "f") -> Any:
    """Give the function that *source* defines, moved down by *lines*."""
    space: dict[str, Any] = {"__name__": "somewhere"}
    exec(compile("\n" * lines + textwrap.dedent(source), file, "exec", dont_inherit=True), space)
    return space[name]


@pytest.mark.parametrize("lines", [1, 7, 100, 200])
def test_code_is_the_same_wherever_it_stands(lines: int) -> None:
    assert code_digest(made(BODY, lines=lines, file="other.py")) == code_digest(made(BODY))


def test_code_is_the_same_whatever_it_is_called() -> None:
    source = "def f(x): return [x + each for each in (1, 2)]"

    assert code_digest(made(source)) == code_digest(made(source.replace("f(", "other("), name="other"))
    assert digest(made(source)) != digest(made(source.replace("f(", "other("), name="other"))


def test_code_is_the_same_after_the_interpreter_made_it_faster() -> None:
    function = made("def f(x):\n    return sum(each * x for each in range(x))")
    before = code_digest(function)
    for number in range(2_000):
        function(number % 5)

    assert code_digest(function) == before


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("limit=3", "limit=4"),
        ("limit=3", "limit=3.0"),
        ("*, limit", "limit"),
        ("> 1.5", "> 2.5"),
        ("> 1.5", "< 1.5"),
        ('"c"', '"d"'),
        ("size * 2", "size * 3"),
        ("size = 300", "size = 301"),
        ("rows", "items"),
        ("sum(", "max("),
        ("ValueError", "TypeError"),
        ("def inner", "async def inner"),
        ("return limit", "return -limit"),
    ],
)
def test_each_change_of_what_is_done_changes_the_digest(old: str, new: str) -> None:
    assert code_digest(made(BODY.replace(old, new))) != code_digest(made(BODY))


def test_constants_count_by_type() -> None:
    sources = [
        f"def f(): return {value}" for value in ("1", "1.0", "True", "1j", "'1'", "b'1'", "(1,)", "-0.0", "0.0", "...")
    ]

    assert len({code_digest(made(source)) for source in sources}) == len(sources)


def test_closed_over_values_count_for_a_function_and_not_for_its_code() -> None:
    assert code_digest(closing_over(1)) == code_digest(closing_over(2)) == code_digest(closing_over(object()))
    assert digest(closing_over(1)) == digest(closing_over(1)) != digest(closing_over(2))


def test_globals_are_not_looked_into() -> None:
    one, other = made("def f(): return LIMIT"), made("def f(): return LIMIT")
    other.__globals__["LIMIT"] = 5

    assert digest(one) == digest(other)


def test_a_default_without_content_counts_by_its_class() -> None:
    def one(value: Any = object(), *, key: Any = object()) -> Any:  # noqa: B008 - a sentinel
        return value, key

    before = code_digest(one), digest(one)
    one.__defaults__ = (object(),)
    assert (code_digest(one), digest(one)) == before
    one.__defaults__ = ([object()],)
    assert code_digest(one) != before[0]


def test_a_decorator_that_names_what_it_wraps_counts_with_it() -> None:
    def decorated(function: Callable[..., Any]) -> Any:
        @functools.wraps(function)
        def wrapper(*args: Any) -> Any:
            return function(*args)

        return wrapper

    one, other = decorated(made("def f(): return 1")), decorated(made("def f(): return 2"))

    assert code_digest(one) == code_digest(decorated(made("def f(): return 1", lines=9))) != code_digest(other)
    assert code_digest(functools.cache(one)) != code_digest(functools.cache(other))


def test_other_callables_count_by_what_they_call() -> None:
    class One:
        def __call__(self) -> int:
            return 1

    class Other:
        def __call__(self) -> int:
            return 2

    class Both:
        def method(self) -> int:
            return 1

        static: Any = staticmethod(made("def f(): return 1"))
        of_class: Any = classmethod(made("def f(cls): return 1"))

    assert code_digest(One()) != code_digest(Other())
    assert code_digest(Both().method) == code_digest(Both.method)
    assert code_digest(Both.__dict__["static"]) == code_digest(Both.static)
    assert code_digest(Both.__dict__["of_class"]) == code_digest(Both.of_class)
    assert code_digest(len) == code_digest(len) != code_digest(print)
    assert code_digest(Plain) != code_digest(int)
    assert code_digest(functools.partial(with_default, 1)) != code_digest(functools.partial(with_default, 2))
    assert code_digest(functools.partial(print, object())) != code_digest(print)


def test_recursive_functions_have_an_end() -> None:
    def pair() -> tuple[Any, Any]:
        def even(number: int) -> bool:
            return number == 0 or odd(number - 1)

        def odd(number: int) -> bool:
            return number != 0 and even(number - 1)

        return even, odd

    assert digest(recursive()) == digest(recursive())
    assert digest(pair()) == digest(pair())
    assert digest(pair()[0]) != digest(pair()[1])
    assert digest({*pair()}) == digest({*pair()[::-1]})


def test_a_function_that_wraps_itself_is_refused() -> None:
    function = made("def f(): return 1")
    function.__wrapped__ = function

    with pytest.raises(Unhashable, match="deeper than 500 levels"):
        code_digest(function)


def test_functions_of_one_name_and_another_body_differ_as_arguments() -> None:
    one, other = made("def f(): return 1"), made("def f(): return 2")

    assert digest({"key": one}) == digest({"key": made("def f(): return 1")}) != digest({"key": other})
    assert digest(lambda: 1) != digest(lambda: 2)
