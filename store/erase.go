package store

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"wagate/whatsapp"
)

// Erased says how many rows forgot a customer.
type Erased struct {
	Records     int `json:"records"`     // that keep the call, and not with whom
	Traces      int `json:"traces"`      // of those calls
	Events      int `json:"events"`      // of the journal
	Permissions int `json:"permissions"` // of the ledger
	Identities  int `json:"identities"`  // pairs of number and business-scoped id
	// Limits of the permissions left behind how often the customer was asked
	// and called, under a name that is none. They go when they have run out.
	Limits int `json:"limits"`
	// Clean says that neither number nor id is left in any file.
	Clean bool `json:"clean"`
}

// person is one customer, by all the names that the store can tell.
type person struct {
	numbers []string // digits
	ids     []string // business-scoped
	traces  []string // ids of Meta's that have the number in them
}

// Erase forgets a customer, who is named by number, by id or by both; what was
// seen of the other belongs to it. Records of calls stay, without the customer;
// their traces go. The ledger keeps what the limits need, under a keyed hash. The
// error while a call with the customer is not over at both ends is ErrLive; then
// nothing is forgotten.
func (db *DB) Erase(ctx context.Context, who whatsapp.Callee) (gone Erased, names []whatsapp.Callee, err error) {
	who = bare(who)
	if who == (whatsapp.Callee{}) {
		return gone, nil, fmt.Errorf("store %s: %w", opErase, errNobody)
	}
	var p person
	err = db.write(ctx, opErase, func(ctx context.Context, tx *session) (err error) {
		gone = Erased{}
		if p, err = namesOf(ctx, tx, who); err != nil {
			return err
		}
		if err := p.over(ctx, tx); err != nil {
			return err
		}
		if gone.Records, err = p.eraseRecords(ctx, tx); err != nil {
			return err
		}
		if gone.Traces, err = p.eraseTraces(ctx, tx); err != nil {
			return err
		}
		if gone.Events, err = p.eraseEvents(ctx, tx); err != nil {
			return err
		}
		if gone.Permissions, gone.Limits, err = db.veil.erasePermissions(ctx, tx, p, time.Now()); err != nil {
			return err
		}
		if err := p.eraseCallbacks(ctx, tx); err != nil {
			return err
		}
		gone.Identities, err = db.veil.eraseIdentities(ctx, tx, p)
		return err
	})
	if err != nil {
		return Erased{}, nil, err
	}
	for _, n := range p.numbers {
		names = append(names, whatsapp.Callee{Number: n})
	}
	for _, id := range p.ids {
		names = append(names, whatsapp.Callee{UserID: id})
	}
	gone.Clean = db.scrub(ctx, slices.Concat(p.numbers, p.ids, p.traces))
	return gone, names, nil
}

// Erasing holds up the calls that wait for the disk, so it finds records and
// traces by their indexes, which are of the rows with a name alone.
const (
	tracesOfPerson  = `SELECT id, user, user_id FROM traces WHERE user <> '' AND user IN (?1, '+' || ?1) OR user_id <> '' AND user_id = ?1`
	recordsOfPerson = `SELECT record FROM records WHERE user <> '' AND user IN (?1, '+' || ?1) OR user_id <> '' AND user_id = ?1`
	idsOfNumber     = `SELECT bsuid FROM identities WHERE wa_id = ?1
		UNION SELECT user_id FROM records WHERE user <> '' AND user IN (?1, '+' || ?1) AND user_id <> ''`
	numbersOfID = `SELECT wa_id FROM identities WHERE bsuid = ?1
		UNION SELECT ltrim(user, '+') FROM records WHERE user_id <> '' AND user_id = ?1 AND user <> ''`
)

// namesOf adds to the name that is given those that were seen with it. It goes
// no further: a number that was given away belongs to two customers.
func namesOf(ctx context.Context, tx *session, who whatsapp.Callee) (p person, err error) {
	if who.Number != "" {
		p.numbers = []string{who.Number}
		if p.ids, err = column(ctx, tx, idsOfNumber, who.Number); err != nil {
			return p, err
		}
	}
	if who.UserID == "" {
		return p, nil
	}
	p.ids = append(p.ids, who.UserID)
	more, err := column(ctx, tx, numbersOfID, who.UserID)
	p.ids, p.numbers = distinct(p.ids), distinct(append(p.numbers, more...))
	return p, err
}

func distinct(names []string) []string {
	slices.Sort(names)
	return slices.Compact(names)
}

// column returns what a query finds, of one text each.
func column(ctx context.Context, tx *session, query string, args ...any) (values []string, err error) {
	err = each(ctx, tx, query, func(scan func(...any) error) error {
		var v string
		err := scan(&v)
		values = append(values, v)
		return err
	}, args...)
	return values, err
}

