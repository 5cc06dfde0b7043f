package store

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// smallDisk mounts a disk of its own for the test.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting a small disk needs root")
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("no tmpfs here: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return dir
}

// When the disk is full, the calls that exist can still be ended, new ones are
// refused, and all is well again once there is room.
func TestDiskFull(t *testing.T) {
	ctx := t.Context()
	dir := smallDisk(t, "48m")
	db := open(t, dir)
	const calls = 50
	for i := range calls {
		must(t, db.Begin(ctx, aCall(fmt.Sprint(i)), ""))
	}
	ballast := filepath.Join(dir, "ballast")
	fillDisk(t, ballast)

	var refused error
	for i := 0; refused == nil && i < 10_000; i++ {
		refused = db.Begin(ctx, aCall(fmt.Sprintf("more%d", i)), "")
	}
	if !errors.Is(refused, ErrFull) {
		t.Fatalf("new calls on a full disk: got %v, want ErrFull", refused)
	}
	if err := db.Ping(ctx); !errors.Is(err, ErrFull) {
		t.Errorf("ping on a full disk: got %v, want ErrFull", err)
	}
	for i := range calls {
		if err := db.End(ctx, Record{ID: fmt.Sprint(i), EndedAt: noon}, []Debt{{Kind: "terminate", WACID: fmt.Sprint(i)}}, ""); err != nil {
			t.Fatalf("end call %d on a full disk: %v", i, err)
		}
	}
	if _, err := db.Journal(ctx, []Event{{Key: "k", Kind: "terminate", At: noon, Body: []byte("{}")}}); err != nil {
		t.Errorf("journal on a full disk: %v", err)
	}

	must(t, os.Remove(ballast))
	must(t, db.Ping(ctx))
	must(t, db.Begin(ctx, aCall("again"), ""))
	if st, err := os.Stat(filepath.Join(dir, reserveName)); err != nil || uint64(st.Size()) != reserveOf(t, dir) {
		t.Errorf("reserve is not back: %v, %v", st, err)
	}
}

// Without any room left at all a write fails, and works again later.
func TestDiskFullAndReserveSpent(t *testing.T) {
	ctx := t.Context()
	dir := smallDisk(t, "40m")
	db := open(t, dir)
	must(t, db.Begin(ctx, aCall("c1"), ""))
	ballast := filepath.Join(dir, "ballast")
	fillDisk(t, ballast)
	body := bytes.Repeat([]byte("x"), 256<<10)
	var failed error
	for i := 0; failed == nil && i < 1000; i++ {
		_, failed = db.Journal(ctx, []Event{{Key: fmt.Sprint(i), At: noon, Body: body}})
	}
	if failed == nil {
		t.Fatal("the disk never filled")
	}
	must(t, os.Remove(ballast))
	must(t, db.End(ctx, Record{ID: "c1", EndedAt: noon.Add(time.Minute)}, nil, ""))
	if calls, err := db.Unfinished(ctx); err != nil || len(calls) != 0 {
		t.Errorf("unfinished: %v, %v", calls, err)
	}
}

func fillDisk(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	must(t, err)
	defer func() { _ = f.Close() }()
	for size := 1 << 20; size >= 1; size /= 2 {
		for err = nil; err == nil; {
			_, err = f.Write(make([]byte, size))
		}
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
	}
}

func reserveOf(t *testing.T, dir string) uint64 {
	t.Helper()
	size, _, err := room(dir)
	if err != nil {
		t.Fatal(err)
	}
	return size
}
