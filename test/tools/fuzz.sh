#!/bin/bash
# fuzz.sh TIME [PACKAGE...]: runs every fuzz target of the packages (default:
# all) for that long each, one after the other. An input that fails is left in
# the package's testdata/fuzz, to be committed with the repair.
set -euo pipefail

time=${1:?how long for each target, such as 10s}
shift
n=0
while read -r dir; do
  for target in $(grep -hoE '^func Fuzz[A-Za-z0-9_]*' "$dir"/*_test.go 2>/dev/null | awk '{print $2}'); do
    echo "== ${dir#"$PWD"/} $target"
    go test "$dir" -run '^$' -fuzz "^$target\$" -fuzztime "$time" -timeout 0
    n=$((n + 1))
  done
done < <(go list -f '{{.Dir}}' "${@:-./...}")
echo "fuzz.sh: $n targets, nothing found"
[ "$n" -gt 0 ]
