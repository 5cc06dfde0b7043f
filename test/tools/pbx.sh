#!/bin/bash
# pbx.sh [DIR]: puts PBXs that this machine's Debian does not have, or would
# start as a service, into DIR (.cache/pbx) and makes DIR/bin/PROGRAM run them.
# They come from another Debian suite by an apt state of their own, with apt's
# usual check of signatures, and bring their own libraries and loader. Nothing
# is installed: no maintainer script runs and the machine's apt is not touched.
# A folder that is complete is left as it is.
set -euo pipefail

suite=forky
packages=(asterisk kamailio)
programs=(asterisk kamailio)
keys=/usr/share/keyrings/debian-archive-keyring.gpg

dir=${1:-$(dirname "$0")/../../.cache/pbx}
version="$suite ${packages[*]} $(sha256sum <"$0")"
if [ "$(cat "$dir/complete" 2>/dev/null || true)" = "$version" ]; then
  exit 0
fi
if ! command -v dpkg-deb >/dev/null || ! command -v apt-get >/dev/null || [ ! -e "$keys" ]; then
  echo "pbx.sh: Debian's tools and $keys are needed to fetch ${programs[*]}" >&2
  exit 1
fi

echo "pbx.sh: unpacking ${programs[*]} of Debian $suite into $dir"
mkdir -p "$(dirname "$dir")"
new=$(mktemp -d "$dir.XXXXXX")
apt=$(mktemp -d)
trap 'rm -rf "$new" "$apt"' EXIT
chmod 755 "$new"
mkdir -p "$apt"/{lists,archives}/partial "$apt/etc" "$new/bin"
: >"$apt/status"

# The mirror is the one that this machine uses for Debian itself.
mirror=$(apt-get indextargets --format '$(REPO_URI)' 2>/dev/null | grep -m1 '/debian/$' || true)
echo "deb [signed-by=$keys] ${mirror:-http://deb.debian.org/debian/} $suite main" >"$apt/sources.list"

# A testing suite says how long its index is good for; tests may run from a
# mirror that is older than that.
private() {
  apt-get -q -y "$@" \
    -o Dir::Etc::SourceList="$apt/sources.list" -o Dir::Etc::SourceParts=/dev/null \
    -o Dir::State="$apt" -o Dir::State::Lists="$apt/lists" -o Dir::State::Status="$apt/status" \
    -o Dir::Cache="$apt" -o Dir::Cache::Archives="$apt/archives" \
    -o Acquire::Check-Valid-Until=false -o Acquire::Languages=none -o Acquire::Retries=3 \
    -o APT::Update::Error-Mode=any -o APT::Install-Recommends=false -o APT::Sandbox::User= \
    -o Debug::NoLocking=1 >>"$apt/log" 2>&1 </dev/null
}
if ! private update || ! private install --download-only "${packages[@]}"; then
  tail -n 20 "$apt/log" >&2
  echo "pbx.sh: no ${packages[*]} from ${mirror:-deb.debian.org} $suite: is Debian's mirror reachable? Run make setup again" >&2
  exit 1
fi

unpack() { dpkg-deb --fsys-tarfile "$2" | tar -x -C "$1" --no-same-owner --exclude='./usr/share/doc/*' --exclude='./usr/share/man/*' --exclude='./usr/share/locale/*'; }
export -f unpack
printf '%s\0' "$apt"/archives/*.deb | xargs -0 -P 2 -I{} bash -euo pipefail -c 'unpack "$0" {}' "$new"

for p in "${programs[@]}"; do
  cat >"$new/bin/$p" <<'RUN'
#!/bin/sh
r=$(cd "$(dirname "$0")/.." && pwd)
l=$(echo "$r"/usr/lib/*-linux-gnu*)
exec "$l"/ld-linux-*.so.* --library-path "$l:$l/kamailio" "$r/usr/sbin/$(basename "$0")" "$@"
RUN
  chmod 755 "$new/bin/$p"
done
"$new/bin/asterisk" -V
"$new/bin/kamailio" -v | head -1
echo "$version" >"$new/complete"
rm -rf "$dir"
mv "$new" "$dir"
