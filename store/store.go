// Package store keeps what must outlive the process: calls that may exist on
// some network, ends that are still owed, the journal of webhook events, and
// the records of ended calls. Every write method returns after its data is on
// disk. It decides nothing: the rules belong to its callers.
//
// It is SQLite with a write-ahead log, so an operator may read it while the
// gateway runs. All writes pass one goroutine, which commits whatever waits at
// that moment together.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	sqlite "modernc.org/sqlite"
)

// Errors that callers branch on.
var (
	// ErrEnded means that the call has its record, or never had a row.
	ErrEnded = errors.New("call has ended")
	// ErrExists means that the call was begun before.
	ErrExists = errors.New("call exists")
	// ErrLive means that a call with this customer is up, or not over yet at
	// some network.
	ErrLive = errors.New("a call with this customer is not over")
	// ErrFull means that the disk is full: what is left of it is kept for
	// ending the calls there are.
	ErrFull = errors.New("disk is full, new calls are not taken")
	// ErrClosed means that the store is closed.
	ErrClosed = errors.New("store is closed")
	// ErrLocked means that another process uses the directory.
	ErrLocked = errors.New("data directory is in use")
	// ErrNewer means that a later version of the program wrote the database.
	ErrNewer = errors.New("database is newer than this program")
	// ErrCorrupt means that the database did not pass its check.
	ErrCorrupt = errors.New("database is damaged")
	// ErrCursor means that a Query continues from a place that does not exist.
	ErrCursor = errors.New("bad cursor")
)

const (
	fileName    = "wagate.db"
	lockName    = "wagate.lock"
	reserveName = "wagate.reserve"

	maxReaders = 4
)

// DB is the store of one process. Its methods may be called from anywhere.
type DB struct {
	dir     string
	log     *slog.Logger
	metrics *metrics

	lock    *os.File
	reserve reserve
	veil    veil
	readers *sql.DB
	writers *sql.DB  // one connection, used by the writer goroutine alone
	conn    *session // that connection
	raw     *os.File // the database, to look for traces in it

	traces     atomic.Int64 // bytes of all of them, about
	mostTraces int64

	writes  chan *write
	commits chan struct{} // one token: the log has grown
	folding sync.Mutex    // one folds the log at a time
	closing chan struct{}
	stopped chan struct{} // the writer has ended
	close   sync.Once
	closed  error
	done    sync.WaitGroup
}

// Open opens the store in dir, or creates it, and starts its goroutines,
// which Close ends. It takes the directory for this process, checks the
// database and brings its schema up to date.
func Open(ctx context.Context, dir string, reg prometheus.Registerer, log *slog.Logger) (*DB, error) {
	if err := prepareDir(dir, log); err != nil {
		return nil, err
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	db := &DB{
		dir:        dir,
		log:        log,
		metrics:    newMetrics(reg),
		lock:       lock,
		reserve:    reserve{path: filepath.Join(dir, reserveName)},
		mostTraces: maxTraces,
		writes:     make(chan *write, maxBatch), // what one commit can take
		commits:    make(chan struct{}, 1),
		closing:    make(chan struct{}),
		stopped:    make(chan struct{}),
	}
	if err := db.open(ctx); err != nil {
		return nil, errors.Join(err, db.release())
	}
	if err := db.reserve.fill(); err != nil {
		log.Error("disk is nearly full, new calls are not taken", slog.String("dir", dir), slog.Any("error", err))
	}
	db.done.Go(db.writeLoop)
	db.done.Go(db.checkpointLoop)
	db.done.Go(db.reserveLoop)
	return db, nil
}

// Close waits for the writes that were accepted, folds the log into the
// database and gives the directory free. It may be called twice.
func (db *DB) Close() error {
	db.close.Do(func() {
		close(db.closing)
		db.done.Wait()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_, err := db.conn.ExecContext(ctx, `PRAGMA wal_checkpoint(TRUNCATE)`)
		if err != nil {
			err = fmt.Errorf("checkpoint: %w", err)
		}
		db.closed = errors.Join(err, db.release())
	})
	return db.closed
}

// release closes whatever open got hold of.
func (db *DB) release() error {
	var errs []error
	if db.readers != nil {
		errs = append(errs, db.readers.Close())
	}
	if db.conn != nil {
		errs = append(errs, db.conn.Close())
	}
	if db.writers != nil {
		errs = append(errs, db.writers.Close())
	}
	if db.raw != nil { // last: with it go the locks of the engine
		errs = append(errs, db.raw.Close())
	}
	return errors.Join(append(errs, db.lock.Close())...)
}

// Ping says whether the store can take a new call: it writes a row, and asks
// for the reserve back after the disk was full.
func (db *DB) Ping(ctx context.Context) error {
	if err := db.refill(); err != nil {
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	return db.write(ctx, opPing, func(ctx context.Context, tx *session) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO pings (id, at) VALUES (1, ?)
			ON CONFLICT (id) DO UPDATE SET at = excluded.at`, millis(time.Now()))
		return err
	})
}

// Pinged returns when Ping last succeeded, in this process or one before; zero
// for never.
func (db *DB) Pinged(ctx context.Context) (time.Time, error) {
	var at int64
	err := db.readers.QueryRowContext(ctx, `SELECT coalesce(max(at), 0) FROM pings`).Scan(&at)
	if err != nil {
		return time.Time{}, fmt.Errorf("read last ping: %w", err)
	}
	return fromMillis(at), nil
}

// refill asks for the reserve back, if the disk was full.
func (db *DB) refill() error {
	if !db.reserve.spent() {
		return nil
	}
	if err := db.reserve.fill(); err != nil {
		return err
	}
	db.log.Info("disk has room again", slog.String("dir", db.dir))
	return nil
}

// reservePause is how often a full disk is looked at.
const reservePause = 2 * time.Second

// reserveLoop takes new calls again once there is room, whether or not anybody
// pings. On a full disk the write-ahead log is folded and let go of: else what is
// written of refused calls would fill any room that an operator makes.
func (db *DB) reserveLoop() {
	tick := time.NewTicker(reservePause)
	defer tick.Stop()
	for {
		select {
		case <-db.closing:
			return
		case <-tick.C:
			if db.refill() != nil { // said when the reserve was given up
				db.emptyLog()
			}
		}
	}
}

func (db *DB) emptyLog() {
	ctx, cancel := context.WithTimeout(context.Background(), reservePause)
	defer cancel()
	if err := db.alone(ctx, opCheckpoint, db.truncate); err != nil {
		db.log.Debug("write-ahead log not emptied on the full disk", slog.Any("error", err))
		return
	}
	_ = db.refill()
}

// The primary result codes of SQLite that we tell apart.
const (
	codeBusy       = 5
	codeNoMem      = 7
	codeInterrupt  = 9
	codeIO         = 10
	codeCorrupt    = 11
	codeFull       = 13
	codeConstraint = 19
	codeNotADB     = 26
)

// sqliteCode returns the primary result code of an error from the engine.
func sqliteCode(err error) (int, bool) {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return 0, false
	}
	return e.Code() & 0xff, true
}

// millis is how a time is kept: Unix milliseconds, 0 for never.
func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func fromMillis(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}
