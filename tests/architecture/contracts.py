"""The kinds of import contract that setup.cfg is written in; import-linter loads and runs them.

`room` is an allow-list: the modules of a room may import each other, the common ground, and what the room
names, nothing else. `home` keeps a third-party package to the rooms it is meant for. Both look at direct
imports, lazy ones and those for type annotations included, and accept rooms that have no modules. `circles`
forbids import circles, but lets a part name the type of the whole that it is given (`if TYPE_CHECKING`).
"""

from __future__ import annotations

import ast
import functools
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output
from importlinter.contracts.acyclic_siblings import AcyclicSiblingsContract


def within(module: str, rooms: Iterable[str]) -> bool:
    """True when `module` is one of `rooms` or lies below one."""
    return any(module == room or module.startswith(room + ".") for room in rooms)


class _ImportsContract(Contract):
    """A contract about single imports: `offences` yields (importer, imported) pairs that break it."""

    def offences(self, graph: ImportGraph) -> Iterator[tuple[str, str]]:
        raise NotImplementedError

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        found = [
            f"{importer}:{line} imports {imported}"
            for importer, imported in sorted(self.offences(graph))
            for line in _lines(graph, importer, imported)
        ]
        return ContractCheck(kept=not found, metadata={"found": found})

    def render_broken_contract(self, check: ContractCheck) -> None:
        for line in check.metadata["found"]:
            output.print_error(line)


def _is_internal(contract: Contract, module: str) -> bool:
    return within(module, contract.session_options["root_packages"])


def _lines(graph: ImportGraph, importer: str, imported: str) -> list[Any]:
    details = graph.get_import_details(importer=importer, imported=imported)
    return [detail["line_number"] for detail in details]


class RoomContract(_ImportsContract):
    """The modules of a room import only what the room may know."""

    type_name = "room"

    modules = fields.ListField(subfield=fields.StringField())
    may_import = fields.ListField(subfield=fields.StringField(), required=False)
    common = fields.BooleanField(required=False, default=True)
    stdlib_only = fields.BooleanField(required=False, default=False)

    def offences(self, graph: ImportGraph) -> Iterator[tuple[str, str]]:
        allowed = [*self.modules, *(self.may_import or [])]
        if self.common:
            allowed += self.session_options["common_modules"]
        neighbours = {name.rpartition(".")[2] for name in graph.modules if within(name, self.modules)}
        for importer in graph.modules:
            if not within(importer, self.modules):
                continue
            for imported in graph.find_modules_directly_imported_by(importer):
                if _is_internal(self, imported):
                    fine = imported == "platformd" or within(imported, allowed)
                else:
                    fine = not self.stdlib_only or imported in sys.stdlib_module_names | neighbours
                if not fine:
                    yield importer, imported


class HomeContract(_ImportsContract):
    """Some third-party packages are imported in some rooms only."""

    type_name = "home"

    packages = fields.ListField(subfield=fields.StringField())
    rooms = fields.ListField(subfield=fields.StringField())

    def offences(self, graph: ImportGraph) -> Iterator[tuple[str, str]]:
        for package in self.packages:
            if package not in graph.modules:
                continue
            for importer in graph.find_modules_that_directly_import(package):
                if not within(importer, self.rooms):
                    yield importer, package


class CirclesContract(AcyclicSiblingsContract):
    """No circles among siblings, imports for type annotations not counted."""

    type_name = "circles"

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        for importer in [name for name in graph.modules if _is_internal(self, name)]:
            for imported in graph.find_modules_directly_imported_by(importer):
                if set(_lines(graph, importer, imported)) <= _type_only_lines(importer):
                    graph.remove_import(importer=importer, imported=imported)
        return super().check(graph, verbose)


@functools.cache
def _type_only_lines(module: str) -> frozenset[int]:
    """The lines of `module`, found from the working directory, that only type checkers read."""
    base = Path(*module.split("."))
    source = base.with_suffix(".py") if base.with_suffix(".py").exists() else base / "__init__.py"
    if not source.exists():
        return frozenset()
    return frozenset(
        line
        for node in ast.walk(ast.parse(source.read_text()))
        if isinstance(node, ast.If)
        and getattr(node.test, "id", getattr(node.test, "attr", "")) == "TYPE_CHECKING"
        for statement in node.body
        for line in range(statement.lineno, (statement.end_lineno or 0) + 1)
    )
