package media

import "github.com/hraban/opus"

// OpusVersion returns the version of the Opus library in use.
func OpusVersion() string { return opus.Version() }