// is says whether a call is with the person.
func (p person) is(user, id string) bool {
	return slices.Contains(p.ids, id) || id == "" && slices.Contains(p.numbers, strings.TrimPrefix(user, "+"))
}

// over refuses while a call is up, or an end is still owed to a network.
func (p person) over(ctx context.Context, tx *session) error {
	var live bool
	err := each(ctx, tx, `SELECT user, user_id FROM calls
		UNION ALL SELECT r.user, r.user_id FROM debts d JOIN records r ON r.id = d.call_id`, func(scan func(...any) error) error {
		var user, id string
		err := scan(&user, &id)
		live = live || p.is(user, id) || slices.Contains(p.numbers, strings.TrimPrefix(user, "+"))
		return err
	})
	if err != nil {
		return err
	}
	owed, err := column(ctx, tx, `SELECT wacid FROM debts`)
	if live = live || slices.ContainsFunc(owed, p.within); err == nil && live {
		return ErrLive
	}
	return err
}

// within says whether an id of Meta's has a number of the person in it.
func (p person) within(id string) bool {
	_, coded, _ := strings.Cut(id, ".")
	text, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(strings.NewReplacer("-", "+", "_", "/").Replace(coded), "="))
	return err == nil && slices.ContainsFunc(p.numbers, func(n string) bool { return bytes.Contains(text, []byte(n)) })
}

// each gives the rows of a query to take, one after the other.
func each(ctx context.Context, tx *session, query string, take func(scan func(...any) error) error, args ...any) error {
	rows, err := tx.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		if err := take(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}

// eraseRecords takes the person out of the records; what was billed stays.
func (p *person) eraseRecords(ctx context.Context, tx *session) (int, error) {
	var records []Record
	for _, name := range slices.Concat(p.numbers, p.ids) {
		err := each(ctx, tx, recordsOfPerson, func(scan func(...any) error) error {
			var text []byte
			if err := scan(&text); err != nil {
				return err
			}
			var r Record
			err := json.Unmarshal(text, &r)
			if err == nil && p.is(r.User, r.UserID) && !slices.ContainsFunc(records, func(o Record) bool { return o.ID == r.ID }) {
				records = append(records, r)
			}
			return err
		}, name)
		if err != nil {
			return 0, err
		}
	}
	for _, r := range records {
		if r.WACID != "" {
			p.traces = append(p.traces, r.WACID)
		}
		r.User, r.UserID, r.WACID, r.Payload = "", "", "", ""
		if r.Direction == "outbound" || p.dialled(r.To) {
			r.To = ""
		}
		text, err := json.Marshal(r)
		if err != nil {
			return 0, fmt.Errorf("encode record: %w", err)
		}
		if _, err := tx.ExecContext(ctx, `UPDATE records SET user = '', user_id = '', wacid = '', record = ? WHERE id = ?`,
			string(text), r.ID); err != nil {
			return 0, err
		}
		// Found would give the record Meta's id, which names who is erased.
		if _, err := tx.ExecContext(ctx, `UPDATE strays SET call_id = '' WHERE call_id = ?`, r.ID); err != nil {
			return 0, err
		}
	}
	return len(records), nil
}

// dialled says whether a dialled string names the person, with or without the
// code of the country.
func (p person) dialled(to string) bool {
	const local = 8 // digits that a number has at least without that code
	return slices.ContainsFunc(p.numbers, func(n string) bool { return strings.Contains(to, n[max(len(n)-local, 0):]) }) ||
		slices.ContainsFunc(p.ids, func(id string) bool { return strings.Contains(to, id) })
}

// eraseEvents gives up the effect of events about the person that is not on
// disk yet: there is nobody left whom it could concern.
func (p *person) eraseEvents(ctx context.Context, tx *session) (int, error) {
	var keys []string
	err := each(ctx, tx, `SELECT key, call_id, body FROM events WHERE done = 0`, func(scan func(...any) error) error {
		var key, call string
		var body []byte
		if err := scan(&key, &call, &body); err != nil {
			return err
		}
		named := slices.ContainsFunc(slices.Concat(p.numbers, p.ids), func(name string) bool {
			return bytes.Contains(body, []byte(`"`+name+`"`)) || bytes.Contains(body, []byte(`"+`+name+`"`))
		})
		if named || p.within(call) || slices.Contains(p.traces, call) {
			keys = append(keys, key)
			if call != "" {
				p.traces = append(p.traces, call)
			}
		}
		return nil
	})
	for _, key := range keys {
		err = errors.Join(err, markDone(ctx, tx, key))
	}
	return len(keys), err
}
