package store

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/switchhook/switchhook/internal/outbox"
)

func newMail(n int) *outbox.Message {
	return &outbox.Message{To: fmt.Sprintf("ann%d@example.com", n), Subject: "Subject " + fmt.Sprint(n), Text: "text", HTML: "<p>html</p>", Created: now}
}

func putMails(t *testing.T, db *DB, n int) (ids []int64) {
	t.Helper()
	for i := range n {
		m := newMail(i)
		must(t, db.PutMail(m))
		ids = append(ids, m.ID)
	}
	return ids
}

func claimMailAt(t *testing.T, db *DB, at, until time.Time) *outbox.Message {
	t.Helper()
	m, err := db.ClaimMail(at, until)
	must(t, err)
	return m
}

func nextMail(t *testing.T, db *DB) time.Time {
	t.Helper()
	next, err := db.NextMail(t.Context())
	must(t, err)
	return next
}

func mails(t *testing.T, db *DB, limit int) []*outbox.Message {
	t.Helper()
	all, err := db.Mails(t.Context(), limit)
	must(t, err)
	return all
}

// Eight claimers never get the same mail, and together they get all.
func TestEachMailIsHandedOutOnce(t *testing.T) {
	onEachStore(t, func(t *testing.T, db *DB) {
		want := putMails(t, db, 100)
		var mu sync.Mutex
		var got []int64
		var claimers sync.WaitGroup
		for range 8 {
			claimers.Go(func() {
				for {
					m, err := db.ClaimMail(now, now.Add(time.Minute))
					if err != nil {
						t.Error(err)
					}
					if m == nil {
						return
					}
					mu.Lock()
					got = append(got, m.ID)
					mu.Unlock()
				}
			})
		}
		claimers.Wait()
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("handed out %d mails: %v", len(got), got)
		}
	})
}

// The mail that has been due longest comes first, and none before it is due.
func TestMailsComeInOrder(t *testing.T) {
	onEachStore(t, func(t *testing.T, db *DB) {
		late, soon := newMail(1), newMail(2)
		late.Created = now.Add(time.Hour)
		must(t, db.PutMail(late))
		must(t, db.PutMail(soon))
		if m := claimMailAt(t, db, now.Add(-time.Millisecond), now.Add(time.Minute)); m != nil {
			t.Errorf("before it was due came %+v", m)
		}
		for _, want := range []*outbox.Message{soon, late} {
			if m := claimMailAt(t, db, late.Created, late.Created.Add(time.Minute)); m == nil || m.ID != want.ID {
				t.Errorf("mail %d came instead of %+v", want.ID, m)
			}
		}
	})
}

// A claim that lapses gives its mail back to whoever claims next.
func TestMailLeaseLapses(t *testing.T) {
	onEachStore(t, func(t *testing.T, db *DB) {
		putMails(t, db, 1)
		until := now.Add(time.Minute)
		first := claimMailAt(t, db, now, until)
		if next := nextMail(t, db); !next.Equal(until) {
			t.Errorf("while it is in somebody's hand the next is at %v, want %v", next, until)
		}
		if m := claimMailAt(t, db, until.Add(-time.Millisecond), until.Add(time.Hour)); m != nil {
			t.Errorf("within the lease somebody else got %+v", m)
		}
		second := claimMailAt(t, db, until, until.Add(time.Minute))
		if second == nil || second.ID != first.ID {
			t.Fatalf("after the lease came %+v", second)
		}

		// Whoever had it before can no longer say when it is tried again ...
		lost := *first
		lost.Tries, lost.Due, lost.Reason = 1, now.Add(time.Hour), "lost"
		must(t, db.RecordMail(lost))
		if m := mails(t, db, 1)[0]; m.Tries != 0 || m.Reason != "" || !m.Claimed.Equal(second.Claimed) {
			t.Errorf("a claim that had lapsed changed the mail to %+v", m)
		}
		// ... but that it was sent is true, and the end of it.
		lost.State, lost.Due, lost.Ended = outbox.Sent, time.Time{}, until
		must(t, db.RecordMail(lost))
		again := *second
		again.Tries, again.Due, again.Reason = 1, now.Add(time.Hour), "connection refused"
		must(t, db.RecordMail(again))
		if m := mails(t, db, 1)[0]; m.State != outbox.Sent {
			t.Errorf("a mail that was sent is %s", m.State)
		}
		if m := claimMailAt(t, db, now.Add(24*time.Hour), now.Add(25*time.Hour)); m != nil {
			t.Errorf("a mail that was sent is handed out again: %+v", m)
		}
		if next := nextMail(t, db); !next.IsZero() {
			t.Errorf("nothing is to be sent, but the next is at %v", next)
		}
	})
}

// Whatever is in the outbox is there after a restart, and people see state and reason
// of each, newest first.
func TestMailsSurvive(t *testing.T) {
	eachStore(t, func(t *testing.T, o Options) {
		db := open(t, o)
		ids := putMails(t, db, 4)
		until, later := now.Add(time.Minute), now.Add(time.Hour)
		record := func(edit func(*outbox.Message)) {
			t.Helper()
			m := claimMailAt(t, db, now, until)
			m.Tries++
			m.Due = time.Time{}
			edit(m)
			must(t, db.RecordMail(*m))
		}
		record(func(m *outbox.Message) { m.State, m.Ended = outbox.Sent, now })
		record(func(m *outbox.Message) { m.State, m.Ended, m.Reason = outbox.Failed, now, "550 no such user" })
		record(func(m *outbox.Message) { m.Due, m.Reason = later, "451 greylisted" })
		claimMailAt(t, db, now, until)
		must(t, db.Close())

		db = open(t, o)
		defer db.Close()
		want := []outbox.Message{
			{State: outbox.Pending, Due: now, Claimed: until},
			{State: outbox.Pending, Due: later, Tries: 1, Reason: "451 greylisted"},
			{State: outbox.Failed, Ended: now, Tries: 1, Reason: "550 no such user"},
			{State: outbox.Sent, Ended: now, Tries: 1},
		}
		all := mails(t, db, 10)
		for i := range want {
			n := 3 - i
			w := newMail(n)
			want[i].ID, want[i].To, want[i].Subject, want[i].Text, want[i].HTML, want[i].Created = ids[n], w.To, w.Subject, w.Text, w.HTML, w.Created
		}
		if len(all) != len(want) {
			t.Fatalf("%d mails after a restart, want %d", len(all), len(want))
		}
		for i, m := range all {
			if *m != want[i] {
				t.Errorf("after a restart\n%+v\nwant\n%+v", *m, want[i])
			}
		}
		if next := nextMail(t, db); !next.Equal(until) {
			t.Errorf("the next is at %v, want %v", next, until)
		}
		if two := mails(t, db, 2); len(two) != 2 || *two[1] != want[1] {
			t.Errorf("the latest two are %+v", two)
		}
	})
}

// A mail about a change is put into the outbox if and only if the change is made.
func TestMailBelongsToItsTransaction(t *testing.T) {
	onEachStore(t, func(t *testing.T, db *DB) {
		fail := errors.New("the change fails")
		for _, want := range []error{fail, nil} {
			err := db.sql.write(func(t tx) error {
				if err := putMail(t, newMail(1)); err != nil {
					return err
				}
				return want
			}, nil)
			if !errors.Is(err, want) {
				t.Fatal(err)
			}
		}
		if all := mails(t, db, 10); len(all) != 1 {
			t.Errorf("%d mails after a change that failed and one that was made", len(all))
		}
	})
}
