"""Every connection attempt on this host, live, one row per attempt with its final verdict.

Runs until Ctrl-C, --for or --count. With --from it reads back what -w wrote.
"""

from __future__ import annotations

import argparse
import signal
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING

from callout.cli import options, output, places
from callout.cli.streams import say
from callout.errors import UsageError

if TYPE_CHECKING:
    from callout.capture.files import FileSource
    from callout.capture.kernel import KernelSource
    from callout.enrichment import Enrichment
    from callout.pipeline import Stop

COLUMN = "connect.pattern"


def prepare(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    options.add_narrowings(parser)
    options.add_output(parser)
    parser.add_argument(
        "--from",
        dest="source",
        metavar="FILE",
        help="read attempts from a file (ndjson, arrow, parquet; - for standard input)",
    )
    parser.add_argument(
        "--tier",
        choices=("trampoline", "kprobe", "tracepoint"),
        help="use this tier of programs instead of the best that loads",
    )
    parser.add_argument(
        "--no-names",
        dest="names",
        action="store_false",
        help="without destination.domain: spares each packet of the host the look for DNS and TLS "
        "(bench/names.py measures it)",
    )
    parser.add_argument(
        "--sends",
        action="store_true",
        help="without trampolines, see sends to an address whole, too; slows down every send on a socket",
    )
    parser.add_argument(
        "--ia32",
        action="store_true",
        help="on the tracepoint tier, see 32-bit (i386, x32) connect(2) whole, too; slows down every system call",
    )
    parser.add_argument(
        "--geoip",
        action="append",
        metavar="FILE",
        help="country, city and network of destinations from this database in MaxMind's format (.mmdb); several may "
        "be given; needs the extra callout[geoip]",
    )
    parser.add_argument(
        "--demo",
        action="store_true",
        help="make a dozen attempts of our own in a private network namespace, and explain each row",
    )


def run(args: argparse.Namespace) -> int:
    """Traces until there is a reason to stop."""
    if args.source and (
        args.demo or args.tier or args.sends or args.ia32 or args.phases or args.hash or args.events
    ):
        raise UsageError(
            "--from reads a file: --demo, --tier, --sends, --ia32, --phases, --hash and -e are for live "
            "tracing"
        )
    from callout import pipeline
    from callout.narrowing import Wanted, compile_wanted
    from callout.summary import Summary

    stop = pipeline.Stop(count=args.count)
    summary = Summary()
    with ExitStack() as stack:
        source: pipeline.Source
        recorded: FileSource | None = None
        enrichment: Enrichment | None = None
        if args.source:
            from callout.capture.files import open_file

            source = recorded = stack.enter_context(open_file(args.source, stop.now))
        places.check_places(args, recorded)  # first: nobody may see an old ready file, however this ends
        wanted = options.narrowing(args)
        if not args.source:
            options.check_process(wanted.pids or ())
        compiled = compile_wanted(wanted, " ".join(args.filter), live=not args.source)
        if args.events:
            options.check_related(compiled.kernel)
        if not args.source:
            from callout.capture import privileges
            from callout.enrich import Options
            from callout.enrichment import Enrichment

            privileges.check()  # before the output is created
            asked = Options(args.hash, args.names, bool(args.events), geoip=tuple(args.geoip or ()))
            enrichment = stack.enter_context(Enrichment(asked))
            compiled = Wanted(*enrichment.narrowed(compiled.kernel, compiled.mask))
        elif args.geoip:
            from callout.enrich import Options
            from callout.enrichment import recorded_places

            enrichment = stack.enter_context(recorded_places(Options(geoip=tuple(args.geoip))))
        out = stack.enter_context(output.open_output(args, explain=args.demo))
        stop.on_signals()  # not before: what was opened may have been a pipe without another end
        if not args.source:
            from callout.capture.kernel import KernelSource

            assert enrichment is not None
            live = KernelSource(
                compiled.kernel,
                args.tier,
                urgent=True,
                related=bool(args.events),
                listeners=enrichment.listeners,
                hidden=enrichment.threads,
                also=also(args),
            )
            source = stack.enter_context(live)
            enrichment.begin(live)
            tell_memory(stop, live, enrichment)
        begin = demonstration(stack, stop) if args.demo else None
        if args.ready_file:
            places.create(args.ready_file)
        if begin:
            begin()
        if args.seconds:
            stop.after(args.seconds)
        try:
            pipeline.run(source, out, summary, stop, compiled.mask, shows_habits(args, out), enrichment)
            out.close(summary)
        finally:
            if recorded is not None and recorded.truncated:
                say(f"callout: {recorded.truncated}")
            for problem in enrichment.problems() if enrichment else ():
                say(f"callout: {problem}")
            if out.complete or out.failed:
                output.tell(summary, args, out)
    return 0


def tell_memory(stop: Stop, live: KernelSource, enrichment: Enrichment) -> None:
    """SIGUSR1 asks what is kept in memory; standard error tells, as that of dd(1) does."""

    def tell() -> None:
        from callout.cli import footprint
        from callout.doctor import memory

        say(memory.screen(footprint.of(live, enrichment)).rstrip())

    stop.when_asked(signal.SIGUSR1, tell)


def also(args: argparse.Namespace) -> list[str]:
    """The names of ``capture.tiers.OPTIONS`` that were asked for."""
    return [name for name in ("sends", "ia32") if getattr(args, name)]


def shows_habits(args: argparse.Namespace, out: output.Output) -> bool:
    """Whether client habits are written too: for programs always, for people where they asked for such rows."""
    asked = args.all or args.demo or args.phases or args.events or COLUMN in " ".join(args.filter)
    return bool(asked) or out.name != "table"


def demonstration(stack: ExitStack, stop: Stop) -> Callable[[], None]:
    """Sets up the laboratory; what it returns begins the attempts. The trace ends when they are over."""
    from callout.cli.demo import Demo

    demo = stack.enter_context(Demo())
    stop.when(demo.over)
    return demo.begin
