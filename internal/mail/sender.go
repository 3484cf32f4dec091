package mail

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/mail"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/outbox"
)

// Store keeps the outbox.
type Store interface {
	// ClaimMail hands out, of the pending messages that are due at now and in nobody's
	// hand, the one that has been due longest, to be in the caller's hand until the
	// time given. It returns nil if there is none.
	ClaimMail(now, until time.Time) (*Message, error)
	// NextMail returns when the next pending message is both due and in nobody's hand:
	// the zero time if none is pending.
	NextMail(ctx context.Context) (time.Time, error)
	// RecordMail stores state, tries, due, end and reason of a message that was
	// claimed, and gives it out of hand. If the claim has lapsed and somebody else has
	// it now, only that it was sent is stored.
	RecordMail(Message) error
}

// TLS says how a connection is encrypted.
type TLS string

// The ways to encrypt. Where there is encryption, the certificate is checked.
const (
	// StartTLS begins in plain text and refuses a server that does not offer to encrypt.
	StartTLS TLS = "starttls"
	// Implicit encrypts from the first byte.
	Implicit TLS = "implicit"
	// Opportunistic encrypts if the server offers it. Whoever sits on the line can take
	// the offer out, so it is for servers that are near. A password is never sent
	// without encryption.
	Opportunistic TLS = "opportunistic"
)

// Config says how to send.
type Config struct {
	Host string
	// Port is by default 465 for Implicit and 587 otherwise.
	Port int
	// TLS is StartTLS by default.
	TLS TLS
	// CAs are trusted instead of the system's.
	CAs *x509.CertPool
	// Username and Password may both be empty.
	Username string
	Password hook.Secret
	// From is an address in ASCII, with or without a name in any script.
	From string
	// Hello is how we introduce ourselves. Default: this machine's name.
	Hello string
	// Installation is a random text of letters and digits, made once and kept. It goes
	// into the Message-ID.
	Installation string

	// Timeout is for each step up to and including the mail's text. Default 30 s.
	Timeout time.Duration
	// AnswerTimeout is for the answer to the mail's text. Default 10 minutes, as RFC
	// 5321 advises: a server that has got it may be scanning it, and who gives up
	// earlier sends it twice.
	AnswerTimeout time.Duration
	// StopTimeout is how long a mail that is under way may take when the sender is
	// stopped. Default 10 s.
	StopTimeout time.Duration

	// DialContext makes connections. Default: as package net does.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)
	Log         *slog.Logger
}

// Sender sends what is due. Make one with [New].
type Sender struct {
	Config
	store Store
	from  *mail.Address
	wake  chan struct{}
	rest  time.Time // until when the server is left alone
}

// Check returns what is wrong with the settings, but for the installation: the others
// are people's.
func (c Config) Check() error {
	_, faults := c.withDefaults().check()
	return faults.Err("mail")
}

// New returns a Sender, or what is wrong with the settings.
func New(s Store, c Config) (*Sender, error) {
	c = c.withDefaults()
	from, faults := c.check()
	if c.Installation == "" || strings.ContainsFunc(c.Installation, func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	}) {
		faults.Add("installation", "%q is not made of letters and digits", c.Installation)
	}
	if err := faults.Err("mail"); err != nil {
		return nil, err
	}
	return &Sender{Config: c, store: s, from: from, wake: make(chan struct{}, 1)}, nil
}

