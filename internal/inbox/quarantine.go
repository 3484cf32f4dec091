package inbox

import (
	"context"
	"crypto/sha256"
	"net/netip"
	"sync"
	"time"

	"github.com/switchhook/switchhook/internal/sqlitefile"
	"zombiezen.com/go/sqlite"
)

// Suspect is a request that was not accepted, as it came.
type Suspect struct {
	ID       int64
	Source   string
	Received time.Time
	Remote   string // the address that it came from
	Reason   string
	// Denied says that the authentication beside the signature was not accepted, which is
	// all that is kept of it.
	Denied    bool
	RequestID string
	Headers   Headers
	Body      []byte
}

// Bounds of the quarantine of a source.
type Bounds struct {
	Requests int
	Bytes    int
}

// Detained says what became of a suspect.
type Detained int

// What may become of a suspect.
const (
	Kept  Detained = iota + 1 // it is in the quarantine
	Known                     // it was there already: the sender tried again
	Full                      // there was no room for it
)

// Detain puts a request into the quarantine. One address may take half of what there
// is, so that one stranger cannot keep everybody else out; of IPv6 that is all that one
// customer is given. What is there stays: it is
// what the sender will give up first.
func (b *Inbox) Detain(ctx context.Context, s *Suspect, most Bounds) (d Detained, err error) {
	// Whoever sends rubbish as fast as he can does not get as far as the writer.
	if b.held.fullNow(s, most) {
		return Full, nil
	}
	hash := suspectHash(s.RequestID, s.Body)
	headers := s.Headers.text()
	return write(ctx, b, len(s.Body)+len(headers), func(c *sqlite.Conn) (Detained, error) {
		known := false
		err := query(c, `SELECT 1 FROM quarantine WHERE source = ?1 AND hash = ?2`,
			func(*sqlite.Stmt) error { known = true; return nil }, s.Source, hash[:])
		if err != nil || known {
			return Known, err
		}
		if err := b.held.load(c); err != nil || b.held.full(s, most) {
			return Full, err
		}
		_, err = exec(c, `INSERT INTO quarantine (source, received, remote, reason, denied, hash, headers, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)`,
			s.Source, s.Received, s.Remote, s.Reason, s.Denied, hash[:], headers, s.Body)
		b.held.add(s)
		return Kept, err
	})
}

// suspectHash is the same for every attempt of a delivery.
func suspectHash(requestID string, body []byte) [sha256.Size]byte {
	return sha256.Sum256(append(append([]byte(requestID), '\n'), body...))
}

// leave takes out of the quarantine what was accepted when it came again.
func (b *Inbox) leave(c *sqlite.Conn, e *Event) error {
	if err := b.held.load(c); err != nil || b.held.none(e.Source) {
		return err
	}
	hash := suspectHash(e.RequestID, e.Body)
	n, err := exec(c, `DELETE FROM quarantine WHERE source = ?1 AND hash = ?2`, e.Source, hash[:])
	if n > 0 {
		b.held.forget()
	}
	return err
}

// held counts what is in the quarantine. Counting it anew for each request would cost
// more than storing it, and if it is full, much more.
type held struct {
	mu      sync.Mutex
	known   bool
	all     map[string]tally // by source
	from    map[from]tally
	version int       // of the file, as far as others have changed it
	looked  time.Time // when the version was right
}

type from struct{ source, network string }

// fromOf returns what is counted as one address.
func fromOf(source, remote string) from {
	if addr, err := netip.ParseAddr(remote); err == nil && addr.Is6() {
		network, _ := addr.Prefix(64) // it has so many
		return from{source, network.String()}
	}
	return from{source, remote}
}

type tally struct{ requests, bytes int }

// weight is what a request counts for beside its body.
const weight = 1024

func (t tally) room(size int, most Bounds) bool {
	return t.requests < most.Requests && t.bytes+size <= most.Bytes
}

// look notices, in a transaction of the writer, that another process has changed the file:
// its own changes do not change the version that it sees.
func (h *held) look(c *sqlite.Conn) error {
	return query(c, "PRAGMA data_version", func(st *sqlite.Stmt) error {
		h.mu.Lock()
		defer h.mu.Unlock()
		if v := st.ColumnInt(0); v != h.version {
			h.version, h.known = v, false
		}
		h.looked = time.Now()
		return nil
	})
}

// fullNow reports whether there was no room a moment ago. Now and then somebody has to
// get as far as the writer for it to look.
func (h *held) fullNow(s *Suspect, most Bounds) bool {
	h.mu.Lock()
	old := time.Since(h.looked) > watchEvery
	h.mu.Unlock()
	return !old && h.full(s, most)
}

// full reports whether it is known that there is no room.
func (h *held) full(s *Suspect, most Bounds) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	size := len(s.Body) + weight
	if !h.known {
		return false
	}
	half := Bounds{(most.Requests + 1) / 2, (most.Bytes + 1) / 2}
	return !h.all[s.Source].room(size, most) || !h.from[fromOf(s.Source, s.Remote)].room(size, half)
}

