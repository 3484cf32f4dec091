package mail

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"
	"unicode"

	"github.com/wneessen/go-mail/smtp"
)

const (
	// maxAnswers is how much a server may say about a mail, certificates included.
	maxAnswers = 256 << 10

	// maxWords is how much of its words is kept.
	maxWords = 500

	// quitTimeout is how long a server may take to say goodbye: by then it has the mails.
	quitTimeout = 5 * time.Second
)

// session is a connection that is ready for mails.
type session struct {
	*Config
	conn   *conn
	client *smtp.Client
}

// conn bounds what is read, and with it the memory that a server can take up.
type conn struct {
	net.Conn
	left int
}

var errTooMuch = errors.New("the server says too much")

func (c *conn) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, errTooMuch
	}
	n, err := c.Conn.Read(p[:min(len(p), c.left)])
	c.left -= n
	return n, err
}

// open connects, encrypts and authenticates. Its errors are the server's faults.
func (s *Sender) open(ctx context.Context) (_ *session, err error) {
	c := &session{Config: &s.Config}
	if err := c.dial(ctx); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			c.abandon()
		}
	}()
	if err := c.greet(ctx); err != nil {
		return nil, err
	}
	if err := c.encrypt(ctx); err != nil {
		return nil, err
	}
	if err := c.authenticate(ctx); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *session) dial(ctx context.Context) error {
	dialing, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	nc, err := c.DialContext(dialing, "tcp", c.address())
	if err == nil {
		c.conn = &conn{nc, maxAnswers}
		return nil
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok && dns.IsNotFound {
		return serverFault("%s: there is no host of this name; check the name of the SMTP server", c.address())
	}
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return serverFault("%s refuses connections; check that the SMTP server is running, and that host and port are right", c.address())
	case errors.Is(err, context.DeadlineExceeded), isTimeout(err):
		return serverFault("%s: no connection within %v; check host and port, and whether a firewall is in the way", c.address(), c.Timeout)
	}
	return serverFault("%s: no connection: %v", c.address(), err)
}

// greet hears the server's greeting, after the handshake where that comes first, and
// says who we are.
func (c *session) greet(ctx context.Context) error {
	var line net.Conn = c.conn
	if c.TLS == Implicit {
		t := tls.Client(c.conn, c.tlsConfig())
		if err := c.step(ctx, "the TLS handshake", c.Timeout, t.Handshake); err != nil {
			return err
		}
		line = t
	}
	err := c.step(ctx, "the connection", c.Timeout, func() (err error) {
		c.client, err = smtp.NewClient(line, c.Host)
		return err
	})
	if err != nil {
		return err
	}
	return c.step(ctx, "EHLO", c.Timeout, func() error { return c.client.Hello(c.Hello) })
}

func (c *session) tlsConfig() *tls.Config {
	return &tls.Config{ServerName: c.Host, RootCAs: c.CAs, MinVersion: tls.VersionTLS12}
}

func (c *session) encrypt(ctx context.Context) error {
	if c.TLS == Implicit {
		return nil
	}
	if ok, _ := c.client.Extension("STARTTLS"); ok {
		return c.step(ctx, "STARTTLS", c.Timeout, func() error { return c.client.StartTLS(c.tlsConfig()) })
	}
	if c.TLS == Opportunistic {
		return nil
	}
	return serverFault("%s does not offer STARTTLS, so nothing was sent, because it would not be encrypted; use a port or a server that does, or one with implicit TLS (port 465), or find out who on the way takes the offer out", c.address())
}

func (c *session) authenticate(ctx context.Context) error {
	if c.Username == "" {
		return nil
	}
	// The library would make an exception for this machine, and believe what a server
	// said before it proved who it is.
	if _, encrypted := c.client.TLSConnectionState(); !encrypted {
		return serverFault("%s does not offer to encrypt, and the password is not sent without; use a server with TLS, or no user name", c.address())
	}
	_, offered := c.client.Extension("AUTH")
	var auth smtp.Auth
	switch mechanisms := strings.Fields(strings.ToUpper(offered)); {
	case slices.Contains(mechanisms, "PLAIN"):
		auth = smtp.PlainAuth("", c.Username, c.Password.Reveal(), c.Host, false)
	case slices.Contains(mechanisms, "LOGIN"):
		auth = smtp.LoginAuth(c.Username, c.Password.Reveal(), c.Host, false)
	case len(mechanisms) == 0:
		return serverFault("%s does not take passwords, but a user name is set; take the user name out, or use the port that is meant for sending (587 or 465)", c.address())
	default:
		return serverFault("%s takes passwords only by %s; PLAIN or LOGIN is needed", c.address(), c.words(offered))
	}
	return c.step(ctx, "the password of "+c.Username, c.Timeout, func() error { return c.client.Auth(auth) })
}

