"""A program that packs or unpacks one large value, and prints by how many MB its memory grew over that value's own."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from headrace._results.codecs import codec
from headrace._results.files import FileStorage
from headrace._results.packing import Packed, pack, unpack

MB = 1 << 20
SIZE = 256
STATUS = Path("/proc/self/status")


def made(kind: str) -> Any:
    """Give a value of some 256 MB."""
    if kind == "bytes":
        return os.urandom(MB) * SIZE
    if kind == "text":
        return "ü☃ some text" * (SIZE * MB // 24)
    if kind == "array":
        return {"model": import_module("numpy").ones(SIZE * MB // 8)}
    if kind == "frame":
        numpy, pandas = import_module("numpy"), import_module("pandas")
        return pandas.DataFrame({name: numpy.ones(SIZE * MB // 32) for name in "abcd"})
    return [{"id": number, "name": f"row {number}", "tags": ["a", "b"]} for number in range(SIZE * 2_000)]


def memory(which: str) -> float:
    """Give what /proc says of *which*, in MB."""
    (line,) = (line for line in STATUS.read_text().splitlines() if line.startswith(which))
    return int(line.split()[1]) / 1024


def grown(work: Any) -> float:
    """Give by how many MB the memory in use rose above where it is now while *work* was done."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak is what is in use
    before = memory("VmRSS")
    work()
    return memory("VmHWM") - before


def main(doing: str, kind: str, form: str, folder: str) -> None:
    for package in ("pandas", "pyarrow") if kind == "frame" else ():
        import_module(package)  # which has a size of its own
    storage = FileStorage(folder)
    note = Path(folder) / "note"
    if doing == "pack":
        value = made(kind)
        kept: list[Packed] = []

        def write() -> None:
            kept.append(pack(value, codec(form), inline=65_536, storage=lambda: storage, name="large"))

        print(grown(write))
        note.write_text(f"{kept[0].codec} {kept[0].size} {kept[0].digest}")
        return
    name, size, digest = note.read_text().split()
    packed = Packed(name, int(size), digest, None, storage.where, "large")
    values: list[Any] = []
    print(grown(lambda: values.append(unpack(packed, lambda where: storage))))


if __name__ == "__main__":
    main(*sys.argv[1:])
