#!/usr/bin/env python3
"""Writes the parts of docs/ that come from code: fields, verdicts, causes, ways out, command line, filters.

    python scripts/docs.py            write (`make docs`)
    python scripts/docs.py --check    write nothing; 1 if something would change

Rule of this file: prose stands in the pages, facts stand in the code. A generated part lies between
`<!-- generated: NAME -->` and `<!-- end -->`, and is replaced whole. Nothing depends on the Python version or
the machine, so two runs give the same bytes.
"""

from __future__ import annotations

import argparse
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from callout import cause, cli, errors, lab, origin, schema, verdict
from callout.btf import Btf
from callout.capture.columns import Decoder
from callout.capture.loading import read_object
from callout.capture.tiers import OPTIONS, SOCKET_PROGRAMS, TIERS, Tier
from callout.cli import lab_data
from callout.doctor.paths import PATHS
from callout.doctor.paths import Path as Way
from callout.enrich import Options
from callout.enrichment import Enrichment
from callout.expression import check
from callout.expression.aliases import COMPUTED, ENDS, falco_names
from callout.expression.parse import TRANSFORMERS
from callout.lab import coverage, families
from callout.narrowing import ROOM, WORDS
from callout.pattern import Patterns
from callout.reference import tables

DOCS = Path(__file__).resolve().parent.parent / "docs"
PART = re.compile(r"(<!-- generated: ([a-z-]+) -->\n).*?(<!-- end -->\n)", re.DOTALL)

OPERATORS = {
    "=": "equal; also written `==`. For an address also: lies in that CIDR",
    "!=": "not equal",
    "<": "less",
    "<=": "less or equal",
    ">": "more",
    ">=": "more or equal",
    "in": "is one of the values in parentheses; for a list: all its items are",
    "intersects": "as `in`; for a list: any of its items is",
    "exists": "has a value; stands alone, after the field",
    "contains": "has this text inside",
    "icontains": "the same, upper or lower case",
    "startswith": "begins with this text",
    "endswith": "ends with this text",
    "glob": "matches a shell pattern as a whole; `*` also crosses `/`",
    "iglob": "the same, upper or lower case",
    "regex": "matches a regular expression as a whole (Python's `re`)",
    "pmatch": "begins with one of these paths, component by component",
    "bcontains": "has these bytes inside, written in hexadecimal",
    "bstartswith": "begins with these bytes, written in hexadecimal",
}
FUNCTIONS = {
    "tolower": "in lower case",
    "toupper": "in upper case",
    "b64": "decoded from base64",
    "basename": "the last component of a path",
    "len": "bytes of a text, items of a list",
    "join": "a separator, then the items that it goes between",
    "concat": "one after another",
}


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; bars inside cells are escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def code(words: Iterable[str]) -> str:
    """Words in code font, separated by commas."""
    return ", ".join(f"`{word}`" for word in words)


class Nobody:
    """A kernel side without processes."""

    def __init__(self, btf: Btf) -> None:
        self.btf = btf

    def look(self) -> None:
        """There are none."""


def filled() -> frozenset[str]:
    """The fields that a live trace has columns for: those of a batch that the decoder makes of one record, and
    what enrichers, the pipeline and --verbose add.
    """
    btf = Btf.of_object(read_object())
    batch = Decoder(btf).batch(np.zeros(1, btf.layout("attempt").dtype))
    with Enrichment(Options(hash=True)) as enrichment:
        enrichment.begin(Nobody(btf))
        enrichment.add(batch)
    Patterns().mark(batch)
    batch.show()
    origin.add(batch)
    return frozenset(batch.names)


def fields() -> str:
    """Every field of the schema."""
    aliases: dict[str, list[str]] = {}
    for falco, own in sorted(falco_names().items()):
        if own and falco != own:
            aliases.setdefault(own, []).append(falco)
    live = filled()
    return table(
        ("field", "type", "unit", "meaning", "Falco's names for it", "live"),
        (
            (
                f"`{f.name}`",
                f.type,
                f.unit,
                f.doc,
                code(aliases.get(f.name, ())),
                ("with -v" if f.quiet else "yes") if f.name in live else "",
            )
            for f in schema.FIELDS.values()
        ),
    )


def verdicts() -> str:
    """Every verdict, with the outcome that it counts as."""

    def outcome(word: str) -> str:
        return "success" if word in verdict.SUCCESS else "unknown" if word == "pending" else "failure"

    rows = ((f"`{word}`", text, f"`{outcome(word)}`") for word, text in verdict.VERDICTS.items())
    return table(("verdict", "meaning", "`event.outcome`"), rows)


