#!/bin/bash
# setup.sh build|test|image: installs the Debian packages that are missing for that,
# and for test the PBXs of pbx.sh and the tools of prometheus.sh.
# Go itself must be there already.
set -euo pipefail

case "${1:?build, test or image}" in
build) packages=(gcc libc6-dev pkg-config libopus-dev libspandsp-dev ca-certificates) ;;
test) packages=(gcc libc6-dev pkg-config libopus-dev libspandsp-dev ca-certificates git sip-tester baresip-core strace systemd) ;;
image) packages=(buildah mmdebstrap ca-certificates git) ;;
*)
  echo "setup.sh: unknown: $1 (build, test or image)" >&2
  exit 2
  ;;
esac

need=$(sed -n 's/^go \([0-9.]*\).*/\1/p' go.mod)
if ! command -v go >/dev/null; then
  echo "setup.sh: Go $need or newer is needed: https://go.dev/doc/install" >&2
  exit 1
fi

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
  echo "setup.sh: not a Debian system; make sure that these are installed: ${packages[*]}" >&2
  exit 0
fi

missing=()
for p in "${packages[@]}"; do
  state=$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null || true)
  [ "$state" = installed ] || missing+=("$p")
done
unpacked() {
  [ "$1" = test ] || return 0
  bash "$(dirname "$0")/pbx.sh"
  bash "$(dirname "$0")/prometheus.sh"
}
if [ ${#missing[@]} = 0 ]; then
  unpacked "$1"
  exit 0
fi

echo "setup.sh: installing ${missing[*]}"
root=()
if [ "$(id -u)" != 0 ]; then
  if ! command -v sudo >/dev/null; then
    echo "setup.sh: as root, run: apt-get install --no-install-recommends ${missing[*]}" >&2
    exit 1
  fi
  root=(sudo)
fi
export DEBIAN_FRONTEND=noninteractive
install() {
  "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}" </dev/null
}
# The package list may be older than the mirror: read it anew before giving up.
install || { "${root[@]}" apt-get update -q </dev/null && install; }
unpacked "$1"
