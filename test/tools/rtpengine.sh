#!/bin/bash
# rtpengine.sh [DIR]: puts the rtpengines that the bench compares with into DIR
# (.cache/rtpengine): 26.x of Debian forky and 10.5 of bookworm, as programs
# DIR/bin/rtpengine-26 and rtpengine-10.5, and forky's libopus in DIR/opus. They are unpacked with their own
# libraries and loader, not installed, by an apt state of their own; see pbx.sh.
# A folder that is complete is left as it is.
set -euo pipefail

keys=/usr/share/keyrings/debian-archive-keyring.gpg
dir=${1:-$(dirname "$0")/../../.cache/rtpengine}
version=$(sha256sum <"$0")
if [ "$(cat "$dir/complete" 2>/dev/null || true)" = "$version" ]; then
  exit 0
fi
if ! command -v dpkg-deb >/dev/null || ! command -v apt-get >/dev/null || [ ! -e "$keys" ]; then
  echo "rtpengine.sh: Debian's tools and $keys are needed to fetch rtpengine" >&2
  exit 1
fi
mirror=$(apt-get indextargets --format '$(REPO_URI)' 2>/dev/null | grep -m1 '/debian/$' || true)
mirror=${mirror:-http://deb.debian.org/debian/}

mkdir -p "$(dirname "$dir")"
dir=$(cd "$(dirname "$dir")" && pwd)/$(basename "$dir")
new=$(mktemp -d "$dir.XXXXXX")
trap 'rm -rf "$new"' EXIT
chmod 755 "$new"
mkdir "$new/bin"

# fetch SUITE NAME
fetch() {
  local apt="$new/apt" root="$new/$2"
  echo "rtpengine.sh: unpacking rtpengine of Debian $1"
  mkdir -p "$apt"/{lists,archives}/partial "$root"
  : >"$apt/status"
  echo "deb [signed-by=$keys] $mirror $1 main" >"$apt/sources.list"
  local options=(
    -o Dir::Etc::SourceList="$apt/sources.list" -o Dir::Etc::SourceParts=/dev/null
    -o Dir::State="$apt" -o Dir::State::Lists="$apt/lists" -o Dir::State::Status="$apt/status"
    -o Dir::Cache="$apt" -o Dir::Cache::Archives="$apt/archives"
    -o Acquire::Check-Valid-Until=false -o Acquire::Languages=none -o Acquire::Retries=3
    -o APT::Update::Error-Mode=any -o APT::Install-Recommends=false -o APT::Sandbox::User=
    -o Debug::NoLocking=1
  )
  if ! apt-get -q -y update "${options[@]}" >>"$apt/log" 2>&1 </dev/null ||
    ! apt-get -q -y install --download-only rtpengine-daemon "${options[@]}" >>"$apt/log" 2>&1 </dev/null; then
    tail -n 20 "$apt/log" >&2
    echo "rtpengine.sh: no rtpengine from $mirror $1: is Debian's mirror reachable?" >&2
    exit 1
  fi
  for deb in "$apt"/archives/*.deb; do
    dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$root" --no-same-owner \
      --exclude='./usr/share/doc/*' --exclude='./usr/share/man/*' --exclude='./usr/share/locale/*'
  done
  rm -rf "$apt"
  # What a maintainer script would have done: the links by which libraries are asked for.
  find "$root/usr/lib" -name '*-linux-gnu*' -maxdepth 1 -type d -exec /sbin/ldconfig -n {} \;
  cat >"$new/bin/rtpengine-$2" <<RUN
#!/bin/sh
r=\$(cd "\$(dirname "\$0")/../$2" && pwd)
l=\$(echo "\$r"/usr/lib/*-linux-gnu)
b=\$(echo "\$r"/lib/*-linux-gnu)
ld=\$(ls "\$l"/ld-linux-*.so.* "\$b"/ld-linux-*.so.* 2>/dev/null | head -1)
exec "\$ld" --library-path "\$l:\$b:\$l/blas:\$l/lapack" "\$r/usr/bin/rtpengine" "\$@"
RUN
  chmod 755 "$new/bin/rtpengine-$2"
  "$new/bin/rtpengine-$2" --version
}

fetch forky 26
fetch bookworm 10.5
# The Opus library of 26 alone, for a gateway that shall do the same work with it.
mkdir "$new/opus"
cp -L "$new"/26/usr/lib/*-linux-gnu/libopus.so.0 "$new/opus/"
echo "$version" >"$new/complete"
rm -rf "$dir"
mv "$new" "$dir"
