"""Where the code is, for the tests that read it."""

from __future__ import annotations

import ast
import functools
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGES = ("platformd", "actors", "handlers")


def modules(*folders: str) -> list[Path]:
    """Every Python file below `folders` of the checkout, in a steady order."""
    return sorted(
        path
        for folder in folders
        for path in (ROOT / folder).rglob("*.py")
        if "__pycache__" not in path.parts
    )


def name_of(path: Path) -> str:
    """The file as it is named in messages."""
    return str(path.relative_to(ROOT))


@functools.cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def calls(path: Path) -> list[tuple[int, str]]:
    """Line and dotted name of every function named or called in a module, import aliases written out."""
    aliases: dict[str, str] = {}
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            for a in node.names:
                top = a.name.partition(".")[0]
                aliases[a.asname or top] = a.name if a.asname else top
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            aliases |= {(a.asname or a.name): f"{node.module}.{a.name}" for a in node.names}
    found = []
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Attribute | ast.Name):
            dotted = _dotted(node)
            head, _, rest = dotted.partition(".")
            if head in aliases:
                found.append((node.lineno, aliases[head] + ("." + rest if rest else "")))
    return found


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        base = _dotted(node.value)
        return f"{base}.{node.attr}" if base else ""
    return ""
