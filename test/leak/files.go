package leak

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Files are those that a process has open, by descriptor. What nobody refers to
// any more is none: the collector closes it sooner or later.
type Files map[string]string

// runtimes are files that the Go runtime opens when they are first needed, and
// keeps; the pipes are those that it splices TCP connections with.
var runtimes = []string{"anon_inode:[eventpoll]", "anon_inode:[eventfd]", "pipe:", "/sys/fs/cgroup/", "/dev/urandom"}

// Open lists the open files; nothing where the system does not tell.
func Open() Files {
	const dir = "/proc/self/fd"
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	files := Files{}
	for _, e := range entries {
		target, err := os.Readlink(filepath.Join(dir, e.Name()))
		if err != nil { // the one that read the list
			continue
		}
		if !slices.ContainsFunc(runtimes, func(r string) bool { return strings.HasPrefix(target, r) }) {
			files[e.Name()] = target
		}
	}
	return files
}

// Left waits until no files are open but those that were, and names the others
// where that does not happen.
func (before Files) Left() []string {
	return wait(func() []string {
		now := Open()
		maps.DeleteFunc(now, func(fd, target string) bool { return before[fd] == target })
		return slices.Sorted(maps.Values(now))
	})
}
