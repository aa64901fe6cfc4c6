"""The project's checks as nox sessions; a bare `nox` runs all that a change must pass.

CONTRIBUTING.md says when to use which. No check is written here: sessions only start tools.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.download_python = "never"  # what is not on the machine is reported as missing, not fetched
nox.options.reuse_venv = "yes"
nox.options.sessions = ["lint", "layers", "types", "tests", "budget", "docs", "wheel"]

HERE = Path(__file__).parent
PROJECT = nox.project.load_toml(HERE / "pyproject.toml")
OLDEST, NEWEST = 11, 14
CODE = ("src", "tests", "benchmarks", "examples", "noxfile.py")

# PYTHONPATH: nox itself may have been started from a `pip install --target` folder, which no session may see.
# The others would change what our own code does, or where it writes.
OURS_TO_SET = [name for name in os.environ if name.startswith(("HEADRACE_", "OTEL_"))]
CLEAN: dict[str, str | None] = {"PYTHONPATH": None, **dict.fromkeys(OURS_TO_SET)}


def check(**options: object) -> Callable[[Callable[[nox.Session], None]], object]:
    """Make a nox session that sees none of the caller's PYTHONPATH and HEADRACE_* settings."""

    def register(body: Callable[[nox.Session], None]) -> object:
        @functools.wraps(body)
        def clean(session: nox.Session) -> None:
            session.env.update(CLEAN)
            body(session)

        return nox.session(**options)(clean)  # type: ignore[call-overload]

    return register


def install(session: nox.Session, *groups: str, package: str = "-e.[otlp]") -> None:
    """Install our package, editable, with the named dependency groups of pyproject.toml."""
    session.install(package, *nox.project.dependency_groups(PROJECT, *groups))


def interpreters() -> dict[str, str]:
    """Find one CPython for each version we support: '3.12' -> path. The one that runs nox comes first."""
    found: dict[str, str] = {}
    for candidate in candidates():
        named = re.search(r"3\.(\d+)", candidate.name if candidate.parent.name != "bin" else str(candidate))
        if named and (int(named[1]) < OLDEST or f"3.{named[1]}" in found):
            continue
        version = version_of(candidate)
        if version is not None:
            found.setdefault(version, str(candidate))
    return dict(sorted(found.items(), key=lambda item: int(item[0].split(".")[1])))


def candidates() -> list[Path]:
    """Where interpreters usually are: the one at work, PATH, pyenv's folder, uv's folder."""
    folders = [Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep) if folder]
    on_path = [path for folder in folders for path in sorted(folder.glob("python3.[0-9]*"))]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    uv = Path.home() / ".local" / "share" / "uv" / "python"
    managed = [path for folder in (pyenv, uv) for path in sorted(folder.glob("*3.*/bin/python3"))]
    named = [path for path in on_path if re.fullmatch(r"python3\.\d+", path.name)]
    return [Path(sys.executable), *named, *managed]


