"""The wheel: one for every CPython from 3.11 on, installed and run where there is no compiler."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    missing = [tool for tool in ("clang", "gcc", "patchelf") if not shutil.which(tool)]
    if missing or not (ROOT / "scripts/wheel.sh").exists():
        pytest.skip(f"not installed: {', '.join(missing)}")
    tree = tmp_path_factory.mktemp("tree") / "callout"
    listed = subprocess.run(
        ["git", "ls-files", "-coz", "--exclude-standard"], cwd=ROOT, capture_output=True, check=False
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    for name in listed.stdout.decode().split("\0"):
        if name and (ROOT / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tree / name)
    # meson-python packs what git knows, so the copy is a repository too
    for command in (["init", "-q"], ["add", "-A"]):
        subprocess.run(["git", *command], cwd=tree, check=True)
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    subprocess.run(["bash", "scripts/wheel.sh"], cwd=tree, check=True, env={**os.environ, "PATH": path})
    (made,) = (tree / "dist").glob("*.whl")
    return made


def test_name_and_content(wheel: Path) -> None:
    assert wheel.name.startswith("callout-")
    assert "-cp311-abi3-manylinux_" in wheel.name
    names = zipfile.ZipFile(wheel).namelist()
    assert "callout/observe.bpf.o" in names
    assert "callout/_native.abi3.so" in names
    assert any("libbpf" in name for name in names), "libbpf is not carried along"
    assert not [name for name in names if name.endswith((".c", ".h", "meson.build"))]


def test_installs_and_runs_without_a_compiler(wheel: Path, tmp_path: Path) -> None:
    place = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
    bin_ = place / "bin"
    alone = {
        "PATH": str(bin_),
        "HOME": str(tmp_path),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }  # no compiler, no tools
    for setting in ("PIP_INDEX_URL", "PIP_CONFIG_FILE", "SSL_CERT_FILE", "HTTPS_PROXY", "PIP_CERT"):
        if setting in os.environ:
            alone[setting] = os.environ[setting]
    subprocess.run(
        [bin_ / "python", "-m", "pip", "install", "-q", "--only-binary", ":all:", str(wheel)],
        check=True,
        env=alone,
    )
    told = subprocess.run(
        [bin_ / "callout", "explain", "--sockaddr", "02000050 7f000001 0000000000000000"],
        capture_output=True, text=True, check=True, env=alone,
    )  # fmt: skip
    assert told.stdout == '{sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr("127.0.0.1")}\n'
    code = "from callout._native import ffi, lib; print(ffi.string(lib.co_version()).decode(), lib.co_cpus())"
    version, cpus = subprocess.run(
        [bin_ / "python", "-c", code], capture_output=True, text=True, check=True, env=alone
    ).stdout.split()
    assert float(version) >= 0.5
    assert int(cpus) == os.sysconf("SC_NPROCESSORS_CONF") or int(cpus) > 0
