//go:build soak

package test

// detector leaves the program as it ships: the figures of the long runs are its
// own.
const detector = "-race=false"

// inMemory is not what ships either.
const inMemory = false