def version_of(python: Path) -> str | None:
    """Ask *python* for its version; None if it is no CPython we support, or a version manager's dead shim."""
    ask = [python, "-I", "-c", "import sys; print(sys.implementation.name, *sys.version_info[:2])"]
    try:
        answer = subprocess.run(ask, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    name, major, minor = answer.stdout.split()
    return f"{major}.{minor}" if name == "cpython" and int(minor) >= OLDEST else None


PYTHONS = interpreters()
# What takes long and asks of the databases and of us, not of the interpreter. Signals and workers are not among it.
KILL_LOOPS = sorted(
    str(path.relative_to(HERE))
    for path in (HERE / "tests" / "chaos").glob("test_*.py")
    if path.name not in {"test_signals.py", "test_workers.py"}
)


@check()
def lint(session: nox.Session) -> None:
    """Style and formatting, the shape of the house, and whether the changelog fragments can be read."""
    session.install(*nox.project.dependency_groups(PROJECT, "lint"))
    session.run("ruff", "check", *CODE)
    session.run("ruff", "format", "--check", *CODE)
    session.run("python", "tests/budget/shape.py")
    session.run("towncrier", "build", "--draft", "--version", "next", silent=True)


@check()
def layers(session: nox.Session) -> None:
    """The three import contracts of .importlinter."""
    install(session, "layers", package="-e.")
    session.run("lint-imports")


@check()
def types(session: nox.Session) -> None:
    """Types by mypy and by pyright, strict, on src and tests; both read tests/typing, which is never run."""
    install(session, "types")
    session.run("mypy")
    session.run("pyright")


@check()
@nox.parametrize("python", [nox.param(path, id=version) for version, path in PYTHONS.items()])
def tests(session: nox.Session) -> None:
    """The suite, for every CPython >= 3.11 found here; kill loops for the first. Arguments after -- go to pytest."""
    wanted = [f"3.{minor}" for minor in range(OLDEST, NEWEST + 1)]
    missing = [version for version in wanted if version not in PYTHONS]
    session.log(f"found: {', '.join(f'CPython {version} ({path})' for version, path in PYTHONS.items())}")
    if missing:
        session.warn(f"NOT TESTED, not on this machine: CPython {', '.join(missing)}")
    install(session, "test")
    elsewhere = ["--ignore=tests/budget", "--ignore=tests/docs"]
    if session.python != next(iter(PYTHONS.values())) and not session.posargs:
        elsewhere += [f"--ignore={path}" for path in ("tests/sim", *KILL_LOOPS)]
        session.log("left to the first CPython: processes that are killed over and over, and drawn histories")
    session.run("pytest", *elsewhere, *(session.posargs or ("-n", "2", "--durations=25")))


@check()
def budget(session: nox.Session) -> None:
    """What may not grow: files, functions, imports, packages. Alone, because some of it is timed."""
    install(session, "test", package="-e.")
    session.run("pytest", "tests/budget", *session.posargs)


@check()
def docs(session: nox.Session) -> None:
    """Build the pages and run the code that they and the README show."""
    install(session, "docs")
    session.run("mkdocs", "build", "--strict", "--site-dir", "site", env={"NO_MKDOCS_2_WARNING": "1"})
    session.run("pytest", "tests/docs", *(session.posargs or ("-n", "2")))


@check()
def wheel(session: nox.Session) -> None:
    """Build; install the wheel where nothing else is; run the README's first command on the sdist."""
    session.install(*nox.project.dependency_groups(PROJECT, "wheel"))
    work = Path(session.create_tmp()).resolve()
    shutil.rmtree(work)
    session.run("python", "-m", "build", "--no-isolation", "--outdir", str(work / "dist"), silent=True)
    (built,), (source,) = (work / "dist").glob("*.whl"), (work / "dist").glob("*.tar.gz")

    # virtualenv and not uv: a fresh environment with the pip that people have.
    session.run("python", "-m", "virtualenv", "-q", str(work / "fresh"))
    bin_folder = work / "fresh" / "bin"
    python = str(bin_folder / "python")
    fresh = {"PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}", "VIRTUAL_ENV": str(work / "fresh")}
    session.run(python, "-m", "pip", "install", "-q", str(built), external=True, env=fresh)
    session.run(python, str(HERE / "tests" / "budget" / "fresh_install.py"), external=True, env=fresh)

    session.run("tar", "-xzf", str(source), "-C", str(work), external=True)
    with session.chdir(work / source.name.removesuffix(".tar.gz")):
        home = {"HEADRACE_HOME": str(work / "home")}
        session.run(python, "examples/airports.py", external=True, env=fresh | home)
        # `env`, because nox puts the session's own python3, which has no pip, in front of every PATH.
        command = ("env", f"PATH={fresh['PATH']}", "sh", "-c", readme_command("examples/airports.py"))
        session.run(*command, external=True, env=home)


def readme_command(ending: str) -> str:
    """Return the README's one line that starts with pip and ends with *ending*, as a reader copies it."""
    lines = (HERE / "README.md").read_text(encoding="utf-8").splitlines()
    commands = [line for line in lines if line.startswith("python3 -m pip ") and line.endswith(ending)]
    if len(commands) != 1:
        raise ValueError(f"README.md has {len(commands)} lines 'python3 -m pip ... {ending}'; one is needed")
    return commands[0]


@check(default=False)
def lowest(session: nox.Session) -> None:
    """The suite with the oldest versions that our own requirements allow (uv only)."""
    requirements = nox.project.dependency_groups(PROJECT, "test")
    session.install("--resolution=lowest-direct", "-e.[otlp]", *requirements)
    session.run("pytest", "--ignore=tests/budget", "--ignore=tests/docs", *(session.posargs or ("-n", "2")))


@check(default=False)
def chaos(session: nox.Session) -> None:
    """Durable flows in processes that are killed, stopped and raced for. `-- long` for the counts that we publish."""
    install(session, "test", package="-e.")
    long = session.posargs == ["long"]
    files = ["tests/sim", *sorted(str(path) for path in (HERE / "tests" / "chaos").glob("test_*durable*.py"))]
    # One after the other, and with what they print: a line with the counts.
    session.run("pytest", "-s", *files, *(() if long else session.posargs), env={"CHAOS": "long" if long else "short"})


@check(default=False)
def bench(session: nox.Session) -> None:
    """The table of costs, among them a web handler's. Arguments after -- go to the benchmarks."""
    install(session, "embedding", package="-e.")
    session.run("python", "-m", "benchmarks", *session.posargs)


@check(default=False)
def changelog(session: nox.Session) -> None:
    """Turn the fragments into CHANGELOG.md for the version that pyproject.toml names."""
    session.install(*nox.project.dependency_groups(PROJECT, "release"))
    session.run("towncrier", "build", "--yes", "--version", PROJECT["project"]["version"])
