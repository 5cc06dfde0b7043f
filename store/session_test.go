package store

import (
	"strings"
	"sync"
	"testing"

	"wagate/test/leak"
	"wagate/whatsapp"
)

// TestReadersKeepTheirFiles: however many read at once, the files that are open
// are those that were from the start.
func TestReadersKeepTheirFiles(t *testing.T) {
	dir := t.TempDir()
	db := open(t, dir)
	files := func() (n int) {
		for _, name := range leak.Open() {
			if strings.HasPrefix(name, dir) {
				n++
			}
		}
		return n
	}
	before := files()
	for range 20 {
		var wg sync.WaitGroup
		for range 8 * maxReaders {
			wg.Go(func() {
				if _, err := db.Permission(t.Context(), "4011", whatsapp.Callee{Number: "34600111222"}); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
	if after := files(); after != before {
		t.Errorf("%d files are open, %d were", after, before)
	}
}

// TestStatementsAreBounded: statements that are put together out of parts run,
// and are not all kept.
func TestStatementsAreBounded(t *testing.T) {
	db := open(t, t.TempDir())
	for i := range 2 * maxReady {
		var n int
		if err := db.conn.QueryRowContext(t.Context(), "SELECT ?1 + "+strings.Repeat("0 + ", i)+"1", 1).Scan(&n); err != nil || n != 2 {
			t.Fatalf("statement %d gives %d: %v", i, n, err)
		}
	}
	if n := len(db.conn.ready); n > maxReady {
		t.Errorf("%d statements are kept, want at most %d", n, maxReady)
	}
	if _, err := db.conn.ExecContext(t.Context(), "UPDATE absent SET x = 1"); err == nil || !strings.Contains(err.Error(), "no such table") {
		t.Errorf("a wrong statement gives %v", err)
	}
}
