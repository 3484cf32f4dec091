package outbox

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var created = time.UnixMilli(1763758800000)

// put returns a message as it is when it has been put into the outbox.
func put(edit ...func(*Message)) Message {
	m := Message{To: "ann@example.com", Subject: "A webhook fails", Text: "It fails.\n", Created: created, State: Pending, Due: created}
	for _, f := range edit {
		f(&m)
	}
	return m
}

// refusal is an error that knows whether trying again would help.
type refusal struct{ permanent bool }

func (r refusal) Error() string   { return "550 no such user" }
func (r refusal) Permanent() bool { return r.permanent }

var errDown = errors.New("connection refused")

// A message that cannot be sent is tried again after 1, 2, 4 ... minutes, then every
// hour, and given up before it is three days old.
func TestSchedule(t *testing.T) {
	m := put()
	var tried []int
	var last time.Time
	for m.State == Pending {
		last = m.Due
		tried = append(tried, int(last.Sub(created)/time.Minute))
		m = m.After(errDown, last)
	}
	want := []int{0, 1, 3, 7, 15, 31, 63, 123, 183, 243, 303}
	for at := 363; at < 3*24*60; at += 60 {
		want = append(want, at)
	}
	if !slices.Equal(tried, want) {
		t.Errorf("tried at minutes %v, want %v", tried, want)
	}
	const reason = "given up after 77 attempts in 71h3m0s; the last: connection refused"
	if m.State != Failed || m.Reason != reason || !m.Due.IsZero() || !m.Ended.Equal(last) {
		t.Errorf("in the end it is %+v", m)
	}
}

// How an attempt ended decides what becomes of the message.
func TestAfter(t *testing.T) {
	now := created.Add(10 * time.Second)
	for _, c := range []struct {
		name string
		err  error
		want Message // as far as After has a say in it
	}{
		{"sent", nil, Message{State: Sent, Ended: now}},
		{"for now", errDown, Message{State: Pending, Due: now.Add(time.Minute), Reason: "connection refused"}},
		{"for ever", refusal{permanent: true}, Message{State: Failed, Ended: now, Reason: "550 no such user"}},
		{"for ever, wrapped", fmt.Errorf("rcpt: %w", refusal{permanent: true}), Message{State: Failed, Ended: now, Reason: "rcpt: 550 no such user"}},
		{"not for ever, as it says itself", refusal{}, Message{State: Pending, Due: now.Add(time.Minute), Reason: "550 no such user"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			want := put()
			want.State, want.Due, want.Ended, want.Reason, want.Tries = c.want.State, c.want.Due, c.want.Ended, c.want.Reason, 1
			// What an earlier attempt left behind is gone.
			if got := put(func(m *Message) { m.Reason = "451 greylisted" }).After(c.err, now); got != want {
				t.Errorf("it is\n%+v\nwant\n%+v", got, want)
			}
		})
	}
}

// A message is to be sent, unless nobody could get it or nobody sends it: that is no
// reason to wait for somebody who does.
func TestEnter(t *testing.T) {
	for _, c := range []struct {
		name, to string
		server   bool
		reason   string // empty: it is to be sent
	}{
		{"as usual", "ann@example.com", true, ""},
		{"no server", "ann@example.com", false, "no mail server is configured (--smtp)"},
		{"no recipient", "", true, "the account has no owner e-mail"},
		{"neither", "", false, "the account has no owner e-mail"},
		{"not an address", "Ann <ann@example.com>", true, `the account has no owner e-mail that can be used: "Ann <ann@example.com>" is not an e-mail address, as in ann@example.com`},
		{"a line feed", "ann@example.com\n", false, `the account has no owner e-mail that can be used: "ann@example.com\n" has a line feed or another control character in it`},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := Message{To: c.to, Subject: "A webhook fails", Text: "It fails.\n", Created: created}
			want := m
			if want.State, want.Due = Pending, created; c.reason != "" {
				want.State, want.Due, want.Ended, want.Reason = Failed, time.Time{}, created, c.reason
			}
			got := m.Enter(c.server)
			if got != want {
				t.Errorf("it is\n%+v\nwant\n%+v", got, want)
			}
			if again := got.Enter(c.server); again != got { // a transaction may run twice
				t.Errorf("entered again it is\n%+v\nnot\n%+v", again, got)
			}
		})
	}
}

