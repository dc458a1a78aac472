#!/usr/bin/env python3
"""Run a command inside an emulated Debian kernel: which there are, where they come from, how one boots.

    python tests/matrix/kernels.py list                     the series, and the release of each that is here
    python tests/matrix/kernels.py prepare [SERIES...]      download and unpack (all of them by default)
    python tests/matrix/kernels.py run 6.1 -- CMD [ARG...]  boot that kernel (prepared if need be), run CMD

The rule: the guest is this machine with another kernel. It sees the host's root file system through 9p, so
the same Python, tools and checkout are there; what it writes reaches the host only below a `--rw` directory.
CMD starts in the current directory, as root, with the host's PATH; loopback is up and is the only network;
cgroup2, tracefs, debugfs, securityfs and bpffs are mounted where a distribution mounts them. Output comes
back as it is written, standard output and error apart; the kernel's own log goes to `--console FILE`.

Exit status: CMD's own; else, as timeout(1) and env(1) have it, 124 when the time is up and 125 when this tool
failed (no such kernel, it did not boot, it crashed: see the end of its log); 130 on Ctrl-C, 143 on SIGTERM.

Guide to tests in it:
- A test is an ordinary pytest run: `run 6.12 -- python -m pytest -p no:cacheprovider tests/kernel`. All is
  emulated and many times slower than native, and a boot costs 10 to 30 s: one boot per kernel, many tests.
- The Python that runs this, with its packages, and the shared libraries of the host are seen through a cache,
  read-only: what changes there meanwhile may not be noticed.
- Results to keep go below `--rw DIR`. /tmp, /etc, /home, /usr, /opt, /srv and /var can be written but vanish
  with the guest; the rest (/root, a checkout elsewhere) is read-only.
- BPF LSM programs always attach but are called only if `bpf` is among the kernel's LSMs, as it is by default
  from Debian 12 on (see /sys/kernel/security/lsm). To be certain: `--append lsm=landlock,lockdown,yama,bpf`;
  to see callout without it, leave `bpf` out. Other kernel parameters go in the same way.
- AF_VSOCK: `modprobe vsock_loopback` in the guest, then connect to CID 1.

Kernels come from the Debian archive that this machine's apt knows, else from CALLOUT_DEBIAN_MIRROR ("MAIN" or
"MAIN SECURITY", two base addresses), through a private apt configuration: the host's own stays as it is, only
missing HOST_TOOLS are installed (as root). They are kept in CALLOUT_KERNELS or ~/.cache/callout/kernels, one
directory per release, there whole or not at all; delete one to have the newest of its series fetched again.
5.15 cannot be had this way: no suite of the archive carries it.
"""

from __future__ import annotations

import argparse
import contextlib
import lzma
import os
import pty
import re
import select
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

SERIES: Mapping[str, tuple[str, ...]] = {
    "5.10": ("bullseye", "bullseye-security"),
    "6.1": ("bookworm", "bookworm-security"),
    "6.12": ("trixie", "trixie-security", "bookworm-backports"),
    "6.18": ("trixie-backports",),
    "7.3": ("trixie-backports",),
}
"""Kernel series → the Debian suites that carry it (the newest release among them is taken)."""

HOST_TOOLS: Mapping[str, str] = {
    "qemu-system-x86_64": "qemu-system-x86",
    "depmod": "kmod",
    "busybox": "busybox-static",
    "dpkg-deb": "dpkg",
}
"""Command needed on the host → the Debian or Ubuntu package that has it."""

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
TIMED_OUT, TOOL_FAILED = 124, 125

GUEST_SCRIPT = """\
#!/bin/sh
# Make this guest look like a booted host, then run the command; the host reads out, err and status.
exec </dev/null >{run}/out 2>{run}/err
need() {{ grep -q " $2 $1 " /proc/mounts || mount -t "$1" "$1" "$2" || echo "matrix: no $1 at $2" >&2; }}
need cgroup2 /sys/fs/cgroup
need bpf /sys/fs/bpf
need debugfs /sys/kernel/debug
need tracefs /sys/kernel/tracing
need securityfs /sys/kernel/security
# without a cache every start of a Python would fetch all its pages from the host, one by one
mkdir /run/matrix
mount -t 9p -o ro,trans=virtio,version=9p2000.L,cache=loose,msize=512000 matrix /run/matrix
for path in {cached}; do mount --bind "/run/matrix$path" "$path"; done
busybox ip link set lo up
export PATH={path}
(cd {cwd} && exec {command})
echo $? >{run}/status.new
mv {run}/status.new {run}/status
"""


