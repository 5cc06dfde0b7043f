package gateway

import (
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"wagate/store"
)

// TestMissedCallIsWrittenInTheEnd: a disk that is slow or full for a while loses
// no call that nobody could take.
func TestMissedCallIsWrittenInTheEnd(t *testing.T) {
	for name, c := range map[string]struct {
		begin    error // of every try
		ends     []error
		recorded int
		failures float64
	}{
		"at once":                          {recorded: 1},
		"after two tries":                  {ends: []error{errDisk, errDisk, errDisk}, recorded: 1},
		"the intent was slow, not in vain": {begin: store.ErrExists, recorded: 1},
		"never":                            {begin: errDisk, failures: 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := &fakeBook{ledger: &ledger{}, beginErr: c.begin, endErrs: c.ends}
				metrics := newMetrics(nil, "test")
				m := missedCall{call: store.Call{ID: "1"}, record: store.Record{ID: "1", EndedAt: time.Now()}, eventKey: "key"}
				if err := m.write(b); err != nil {
					if !errors.Is(err, errDisk) {
						t.Fatal(err)
					}
					m.insist(b, metrics, slog.New(slog.DiscardHandler))
				}
				if got := counted(t, metrics.recordFailure); len(b.records) != c.recorded || got != c.failures {
					t.Errorf("%d records and %v failures, want %d and %v", len(b.records), got, c.recorded, c.failures)
				}
			})
		})
	}
}