// none reports whether nothing of a source is there.
func (h *held) none(source string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.all[source].requests == 0
}

func (h *held) add(s *Suspect) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.count(s.Source, s.Remote, tally{1, len(s.Body) + weight})
}

func (h *held) count(source, remote string, t tally) {
	at := fromOf(source, remote)
	a, f := h.all[source], h.from[at]
	h.all[source] = tally{a.requests + t.requests, a.bytes + t.bytes}
	h.from[at] = tally{f.requests + t.requests, f.bytes + t.bytes}
}

// forget makes the next one count anew.
func (h *held) forget() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.known = false
}

func (h *held) load(c *sqlite.Conn) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.known {
		return nil
	}
	h.known, h.all, h.from = true, map[string]tally{}, map[from]tally{}
	return query(c, `SELECT source, remote, count(*), sum(length(body) + ?1) FROM quarantine GROUP BY source, remote`, func(st *sqlite.Stmt) error {
		h.count(st.ColumnText(0), st.ColumnText(1), tally{st.ColumnInt(2), st.ColumnInt(3)})
		return nil
	}, weight)
}

// Suspects returns what is in the quarantine of a source, or of all if it has no name,
// in the order of arrival, beginning after a number.
func (b *Inbox) Suspects(ctx context.Context, source string, after int64, limit int) (all []*Suspect, err error) {
	err = b.read(ctx, func(c *sqlite.Conn) error {
		size := 0
		st, err := sqlitefile.Prepare(c, `
			SELECT id, source, received, remote, reason, denied, headers, body FROM quarantine
			WHERE id > ?1 AND (?2 = '' OR source = ?2) ORDER BY id LIMIT ?3`, []any{after, source, limit})
		if err != nil {
			return err
		}
		defer func() { _ = st.Reset() }() // its error is that of the last step
		for size < readBytes {
			if more, err := st.Step(); err != nil || !more {
				return err
			}
			s := &Suspect{
				ID: st.ColumnInt64(0), Source: st.ColumnText(1), Received: sqlitefile.Time(st.ColumnInt64(2)), Remote: st.ColumnText(3), Reason: st.ColumnText(4),
				Denied: st.ColumnBool(5), Headers: parseHeaders(st.ColumnText(6)), Body: blob(st, 7),
			}
			size += len(s.Body)
			all = append(all, s)
		}
		return nil
	})
	return all, err
}

// Quarantined returns how many requests are in the quarantine of each source.
func (b *Inbox) Quarantined(ctx context.Context) (n map[string]int, err error) {
	n = map[string]int{}
	err = b.read(ctx, func(c *sqlite.Conn) error {
		return query(c, `SELECT source, count(*) FROM quarantine GROUP BY source`, func(st *sqlite.Stmt) error {
			n[st.ColumnText(0)] = int(st.ColumnInt64(1))
			return nil
		})
	})
	return n, err
}

// LastReasons returns of each source why the last request that is in the quarantine was not
// accepted.
func (b *Inbox) LastReasons(ctx context.Context) (reasons map[string]string, err error) {
	reasons = map[string]string{}
	err = b.read(ctx, func(c *sqlite.Conn) error {
		return query(c, `SELECT source, reason FROM quarantine WHERE id IN (SELECT max(id) FROM quarantine GROUP BY source)`, func(st *sqlite.Stmt) error {
			reasons[st.ColumnText(0)] = st.ColumnText(1)
			return nil
		})
	})
	return reasons, err
}

// Release takes a request out of the quarantine and adds the event that it turned out
// to be, both or neither. If e is nil, the request is only taken out.
func (b *Inbox) Release(ctx context.Context, suspect int64, e *Event) (a Added, err error) {
	var own incoming
	if e != nil {
		own = incomingOf(e)
	}
	a, err = write(ctx, b, own.size(), func(c *sqlite.Conn) (Added, error) {
		b.held.forget()
		n, err := exec(c, `DELETE FROM quarantine WHERE id = ?1`, suspect)
		if err != nil || n == 0 || e == nil {
			return Added{}, err // somebody else has released it
		}
		return b.insert(c, &own)
	})
	if err == nil && e != nil {
		e.ID = a.ID
	}
	return a, err
}

// Drop deletes what is in the quarantine of a source, or of all if it has no name; only
// the numbered ones, if there are any. It returns how many there were.
func (b *Inbox) Drop(ctx context.Context, source string, ids ...int64) (int, error) {
	return write(ctx, b, 0, func(c *sqlite.Conn) (n int, err error) {
		b.held.forget()
		if len(ids) == 0 {
			return exec(c, `DELETE FROM quarantine WHERE ?1 = '' OR source = ?1`, source)
		}
		for _, id := range ids {
			one, err := exec(c, `DELETE FROM quarantine WHERE id = ?1 AND (?2 = '' OR source = ?2)`, id, source)
			if err != nil {
				return n, err
			}
			n += one
		}
		return n, nil
	})
}
