"""Imports go one way. All import statements count, also those inside functions; not those for types alone."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import callout

HOME = Path(callout.__file__).parent

# Each layer may import those below it and its own. A name stands for the module or package and all inside.
LAYERS = (
    ("faces", ("cli", "site", "library", "__init__", "__main__")),
    ("pipeline", ("pipeline", "enrichment", "laboratory", "probing")),
    ("parts", ("capture", "enrich", "sinks", "lab", "doctor", "host")),
    (
        "knowledge",
        (
            "verdict",
            "cause",
            "expression",
            "narrowing",
            "sockaddr",
            "summary",
            "pattern",
            "picked",
            "probes",
            "origin",
            "seccomp",
            "reference",
            "computed",
            "story",
            "ruleset",
            "dns",
            "tls",
        ),
    ),
    (
        "vocabulary",
        (
            "errors",
            "btf",
            "schema",
            "batch",
            "arrow_columns",
            "columnar",
            "rows",
            "octets",
            "footprint",
            "terminal",
            "_native",
        ),
    ),
)
RANK = {name: rank for rank, (_, names) in enumerate(LAYERS) for name in names}

# Packages of the middle layer do not know each other, apart from these.
KNOWN = {
    ("enrich", "capture"),  # where the cgroup hierarchies are mounted
    ("doctor", "capture"),  # it tries the very programs that capture loads
    ("doctor", "lab"),  # its self-test takes the lab's ways out
}

# Who may import what is heavy; everybody else gets it through them, or not at all.
ONLY = {
    "callout._native": {
        "batch",
        "capture.channels",
        "capture.constants",
        "capture.identity",
        "capture.kernel",
        "capture.kinds",
        "capture.loading",
        "doctor.memory",
        "doctor.programs",
    },
    "pyarrow": {"arrow_columns", "sinks.arrow", "sinks.parquet", "capture.files"},
    "polars": {"columnar"},
    "pyroute2": {"host.fastopen", "host.routes", "host.sockets"},
}


def name_of(path: Path) -> str:
    """`capture/kernel.py` is `capture.kernel`, `sinks/__init__.py` is `sinks`."""
    parts = path.relative_to(HOME).with_suffix("").parts
    return ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)


def is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def imports(node: ast.AST, package: str) -> Iterator[str]:
    """Full names of what is imported at or below a node; `from callout import x` counts as `callout.x`."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            parents = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join([*parents, *([base] if base else [])])
        yield from (f"{base}.{alias.name}" for alias in node.names)
    else:
        inner = node.orelse if is_for_types(node) and isinstance(node, ast.If) else ast.iter_child_nodes(node)
        for child in inner:
            yield from imports(child, package)


def package_of(path: Path) -> str:
    return ".".join(("callout", *path.relative_to(HOME).parent.parts))


def edges() -> Iterator[tuple[str, str]]:
    """(module, what it imports) for every module, `callout.` left out on the left."""
    for path in sorted(HOME.rglob("*.py")):
        for target in imports(ast.parse(path.read_text(encoding="utf-8")), package_of(path)):
            yield name_of(path), target


def top(name: str) -> str:
    return name.split(".")[0]


def within() -> Iterator[tuple[str, str]]:
    """(module, module) inside callout; a name that is no module is the package's own (`__version__`)."""
    for source, target in edges():
        if target.startswith("callout."):
            inner = target.removeprefix("callout.")
            yield source, inner if top(inner) in RANK else "__init__"


def test_the_statements_are_read() -> None:
    source = """
import os, numpy as np
from callout import pipeline
from callout.batch import Batch, Plain
from . import tree
from ..sinks.table import TableSink
if TYPE_CHECKING:
    import pyarrow
else:
    import json
def later():
    if True:
        from callout.capture.kernel import KernelSource
"""
    assert list(imports(ast.parse(source), "callout.expression")) == [
        "os",
        "numpy",
        "callout.pipeline",
        "callout.batch.Batch",
        "callout.batch.Plain",
        "callout.expression.tree",
        "callout.sinks.table.TableSink",
        "json",
        "callout.capture.kernel.KernelSource",
    ]
    found = set(within())
    assert ("cli.trace", "pipeline") in found
    assert ("cause", "verdict.verdict_of") in found


def test_every_module_has_its_layer() -> None:
    homeless = {top(name_of(path)) for path in HOME.rglob("*.py")} - set(RANK)
    assert homeless == set()


def test_imports_go_down() -> None:
    upward = [
        f"{source} ({LAYERS[RANK[top(source)]][0]}) imports {target} ({LAYERS[RANK[top(target)]][0]})"
        for source, target in within()
        if RANK[top(target)] < RANK[top(source)] and target != "__init__"
    ]
    assert upward == []


def test_parts_do_not_know_each_other() -> None:
    parts = dict(LAYERS)["parts"]
    pairs = {
        (top(source), top(target))
        for source, target in within()
        if top(source) in parts and top(target) in parts and top(source) != top(target)
    }
    assert pairs == KNOWN


def test_what_is_heavy_is_imported_in_few_places() -> None:
    found: dict[str, set[str]] = {name: set() for name in ONLY}
    for source, target in edges():
        for name in ONLY:
            if target == name or target.startswith(name + "."):
                found[name].add(source)
    assert found == ONLY