class KernelError(Exception):
    """This tool could not do its part; the text says what is missing and what to do."""


@dataclass(frozen=True)
class Kernel:
    """An unpacked kernel: `release` as `uname -r` prints it, `root` holding boot/ and lib/modules/."""

    release: str
    root: Path


def say(text: str) -> None:
    """Tell the user on standard error what is being done."""
    print(f"matrix: {text}", file=sys.stderr, flush=True)


def newest(series: str, names: Iterable[str]) -> str | None:
    """The newest release of `series` among package or release names, or None.

    Only full images count: `linux-image-6.1.0-56-amd64`, not `-cloud-amd64` (which lacks 9p), `-rt-amd64`,
    `-dbg` or the empty `linux-image-6.12-amd64`. Numbers compare as numbers: 6.1.0-9 is older than 6.1.0-56.
    """
    wanted = re.compile(rf"(?:linux-image-)?({re.escape(series)}\.\d[\w.+~]*(?:-\d[\w.+~]*)?-amd64)")
    releases = [match[1] for name in names if (match := wanted.fullmatch(name))]
    return max(releases, key=lambda release: [int(n) for n in re.findall(r"\d+", release)], default=None)


def sources(suites: Iterable[str], targets: str, override: str = "") -> str:
    """The text of a private sources.list for `suites`; one whose archive is not known is left out.

    Debian's main and security archives are taken from `override` (see CALLOUT_DEBIAN_MIRROR above), else from
    the first line `origin|address|suite` of each in `targets` (apt-get indextargets) whose origin is Debian.
    """
    rows = [line.split("|") for line in targets.splitlines()]
    debian = [(place, suite) for origin, place, suite in reversed(rows) if origin == "Debian"]
    known = {suite.endswith("-security"): place for place, suite in debian}
    if override:
        known = dict(zip((False, True), override.split(), strict=False))
    places = [(known.get(suite.endswith("-security")), suite) for suite in suites]
    return "".join(f"deb [signed-by={KEYRING}] {place} {suite} main\n" for place, suite in places if place)


def cache() -> Path:
    """Where kernels are kept. Not below /run, /dev, /proc or /sys, which the guest replaces."""
    return Path(os.environ.get("CALLOUT_KERNELS") or Path.home() / ".cache/callout/kernels").resolve()


def prepared(series: str) -> Kernel | None:
    """The newest kernel of `series` in the cache, or None."""
    release = newest(series, os.listdir(cache()) if cache().is_dir() else ())
    return Kernel(release, cache() / release) if release else None


def call(*command: str | Path, cwd: Path | None = None) -> str:
    """Run a command and return its standard output; KernelError, with its complaint, if it fails."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        raise KernelError(f"{shlex.join(map(str, command))}: status {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def need_tools() -> None:
    """Install what is missing of HOST_TOOLS and Debian's keyring; KernelError if that takes root."""
    missing = [package for tool, package in HOST_TOOLS.items() if not shutil.which(tool)]
    missing += [] if KEYRING.exists() else ["debian-archive-keyring"]
    if missing:
        install = ["apt-get", "install", "--yes", "--no-install-recommends", *missing]
        if os.geteuid():
            raise KernelError(f"this machine lacks something; as root: {shlex.join(install)}")
        say(f"installing {' '.join(missing)}")
        call("apt-get", "update")
        call(*install)


