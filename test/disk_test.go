package test

import (
	"os"
	"syscall"
	"testing"
)

// memoryDisk is where files are kept in memory, on Linux.
const memoryDisk = "/dev/shm"

// roomForStores is more than the stores of all tests that run at the same time
// take.
const roomForStores = 256 << 20

// quickDisk is a directory in memory where there is such a thing and no figure is
// measured: the disks of machines that run tests have other work, and a process
// that is killed loses nothing of what it wrote.
func quickDisk(t *testing.T) string {
	t.Helper()
	var free syscall.Statfs_t
	if inMemory && syscall.Statfs(memoryDisk, &free) == nil && free.Bavail*uint64(free.Bsize) > roomForStores { //nolint:gosec // sizes are not negative
		if dir, err := os.MkdirTemp(memoryDisk, "wagate-test"); err == nil { //nolint:usetesting // in memory
			t.Cleanup(func() { _ = os.RemoveAll(dir) })
			return dir
		}
	}
	return t.TempDir()
}
