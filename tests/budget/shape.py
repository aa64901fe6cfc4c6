"""The shape of the house: sizes, import rings, imports in odd places. Standard library only; runs none of it.

Run as a script, it prints the shape of src/headrace and fails if a limit is broken.
"""

from __future__ import annotations

import ast
import graphlib
import statistics
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

FILE_LINES, MEDIAN_LINES, FUNCTION_LINES = 500, 140, 60
DOORS = ("cli", "_runtime")  # beside every __init__: where an import of our own may stand inside a function
FRONT = ("__main__", "cli", "testing")  # who may use the package as its users do

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Module:
    name: str
    path: Path

    @cached_property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, str(self.path))

    @property
    def lines(self) -> int:
        return len(self.text.splitlines())

    @property
    def is_package(self) -> bool:
        return self.path.name == "__init__.py"

    def functions(self) -> Iterator[Function]:
        return (node for node in ast.walk(self.tree) if isinstance(node, Function))

    def within(self, *rooms: str) -> bool:
        """Whether this module is, or stands in, one of *rooms* of the package."""
        parts = self.name.split(".")
        return len(parts) > 1 and parts[1] in rooms


class House:
    """A package on disk."""

    def __init__(self, root: Path) -> None:
        self.name = root.name
        self.modules = {module.name: module for module in self._read(root)}
        if not self.modules:
            raise FileNotFoundError(f"no Python files under {root}")

    def _read(self, root: Path) -> Iterator[Module]:
        for path in sorted(root.rglob("*.py")):
            parts = path.relative_to(root.parent).with_suffix("").parts
            yield Module(".".join(parts).removesuffix(".__init__"), path)

    def imports(self, module: Module, within: ast.AST | None = None) -> set[str]:
        """The modules of this package that *module* imports at any depth, `TYPE_CHECKING` included."""
        found: set[str] = set()
        for node in ast.walk(within or module.tree):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                base = self._base(module, node)
                submodules = {f"{base}.{alias.name}" for alias in node.names}
                known = submodules & self.modules.keys()
                found |= known if len(known) == len(submodules) else known | {base}
        return (found & self.modules.keys()) - {module.name}

    @staticmethod
    def _base(module: Module, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        up = node.level - 1 if module.is_package else node.level
        parts = module.name.split(".")
        return ".".join([*parts[: len(parts) - up], *([node.module] if node.module else [])])

    # Each of the following returns one line for each breach.

    def large_files(self) -> list[str]:
        return [
            f"{module.name}: {module.lines} lines, {FILE_LINES} at most"
            for module in self.modules.values()
            if module.lines > FILE_LINES
        ]

    def large_median(self) -> list[str]:
        median = statistics.median(module.lines for module in self.modules.values())
        return [f"the median file has {median:g} lines, {MEDIAN_LINES} at most"] if median > MEDIAN_LINES else []

    def long_functions(self) -> list[str]:
        return [
            f"{name}: {lines} lines, {FUNCTION_LINES} at most"
            for lines, name in self.function_sizes()
            if lines > FUNCTION_LINES
        ]

    def function_sizes(self) -> list[tuple[int, str]]:
        return [
            ((node.end_lineno or node.lineno) - node.lineno + 1, f"{module.name}.{node.name}")
            for module in self.modules.values()
            for node in module.functions()
        ]

    def rings(self) -> list[str]:
        graph = {name: self.imports(module) for name, module in self.modules.items()}
        try:
            graphlib.TopologicalSorter(graph).prepare()
        except graphlib.CycleError as error:
            return ["a ring: " + " <- ".join(error.args[1])]
        return []

    def hidden_imports(self) -> list[str]:
        return [
            f"{module.name}.{node.name} imports {', '.join(sorted(found))} inside the function"
            for module in self.modules.values()
            if not (module.is_package or module.within(*DOORS))
            for node in module.functions()
            if (found := self.imports(module, node))
        ]

    def front_door_users(self) -> list[str]:
        return [
            f"{module.name} imports {self.name} itself; import the module that defines the name"
            for module in self.modules.values()
            if not module.within(*FRONT) and self.name in self.imports(module)
        ]

    def signless_doors(self) -> list[str]:
        return [
            f"{module.name} has no docstring that says what lives there"
            for module in self.modules.values()
            if not ast.get_docstring(module.tree)
        ]

    def clocks_in_the_model(self) -> list[str]:
        return [
            f"{module.name}:{node.lineno} asks the clock; let the caller say when it is"
            for module in self.modules.values()
            if module.within("_model")
            for node in ast.walk(module.tree)
            if isinstance(node, ast.Attribute) and node.attr in {"now", "utcnow", "today"}
        ]

    def breaches(self) -> list[str]:
        checks = (
            self.large_files,
            self.large_median,
            self.long_functions,
            self.rings,
            self.hidden_imports,
            self.front_door_users,
            self.signless_doors,
            self.clocks_in_the_model,
        )
        return [line for check in checks for line in check()]


def main(root: Path) -> int:
    house = House(root)
    files = sorted(((module.lines, name) for name, module in house.modules.items()), reverse=True)
    functions = sorted(house.function_sizes(), reverse=True)
    print(f"{len(files)} files, {sum(lines for lines, _ in files)} lines, median {files[len(files) // 2][0]}")
    print("largest files:", ", ".join(f"{name} {lines}" for lines, name in files[:5]))
    print("longest functions:", ", ".join(f"{name} {lines}" for lines, name in functions[:5]))
    breaches = house.breaches()
    print("\n".join(breaches) or "no limit broken")
    return 1 if breaches else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else "src/headrace")))
