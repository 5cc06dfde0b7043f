#!/bin/bash
# vuln.sh GOVULNCHECK-VERSION: looks for known faults that the program can
# reach, where the vulnerability database can be reached; it says which check
# ran. The floors of deploy/floors.txt are checked in any case, by a test.
set -euo pipefail

version=${1:?which govulncheck}
db=vuln.go.dev
reachable() {
  if command -v curl >/dev/null; then
    curl -fsS -m 15 -o /dev/null "https://$db/index/db.json" 2>/dev/null
  else
    timeout 15 bash -c "exec 3<>/dev/tcp/$db/443" 2>/dev/null
  fi
}
if reachable; then
  echo "vuln.sh: govulncheck $version against $db"
  GOFLAGS= go run "golang.org/x/vuln/cmd/govulncheck@$version" -tags=nolibopusfile ./...
  exit
fi
known=$(grep -cvE '^(#|$)' deploy/floors.txt)
as_of=$(grep -oE '[0-9]{4}-[0-9]{2}-[0-9]{2}' deploy/floors.txt | head -1)
echo "vuln.sh: $db cannot be reached, so govulncheck did NOT run;" \
  "only the $known floors of deploy/floors.txt, as of $as_of, are checked:"
go test -count=1 -run '^TestVersionFloors$' -v ./deploy
