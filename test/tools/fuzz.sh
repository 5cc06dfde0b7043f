#!/bin/bash
# fuzz.sh TIME [PACKAGE...]: runs every fuzz target of the packages (default:
# all) for that long each, one after the other. An input that fails is left in
# the package's testdata/fuzz, to be committed with the repair.
set -euo pipefail

time=${1:?how long for each target, such as 10s}
shift
out=$(mktemp)
trap 'rm -f "$out"' EXIT

# once DIR TARGET: Go's fuzzer may report its own deadline as a failure when it
# comes while a worker starts; that alone is not one.
once() {
  go test "$1" -run '^$' -fuzz "^$2\$" -fuzztime "$time" -timeout 0 </dev/null 2>&1 | tee "$out" && return
  if grep -q 'Failing input' "$out" || ! grep -q 'context deadline exceeded' "$out"; then
    return 1
  fi
  echo "fuzz.sh: only the fuzzer's own deadline; again"
  go test "$1" -run '^$' -fuzz "^$2\$" -fuzztime "$time" -timeout 0 </dev/null
}

n=0
while read -r dir; do
  for target in $(grep -hoE '^func Fuzz[A-Za-z0-9_]*' "$dir"/*_test.go 2>/dev/null | awk '{print $2}'); do
    echo "== .${dir#"$PWD"} $target"
    once "$dir" "$target"
    n=$((n + 1))
  done
done < <(go list -f '{{.Dir}}' "${@:-./...}")
echo "fuzz.sh: $n targets, nothing found"
[ "$n" -gt 0 ]
