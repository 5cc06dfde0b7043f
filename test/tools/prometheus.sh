#!/bin/bash
# prometheus.sh [DIR]: puts promtool and prometheus of Debian's package into
# DIR/bin (.cache/prometheus) without installing it: it would start a service
# and bring a web interface's libraries along.
set -euo pipefail

dir=${1:-$(dirname "$0")/../../.cache/prometheus}
mark=$(sha256sum <"$0")
if [ "$(cat "$dir/complete" 2>/dev/null || true)" = "$mark" ]; then
  exit 0
fi
if ! command -v dpkg-deb >/dev/null || ! command -v apt-get >/dev/null; then
  echo "prometheus.sh: not a Debian system; the tests look for promtool and prometheus in PATH" >&2
  exit 0
fi

echo "prometheus.sh: unpacking promtool and prometheus into $dir"
mkdir -p "$(dirname "$dir")"
new=$(mktemp -d "$dir.XXXXXX")
trap 'rm -rf "$new"' EXIT
chmod 755 "$new"
mkdir -p "$new/bin" "$new/deb"
fetch() { (cd "$new/deb" && apt-get download -q -o APT::Sandbox::User= prometheus </dev/null); }
root=()
[ "$(id -u)" = 0 ] || root=(sudo)
# The package list may be older than the mirror, or missing.
fetch || { "${root[@]}" apt-get update -q </dev/null && fetch; }
dpkg-deb --fsys-tarfile "$new"/deb/prometheus_*.deb | tar -x -C "$new/bin" --no-same-owner --strip-components=3 ./usr/bin/promtool ./usr/bin/prometheus
rm -rf "$new/deb"
"$new/bin/promtool" --version 2>&1 | head -1
echo "$mark" >"$new/complete"
rm -rf "$dir"
mv "$new" "$dir"
