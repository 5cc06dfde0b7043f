package store

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
)

// prepareDir makes the directory, for nobody but us.
func prepareDir(dir string, log *slog.Logger) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make data directory: %w", err)
	}
	st, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("look at data directory: %w", err)
	}
	if !st.IsDir() {
		return fmt.Errorf("data directory %s is not a directory", dir)
	}
	if err := refuseNetworkDisk(dir); err != nil {
		return err
	}
	if st.Mode().Perm()&0o077 == 0 {
		return nil
	}
	if !ours(dir) {
		// Somebody's home or /tmp: closing it would break others.
		log.Warn("data directory is shared with other files and open to other users", slog.String("dir", dir))
		return nil
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return fmt.Errorf("close data directory to others: %w", err)
	}
	return nil
}

// ours says whether the directory has no files but those of the store.
func ours(dir string) bool {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return false
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), "wagate.") {
			return false
		}
	}
	return true
}

// refuseNetworkDisk turns away file systems whose locks and syncs cannot be
// relied on.
func refuseNetworkDisk(dir string) error {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return fmt.Errorf("look at the file system of %s: %w", dir, err)
	}
	switch uint32(st.Type) {
	case 0x6969, 0x517b, 0xff534d42, 0xfe534d42: // nfs, smb, cifs, smb2
		return fmt.Errorf("data directory %s is on a network file system; put it on a local disk", dir)
	}
	return nil
}

// lockDir takes the directory for this process. The lock goes with the process,
// however it ends.
func lockDir(dir string) (*os.File, error) {
	path := filepath.Join(dir, lockName)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock file: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		owner, _ := io.ReadAll(io.LimitReader(f, 20))
		_ = f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("%w: %s belongs to process %s", ErrLocked, dir, strings.TrimSpace(string(owner)))
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	if err := f.Truncate(0); err == nil {
		_, _ = fmt.Fprintf(f, "%d\n", os.Getpid()) // only a help for people
	}
	return f, nil
}

// private makes sure that the database is there and readable by us alone; the
// engine gives its log the same mode.
func private(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("open database: %w", err)
	}
	defer func() { _ = f.Close() }()
	for _, name := range []string{path, path + "-wal", path + "-shm"} {
		if err := os.Chmod(name, 0o600); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("close database to others: %w", err)
		}
	}
	return nil
}

// syncDir makes the names of new files durable.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync data directory: %w", err)
	}
	defer func() { _ = f.Close() }()
	if err := f.Sync(); err != nil {
		return fmt.Errorf("sync data directory: %w", err)
	}
	return nil
}

const (
	reserveSize = 16 << 20
	// The part of a small disk that is kept, and in what steps.
	reserveShare = 8
	reserveStep  = 64 << 10
	// fullBelow tells a full disk from a broken one where the engine reports
	// only a failed write.
	fullBelow = 1 << 20
)

// reserve is a file that occupies room on the disk until there is none left.
// Then it goes, and the calls that exist can still be ended.
type reserve struct {
	path string
	mu   sync.Mutex
	full atomic.Bool
}

// spent says whether the reserve has been given up.
func (r *reserve) spent() bool { return r.full.Load() }

// fill claims the room, if the disk has that and as much again.
func (r *reserve) fill() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	size, free, err := room(filepath.Dir(r.path))
	if err != nil {
		return err
	}
	if st, err := os.Stat(r.path); err == nil && st.Size() == int64(size) {
		r.full.Store(false)
		return nil
	}
	if err := r.claim(size, free); err != nil {
		_ = os.Remove(r.path)
		r.full.Store(true)
		return fmt.Errorf("keep a reserve on disk: %w", err)
	}
	r.full.Store(false)
	return nil
}

func (r *reserve) claim(size, free uint64) error {
	if free < 2*size {
		return fmt.Errorf("%d KiB free, %d needed", free>>10, 2*size>>10)
	}
	f, err := os.OpenFile(r.path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	chunk := make([]byte, reserveStep)
	for range size / reserveStep {
		if _, err := f.Write(chunk); err != nil {
			return errors.Join(err, f.Close())
		}
	}
	return f.Close()
}

// give frees the room. It says whether there was any to free.
func (r *reserve) give() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.full.Store(true)
	return os.Remove(r.path) == nil
}

func freeSpace(dir string) (uint64, error) {
	_, free, err := room(dir)
	return free, err
}

// room returns how large the reserve on a directory's disk is to be, and what is
// free there. A small disk keeps a small reserve.
func room(dir string) (reserve, free uint64, err error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return 0, 0, fmt.Errorf("look at the file system of %s: %w", dir, err)
	}
	block := uint64(st.Bsize)
	reserve = min(reserveSize, st.Blocks*block/reserveShare)
	return reserve / reserveStep * reserveStep, st.Bavail * block, nil
}
