#!/usr/bin/env bash
# Wheels of constraints.txt for a machine that has a torch and no way out: bash benchmarks/gpu/carry.sh
# They go to build/gpu-wheels, which git ignores; PYTHON_VERSION is that machine's, 3.12 by default.
set -euo pipefail
cd "$(dirname "$0")/../.."
to=build/gpu-wheels
mkdir -p "$to"
# All but torch and what comes with images that have one (README.md).
names="trl datasets peft transformers tokenizers huggingface_hub hf-xet safetensors jaxtyping wadler_lindig
 pydantic pydantic_core annotated-types typing-inspection typing_extensions dill multiprocess fsspec stamina tenacity
 httpx2 httpcore2 truststore anyio idna h11 typer shellingham click rich annotated-doc beartype hypothesis
 sortedcontainers pytest pluggy iniconfig pygments xxhash"
platforms=()
for platform in manylinux_2_28 manylinux_2_27 manylinux_2_24 manylinux_2_17 manylinux2014 manylinux1; do
  platforms+=(--platform "${platform}_x86_64")
done
for name in $names; do
  pin=$(grep -i -E "^${name//[-_]/[-_]}==" constraints.txt) || { echo "carry: no pin of $name in constraints.txt"; exit 1; }
  file=$(echo "$name" | tr '-' '_')
  if ls "$to" | grep -i -q "^${file}-${pin#*==}-"; then continue; fi
  find "$to" -iname "${file}-*" -delete # one release of each: two stop the whole installation
  python3 -m pip download --quiet --no-deps --only-binary=:all: --python-version "${PYTHON_VERSION:-3.12}" \
    --implementation cp "${platforms[@]}" --dest "$to" "$pin"
done
echo "$to: $(ls "$to" | wc -l) wheels, $(du -sm "$to" | cut -f1) MiB"