// reset makes the session ready for another mail, and finds out whether it still
// holds.
func (c *session) reset(ctx context.Context) error {
	c.conn.left = maxAnswers
	return c.step(ctx, "RSET", c.Timeout, c.client.Reset)
}

// send returns nil as soon as the server has taken the mail. What it says of the
// recipient or the text is about this mail; everything else is a fault of the server,
// also what it says of the sender, who is the same in every mail.
func (c *session) send(ctx context.Context, from, to string, body []byte) error {
	if !isASCII(to) {
		if ok, _ := c.client.Extension("SMTPUTF8"); !ok {
			return &fault{permanent: true, text: fmt.Sprintf("%s takes only addresses in ASCII, unlike %s", c.address(), to)}
		}
	}
	// Asked for without need, it would keep the mail from servers that do not know it.
	c.client.SkipSMTPUTF8(isASCII(to))
	err := c.step(ctx, "the sender "+from, c.Timeout, func() error { return c.client.Mail("<" + from + ">") })
	if err != nil {
		return err
	}
	err = c.step(ctx, "the recipient "+to, c.Timeout, func() error { return c.client.Rcpt("<" + to + ">") })
	if err != nil {
		return ofMail(err)
	}
	var w io.WriteCloser
	err = c.step(ctx, "the mail", c.Timeout, func() (err error) {
		if w, err = c.client.Data(); err == nil {
			_, err = w.Write(body)
		}
		return err
	})
	if err != nil {
		return ofMail(err)
	}
	return ofMail(c.step(ctx, "the mail", c.AnswerTimeout, w.Close))
}

// ofMail makes a refusal one of the mail, unless the server closes: then it would
// have said the same to any other.
func ofMail(err error) error {
	if f, ok := errors.AsType[*fault](err); ok && f.code != 0 && f.code != closing {
		return &fault{permanent: f.code >= 500, code: f.code, text: f.text}
	}
	return err
}

// closing is the code with which a server announces, at any time, that it is about to
// close the connection.
const closing = 421

// close says goodbye. What comes back no longer matters.
func (c *session) close() {
	_ = c.conn.SetDeadline(time.Now().Add(min(quitTimeout, c.Timeout))) // only a closed connection has none
	_ = c.client.Quit()
	c.abandon()
}

// abandon gives a connection up that something is wrong with.
func (c *session) abandon() { _ = c.conn.Close() }

// step does one thing within a limit. What names the thing as the object of "answers"
// and "refuses".
func (c *session) step(ctx context.Context, what string, limit time.Duration, f func() error) error {
	if err := ctx.Err(); err != nil {
		return serverFault("%s: there was no time left for %s", c.address(), what)
	}
	err := c.conn.SetDeadline(time.Now().Add(limit))
	if err == nil {
		stop := context.AfterFunc(ctx, func() { _ = c.conn.SetDeadline(time.Now()) })
		err = f()
		stop()
	}
	if err == nil {
		return nil
	}
	if answer, ok := errors.AsType[*textproto.Error](err); ok {
		format := "%s refuses %s: %d %s"
		if answer.Code < 500 {
			format = "%s cannot take %s now: %d %s"
		}
		f := serverFault(format, c.address(), what, answer.Code, c.words(answer.Msg))
		f.code = answer.Code
		return f
	}
	if cert, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return serverFault("the certificate of %s is not accepted: %s; %s", c.address(), c.words(cert.Err.Error()), remedy(cert.Err))
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return serverFault("%s does not speak TLS where it should begin; port 465 is for implicit TLS, 587 and 25 are for STARTTLS", c.address())
	}
	switch {
	case isTimeout(err) && ctx.Err() == nil:
		return serverFault("%s did not answer %s within %v", c.address(), what, limit)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, io.ErrClosedPipe):
		return serverFault("%s closed the connection instead of answering %s", c.address(), what)
	}
	return serverFault("%s: %s failed: %s", c.address(), what, c.words(err.Error()))
}

// remedy says what to do about a certificate.
func remedy(err error) string {
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return "set the host to a name that is in it"
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return "name the authority that issued it, if it is to be trusted"
	}
	return "the server needs another, or this machine the right time"
}

func isTimeout(err error) bool {
	n, ok := errors.AsType[net.Error](err)
	return errors.Is(err, os.ErrDeadlineExceeded) || ok && n.Timeout()
}

// words returns what a server said as one line of bounded length, without the
// password, which some servers repeat.
func (c *session) words(s string) string {
	if p := c.Password.Reveal(); p != "" {
		for _, secret := range []string{
			base64.StdEncoding.EncodeToString([]byte("\x00" + c.Username + "\x00" + p)),
			base64.StdEncoding.EncodeToString([]byte(p)),
			p,
		} {
			s = strings.ReplaceAll(s, secret, c.Password.String())
		}
	}
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > maxWords {
		s = strings.ToValidUTF8(s[:maxWords], "") + "..."
	}
	return s
}

func isASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r > unicode.MaxASCII })
}
