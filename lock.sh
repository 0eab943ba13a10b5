#!/usr/bin/env bash
# Writes the lock files from pyproject.toml: requirements.lock (what runs), requirements-dev.lock
# (that and what tests need), requirements-oracle.lock (the sdist with Docker Compose's binary).
#
# Compiled with the oldest Python we support, so that what only that one needs is in; every
# hash of every file of a version is listed, so the newer Pythons and other processors find
# their wheels in the same lock. No index is named: whoever installs uses his own.
# Arguments go to pip-compile: `./lock.sh --upgrade`, `./lock.sh --upgrade-package sanic`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

python=.venv/bin/python
[ -x "$python" ] || { echo "lock.sh: no .venv here, run ./test.sh first" >&2; exit 1; }
[ -x .venv/bin/pip-compile ] || "$python" -m pip install --quiet pip-tools

# `read_list TABLE KEY`: a list of requirements in pyproject.toml, one a line.
read_list() {
    "$python" -c 'import sys, tomllib
with open("pyproject.toml", "rb") as file:
    print(*tomllib.load(file)[sys.argv[1]][sys.argv[2]], sep="\n")' "$1" "$2"
}

export CUSTOM_COMPILE_COMMAND=./lock.sh
compile() {
    .venv/bin/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras --annotation-style=line \
        --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --no-emit-options "$@"
}

# The larger set first, so that what runs is what was tested: a test tool may hold a version back.
{ read_list build-system requires; read_list dependency-groups dev; } |
    compile "$@" --output-file=requirements-dev.lock pyproject.toml -
read_list build-system requires |
    compile "$@" --constraint=requirements-dev.lock --output-file=requirements.lock pyproject.toml -
read_list dependency-groups oracle | compile "$@" --output-file=requirements-oracle.lock -

grep -c '==' requirements.lock requirements-dev.lock requirements-oracle.lock | sed 's/:/: /; s/$/ packages/'
