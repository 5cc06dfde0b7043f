package store

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"wagate/whatsapp"
)

// TestPurgeOfTheLedger keeps what still counts, whatever its age, and whatever
// is younger than the retention.
func TestPurgeOfTheLedger(t *testing.T) {
	ctx := t.Context()
	db := open(t, t.TempDir())
	now := time.Now()
	long := now.Add(-40 * 24 * time.Hour)
	yes := whatsapp.PermissionReply{Meta: whatsapp.Meta{At: long}, Accept: true}
	always := yes
	always.Permanent = true
	rows := map[string]struct {
		p    whatsapp.Permission
		kept bool
	}{
		"asked long ago":          {whatsapp.Permission{}.Asked(long), false},
		"granted long ago":        {whatsapp.Permission{}.Replied(yes), false},
		"spoke long ago":          {whatsapp.Permission{}.Spoke(long), false},
		"granted for good":        {whatsapp.Permission{}.Replied(always), true},
		"takes no calls":          {whatsapp.Permission{}.Unanswered("wacid.1", long), true},
		"asked lately":            {whatsapp.Permission{}.Asked(now.Add(-7 * 24 * time.Hour)), true},
		"held by Meta":            {whatsapp.Permission{}.CallsHeld(long, now.Add(time.Hour)), true},
		"lower limit at Meta":     {whatsapp.Permission{CallMax: 5}, true},
		"customary limit at Meta": {whatsapp.Permission{CallMax: 100}, false},
	}
	ids := map[string]whatsapp.Callee{}
	for name, row := range rows {
		ids[name] = whatsapp.Callee{Number: fmt.Sprintf("3460000%04d", len(ids)), UserID: fmt.Sprintf("ES.%d", len(ids))}
		_, _, err := db.ApplyPermission(ctx, "", support, ids[name], long, func(whatsapp.Permission) whatsapp.Permission { return row.p })
		must(t, err)
	}
	for n := range purgeChunk + 3 {
		_, _, err := db.ApplyPermission(ctx, "", other, whatsapp.Callee{UserID: fmt.Sprintf("XX.%d", n)}, long, func(whatsapp.Permission) whatsapp.Permission {
			return whatsapp.Permission{}.Asked(long)
		})
		must(t, err)
	}
	count := func() (permissions, identities int) {
		t.Helper()
		must(t, db.readers.QueryRowContext(ctx, `SELECT (SELECT count(*) FROM permissions), (SELECT count(*) FROM identities)`).Scan(&permissions, &identities))
		return permissions, identities
	}
	all := len(rows) + purgeChunk + 3
	must(t, db.Purge(ctx, long, now.Add(-time.Hour)))
	if p, i := count(); p != all || i != len(rows) {
		t.Errorf("within the retention: %d permissions and %d identities, want %d and %d", p, i, all, len(rows))
	}
	must(t, db.Purge(ctx, long, now.Add(time.Hour)))
	for name, row := range rows {
		p, err := db.Permission(ctx, support, whatsapp.Callee{Number: ids[name].Number})
		must(t, err)
		if kept := !reflect.DeepEqual(p, whatsapp.Permission{}); kept != row.kept {
			t.Errorf("%s: kept %v, want %v: %+v", name, kept, row.kept, p)
		}
	}
	if p, i := count(); p != 5 || i != 5 {
		t.Errorf("%d permissions and %d identities, want those that count", p, i)
	}
}
