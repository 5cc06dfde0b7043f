//go:build !soak

package test

// detector puts the race detector into the program, so that a race ends a test.
const detector = "-race=true"

// inMemory keeps the store off the disk.
const inMemory = true
