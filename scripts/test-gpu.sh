#!/usr/bin/env bash
# Everything that waits for a GPU, in one go, in under ten minutes: scripts/test-gpu.sh [--list] [PYTHON]
#
# PYTHON (default: that of the profile `current`, else python3) has torch with CUDA, onnx, onnxruntime, numpy, pillow; pytest may
# lie in .dopt/test-packages (npm test puts it there). Without transformers the language models are left out. No network is
# needed where the CUDA core is built. Results lie in $OUT (default: gpu-results): summary.txt, a log a step, bench.json.
set -uo pipefail
cd "$(dirname "$0")/.."
list=0
if [ "${1:-}" = --list ]; then list=1; shift; fi
python=${1:-$(ls -d "${DOPT_HOME:-$HOME/.cache/dopt}"/envs/current-*/bin/python 2>/dev/null | head -1)}
python=${python:-python3}
export PYTHONDONTWRITEBYTECODE=1 OMP_NUM_THREADS=${OMP_NUM_THREADS:-4} PYTHONPATH="$PWD/python:$PWD/.dopt/test-packages"
tests=(python/tests/test_native_cuda.py python/tests/torch_execute python/tests/torch_llm/test_llm_device.py
  python/tests/torch_nas/test_search.py python/tests/torch_plugin/test_plugin_device.py)

if [ $list = 1 ]; then
  for each in "${tests[@]}"; do  # one by one: their conftest.py have one name
    "$python" -m pytest -q -p no:cacheprovider --collect-only -k cuda "$each" | grep ::
  done
  exit
fi

out=${OUT:-gpu-results}
mkdir -p "$out"
: >"$out/summary.txt"

# step NAME SECONDS COMMAND...: runs it, keeps what it says, notes how it ended and how long it took.
step() {
  local name=$1 limit=$2 began=$SECONDS; shift 2
  timeout "$limit" "$@" >"$out/$name.log" 2>&1
  local status=$?
  printf '%-12s exit %3d  %4d s  %s\n' "$name" $status $((SECONDS - began)) "$(tail -1 "$out/$name.log" | cut -c1-100)" | tee -a "$out/summary.txt"
}

step device 30 nvidia-smi
step gpus 90 "$python" -c 'import json; from dopt.gpu import gpus; print(json.dumps(gpus({"frameworks": ["torch", "onnxruntime", "core"]}, None), indent=1))'
capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | head -1 | tr -d .)
if [ -n "$capability" ] && [ ! -e native/build/lib/libdopt_cuda.so ] && command -v node >/dev/null; then
  DOPT_CUDA_ARCHITECTURES=$capability step build 240 node scripts/build-cuda.js --test
fi
for each in "${tests[@]}"; do
  step "$(basename "$each" .py)" 150 "$python" -m pytest -q -p no:cacheprovider -rs -k cuda "$each"
done
step bench 240 "$python" python/bench/gpu_executors.py --out "$out/bench.json"
! grep -vE 'exit   [05] ' "$out/summary.txt" | grep -q .
