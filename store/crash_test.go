package store

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

const childEnv = "WAGATE_STORE_TEST_DIR"

// child ends what the process before left, then makes calls for ever. It tells
// on standard output what the store has promised, each time after the promise.
func child(dir string) {
	ctx := context.Background()
	db, err := Open(ctx, dir, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		fmt.Println("fault", err)
		return
	}
	say := func(err error, what string, n int) bool {
		if err != nil {
			fmt.Println("fault", what, n, err)
			return false
		}
		fmt.Println(what, n)
		return true
	}
	left, err := db.Unfinished(ctx)
	if err != nil {
		fmt.Println("fault", err)
		return
	}
	for _, c := range left {
		n, _ := strconv.Atoi(c.ID)
		if !say(db.End(ctx, Record{ID: c.ID, Cause: "internal", EndedAt: time.Now()}, nil, ""), "ended", n) {
			return
		}
	}
	last, _ := strconv.Atoi(os.Getenv(childEnv + "_FROM"))
	for n := last; ; n++ {
		id, key := strconv.Itoa(n), "key"+strconv.Itoa(n)
		_, err := db.Journal(ctx, []Event{{Key: key, Kind: "offer", CallID: id, At: time.Now(), Body: []byte("{}")}})
		ok := say(err, "journaled", n) &&
			say(db.Begin(ctx, aCall(id), key), "begun", n) &&
			say(db.SaveDialog(ctx, id, Dialog{Attempt: 1, State: []byte("invite")}), "dialled", n) &&
			say(db.Progress(ctx, id, Progress{PreAccepted: true, AnsweredAt: time.Now()}), "answered", n)
		if ok && n%3 > 0 { // every third stays up
			ok = say(db.End(ctx, Record{ID: id, EndedAt: time.Now()}, []Debt{{Kind: "terminate", CallID: id, WACID: "w" + id}}, ""), "ended", n)
		}
		if !ok {
			return
		}
	}
}

// A process that is killed anywhere keeps every promise that it made.
func TestKilled(t *testing.T) {
	rounds := 8
	if testing.Short() {
		rounds = 3
	}
	dir := t.TempDir()
	promised := map[string]map[int]bool{}
	last := 0
	for range rounds {
		last = oneLife(t, dir, promised, last)
	}
	if len(promised["ended"]) == 0 {
		t.Fatal("no call was ended: the test proves nothing")
	}
	checkPromises(t, dir, promised, last)
}

// oneLife runs a child until it has done some work, kills it, and notes what it
// said. It returns the number to go on from.
func oneLife(t *testing.T, dir string, promised map[string]map[int]bool, last int) int {
	t.Helper()
	exe, err := os.Executable()
	must(t, err)
	cmd := exec.CommandContext(t.Context(), exe)
	cmd.Env = append(os.Environ(), childEnv+"="+dir, childEnv+"_FROM="+strconv.Itoa(last+1))
	out, err := cmd.StdoutPipe()
	must(t, err)
	cmd.Stderr = os.Stderr
	must(t, cmd.Start())
	lines := bufio.NewScanner(out)
	enough := 20 + rand.IntN(200)
	for seen := 0; lines.Scan(); seen++ {
		what, number, _ := strings.Cut(lines.Text(), " ")
		n, err := strconv.Atoi(number)
		if what == "fault" || err != nil {
			t.Errorf("child says %q", lines.Text())
			break
		}
		if promised[what] == nil {
			promised[what] = map[int]bool{}
		}
		promised[what][n] = true
		last = max(last, n)
		if seen == enough {
			must(t, cmd.Process.Kill())
		}
	}
	_, _ = io.Copy(io.Discard, out)
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	return last
}

func checkPromises(t *testing.T, dir string, promised map[string]map[int]bool, last int) {
	t.Helper()
	ctx := t.Context()
	db := open(t, dir) // checks the file too
	rows, err := db.readers.QueryContext(ctx, `SELECT id FROM records`)
	must(t, err)
	defer func() { _ = rows.Close() }()
	records := map[string]int{}
	for rows.Next() {
		var id string
		must(t, rows.Scan(&id))
		records[id]++
	}
	must(t, rows.Err())
	left, err := db.Unfinished(ctx)
	must(t, err)
	open := map[string]Call{}
	for _, c := range left {
		open[c.ID] = c
		if records[c.ID] > 0 {
			t.Errorf("call %s has a record and is unfinished", c.ID)
		}
	}
	for n := range promised["ended"] {
		if records[strconv.Itoa(n)] != 1 {
			t.Errorf("call %d was ended and has %d records", n, records[strconv.Itoa(n)])
		}
	}
	for n := range promised["begun"] {
		if _, up := open[strconv.Itoa(n)]; !up && records[strconv.Itoa(n)] == 0 {
			t.Errorf("call %d was begun and is lost", n)
		}
	}
	for n := range promised["answered"] {
		if c, up := open[strconv.Itoa(n)]; up && (!c.PreAccepted || len(c.SIP) != 1) {
			t.Errorf("call %d lost what was known of it: %+v", n, c)
		}
	}
	undone, err := db.Undone(ctx)
	must(t, err)
	for _, e := range undone {
		if _, up := open[e.CallID]; up || records[e.CallID] > 0 {
			t.Errorf("event of call %s is undone, but the call was begun", e.CallID)
		}
	}
	for n := range promised["journaled"] {
		fresh, err := db.Journal(ctx, []Event{{Key: "key" + strconv.Itoa(n)}})
		must(t, err)
		if fresh[0] {
			t.Errorf("event %d was journaled and is forgotten", n)
		}
	}
	var unpaid int
	must(t, db.readers.QueryRowContext(ctx, `SELECT count(*) FROM records WHERE cause = ''
		AND id NOT IN (SELECT call_id FROM debts)`).Scan(&unpaid))
	if unpaid > 0 {
		t.Errorf("%d calls were ended without their debts", unpaid)
	}
	var orphans int
	must(t, db.readers.QueryRowContext(ctx,
		`SELECT count(*) FROM dialogs WHERE call_id NOT IN (SELECT id FROM calls)`).Scan(&orphans))
	if orphans > 0 {
		t.Errorf("%d dialogs without a call", orphans)
	}
	t.Logf("%d calls over, %d up, %d numbers", len(records), len(open), last)
}
