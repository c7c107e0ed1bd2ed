#!/usr/bin/env bash
# The whole test suite, fastest first. `make test` calls it with the environment's programs on the path.
set -euo pipefail
cd "$(dirname "$0")/.."
step() { printf '\n== %s\n' "$*"; }

step lint
ruff check notebooks tests examples
ruff format --check --quiet notebooks tests examples || { echo "run: ruff format notebooks tests examples" >&2; exit 1; }

# Clean and export have to leave the files as they are. Compared in a copy, so that nothing here is touched.
step clean and export leave no diff
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
cp -r notebooks nbs_lib pyproject.toml settings.ini README.md "$copy"
(cd "$copy" && nbdev-clean && nbdev-export)
diff -r -x __pycache__ notebooks "$copy/notebooks" && diff -r -x __pycache__ nbs_lib "$copy/nbs_lib" \
  || { echo "notebooks and library disagree; run: nbdev-clean && nbdev-export" >&2; exit 1; }

step nbdev-test
nbdev-test notebooks --skip-file-re '^0[1-9]_(exploration|features|modeling|evaluation|deployment|monitoring)' --n-workers 2

step pytest
pytest -n auto --maxprocesses 4 --dist loadfile
