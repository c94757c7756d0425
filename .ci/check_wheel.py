"""Check what is in the wheel: exactly one import name, typed, with every module of the project and none of its tests.

Usage: check_wheel.py FOLDER_OF_THE_PROJECT WHEEL
"""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

ROOMS = {"src/packhorse": "packhorse", "actors": "packhorse/actors", "protocol": "packhorse/protocol"}


def modules(root: Path) -> set[str]:
    """Return where every module of the project belongs in the wheel."""
    found: set[str] = set()
    for folder, target in ROOMS.items():
        files = [path.relative_to(root / folder) for path in (root / folder).rglob("*.py")]
        found |= {f"{target}/{path.as_posix()}" for path in files}
    return found


def main(root: Path, wheel: Path) -> None:
    """Exit with a message if anything is wrong."""
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in names}
    imported = {top for top in tops if not top.endswith(".dist-info")}
    if imported != {"packhorse"}:
        sys.exit(f"the wheel should bring one import name, packhorse; it brings {sorted(imported)}")
    if doubled := {name for name in names if names.count(name) > 1}:
        sys.exit(f"these are in the wheel more than once: {sorted(doubled)}")
    for needed in ("packhorse/py.typed", "packhorse/trace/packhorse.lua"):
        if needed not in names:
            sys.exit(f"{needed} is missing")
    packed = {name for name in names if name.endswith(".py")}
    if packed != modules(root):
        sys.exit(f"missing: {sorted(modules(root) - packed)}; not of this project: {sorted(packed - modules(root))}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
