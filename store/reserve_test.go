package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Nobody may be asking for readiness: room on the disk is found all the same.
func TestDiskHasRoomAgainWithoutAPing(t *testing.T) {
	ctx := t.Context()
	dir := smallDisk(t, "48m")
	db := open(t, dir)
	ballast := filepath.Join(dir, "ballast")
	fillDisk(t, ballast)
	var refused error
	for i := 0; refused == nil && i < 10_000; i++ {
		refused = db.Begin(ctx, aCall(fmt.Sprintf("more%d", i)), "")
	}
	if !errors.Is(refused, ErrFull) {
		t.Fatalf("new calls on a full disk: got %v, want ErrFull", refused)
	}
	must(t, os.Remove(ballast))
	deadline := time.After(3 * reservePause)
	for tick := time.Tick(50 * time.Millisecond); db.reserve.spent(); {
		select {
		case <-tick:
		case <-deadline:
			t.Fatal("new calls are still refused")
		}
	}
	must(t, db.Begin(ctx, aCall("again"), ""))
}

// What is written while a small disk is full must not fill the room that is made:
// the log of it would leave none to fold it into.
func TestLogLeavesTheRoomThatIsMade(t *testing.T) {
	ctx := t.Context()
	dir := smallDisk(t, "4m")
	db := open(t, dir)
	must(t, db.Begin(ctx, aCall("c"), ""))
	ballast := filepath.Join(dir, "ballast")
	fillDisk(t, ballast)
	n := 0
	write := func() error {
		n++
		_, err := db.Journal(ctx, []Event{{Key: fmt.Sprint(n), Kind: "connect", CallID: fmt.Sprint(n), At: noon, Body: []byte("{}")}})
		return err
	}
	for full := error(nil); full == nil; full = write() {
		if n == 10_000 {
			t.Fatal("the disk never filled")
		}
	}
	must(t, os.Remove(ballast))
	for range 500 { // faster than anybody looks at the disk
		if err := write(); err != nil {
			t.Fatalf("write %d failed although there is room: %v", n, err)
		}
	}
	must(t, db.Ping(ctx))
	must(t, db.Begin(ctx, aCall("again"), ""))
}

func TestPinged(t *testing.T) {
	ctx := t.Context()
	dir := t.TempDir()
	db := open(t, dir)
	if at, err := db.Pinged(ctx); err != nil || !at.IsZero() {
		t.Errorf("before any: %v, %v", at, err)
	}
	must(t, db.Ping(ctx))
	must(t, db.Close())
	if at, err := open(t, dir).Pinged(ctx); err != nil || time.Since(at) > time.Minute {
		t.Errorf("of the run before: %v, %v", at, err)
	}
}