def fetch(series: str) -> Kernel:
    """Download the newest kernel of `series` into the cache; KernelError if it cannot be had."""
    columns = "$(ORIGIN)|$(REPO_URI)|$(RELEASE)"
    known = call("apt-get", "indextargets", "--format", columns, "Created-By: Packages")
    listed = sources(SERIES[series], known, os.environ.get("CALLOUT_DEBIAN_MIRROR", ""))
    if not listed:
        raise KernelError(f"{series}: no Debian archive: run apt-get update or set CALLOUT_DEBIAN_MIRROR")
    cache().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=cache()) as name:
        work, root = Path(name), Path(name) / "root"
        for folder in ("state/lists/partial", "cache/archives/partial", "root"):
            (work / folder).mkdir(parents=True)
        (work / "sources.list").write_text(listed)
        apt = {
            "APT::Architecture": "amd64",
            "APT::Sandbox::User": "root",  # the _apt user cannot write to this directory
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled": "false",
            "Acquire::Languages": "none",
            "Dir::Cache": work / "cache",
            "Dir::Etc::sourcelist": work / "sources.list",
            "Dir::Etc::sourceparts": "-",
            "Dir::State": work / "state",
            "Dir::State::status": "/dev/null",
        }
        options = [f"-o{key}={value}" for key, value in apt.items()]
        say(f"{series}: looking in {', '.join(SERIES[series])}")
        try:
            call("apt-get", *options, "update")
        except KernelError as error:  # one absent suite fails the command; the others are read all the same
            say(str(error).partition(": status ")[2])
        names = call("apt-cache", *options, "pkgnames", "linux-").split()
        release = newest(series, names)
        if release is None:
            raise KernelError(f"{series}: no linux-image-{series}.*-amd64 in {', '.join(SERIES[series])}")
        say(f"{series}: downloading and unpacking linux-image-{release}")
        # From 7.0 on linux-image only depends on two packages that hold the parts.
        parts = {f"linux-{part}-{release}" for part in ("image", "binary", "modules")}
        call("apt-get", *options, "download", *sorted(parts.intersection(names)), cwd=work)
        for package in work.glob("*.deb"):
            call("dpkg-deb", "-x", package, root)
        if not (root / "lib").exists():  # below usr/lib from Debian 13 on; depmod and virtme look in lib
            (root / "lib").symlink_to("usr/lib")
        if not (root / "boot").exists():  # from 7.0 on the image lies beside the modules
            (root / "boot").mkdir()
            (root / f"lib/modules/{release}/vmlinuz").rename(root / f"boot/vmlinuz-{release}")
        for packed in (root / "lib/modules").rglob("*.ko.xz"):  # virtme's initramfs wants plain modules
            with lzma.open(packed) as source, packed.with_suffix("").open("wb") as target:
                shutil.copyfileobj(source, target)
            packed.unlink()
        call("depmod", "-b", root, release)
        try:
            root.rename(cache() / release)
        except OSError:  # another process may have been quicker: then its directory is as good as ours
            if not (cache() / release).exists():
                raise
    return Kernel(release, cache() / release)


def python_paths() -> list[str]:
    """What every start of this Python reads: its binary, packages, standard and shared libraries."""
    library = f"{sysconfig.get_config_var('LIBDIR')}/{sysconfig.get_config_var('INSTSONAME')}"
    paths = {os.path.realpath(sys.executable), library, sys.prefix, sysconfig.get_path("stdlib")}
    paths.add("/usr/lib/x86_64-linux-gnu")
    return sorted(filter(os.path.exists, paths))


