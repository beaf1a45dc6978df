#!/usr/bin/env bash
# What a GPU is asked first (README.md beside this): bash benchmarks/gpu/plan.sh [PHASE ...]
# Results go to $OUT (runs/gpu by default). PYTHON=... uses an environment in which everything is installed already;
# otherwise the machine's python3 gets the wheels that carry.sh has put into build/gpu-wheels.
set -euo pipefail
cd "$(dirname "$0")/../.."
export OUT=${OUT:-runs/gpu}
mkdir -p "$OUT"
site=""
if [ -z "${PYTHON:-}" ]; then
  PYTHON=python3
  site=$(mktemp -d)
  "$PYTHON" -m pip install --quiet --no-index --no-deps --no-compile --no-cache-dir --target "$site" build/gpu-wheels/*.whl
fi
export PYTHONPATH="${site:+$site:}$PWD/src:$PWD" PYTHONUNBUFFERED=1 TOKENIZERS_PARALLELISM=false
export HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1 HF_DATASETS_OFFLINE=1
export PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True
exec "$PYTHON" -m benchmarks.gpu.plan "$@"
