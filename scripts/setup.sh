#!/usr/bin/env bash
# Installs the Debian or Ubuntu packages that building (and with --test, testing) needs; only those that are missing.
# --python prints the interpreter to use and installs nothing.
set -euo pipefail

say() { echo "setup: $*" >&2; }

# An interpreter from 3.11 on that can make virtual environments and compile extensions.
usable() {
	command -v "$1" >/dev/null && "$1" - <<-'PY' 2>/dev/null
		import sys, sysconfig, os, venv, ensurepip
		ok = sys.version_info >= (3, 11) and os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h"))
		sys.exit(not ok)
	PY
}

find_python() {
	local name
	for name in python3 python3.14 python3.13 python3.12 python3.11; do
		if usable "$name"; then command -v "$name"; return; fi
	done
	return 1
}

if [ "${1:-}" = --python ]; then
	find_python || { say "no Python from 3.11 on"; exit 1; }
	exit
fi

installable() { [[ $(apt-cache policy "$1" 2>/dev/null) =~ Candidate:\ [^\(] ]]; }

want=()
need() { # need COMMAND PACKAGE
	command -v "$1" >/dev/null || [ -x "/usr/sbin/$1" ] || want+=("$2")
}

need gcc gcc
need clang clang
need pkg-config pkg-config
need ip iproute2
need nft nftables
if ! command -v pkg-config >/dev/null || ! pkg-config --exists libbpf; then want+=(libbpf-dev); fi
[ -e /usr/include/gelf.h ] || want+=(libelf-dev)
[ -e /usr/include/zlib.h ] || want+=(zlib1g-dev)
if ! find_python >/dev/null; then
	if command -v python3 >/dev/null && python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
		want+=(python3 python3-venv python3-dev)
	elif [ -r /etc/os-release ] && grep -q 'VERSION_ID="22.04"' /etc/os-release; then
		want+=(python3.11 python3.11-venv python3.11-dev) # Ubuntu 22.04: python3 is 3.10
	else
		want+=(python3 python3-venv python3-dev)
	fi
fi
if [ "${1:-}" = --test ]; then
	need bpftool bpftool
	need strace strace
	need jq jq
	need setpriv util-linux
	need bpftrace bpftrace
	need qemu-system-x86_64 qemu-system-x86
	need busybox busybox-static
	need modprobe kmod
	need patchelf patchelf
	need dnsmasq dnsmasq-base
	need curl curl
	need tidy tidy
	need chromium chromium
	need chromedriver chromium-driver
	need dockerd docker.io
	need docker docker.io
	need podman podman
	need conmon conmon
	[ -e /usr/include/seccomp.h ] || want+=(libseccomp-dev)
	[ -e /usr/include/liburing.h ] || want+=(liburing-dev)
	need socat socat
	need ncat ncat
	need nc netcat-openbsd
	need nc.traditional netcat-traditional
fi

if [ ${#want[@]} -gt 0 ]; then
	if ! command -v apt-get >/dev/null; then
		say "missing: ${want[*]} (Debian's names); install them and run this again"
		exit 1
	fi
	sudo=
	if [ "$(id -u)" != 0 ]; then
		command -v sudo >/dev/null || { say "missing: ${want[*]}; install them as root, or install sudo"; exit 1; }
		sudo=sudo
	fi
	$sudo apt-get update -qq
	# Ubuntu's bpftool comes with linux-tools-common; its Chromium is no package. A test skips what it does not find.
	known=()
	for package in "${want[@]}"; do
		[ "$package" != bpftool ] || installable bpftool || package=linux-tools-common
		if installable "$package"; then known+=("$package"); else say "there is no package $package here"; fi
	done
	want=("${known[@]}")
fi
if [ ${#want[@]} -gt 0 ]; then
	say "installing ${want[*]}"
	$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${want[@]}" >/dev/null
fi
find_python >/dev/null || { say "no Python from 3.11 on after installing ${want[*]}"; exit 1; }