@contextlib.contextmanager
def under_terminal(command: Sequence[str], console: BinaryIO) -> Iterator[Callable[[float], int | None]]:
    """Run a command as leader of its own session, process group and terminal; kill that group on the way out.

    Yields a function that waits for output for at most the given seconds, copies it to `console`, and returns
    the command's exit status (or the signal that ended it), None while it runs. vng needs the terminal:
    without one it wants a virtio-serial port, which these kernels have only as a module.
    """
    pid, terminal = pty.fork()
    if pid == 0:
        try:
            os.execvp(command[0], list(command))
        finally:  # never return into the parent's code
            os._exit(127)

    def pump(seconds: float) -> int | None:
        if select.select([terminal], [], [], seconds)[0]:
            with contextlib.suppress(OSError):  # EIO: no process has the terminal open any more (pty(7))
                console.write(os.read(terminal, 65536))
        ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        return ended.si_status if ended else None

    try:
        yield pump
    finally:  # the leader is not reaped before this, so the number can mean no group but ours
        os.killpg(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(terminal)


def boot(kernel: Kernel, options: argparse.Namespace) -> int:
    """Boot `kernel`, run the command in it and return its exit status, or TIMED_OUT.

    `options` are those of `run`, see `parser`. Raises KernelError when the guest ends without a status: it
    did not boot, or crashed.
    """
    search = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # our venv need not be the active one
    if not shutil.which("vng", path=search):
        raise KernelError("vng is missing: pip install virtme-ng")
    with tempfile.TemporaryDirectory(prefix=".run-", dir=cache()) as name, contextlib.ExitStack() as stack:
        run, status = Path(name), Path(name) / "status"
        words = {"path": os.environ["PATH"], "cwd": os.getcwd(), "run": name}
        quoted = {key: shlex.quote(word) for key, word in words.items()}
        quoted |= {"cached": shlex.join(python_paths()), "command": shlex.join(options.command)}
        (run / "guest").write_text(GUEST_SCRIPT.format(**quoted))
        log = stack.enter_context((options.console or run / "console").open("w+b", buffering=0))
        out, err = (stack.enter_context((run / name).open("w+b")) for name in ("out", "err"))

        def relay() -> None:
            for source, target in ((out, sys.stdout.buffer), (err, sys.stderr.buffer)):
                target.write(source.read())
                target.flush()

        vng = ["env", f"PATH={search}", "vng", "-r", str(kernel.root / f"boot/vmlinuz-{kernel.release}")]
        vng += ["--disable-kvm", "--force-9p", "--cpus", options.cpus, "--memory", options.memory, "-v"]
        vng += ["--qemu-opts=-virtfs local,path=/,mount_tag=matrix,security_model=none,readonly=on"]
        vng += ["--user", "root", *(f"--rwdir={path.resolve()}" for path in (run, *options.rw))]
        vng += [*(f"--append={parameter}" for parameter in options.append), "--", "sh", str(run / "guest")]
        deadline = time.monotonic() + options.timeout
        pump = stack.enter_context(under_terminal(vng, log))
        ended = None
        while not status.exists() and ended is None and time.monotonic() < deadline:
            ended = pump(0.2)
            relay()
        done = status.exists()
        relay()  # after looking: the command wrote all its output before its status
        if done:
            return int(status.read_text())
        log.seek(0)
        tail = "\n".join(log.read().decode(errors="replace").split("\n")[-40:])
        if ended is None:
            say(f"{kernel.release}: not done after {options.timeout:g} s; the end of its log:\n{tail}")
            return TIMED_OUT
        raise KernelError(f"{kernel.release}: ended ({ended}) without a status; the end of its log:\n{tail}")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="kernels.py", description="Run a command in a Debian kernel.")
    verbs = top.add_subparsers(dest="verb", required=True)
    verbs.add_parser("list", help="the series, and the release of each that is here")
    prepare = verbs.add_parser("prepare", help="download and unpack")
    prepare.add_argument("series", nargs="*", metavar="SERIES", help=f"of {', '.join(SERIES)} (default: all)")
    run = verbs.add_parser("run", help="boot a kernel (prepared if need be) and run a command in it")
    run.add_argument("series", choices=SERIES)
    run.add_argument("--timeout", type=float, default=600, metavar="S", help="for boot and command [600]")
    run.add_argument("--append", action="append", default=[], metavar="PARAM", help="a kernel parameter")
    run.add_argument("--rw", action="append", default=[], type=Path, metavar="DIR", help="writable for CMD")
    run.add_argument("--console", type=Path, metavar="FILE", help="keep the kernel's log")
    run.add_argument("--cpus", default="2", help="[2]")
    run.add_argument("--memory", default="1G", help="[1G]")
    run.add_argument("command", nargs="+", metavar="CMD", help="after --")
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line asks; returns the exit status."""
    options = parser().parse_args(arguments)
    if options.verb == "list":
        for series, suites in SERIES.items():
            kernel = prepared(series)
            print(f"{series:<5} {kernel.release if kernel else '-':<25} {' '.join(suites)}")
        return 0
    status = 0
    try:
        need_tools()
        if options.verb == "run":
            return boot(prepared(options.series) or fetch(options.series), options)
        for series in options.series or SERIES:
            if series not in SERIES:
                raise KernelError(f"{series}: cannot be had; there are {', '.join(SERIES)}")
            try:
                say(f"{series}: ready in {(prepared(series) or fetch(series)).root}")
            except KernelError as error:  # the other series may well be there
                status = TOOL_FAILED
                say(str(error))
    except KernelError as error:
        say(str(error))
        return TOOL_FAILED
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return status


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that the guest ends too
    sys.exit(main())
