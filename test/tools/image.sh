#!/bin/bash
# image.sh: builds the container image of deploy/container as the file says, but
# without a registry: on Debian from its mirror and on this machine's Go. Then its
# own user makes the demo's calls in it. As root; leaves bin/wagate-image.tar.
set -euo pipefail
cd "$(dirname "$0")/../.."
if [ "$(id -u)" != 0 ]; then
  echo "image.sh: run this as root: it makes a Debian in a folder" >&2
  exit 1
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export STORAGE_DRIVER=vfs BUILDAH_ISOLATION=chroot
b() { buildah --root "$work/store" --runroot "$work/run" "$@"; }
path=/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

mmdebstrap --quiet --variant=minbase --include=ca-certificates bookworm "$work/debian.tar"
base=$(b from scratch)
b add --quiet "$base" "$work/debian.tar" / >/dev/null
b commit --quiet "$base" wagate-debian >/dev/null

compiler=$(b from wagate-debian)
b run "$compiler" -- sh -c 'apt-get update -qq && apt-get install -y -qq --no-install-recommends gcc libc6-dev >/dev/null'
b add --quiet "$compiler" "$(go env GOROOT)" /usr/local/go >/dev/null
b config --env "PATH=$path" --env GOTOOLCHAIN=local "$compiler"
b commit --quiet "$compiler" wagate-go >/dev/null

# The certificates are this machine's, which may trust a proxy.
b bud --quiet --format docker -v /etc/ssl/certs:/etc/ssl/certs:ro \
  --build-arg GO=localhost/wagate-go --build-arg BASE=localhost/wagate-debian \
  --build-arg VERSION="$(git describe --tags --always --dirty)" \
  -f deploy/container/Containerfile -t wagate . >/dev/null

health=$(b inspect --format '{{.Docker.Config.Healthcheck}}' wagate)
if [[ "$health" != *healthz* ]]; then
  echo "image.sh: the image has lost its health check: $health" >&2
  exit 1
fi
made=$(b from wagate)
b run "$made" -- wagate version
b run "$made" -- sh -c 'test "$(id -u)" = 10001 && test -w /var/lib/wagate && ! test -w /usr/local/bin'
b run "$made" -- wagate demo
mkdir -p bin
rm -f bin/wagate-image.tar
b push --quiet wagate docker-archive:bin/wagate-image.tar:wagate
echo "bin/wagate-image.tar: podman load -i bin/wagate-image.tar"