func (c Config) withDefaults() Config {
	c.TLS = cmp.Or(c.TLS, StartTLS)
	if c.Port == 0 {
		c.Port = 587
		if c.TLS == Implicit {
			c.Port = 465
		}
	}
	if c.Hello == "" {
		c.Hello, _ = os.Hostname() // what is left empty becomes localhost
		if checkName(c.Hello) != nil {
			c.Hello = "localhost"
		}
	}
	c.Timeout = cmp.Or(c.Timeout, 30*time.Second)
	c.AnswerTimeout = cmp.Or(c.AnswerTimeout, 10*time.Minute)
	c.StopTimeout = cmp.Or(c.StopTimeout, 10*time.Second)
	if c.DialContext == nil {
		c.DialContext = (&net.Dialer{}).DialContext
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

func (c Config) check() (from *mail.Address, f hook.Faults) {
	if err := checkName(c.Host); err != nil {
		f.Add("host", "%q %v", c.Host, err)
	}
	if c.Port < 1 || c.Port > 65535 {
		f.Add("port", "%d is not between 1 and 65535", c.Port)
	}
	switch c.TLS {
	case StartTLS, Implicit, Opportunistic:
	default:
		f.Add("tls", "%q is none of %s, %s, %s", c.TLS, StartTLS, Implicit, Opportunistic)
	}
	if (c.Username == "") != (c.Password == "") {
		f.Add("username", "and password are given both or not at all")
	}
	from, err := mail.ParseAddress(c.From)
	if err != nil || strings.ContainsFunc(c.From, unicode.IsControl) || outbox.CheckAddress(from.Address) != nil {
		f.Add("from", "%q is not an e-mail address, as in Switchhook <switchhook@example.com>", c.From)
	} else if !isASCII(from.Address) { // it is in every Message-ID, and few servers would take it
		f.Add("from", "%q has an address with other characters than ASCII; a domain can be written with xn--", c.From)
	}
	if err := checkName(c.Hello); err != nil {
		f.Add("hello", "%q %v", c.Hello, err)
	}
	for name, d := range map[string]time.Duration{"timeout": c.Timeout, "answer timeout": c.AnswerTimeout, "stop timeout": c.StopTimeout} {
		if d < 0 {
			f.Add(name, "%v is less than 0", d)
		}
	}
	return from, f
}

// checkName accepts names of hosts and IP addresses.
func checkName(s string) error {
	if s == "" || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune(`/@<>"\`, r) }) {
		return errors.New("is not the name of a host")
	}
	return nil
}

func (c *Config) address() string { return net.JoinHostPort(c.Host, strconv.Itoa(c.Port)) }

// attemptLimit is more than the steps of an attempt can take together.
func (c *Config) attemptLimit() time.Duration { return 14*c.Timeout + c.AnswerTimeout }

const (
	// leaseMargin is what recording may take.
	leaseMargin = time.Minute

	// restAfterFault is how long the server is left alone after a fault that has
	// nothing to do with the mail that met it. The other mails that are due wait
	// without losing an attempt.
	restAfterFault = outbox.FirstPause

	// storeAgain is the pause before the store is asked again that could not answer.
	storeAgain = time.Second
)

// Wake tells the sender that a message was put into the outbox. A nil Sender, which a
// platform without a mail server has, needs not be told.
func (s *Sender) Wake() {
	if s == nil {
		return
	}
	select {
	case s.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// Run sends until ctx is done. Then it lets the mail that is under way finish, or
// gives it back, and returns.
func (s *Sender) Run(ctx context.Context) error {
	sending, cut := withGrace(ctx, s.StopTimeout)
	defer cut()
	for {
		next, err := s.sendDue(ctx, sending)
		if err != nil && ctx.Err() == nil {
			s.Log.Error("the outbox cannot be read; trying again", "err", err)
			next = time.Now().Add(storeAgain)
		}
		if !s.sleep(ctx, next) {
			return nil
		}
	}
}

// withGrace returns a context that ends a while after ctx does, or when it is
// canceled.
func withGrace(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	longer, cut := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-t.C:
			cut()
		case <-longer.Done():
		}
	})
	return longer, func() { stop(); cut() }
}

// sleep waits until next, if that is a time, or until it is woken. It reports false
// if ctx is done.
func (s *Sender) sleep(ctx context.Context, next time.Time) bool {
	var due <-chan time.Time
	if !next.IsZero() {
		t := time.NewTimer(time.Until(next))
		defer t.Stop()
		due = t.C
	}
	select {
	case <-ctx.Done():
		return false
	case <-due:
	case <-s.wake:
	}
	return ctx.Err() == nil
}

// sendDue sends what is due, over one connection as far as that holds, and returns
// when there is something to do again. It begins nothing new when ctx is done, and
// goes on with what it has begun until sending is.
func (s *Sender) sendDue(ctx, sending context.Context) (next time.Time, err error) {
	var c *session
	defer func() {
		if c != nil {
			c.close()
		}
	}()
	for ctx.Err() == nil {
		now := time.Now()
		if now.Before(s.rest) {
			return s.rest, nil
		}
		m, err := s.store.ClaimMail(now, now.Add(s.attemptLimit()+leaseMargin))
		if err != nil {
			return time.Time{}, err
		}
		if m == nil {
			return s.store.NextMail(ctx)
		}
		c, err = s.attempt(sending, c, m)
		if sending.Err() != nil && err != nil {
			s.record(ctx, *m) // as it was: it is not the mail's fault that we stop
			break
		}
		now = time.Now()
		if isServerFault(err) {
			s.rest = now.Add(restAfterFault)
		}
		s.finish(ctx, m.After(err, now))
	}
	return time.Time{}, ctx.Err()
}

// attempt hands m to the server, over the session that there is, or another if it no
// longer holds. It returns the session to go on with: nil if none holds.
func (s *Sender) attempt(ctx context.Context, c *session, m *Message) (*session, error) {
	ctx, cancel := context.WithTimeout(ctx, s.attemptLimit())
	defer cancel()
	if err := m.Check(); err != nil {
		return c, &fault{permanent: true, text: err.Error()}
	}
	body, err := compose(m, s.from, s.Installation)
	if err != nil {
		return c, &fault{permanent: true, text: err.Error()}
	}
	if c != nil && c.reset(ctx) != nil {
		c.abandon() // servers bound how much they take over one connection
		c = nil
	}
	if c == nil {
		if c, err = s.open(ctx); err != nil {
			return nil, err
		}
	}
	if err = c.send(ctx, s.from.Address, m.To, body); isServerFault(err) {
		c.abandon()
		c = nil
	}
	return c, err
}

// finish records how an attempt ended, and tells the log.
func (s *Sender) finish(ctx context.Context, m Message) {
	switch m.State {
	case Sent:
		s.Log.Info("mail sent", "mail", m.ID, "to", m.To, "attempts", m.Tries)
	case Failed:
		s.Log.Error("a mail could not be sent and is given up", "mail", m.ID, "to", m.To, "subject", m.Subject, "attempts", m.Tries, "reason", m.Reason)
	case Pending:
		s.Log.Warn("a mail could not be sent; trying again", "mail", m.ID, "to", m.To, "attempts", m.Tries, "next", m.Due, "reason", m.Reason)
	}
	s.record(ctx, m)
}

// record stores what has become of m. If the store cannot take it, nothing else is
// sent until it can: a mail that has been sent would be sent again. When ctx is done
// it gives up, and the claim lapses.
func (s *Sender) record(ctx context.Context, m Message) {
	for {
		err := s.store.RecordMail(m)
		if err == nil {
			return
		}
		s.Log.Error("the outbox cannot be written; trying again", "mail", m.ID, "state", m.State, "err", err)
		t := time.NewTimer(storeAgain)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			s.Log.Error("what became of a mail is not recorded; it may be sent again", "mail", m.ID, "state", m.State)
			return
		}
	}
}

// fault says why a mail was not sent, in words for people.
type fault struct {
	// permanent says that this mail will never be sent.
	permanent bool
	// server says that no other mail would fare better now.
	server bool
	// code is the server's, if it answered.
	code int
	text string
}

func (f *fault) Error() string { return f.text }

func serverFault(format string, args ...any) *fault {
	return &fault{server: true, text: fmt.Sprintf(format, args...)}
}

// Permanent reports whether trying again would not help.
func (f *fault) Permanent() bool { return f.permanent }

func isServerFault(err error) bool {
	f, ok := errors.AsType[*fault](err)
	return ok && f.server
}
