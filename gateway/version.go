package gateway

import (
	"runtime/debug"

	"wagate/media"
)

// version is set by the linker of a release.
var version = ""

// Version returns the version of this program: the release, else the commit it
// was built from, else "unknown".
func Version() string {
	if version != "" {
		return version
	}
	if commit := Commit(); commit != "" {
		return commit
	}
	return "unknown"
}

// Commit returns the commit this program was built from, "" when the build did
// not say.
func Commit() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value
		}
	}
	return ""
}

// OpusVersion returns the version of the Opus library in use.
func OpusVersion() string { return media.OpusVersion() }
