"""Loading: the code of a flow is found again by its module or its file, and flows that the file calls are not run."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from headrace._decorated import FLOWS, Decorated
from headrace._engine.spec import Spec
from headrace.errors import short

MAIN: Final = "__main__"


class NotFound(Exception):
    """There is no such flow; says why, as half a sentence."""


def parts(entrypoint: str) -> tuple[str, str, str]:
    """Give module, name and file of an *entrypoint* as `Spec.entrypoint` writes it."""
    place, _, file = entrypoint.partition("@")
    module, _, name = place.partition(":")
    return module, name, file


def same(spec: Spec, entrypoint: str, name: str) -> bool:
    """Tell whether *spec* is the flow *name* that *entrypoint* leads to."""
    module, function, file = parts(entrypoint)
    here, own, place = parts(spec.entrypoint)
    alike = (module == here and module != MAIN) or (file == place and file != "")
    return alike and spec.name == name and own == function


def known(entrypoint: str, name: str) -> Any:
    """
    Give the flow of this program that *entrypoint* leads to; None where it has none.

    Of several, as copies with other options are, one that is durable; then the one that its module has by now.
    """
    found = [flow for flow in list(FLOWS.values()) if same(flow.spec, entrypoint, name)]
    # Of equals the one that was made last.
    return max(reversed(found), key=lambda flow: (durable(flow.spec), current(flow)), default=None)


def durable(spec: Spec) -> bool:
    """Tell whether runs of *spec* are durable wherever they begin."""
    return bool(spec.options.get("durable")) or spec.options.get("durability") == "strict"


def current(flow: Any) -> bool:
    """Tell whether *flow* is what its module has under its name, and was not defined anew since."""
    module, function, _ = parts(flow.spec.entrypoint)
    return module in sys.modules and attribute(sys.modules[module], function) is flow


def attribute(target: Any, path: str) -> Any:
    """Give what *path* leads to from *target*; None where it leads nowhere."""
    for part in path.split("."):
        target = getattr(target, part, None)
    return target


def loaded(entrypoint: str, name: str) -> Any:
    """
    Give the flow *name* that *entrypoint* leads to: one that is here already, by its module, or by its file.

    Raises:
        NotFound: There is none any more.
    """
    found = known(entrypoint, name)
    if found is not None:
        return found
    module, function, file = parts(entrypoint)
    why = "its code was not defined in a file"
    for load in (by_module, by_file):
        try:
            target: Any = load(module, file)
        except NotFound as error:
            why = str(error)
            continue
        found = known(entrypoint, name)
        if found is not None:
            return found
        target = attribute(target, function)
        if isinstance(target, Decorated) and target.kind == "flow" and not target.arguments:
            return target
        why = f"{file or module} has no flow {function!r}"
    raise NotFound(why)


def by_module(module: str, file: str) -> ModuleType:
    """Import *module*, if that is the one in *file*."""
    if module == MAIN or not module:
        raise NotFound("it was defined in a program's main file")
    root = file_root(module, file)
    added = root is not None and root not in sys.path
    if added and root is not None:
        sys.path.insert(0, root)
    try:
        with passing_over(module):
            found = importlib.import_module(module)
    except (Exception, SystemExit) as error:
        raise NotFound(f"its module {module!r} cannot be imported: {short(error)}") from error
    if file and getattr(found, "__file__", None) and Path(str(found.__file__)).resolve() != Path(file).resolve():
        raise NotFound(f"its module {module!r} is another file now: {found.__file__}")
    return found


def file_root(module: str, file: str) -> str | None:
    """Give the folder from which *module* is imported, as its *file* tells."""
    if not file:
        return None
    path = Path(file).with_suffix("")
    names = module.split(".")
    if path.name == "__init__":
        path = path.parent
    if list(path.parts[-len(names) :]) != names:
        return None
    return str(path.parents[len(names) - 1])


def by_file(module: str, file: str) -> ModuleType:
    """Run the code in *file* under a name of its own; flows that it calls while it loads are not run."""
    if not file or not Path(file).is_file():
        raise NotFound(f"its file {file or '(none)'} is not there any more")
    name = f"headrace_loaded_{hashlib.blake2b(file.encode(), digest_size=6).hexdigest()}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise NotFound(f"{file} is no Python file")
    made = importlib.util.module_from_spec(spec)
    sys.modules[name] = made
    folder = str(Path(file).parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        with passing_over(file):
            spec.loader.exec_module(made)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise NotFound(f"{file} cannot be loaded: {short(error)}") from error
    if module == MAIN:
        be_main(made, name)
    return made


def be_main(made: ModuleType, name: str) -> None:
    """
    Have the classes and functions of *made*, which was a program's main file, be known as they were in that program.

    So arguments of such classes count as the same, and recorded values are found again under `__main__`.
    """
    main = sys.modules[MAIN]
    for own, value in list(vars(made).items()):
        target = getattr(value, "fn", value) if isinstance(value, Decorated) else value
        if getattr(target, "__module__", None) == name:
            target.__module__ = MAIN
            if not hasattr(main, own):
                setattr(main, own, value)


@contextmanager
def passing_over(place: str) -> Generator[None]:
    """Have flows that are called inside not run: *place* is loaded."""
    thread = threading.get_ident()
    before = Decorated.loading.get(thread)
    Decorated.loading[thread] = place
    try:
        yield
    finally:
        del Decorated.loading[thread]
        if before is not None:
            Decorated.loading[thread] = before
