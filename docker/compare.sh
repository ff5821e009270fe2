#!/usr/bin/env bash
# The full comparison, on a machine with one GPU; what is there already goes on:  docker/compare.sh [OPTION ...]
# The options are those of vae-zoo compare. Twenty trainings share the card, whose steps are too small for it alone.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH=${VIRTUAL_ENV:-$PWD/.venv}/bin:$PATH
[ -d data/shapes ] || vae-zoo data shapes --out data/shapes
vae-zoo compare --config compare/full --jobs 20 --data.resident true "$@"
