"""Every connection attempt on this host, live, one row per attempt with its final verdict.

Runs until Ctrl-C, --for or --count. With --from it reads back what -w wrote.
"""

from __future__ import annotations

import argparse
from contextlib import ExitStack

from callout.cli import options, output
from callout.errors import UsageError


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
        "--demo",
        action="store_true",
        help="make a dozen attempts of our own in a private network namespace, and explain each row",
    )


def run(args: argparse.Namespace) -> int:
    """Traces until there is a reason to stop."""
    wanted = options.narrowing(args)
    text = " ".join(args.filter)
    if args.source and (args.demo or args.tier or args.cgroup or args.phases):
        raise UsageError("--from reads a file: --demo, --tier, --cgroup and --phases are for live tracing")
    if not args.source:
        options.check_process(wanted.pids or ())
    from callout import pipeline
    from callout.narrowing import compile_wanted
    from callout.summary import Summary

    compiled = compile_wanted(wanted, text, live=not args.source)
    with ExitStack() as stack:
        source: pipeline.Source
        if args.source:
            from callout.capture.files import open_file

            source = stack.enter_context(open_file(args.source))
        else:
            from callout.capture import privileges

            privileges.check()  # before the output is created
        sink = output.open_output(args, explain=args.demo)
        stop = pipeline.Stop(count=args.count)
        stop.on_signals()
        summary = Summary()
        try:
            if not args.source:
                from callout.capture.kernel import KernelSource

                source = stack.enter_context(KernelSource(compiled.kernel, args.tier))
            if args.demo:
                from callout.cli.demo import Demo

                demo = stack.enter_context(Demo())
                stop.when(demo.over)
                demo.begin()
            if args.ready_file:
                output.create(args.ready_file)
            if args.seconds:
                stop.after(args.seconds)
            pipeline.run(source, sink, summary, stop, compiled.mask)
        finally:
            sink.close(summary)
    output.tell(summary, args, sink_told(sink))
    return 0


def sink_told(sink: object) -> bool:
    """Whether the sink has shown the totals itself."""
    return bool(getattr(sink, "shows_totals", False))