// Whatever comes of the attempts, and however long they take: a message is due if and
// only if it is pending, has ended if and only if it is not, says why unless it was
// sent, and is never due when it would no longer be news.
func TestAfterIsWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := put()
		for n := 1; m.State == Pending; n++ {
			now := m.Due.Add(time.Duration(rapid.Int64Range(0, int64(20*time.Minute)).Draw(t, "took")))
			err := rapid.SampledFrom([]error{errDown, errDown, errDown, refusal{}, refusal{permanent: true}, nil}).Draw(t, "err")
			m = m.After(err, now)
			pending := m.State == Pending
			if m.Tries != n || pending == m.Due.IsZero() || pending != m.Ended.IsZero() || (m.State == Sent) != (m.Reason == "") {
				t.Fatalf("after %d attempts it is %+v", n, m)
			}
			if pause := m.Due.Sub(now); pending && (pause < time.Minute || pause > time.Hour || m.Due.After(created.Add(72*time.Hour))) {
				t.Fatalf("after %d attempts, at %v, it is due at %v", n, now, m.Due)
			}
		}
	})
}

// What would break a header or a command is found before it is sent.
func TestCheck(t *testing.T) {
	to := func(address string) func(*Message) { return func(m *Message) { m.To = address } }
	subject := func(s string) func(*Message) { return func(m *Message) { m.Subject = s } }
	for _, c := range []struct {
		name string
		edit func(*Message)
		want string // empty: nothing is wrong
	}{
		{"as usual", func(*Message) {}, ""},
		{"address beyond ASCII", to("jürgen@zürich.example"), ""},
		{"subject beyond ASCII", subject("🔥 «Zürich»"), ""},
		{"the longest subject", subject(strings.Repeat("s", 500)), ""},
		{"the longest text", func(m *Message) { m.Text, m.HTML = strings.Repeat("t", 1<<19), strings.Repeat("h", 1<<19) }, ""},
		{"line feed in the subject", subject("a\r\nBcc: eve@example.com"), "subject has a line feed or another control character in it"},
		{"line feed in the address", to("ann@example.com\r\nRCPT TO:<eve@example.com>"), `to "ann@example.com\r\nRCPT TO:<eve@example.com>" has a line feed or another control character in it`},
		{"line feed in quotes", to("\"a\r\n b\"@example.com"), `to "\"a\r\n b\"@example.com" has a line feed or another control character in it`},
		{"name with the address", to("Ann <ann@example.com>"), `to "Ann <ann@example.com>" is not an e-mail address, as in ann@example.com`},
		{"parameters after the address", to("ann@example.com> SIZE=1"), `to "ann@example.com> SIZE=1" is not an e-mail address, as in ann@example.com`},
		{"two addresses", to("ann@example.com, eve@example.com"), `to "ann@example.com, eve@example.com" is not an e-mail address, as in ann@example.com`},
		{"address in Latin-1", to("j\xfcrgen@example.com"), `to "j\xfcrgen@example.com" is not an e-mail address, as in ann@example.com`},
		{"no address", to(""), `to "" is not an e-mail address, as in ann@example.com`},
		{"no subject", subject(" "), "subject is missing"},
		{"endless subject", subject(strings.Repeat("s", 501)), "subject is longer than 500 bytes"},
		{"subject in Latin-1", subject("Z\xfcrich"), "subject is not valid UTF-8"},
		{"no text", func(m *Message) { m.Text = "\n" }, "text is missing"},
		{"endless text", func(m *Message) { m.Text, m.HTML = strings.Repeat("t", 1<<19), strings.Repeat("h", 1<<19+1) }, "text and html are longer than 1048576 bytes"},
		{"text in Latin-1", func(m *Message) { m.Text = "Z\xfcrich" }, "text or html is not valid UTF-8"},
		{"HTML in Latin-1", func(m *Message) { m.HTML = "Z\xfcrich" }, "text or html is not valid UTF-8"},
		{"no date", func(m *Message) { m.Created = time.Time{} }, "created is missing"},
		{"all at once", func(m *Message) { m.To, m.Subject = "", "" }, `to "" is not an e-mail address, as in ann@example.com; subject is missing`},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := put(c.edit)
			switch err := m.Check(); {
			case c.want == "" && err != nil:
				t.Errorf("refused: %v", err)
			case c.want != "" && (err == nil || err.Error() != "the mail: "+c.want):
				t.Errorf("%v, want %s", err, c.want)
			}
		})
	}
}
