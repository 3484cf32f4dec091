package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"zombiezen.com/go/sqlite"

	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/intake"
)

// Publish stores the publications, each whole or not at all. An error concerns
// all of them, Publication.Err one.
func (db *DB) Publish(pubs []*intake.Publication) error {
	for _, p := range pubs {
		n, err := db.typeNumber(p.Event.Type)
		if err != nil {
			return err
		}
		p.TypeNumber = n
	}
	if err := db.sql.publish(pubs); err != nil {
		return err
	}
	isStale := func(p *intake.Publication) bool { return errors.Is(p.Err, intake.ErrStale) }
	if !slices.ContainsFunc(pubs, isStale) {
		return nil
	}
	if err := db.sql.catchUp(context.Background()); err != nil {
		for _, p := range pubs {
			if isStale(p) {
				p.Err = err
			}
		}
	}
	return nil
}

// typeNumber returns the number that stands for the event type in the store.
func (db *DB) typeNumber(name string) (int64, error) {
	if n, ok := db.names.Load(name); ok {
		return n.(int64), nil
	}
	var n int64
	err := db.sql.write(func(t tx) error {
		if _, err := t.exec(`INSERT INTO event_names (name) VALUES ($1) ON CONFLICT DO NOTHING`, name); err != nil {
			return err
		}
		return t.query(`SELECT id FROM event_names WHERE name = $1`, func(r row) error { n = r.int(0); return nil }, name)
	}, nil)
	if err != nil {
		return 0, err
	}
	db.putName(n, name)
	return n, nil
}

// knownType returns the number of an event type of which something was published,
// or 0.
func (db *DB) knownType(name string) int64 {
	n, ok := db.names.Load(name)
	if !ok && db.dialect.shared && name != "" {
		db.learnNames()
		n, _ = db.names.Load(name)
	}
	number, _ := n.(int64)
	return number
}

func (db *DB) putName(n int64, name string) {
	db.names.Store(n, name)
	db.names.Store(name, n)
}

func (db *DB) typeName(n int64) string {
	name, ok := db.names.Load(n)
	if !ok && db.dialect.shared && n != 0 {
		db.learnNames()
		name, _ = db.names.Load(n)
	}
	s, _ := name.(string)
	return s
}

// learnNames reads the event types anew, for another process may have published one
// that was not known before.
func (db *DB) learnNames() {
	if err := db.loadNames(context.Background()); err != nil {
		db.log.Warn("the names of event types could not be read", "err", err)
	}
}

func (db *DB) loadNames(ctx context.Context) error {
	return db.sql.readAside(ctx, func(t tx) error {
		return t.query(`SELECT id, name FROM event_names`, func(r row) error {
			db.putName(r.int(0), r.text(1))
			return nil
		})
	})
}

const (
	insertEvent = `
		INSERT INTO events (id, account_id, type_id, event_ts, carrier, routing, owed, body)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`
	insertDue = `
		INSERT INTO due (subscription, due_at, event_id, tries, generation, size, node)
		VALUES ($1, $2, $3, $4, $5, $6, $7)`
	insertKey = `
		INSERT INTO idempotency_keys (account_id, key, event_id, body_hash)
		VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING`
	selectKey = `
		SELECT k.event_id, k.body_hash, e.owed
		FROM idempotency_keys k LEFT JOIN events e ON e.id = k.event_id
		WHERE k.account_id = $1 AND k.key = $2`
)

func (s *sqliteDB) publish(pubs []*intake.Publication) error {
	return s.do(unit{publish: pubs})
}

func (s *sqliteDB) applyPublish(pubs []*intake.Publication) error {
	event, err := s.conn.Prepare(insertEvent)
	if err != nil {
		return err
	}
	due, err := s.conn.Prepare(insertDue)
	if err != nil {
		return err
	}
	version := s.directory.Version()
	for _, p := range pubs {
		p.Err, p.Earlier = nil, 0
		if p.Version != version {
			p.Err = intake.ErrStale
			continue
		}
		if p.Key != "" {
			if fresh, err := claimKey(sqliteTx{s.conn, s}, p); err != nil {
				return err
			} else if !fresh {
				continue
			}
		}
		e := p.Event
		s.scratch = appendOwed(s.scratch[:0], p.Owed)
		event.BindInt64(1, int64(e.ID))
		event.BindText(2, e.Account)
		event.BindInt64(3, p.TypeNumber)
		event.BindInt64(4, e.TS.UnixMilli())
		event.BindInt64(5, int64(e.Carrier))
		if r := routing(e); r == "" {
			event.BindNull(6)
		} else {
			event.BindText(6, r)
		}
		event.BindBytes(7, s.scratch)
		event.BindBytes(8, e.Body)
		if err := step(event); err != nil {
			return err
		}
		for _, o := range p.Owed {
			bindDue(due, hook.Delivery{ID: hook.DeliveryID{Event: e.ID, Subscription: o.Subscription}}, o.Generation, len(e.Body), o.Node)
			if err := step(due); err != nil {
				return err
			}
		}
		s.checkpoint.Add(2 * (100 + len(e.Body) + 60*len(p.Owed)))
	}
	return nil
}

