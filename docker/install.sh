#!/usr/bin/env bash
# Install vae_zoo into the virtual environment $VIRTUAL_ENV (.venv), as the Dockerfile and a rented machine do:
#   docker/install.sh [STEP ...]
# The steps, in this order and all of them by default:
#   system       Python 3.11 or newer with its venv, by apt-get, where the system has none; nothing else needs root
#   environment  the virtual environment, which sees the packages of the system, such as the PyTorch of an image
#   torch        PyTorch, from the index $TORCH_INDEX if that is given
#   package      vae_zoo from this folder, with the extras $EXTRAS (explore,onnx)
#   check        that the command answers, and what PyTorch computes on
set -euo pipefail
cd "$(dirname "$0")/.."
export VIRTUAL_ENV=${VIRTUAL_ENV:-$PWD/.venv}
PYTHON=${PYTHON:-python3}
EXTRAS=${EXTRAS-explore,onnx}
PIP=("$VIRTUAL_ENV/bin/python" -m pip install --no-cache-dir --disable-pip-version-check)

system() {
  if "$PYTHON" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))'; then
    return
  fi
  apt-get update
  apt-get install --yes --no-install-recommends python3 python3-venv
  rm -rf /var/lib/apt/lists/*
  "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11) and "vae_zoo needs Python 3.11 or newer; take a newer base")'
}

environment() {
  "$PYTHON" -m venv --system-site-packages "$VIRTUAL_ENV"
}

torch() {
  # What is there already stays: an image of PyTorch has it for its own CUDA. The same bounds as in pyproject.toml.
  "${PIP[@]}" ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} 'torch>=2.11,<3' 'torchvision>=0.26,<1'
}

package() {
  "${PIP[@]}" ".${EXTRAS:+[$EXTRAS]}"
}

check() {
  "$VIRTUAL_ENV/bin/vae-zoo" --version
  "$VIRTUAL_ENV/bin/python" -c 'import torch; print(torch.__version__, "CUDA" if torch.cuda.is_available() else "CPU")'
}

[ $# -gt 0 ] || set -- system environment torch package check
for step in "$@"; do
  case $step in
    system | environment | torch | package | check) "$step" ;;
    *) echo "docker/install.sh: there is no step $step; there are system, environment, torch, package, check" >&2 && exit 2 ;;
  esac
done
