// Package outbox defines the mails that are to be sent, and what becomes of them.
//
// A mail is put into the outbox by the store, in the transaction that it reports
// about, so that there is a mail if and only if the thing has happened. [Message.Enter]
// says whether it is to be sent, and [Message.After] is the rule by which it is tried
// again.
package outbox

import (
	"errors"
	"fmt"
	"net/mail"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/switchhook/switchhook/internal/hook"
)

// Message is a mail in the outbox, with what has become of it. It has one recipient,
// because a server takes, refuses and puts off recipients one by one: who is to tell
// several people puts in one for each.
type Message struct {
	ID            int64
	To            string // an address, without a name
	Subject, Text string
	HTML          string // may be empty; says the same as Text
	Created       time.Time

	State State
	// Tries is how many attempts have ended.
	Tries int
	// Due is when it is tried next. It is zero unless it is pending.
	Due time.Time
	// Claimed is until when a sender has it in hand. It is zero if none has.
	Claimed time.Time
	// Ended is when it was sent or given up.
	Ended time.Time
	// Reason says how the last attempt ended, or why there is none, for people. It is
	// empty if the mail was sent or is yet to be tried.
	Reason string
}

// State is what has become of a message.
type State string

// The states of messages.
const (
	Pending State = "pending"
	Sent    State = "sent"
	Failed  State = "failed"
)

// Pauses between attempts double from the first to the longest. A mail that could
// not be sent giveUpAfter its creation would no longer be news.
const (
	// FirstPause is the pause before the second attempt.
	FirstPause  = time.Minute
	longest     = time.Hour
	giveUpAfter = 3 * 24 * time.Hour
)

// NoServer is the reason of a message that nobody sends. It would no longer be news
// when somebody does, so it does not wait for that.
const NoServer = "no mail server is configured (--smtp)"

// Enter returns m as it enters the outbox: due at once, or ended where nobody can get
// it or, without a server, nobody sends it. It is kept in any case, for people to read.
func (m Message) Enter(server bool) Message {
	if m.To == "" {
		return m.end("the account has no owner e-mail", m.Created)
	}
	if err := CheckAddress(m.To); err != nil {
		return m.end(fmt.Sprintf("the account has no owner e-mail that can be used: %q %v", m.To, err), m.Created)
	}
	if !server {
		return m.end(NoServer, m.Created)
	}
	m.State, m.Due, m.Ended, m.Reason = Pending, m.Created, time.Time{}, ""
	return m
}

// end returns m as it stands when it is given up.
func (m Message) end(reason string, now time.Time) Message {
	m.State, m.Due, m.Ended, m.Reason = Failed, time.Time{}, now, reason
	return m
}

// After returns m as it stands after an attempt that ended with err at now.
func (m Message) After(err error, now time.Time) Message {
	m.Tries++
	next := now.Add(pause(m.Tries))
	switch {
	case err == nil:
		m.State, m.Due, m.Ended, m.Reason = Sent, time.Time{}, now, ""
	case permanent(err):
		return m.end(err.Error(), now)
	case next.After(m.Created.Add(giveUpAfter)):
		return m.end(fmt.Sprintf("given up after %d attempts in %v; the last: %v", m.Tries, now.Sub(m.Created).Round(time.Second), err), now)
	default:
		m.Due, m.Reason = next, err.Error()
	}
	return m
}

// permanent reports whether err says of itself that trying again would not help.
func permanent(err error) bool {
	p, ok := errors.AsType[interface {
		error
		Permanent() bool
	}](err)
	return ok && p.Permanent()
}

// pause returns the time between the end of an attempt and the next.
func pause(tries int) time.Duration {
	if tries > 6 { // also keeps the shift from running over
		return longest
	}
	return min(longest, FirstPause<<(tries-1))
}

const (
	// maxSubject keeps the header's line, which is not folded within a word, below the
	// 998 characters of RFC 5322.
	maxSubject = 500

	// maxBody is far above anything that somebody would want to read.
	maxBody = 1 << 20
)

// Check returns what keeps m from ever being sent.
func (m *Message) Check() error {
	var f hook.Faults
	if err := CheckAddress(m.To); err != nil {
		f.Add("to", "%q %v", m.To, err)
	}
	switch {
	case strings.TrimSpace(m.Subject) == "":
		f.Add("subject", "is missing")
	case len(m.Subject) > maxSubject:
		f.Add("subject", "is longer than %d bytes", maxSubject)
	case !utf8.ValidString(m.Subject):
		f.Add("subject", "is not valid UTF-8")
	case strings.ContainsFunc(m.Subject, isControl):
		f.Add("subject", "has a line feed or another control character in it")
	}
	switch {
	case strings.TrimSpace(m.Text) == "":
		f.Add("text", "is missing")
	case len(m.Text)+len(m.HTML) > maxBody:
		f.Add("text", "and html are longer than %d bytes", maxBody)
	case !utf8.ValidString(m.Text) || !utf8.ValidString(m.HTML):
		f.Add("text", "or html is not valid UTF-8")
	}
	if m.Created.IsZero() {
		f.Add("created", "is missing")
	}
	return f.Err("the mail")
}

// CheckAddress accepts what can stand between the angle brackets of an SMTP command
// as it is: no name, no quotes, no control characters.
func CheckAddress(a string) error {
	if strings.ContainsFunc(a, isControl) {
		return errors.New("has a line feed or another control character in it")
	}
	if p, err := mail.ParseAddress(a); err != nil || p.Address != a || !utf8.ValidString(a) {
		return errors.New("is not an e-mail address, as in ann@example.com")
	}
	return nil
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }
