package store

import (
	"context"
	"database/sql"
	"fmt"
)

// migrations bring a database from the version of their index to the next one.
// They are never changed once released, only added to.
//
// Times are Unix milliseconds, 0 for never. What is asked for by its value is a
// column; a record is kept whole beside the columns that find it.
var migrations = []string{
	`CREATE TABLE calls (
		id           TEXT PRIMARY KEY NOT NULL CHECK (id <> ''),
		direction    TEXT NOT NULL,
		number       TEXT NOT NULL,
		number_id    TEXT NOT NULL,
		user         TEXT NOT NULL,
		user_id      TEXT NOT NULL,
		name         TEXT NOT NULL,
		payload      TEXT NOT NULL,
		route        TEXT NOT NULL,
		trunk        TEXT NOT NULL,
		callee       TEXT NOT NULL,
		wacid        TEXT NOT NULL,
		tag          TEXT NOT NULL,
		pre_accepted INTEGER NOT NULL,
		started_at   INTEGER NOT NULL,
		ringing_at   INTEGER NOT NULL,
		answered_at  INTEGER NOT NULL
	) STRICT;

	CREATE TABLE dialogs (
		call_id TEXT NOT NULL REFERENCES calls (id) ON DELETE CASCADE,
		attempt INTEGER NOT NULL,
		trunk   TEXT NOT NULL,
		callee  TEXT NOT NULL,
		state   BLOB,
		PRIMARY KEY (call_id, attempt)
	) STRICT, WITHOUT ROWID;

	CREATE TABLE debts (
		id      INTEGER PRIMARY KEY AUTOINCREMENT,
		kind    TEXT NOT NULL,
		call_id TEXT NOT NULL,
		number  TEXT NOT NULL,
		wacid   TEXT NOT NULL,
		state   BLOB,
		since   INTEGER NOT NULL,
		next    INTEGER NOT NULL,
		tries   INTEGER NOT NULL,
		expires INTEGER NOT NULL
	) STRICT;
	CREATE UNIQUE INDEX debts_wacid ON debts (kind, wacid) WHERE wacid <> '';

	CREATE TABLE events (
		seq     INTEGER PRIMARY KEY,
		key     TEXT NOT NULL UNIQUE,
		kind    TEXT NOT NULL,
		call_id TEXT NOT NULL,
		at      INTEGER NOT NULL,
		seen_at INTEGER NOT NULL,
		done    INTEGER NOT NULL,
		body    BLOB
	) STRICT;
	CREATE INDEX events_undone ON events (seq) WHERE done = 0;
	CREATE INDEX events_seen ON events (seen_at);

	CREATE TABLE records (
		id         TEXT PRIMARY KEY NOT NULL CHECK (id <> ''),
		ended_at   INTEGER NOT NULL,
		started_at INTEGER NOT NULL,
		direction  TEXT NOT NULL,
		number     TEXT NOT NULL,
		user       TEXT NOT NULL,
		user_id    TEXT NOT NULL,
		wacid      TEXT NOT NULL,
		cause      TEXT NOT NULL,
		record     TEXT NOT NULL
	) STRICT;
	CREATE INDEX records_ended ON records (ended_at, id);
	CREATE INDEX records_wacid ON records (wacid);
	CREATE INDEX records_user ON records (user, ended_at) WHERE user <> '';
	CREATE INDEX records_user_id ON records (user_id, ended_at) WHERE user_id <> '';

	CREATE TABLE pings (
		id INTEGER PRIMARY KEY,
		at INTEGER NOT NULL
	) STRICT;`,

	// A customer is known by the business-scoped id, and by the number as long
	// as the id has not been seen. Both are scoped by the business number, as
	// two of them may belong to businesses that know a customer by two ids.
	`CREATE TABLE permissions (
		number     TEXT NOT NULL CHECK (number <> ''),
		user       TEXT NOT NULL CHECK (user <> ''),
		changed_at INTEGER NOT NULL,
		permission TEXT NOT NULL,
		PRIMARY KEY (number, user)
	) STRICT, WITHOUT ROWID;

	CREATE TABLE identities (
		number  TEXT NOT NULL,
		bsuid   TEXT NOT NULL CHECK (bsuid <> ''),
		wa_id   TEXT NOT NULL CHECK (wa_id <> ''),
		seen_at INTEGER NOT NULL,
		PRIMARY KEY (number, bsuid)
	) STRICT, WITHOUT ROWID;
	CREATE INDEX identities_wa_id ON identities (number, wa_id, seen_at);`,

	// seq bounds the list: what is older than so many others goes.
	`CREATE TABLE strays (
		seq     INTEGER PRIMARY KEY AUTOINCREMENT,
		tag     TEXT NOT NULL UNIQUE CHECK (tag <> ''),
		call_id TEXT NOT NULL,
		number  TEXT NOT NULL,
		since   INTEGER NOT NULL
	) STRICT;
	CREATE INDEX strays_since ON strays (since);`,

	// An event that is done is known by its key: nobody asks for its call, whose
	// id has the customer's number in it.
	`UPDATE events SET call_id = '' WHERE done = 1;

	CREATE TABLE keys (
		name TEXT PRIMARY KEY NOT NULL,
		key  BLOB NOT NULL
	) STRICT;`,

	// A number is Meta's id of it, as in the ledger.
	`CREATE TABLE callbacks (
		id      INTEGER PRIMARY KEY AUTOINCREMENT,
		number  TEXT NOT NULL,
		user    TEXT NOT NULL,
		user_id TEXT NOT NULL,
		trunk   TEXT NOT NULL,
		agent   TEXT NOT NULL CHECK (agent <> ''),
		since   INTEGER NOT NULL,
		expires INTEGER NOT NULL,
		UNIQUE (number, user, user_id, trunk, agent)
	) STRICT;
	CREATE INDEX callbacks_expires ON callbacks (expires);`,

	`ALTER TABLE calls ADD COLUMN agent TEXT NOT NULL DEFAULT '';`,

	// Whom a call was with stands beside its trace, because the record may go
	// first. As text, so that a number that is erased can be looked for.
	`CREATE TABLE traces (
		id       TEXT PRIMARY KEY NOT NULL CHECK (id <> ''),
		ended_at INTEGER NOT NULL,
		user     TEXT NOT NULL,
		user_id  TEXT NOT NULL,
		bytes    INTEGER NOT NULL,
		trace    TEXT NOT NULL
	) STRICT;
	CREATE INDEX traces_ended ON traces (ended_at, id, bytes);
	CREATE INDEX traces_user ON traces (user) WHERE user <> '';
	CREATE INDEX traces_user_id ON traces (user_id) WHERE user_id <> '';`,
}

// migrate brings the database up to date, each step in a transaction of its own.
func migrate(ctx context.Context, conn *sql.Conn) error {
	var version int
	if err := conn.QueryRowContext(ctx, `PRAGMA user_version`).Scan(&version); err != nil {
		return fmt.Errorf("read schema version: %w", err)
	}
	if version > len(migrations) {
		return fmt.Errorf("%w: it has schema %d and this program knows %d; run the newer program, or restore a backup",
			ErrNewer, version, len(migrations))
	}
	for ; version < len(migrations); version++ {
		step := fmt.Sprintf("BEGIN IMMEDIATE; %s PRAGMA user_version = %d; COMMIT", migrations[version], version+1)
		if _, err := conn.ExecContext(ctx, step); err != nil {
			_, _ = conn.ExecContext(ctx, `ROLLBACK`) // as far as it got
			return fmt.Errorf("bring schema to version %d: %w", version+1, err)
		}
	}
	return nil
}
