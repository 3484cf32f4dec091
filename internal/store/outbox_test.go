package store

import (
	"bytes"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/switchhook/switchhook/internal/hook"
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
// of each, newest first. What the process before had in hand is free at once.
func TestMailsSurvive(t *testing.T) {
	eachStore(t, func(t *testing.T, o Options) {
		db := open(t, o)
		join(t, db, 0)
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
		joinAlone(t, db)
		want := []outbox.Message{
			{State: outbox.Pending, Due: now},
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
		if next := nextMail(t, db); !next.Equal(now) {
			t.Errorf("the next is at %v, want %v", next, now)
		}
		if m := claimMailAt(t, db, now, until); m == nil || m.ID != ids[3] {
			t.Errorf("what the process before had in hand is not free: %+v came", m)
		}
		if two := mails(t, db, 2); len(two) != 2 || *two[1] != want[1] {
			t.Errorf("the latest two are %+v", two)
		}
	})
}

// Who only looks into the database, as a command does beside a platform, leaves what
// the platform has in hand, and what waits, as it is.
func TestMailsAreLeftToThePlatform(t *testing.T) {
	eachStore(t, func(t *testing.T, o Options) {
		platform := open(t, o)
		defer platform.Close()
		putMails(t, platform, 2)
		claimMailAt(t, platform, now, now.Add(time.Minute))
		before := mails(t, platform, 10)

		o.Deliver, o.Mail = false, false
		must(t, open(t, o).Close())
		for i, m := range mails(t, platform, 10) {
			if *m != *before[i] {
				t.Errorf("after a command the mail is\n%+v\nbefore it was\n%+v", *m, *before[i])
			}
		}
	})
}

// Where nobody sends mails, none waits for somebody who does: each ends when it is put
// in, can be read all the same, and is in the log, so that nobody misses it.
func TestMailsWithoutServer(t *testing.T) {
	eachStore(t, func(t *testing.T, o Options) {
		var logged bytes.Buffer
		o.Mail, o.Log = false, slog.New(slog.NewTextHandler(&logged, nil))
		db := open(t, o)
		m := newMail(1)
		must(t, db.PutMail(m))
		want := *newMail(1)
		want.ID, want.State, want.Ended, want.Reason = m.ID, outbox.Failed, now, "no mail server is configured (--smtp)"
		if all := mails(t, db, 10); len(all) != 1 || *all[0] != want || *m != want {
			t.Errorf("the mail is\n%+v\nand was returned as\n%+v\nwant\n%+v", all, *m, want)
		}
		const line = `level=WARN msg="a notice is not sent as a mail" mail=1 to=ann1@example.com subject="Subject 1" text=text reason="no mail server is configured (--smtp)"`
		if n := strings.Count(logged.String(), line); n != 1 {
			t.Errorf("%d such lines in the log:\n%s", n, logged.String())
		}
		must(t, db.Close())

		o.Mail = true
		db = open(t, o)
		defer db.Close()
		if m := claimMailAt(t, db, now.Add(time.Hour), now.Add(2*time.Hour)); m != nil || !nextMail(t, db).IsZero() {
			t.Errorf("once there is a server it is sent: %+v", m)
		}
	})
}

// What waits when a platform is started without a mail server ends there and then, and
// is in the log.
func TestMailServerTakenAway(t *testing.T) {
	eachStore(t, func(t *testing.T, o Options) {
		db := open(t, o)
		ids := putMails(t, db, 3)
		sent := claimMailAt(t, db, now, now.Add(time.Minute))
		sent.State, sent.Tries, sent.Due, sent.Ended = outbox.Sent, 1, time.Time{}, now
		must(t, db.RecordMail(*sent))
		claimMailAt(t, db, now, now.Add(time.Minute)) // in somebody's hand, who dies
		must(t, db.Close())

		var logged bytes.Buffer
		o.Mail, o.Log = false, slog.New(slog.NewTextHandler(&logged, nil))
		db = open(t, o)
		defer db.Close()
		all := mails(t, db, 10)
		if len(all) != 3 || all[2].State != outbox.Sent {
			t.Fatalf("in the outbox: %+v", all)
		}
		for i, m := range all[:2] {
			if m.ID != ids[2-i] || m.State != outbox.Failed || m.Reason != outbox.NoServer || m.Ended.IsZero() || !m.Due.IsZero() || !m.Claimed.IsZero() {
				t.Errorf("it is %+v", m)
			}
		}
		if n := strings.Count(logged.String(), `msg="a notice is not sent as a mail"`); n != 2 {
			t.Errorf("%d lines in the log:\n%s", n, logged.String())
		}
	})
}

// A mail to an account without an owner's address ends at once, with that reason.
func TestMailWithoutRecipient(t *testing.T) {
	onEachStore(t, func(t *testing.T, db *DB) {
		nobody, unusable := newMail(1), newMail(2)
		nobody.To, unusable.To = "", "Ann <ann@example.com>"
		must(t, db.PutMail(nobody))
		must(t, db.PutMail(unusable))
		for _, put := range []*outbox.Message{nobody, unusable} {
			m, err := db.Mail(t.Context(), put.ID)
			must(t, err)
			if m.State != outbox.Failed || !strings.HasPrefix(m.Reason, "the account has no owner e-mail") || !m.Ended.Equal(now) {
				t.Errorf("the mail is %+v", m)
			}
		}
		if m := claimMailAt(t, db, now, now.Add(time.Minute)); m != nil {
			t.Errorf("it is handed out: %+v", m)
		}
	})
}

// One mail can be looked at; one that is not there, or not any more, is not found.
func TestOneMail(t *testing.T) {
	onEachStore(t, func(t *testing.T, db *DB) {
		ids := putMails(t, db, 2)
		m, err := db.Mail(t.Context(), ids[1])
		must(t, err)
		if m.ID != ids[1] || m.To != "ann1@example.com" {
			t.Errorf("mail %d is %+v", ids[1], m)
		}
		for _, id := range []int64{0, -1, ids[1] + 1} {
			if m, err := db.Mail(t.Context(), id); kindOf(err) != hook.NotFound {
				t.Errorf("mail %d: %+v, %v", id, m, err)
			}
		}
	})
}

// The installation is made once: whoever opens the database, at the same time or
// later, finds the same one, and every database has another.
func TestInstallation(t *testing.T) {
	eachStore(t, func(t *testing.T, o Options) {
		found := make(chan string, 8)
		var opening sync.WaitGroup
		must(t, open(t, o).Close()) // so that only the installation is made at the same time
		o.Deliver = false
		for range cap(found) {
			db := open(t, o)
			defer db.Close()
			opening.Go(func() {
				name, err := db.Installation()
				if err != nil {
					t.Error(err)
				}
				found <- name
			})
		}
		opening.Wait()
		db := open(t, o)
		defer db.Close()
		want, err := db.Installation()
		must(t, err)
		for range cap(found) {
			if name := <-found; name != want {
				t.Errorf("one found %q, the next %q", name, want)
			}
		}
		if len(want) < 20 || strings.ContainsFunc(want, func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') }) {
			t.Errorf("it is %q", want)
		}
		eachStore(t, func(t *testing.T, o Options) {
			db := open(t, o)
			defer db.Close()
			if name, err := db.Installation(); err != nil || name == want {
				t.Errorf("another database has %q, %v", name, err)
			}
		})
	})
}

// A mail about a change is put into the outbox, and in the log where nobody sends it,
// if and only if the change is made.
func TestMailBelongsToItsTransaction(t *testing.T) {
	eachStore(t, func(t *testing.T, o Options) {
		var logged bytes.Buffer
		o.Mail, o.Log = false, slog.New(slog.NewTextHandler(&logged, nil))
		db := open(t, o)
		defer db.Close()
		setup(t, db)
		twin := *db.Directory().App("app")
		twin.ID, twin.ClientID = "twin", "twin"
		for i, c := range []hook.Change{{Apps: []*hook.App{&twin}}, {Subscriptions: []*hook.Subscription{subscription(1)}}} {
			want := []hook.Kind{hook.Conflict, 0}[i]
			if err := db.Change(c, now, newMail(1), newMail(2)); kindOf(err) != want {
				t.Fatal(err)
			}
			if all, n := mails(t, db, 10), strings.Count(logged.String(), "a notice is not sent"); len(all) != 2*i || n != 2*i {
				t.Errorf("change %d left %d mails and %d lines in the log", i, len(all), n)
			}
		}
	})
}