def causes() -> str:
    """Every cause, and the scenarios that make it happen; the kernel tests run and compare them all."""
    shown: dict[str, list[str]] = {}
    for scenario in lab.SCENARIOS:
        for token in dict.fromkeys(expected.cause for expected in scenario.expected):
            shown.setdefault(token or "", []).append(scenario.name)
    rows = ((f"`{word}`", text, code(shown.get(word, ()))) for word, text in cause.meanings().items())
    return table(("cause", "meaning", "scenarios that make it happen"), rows)


def habits() -> str:
    """Every client habit that is no failure."""
    rows = ((f"`{name}`", meaning, shape) for name, (meaning, shape) in tables.patterns().items())
    return table(("pattern", "meaning", "how it looks"), rows)


def ways() -> str:
    """The ways out of a process, and the tiers that see each."""

    def seen(path: Way, tier: Tier) -> str:
        always = {program.name for program in (*SOCKET_PROGRAMS, *tier.programs, *tier.evidence)}
        if always.intersection(path.seen_by):
            return "yes"
        for option in tier.options:
            if {program.name for program in option.programs}.intersection(path.seen_by):
                return f"`--{option.name}`"
        return "no"

    rows = ((f"`{way.name}`", way.what, *(seen(way, tier) for tier in TIERS)) for way in PATHS)
    return table(("way", "what it is", *(tier.name for tier in TIERS)), rows)


def programs() -> str:
    """What each BPF program gives, by tier."""
    rows = [(f"`{p.hook}`", p.gives, tier.name) for tier in TIERS for p in (*tier.programs, *tier.evidence)]
    rows += [(f"`{p.hook}`", p.gives, "all") for p in SOCKET_PROGRAMS]
    for option in OPTIONS.values():
        tiers = ", ".join(tier.name for tier in TIERS if option in tier.options)
        rows += [(f"`{p.hook}`", p.gives, f"{tiers}, with `--{option.name}`") for p in option.programs]
    return table(("attached to", "gives", "tier"), rows)


def options(group: argparse._ArgumentGroup) -> Iterator[tuple[str, str]]:
    """Options of one group: how each is written, and its help."""
    for action in group._group_actions:
        if isinstance(action, argparse._HelpAction):
            continue
        choices = ", ".join(map(str, action.choices or ()))
        value = action.metavar or ("{" + choices.replace(", ", ",") + "}" if choices else action.dest.upper())
        takes = "" if action.nargs == 0 else f" {value}"
        written = ", ".join(action.option_strings) + takes if action.option_strings else str(value)
        yield f"`{written}`", (action.help or "") % {**vars(action), "choices": choices}


def prose(text: str) -> str:
    """A docstring's paragraphs as Markdown: lines joined, indented ones as code."""
    paragraphs = re.split(r"\n\s*\n", inspect.cleandoc(text))
    return "\n\n".join(p if p.startswith("    ") else " ".join(p.split()) for p in paragraphs)


def verbs() -> str:
    """Help of every verb, from the parser itself; argparse's own layout differs between Python versions."""
    top = cli.parser()
    (commands,) = (a for a in top._actions if isinstance(a, argparse._SubParsersAction))
    parts = []
    for name, parser in commands.choices.items():
        places = [
            f"[{a.metavar or a.dest}{' ...' * (a.nargs == '*')}]"
            for a in parser._actions
            if not a.option_strings
        ]
        usage = " ".join(["callout", name, "[OPTIONS]", *places])
        parts.append(f"## {name}\n\n```\n{usage}\n```\n\n{prose(parser.description or '')}\n")
        for group in parser._action_groups:
            rows = list(options(group))
            if rows:
                own = group.title in ("options", "positional arguments")
                head = ("argument" if group.title == "positional arguments" else "option", "meaning")
                parts.append(("" if own else f"{(group.title or '').capitalize()}:\n\n") + table(head, rows))
    return "\n".join(parts)


def statuses() -> str:
    """Exit status of each kind of error."""
    kinds = (errors.UsageError, errors.NotPermittedError, errors.InputError)
    rows = [("0", "done")]
    for kind in kinds:
        text = re.sub(r"\s*Exit status \d+\.", "", prose(kind.__doc__ or "")).rstrip(".")
        rows.append((str(kind.exit_status), text[0].lower() + text[1:]))
    rows.append(("130", "interrupted by Ctrl-C; a trace ends in good order instead, with 0"))
    return table(("status", "when"), rows)


