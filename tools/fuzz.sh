#!/bin/sh
# Runs every fuzz target for so many seconds, or until so many runs: tools/fuzz.sh SECONDS [RUNS]. New inputs are kept
# under build/fuzz/corpus; a finding is written there too and ends the script.
set -eu
cd "$(dirname "$0")/.."
seconds=$1
runs=${2:--1}
for target in build/fuzz/fuzz/fuzz_*; do
  name=$(basename "$target")
  corpus=build/fuzz/corpus/$name
  seeds=tests/fuzz/seeds/$name
  mkdir -p "$corpus"
  [ -d "$seeds" ] || seeds=
  words=tests/fuzz/$name.dict
  [ -f "$words" ] && words=-dict=$words || words=
  echo "== $name"
  # shellcheck disable=SC2086
  "$target" -max_total_time="$seconds" -runs="$runs" -rss_limit_mb=2048 -timeout=10 -print_final_stats=1 \
    -artifact_prefix="$corpus/" $words "$corpus" $seeds 2>"$corpus.log" || { tail -40 "$corpus.log"; exit 1; }
  grep -E 'number_of_executed_units' "$corpus.log"
done
