#!/bin/bash
# fuzz.sh TIME [PACKAGE...]: runs every fuzz target of the packages (default:
# all) for that long each, one on every processor at a time. An input that fails
# is left in the package's testdata/fuzz, to be committed with the repair.
set -euo pipefail

# fuzz TIME DIR TARGET: Go's fuzzer may report its own deadline as a failure when
# it comes while a worker starts; that alone is not one.
fuzz() {
  local time=$1 dir=$2 target=$3 out
  out=$(mktemp)
  for again in yes no; do
    if go test "$dir" -run '^$' -fuzz "^$target\$" -fuzztime "$time" -parallel 1 -timeout 0 </dev/null >"$out" 2>&1; then
      echo "ok   $target: $(grep -o 'execs: [0-9]*.*' "$out" | tail -1)"
      rm "$out"
      return
    fi
    if grep -q 'Failing input' "$out" || ! grep -q 'context deadline exceeded' "$out"; then
      break
    fi
    echo "fuzz.sh: $target met only the fuzzer's own deadline (once more: $again)"
  done
  echo "FAIL $target in $dir"
  cat "$out"
  rm "$out"
  return 1
}

if [ "${1:?how long for each target, such as 10s}" = target ]; then
  fuzz "${@:2}"
  exit
fi

time=$1
shift
list=$(go list -f '{{.Dir}}' "${@:-./...}" | while read -r dir; do
  grep -hoE '^func Fuzz[A-Za-z0-9_]*' "$dir"/*_test.go 2>/dev/null | awk -v dir="$dir" '{print dir, $2}' || true
done)
[ -n "$list" ]
echo "$list" | xargs -P "$(nproc)" -L 1 bash "$0" target "$time"
echo "fuzz.sh: $(wc -l <<<"$list") targets, nothing found"
