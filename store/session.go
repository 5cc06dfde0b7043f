package store

import (
	"context"
	"database/sql"
	"errors"
)

// session is a connection that keeps the statements it has run: to read the
// text of one takes longer than to run it. It serves one goroutine.
type session struct {
	*sql.Conn
	ready map[string]*sql.Stmt
}

// maxReady is how many statements are kept. The store has fewer; those that are
// put together out of parts must not add up.
const maxReady = 128

func newSession(conn *sql.Conn) *session {
	return &session{Conn: conn, ready: map[string]*sql.Stmt{}}
}

// ExecContext is that of sql.Conn.
func (s *session) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	if stmt := s.prepared(ctx, query); stmt != nil {
		return stmt.ExecContext(ctx, args...)
	}
	return s.Conn.ExecContext(ctx, query, args...)
}

// QueryRowContext is that of sql.Conn. The row has to be scanned before the same
// query is run again.
func (s *session) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	if stmt := s.prepared(ctx, query); stmt != nil {
		return stmt.QueryRowContext(ctx, args...)
	}
	return s.Conn.QueryRowContext(ctx, query, args...)
}

// prepared is nil for what cannot be kept; run as it is, it tells why.
func (s *session) prepared(ctx context.Context, query string) *sql.Stmt {
	if stmt := s.ready[query]; stmt != nil {
		return stmt
	}
	if len(s.ready) == maxReady {
		return nil
	}
	stmt, err := s.PrepareContext(ctx, query)
	if err != nil {
		return nil
	}
	s.ready[query] = stmt
	return stmt
}

// Close lets go of the statements and gives the connection back.
func (s *session) Close() error {
	var errs []error
	for _, stmt := range s.ready {
		errs = append(errs, stmt.Close())
	}
	clear(s.ready)
	return errors.Join(append(errs, s.Conn.Close())...)
}