def operators() -> str:
    """Every operator and the types that it applies to."""
    known = set().union(*check.ALLOWED.values())
    if known != set(OPERATORS):
        raise SystemExit(f"docs: operators to describe or to drop: {sorted(known ^ set(OPERATORS))}")
    allowed = {type_: operators for type_, operators in check.ALLOWED.items() if type_ != "dynamic"}
    rows = []
    for operator, meaning in OPERATORS.items():
        types = [type_ for type_ in allowed if operator in allowed[type_]]
        rows.append((f"`{operator}`", meaning, "all" if len(types) == len(allowed) else ", ".join(types)))
    return table(("operator", "the field …", "types"), rows)


def functions() -> str:
    """Every transformer with what it takes and gives."""
    if set(TRANSFORMERS) != set(FUNCTIONS):
        raise SystemExit(
            f"docs: functions to describe or to drop: {sorted(set(TRANSFORMERS) ^ set(FUNCTIONS))}"
        )
    rows = []
    for name, (wanted, repeats, result) in TRANSFORMERS.items():
        takes = ", ".join(" or ".join(sorted(types)) for types in wanted) + (", …" if repeats else "")
        rows.append((f"`{name}({takes})`", FUNCTIONS[name], result))
    return table(("function", "gives", "type"), rows)


def computed() -> str:
    """Falco's fields that are worked out from others; the plain aliases stand in fields.md."""
    rows = [
        (f"`{name}{'[n]' * field.indexed}`", field.type, code(field.columns) or "nothing: it is constant")
        for name, field in COMPUTED.items()
    ]
    rows += [(f"`{name}`", type_, f"either of {code(columns)}") for name, (type_, columns) in ENDS.items()]
    return table(("Falco's name", "type", "worked out from"), rows)


def room() -> str:
    """How many values the kernel side takes."""
    return table(("narrowing", "values at most"), ((WORDS[name], str(size)) for name, size in ROOM.items()))


def scenarios() -> str:
    """Every scenario by topic, with what it claims."""
    parts = []
    for topic, title in lab.TOPICS.items():
        rows = []
        for scenario in lab.SCENARIOS:
            if scenario.family != topic:
                continue
            row = lab_data.row(scenario)
            ends = [f"`{word}`" for word in (*row["verdict"], *row["errno"], *row["cause"])]
            way = ", ".join((*row["family"], *(f"`{entry}`" for entry in row["entry"] if entry != "connect")))
            rows.append((f"`{scenario.name}`", way, row["sentence"].replace("|", "\\|"), ", ".join(ends)))
        parts.append(f"### {title}\n\n{table(('scenario', 'family, way', 'what happens', 'claims'), rows)}")
    known = {scenario.family for scenario in lab.SCENARIOS}
    if known != set(lab.TOPICS):
        raise SystemExit(f"docs: topics to describe or to drop: {sorted(known ^ set(lab.TOPICS))}")
    return "\n".join(parts)


def unshown() -> str:
    """What has no scenario, and why."""
    reasons = {
        **coverage.ERRORS,
        **coverage.VERDICTS,
        **coverage.CAUSES,
        **families.WITHOUT,
    }
    return table(("without a scenario", "because"), ((f"`{name}`", why) for name, why in reasons.items()))


PARTS: dict[str, Callable[[], str]] = {
    part.__name__: part
    for part in (
        fields,
        verdicts,
        causes,
        habits,
        ways,
        programs,
        verbs,
        statuses,
        operators,
        functions,
        computed,
        room,
        scenarios,
        unshown,
    )
}


def pages() -> dict[Path, str]:
    """Every page that has generated parts, as it should be."""
    found = {}
    for path in sorted(DOCS.glob("*.md")):
        text = path.read_text(encoding="utf-8")
        new = PART.sub(lambda m: f"{m[1]}\n{PARTS[m[2]]()}\n{m[3]}", text)
        if new != text or PART.search(text):
            found[path] = new
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Writes what differs, or says so."""
    parser = argparse.ArgumentParser(description="Generate the parts of docs/ that come from code.")
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit 1 if something would change"
    )
    args = parser.parse_args(argv)
    changed = [(path, text) for path, text in pages().items() if path.read_text(encoding="utf-8") != text]
    for path, text in changed:
        print(f"docs/{path.name}: {'differs' if args.check else 'written'}")
        if not args.check:
            path.write_text(text, encoding="utf-8")
    return 1 if changed and args.check else 0


if __name__ == "__main__":
    sys.exit(main())
