#!/bin/bash
# test_gpu.sh [build folder]: what of the tests needs a GPU. Fails at the first that fails.
set -euo pipefail
cd "$(dirname "$0")/.."
build=${1:-build/dev}
"$build/tests/gpu_operators_test"
"$build/tests/gpu_gemm_check"
"$build/tests/gpu_flash_check"
"$build/tests/gpu_decode_check"
"$build/tests/gpu_int4_check"
"$build/tests/gpu_forward_check"
"$build/tests/gpu_candidates_check"
"$build/tests/quantised_test" --gtest_filter="*OnAGpu*"
goldens=$PWD/tests/goldens
moe=$build/tests/goldens/tiny-moe
"$build/tests/assemble_golden" "$goldens/tiny-2b" "$goldens/tiny-moe" "$moe"
for how in "" "--chunk 1" "--chunk 7 --batch 3" "--chunk 64 --batch 8" "--chunk 1000 --batch 8"; do
  for model in "$goldens/tiny-2b" "$moe"; do
    # shellcheck disable=SC2086
    "$build/qvl" parity "$model" --dtype bfloat16 --device cuda $how
  done
done