func bindDue(st *sqlite.Stmt, d hook.Delivery, generation int64, size int, node int64) {
	st.BindInt64(1, int64(d.ID.Subscription))
	st.BindInt64(2, dueMillis(d.Due))
	st.BindInt64(3, int64(d.ID.Event))
	st.BindInt64(4, int64(d.Tries))
	st.BindInt64(5, generation)
	st.BindInt64(6, int64(size))
	st.BindInt64(7, node)
}

// claimKey reserves the publication's idempotency key. If an earlier publication
// has it, p says so and fresh is false.
func claimKey(t tx, p *intake.Publication) (fresh bool, err error) {
	n, err := t.exec(insertKey, p.Event.Account, p.Key, int64(p.Event.ID), p.Digest)
	if err != nil || n == 1 {
		return n == 1, err
	}
	return false, t.query(selectKey, func(r row) error {
		if !bytes.Equal(r.blob(1), p.Digest) {
			p.Err = usedKey(p.Key, hook.EventID(r.int(0)))
			return nil
		}
		p.Earlier, p.EarlierOwed = hook.EventID(r.int(0)), len(r.blob(2))/8
		return nil
	}, p.Event.Account, p.Key)
}

func usedKey(key string, by hook.EventID) error {
	return &hook.Error{
		Kind:    hook.Conflict,
		Subject: fmt.Sprintf("idempotency key %q", key),
		Detail:  fmt.Sprintf("was used for another event, %s; use a new key for a new event", by),
	}
}

func appendOwed(b []byte, owed []hook.Owed) []byte {
	for _, o := range owed {
		b = binary.BigEndian.AppendUint64(b, uint64(o.Subscription))
	}
	return b
}

func parseOwed(b []byte) []hook.SubscriptionKey {
	keys := make([]hook.SubscriptionKey, 0, len(b)/8)
	for ; len(b) >= 8; b = b[8:] {
		keys = append(keys, hook.SubscriptionKey(binary.BigEndian.Uint64(b)))
	}
	return keys
}

// extra is what few events have: people, where one concerns some users rather than a
// whole account, and a trace, where those are kept.
type extra struct {
	Users  []string `json:"user_ids,omitempty"`
	Groups []string `json:"user_group_ids,omitempty"`
	Trace  string   `json:"trace,omitempty"`
}

func routing(e *hook.Event) string {
	if len(e.Users)+len(e.Groups) == 0 && e.Trace.IsZero() {
		return ""
	}
	x := extra{Users: e.Users, Groups: e.Groups}
	if !e.Trace.IsZero() {
		x.Trace = e.Trace.String()
	}
	b, _ := json.Marshal(x) // strings always encode
	return string(b)
}

// selectEvent is followed by a condition; scanEvent reads its rows.
const selectEvent = `SELECT id, account_id, type_id, event_ts, carrier, routing, owed, body FROM events `

// selectEventHead is the same without the body, for lists.
const selectEventHead = `SELECT id, account_id, type_id, event_ts, carrier, routing, owed, NULL FROM events `

func (db *DB) scanEvent(r row) (*hook.Event, []hook.SubscriptionKey, error) {
	e := &hook.Event{
		ID:      hook.EventID(r.int(0)),
		Account: r.text(1),
		Type:    db.typeName(r.int(2)),
		TS:      fromMillis(r.int(3)),
		Carrier: int32(r.int(4)),
		Body:    r.blob(7),
	}
	if text := r.text(5); text != "" {
		var x extra
		if err := json.Unmarshal([]byte(text), &x); err != nil {
			return nil, nil, fmt.Errorf("store: routing of event %s: %w", e.ID, err)
		}
		e.Users, e.Groups, e.Trace = x.Users, x.Groups, hook.ParseTrace(x.Trace)
	}
	return e, parseOwed(r.blob(6)), nil
}
