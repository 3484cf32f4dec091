package outbound

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"strings"
	"syscall"

	"code.dny.dev/ssrf"

	"github.com/switchhook/switchhook/internal/hook"
)

// cutOff is the end of an attempt whose worker is leaving.
func cutOff() Result {
	return Result{Outcome: hook.Delegate, Detail: "cut off, because this worker is leaving"}
}

// notConnected says how an attempt ended that got no connection; limit is the
// context that bounded it.
func (a *attempt) notConnected(ctx, limit context.Context, err error) Result {
	if ctx.Err() != nil {
		return cutOff()
	}
	var r Result
	r.Outcome, r.Detail = classify(err)
	// The limit may have passed just when something else went wrong, so what went
	// wrong is judged first.
	timeout := r.Outcome == hook.RemoteError || r.Outcome == hook.TimeLimiter
	if timeout && errors.Is(context.Cause(limit), errTimeout) || errors.Is(err, context.DeadlineExceeded) {
		what := "no connection"
		if a.connected != 0 {
			what = "no TLS handshake"
		}
		r.Outcome, r.Detail = hook.TimeLimiter, fmt.Sprintf("%s within %v", what, a.client.ConnectTimeout)
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok && dns.IsTimeout {
		r.Outcome, r.Detail = hook.DNSResolveTimeout, fmt.Sprintf("the host name was not resolved within %v", a.client.ConnectTimeout)
	}
	if r.Outcome == hook.RemoteError && a.connected != 0 && !broken(err) {
		r.Outcome, r.Detail = hook.TLSError, "the TLS handshake failed: "+innermost(err)
	}
	return r
}

// notAnswered says how an attempt ended that got no complete answer.
func (a *attempt) notAnswered(ctx context.Context, err error) Result {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() != nil:
		return cutOff()
	case errors.Is(err, os.ErrDeadlineExceeded):
		what := "no answer"
		if a.firstByte != 0 {
			what = "no complete answer"
		}
		return Result{Outcome: hook.ReadTimeOut, Detail: fmt.Sprintf("%s within %v of sending the request", what, a.client.AnswerTimeout)}
	}
	var r Result
	r.Outcome, r.Detail = classify(err)
	r.Detail = maskQuote(r.Detail, a.secrets())
	return r
}

// improper is what comes before the quote in a detail that quotes what was sent.
const improper = "the answer is not proper HTTP: "

// maskQuote masks what a detail quotes, and leaves our own words as they are: a secret
// may be no more than a letter of them.
func maskQuote(detail string, secrets []string) string {
	if quote, ok := strings.CutPrefix(detail, improper); ok {
		return improper + mask(quote, secrets)
	}
	return detail
}

// classify judges an error by what it wraps; the order matters where one wraps
// another.
func classify(err error) (hook.Outcome, string) {
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		switch {
		case dns.IsNotFound:
			return hook.DNSResolveTimeout, "the host name does not exist"
		case dns.IsTimeout:
			return hook.DNSResolveTimeout, "the resolver did not answer in time"
		}
		return hook.DNSResolveTimeout, "the resolver failed: " + dns.Err
	}
	if errors.Is(err, ssrf.ErrProhibitedIP) {
		return hook.DNSForbidden, "the host resolves to an address that may not be called: it is not a public one"
	}
	if errors.Is(err, errNoSlot) {
		return hook.NeedInstantRetry, errNoSlot.Error()
	}
	for _, errno := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.EADDRNOTAVAIL} {
		if errors.Is(err, errno) {
			return hook.NeedInstantRetry, "this machine is out of connections: " + errno.Error()
		}
	}
	if outcome, detail := classifyTLS(err); outcome != 0 {
		return outcome, detail
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		return hook.ConnectionRefused, "the connection was refused"
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		if op.Timeout() {
			return hook.TimeLimiter, "no connection in time"
		}
		return hook.ConnectionRefused, "no connection could be made: " + innermost(err)
	}
	if errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
		return hook.RemoteError, "the connection was reset"
	}
	if broken(err) {
		return hook.RemoteError, "the connection was closed before the end of the answer"
	}
	return hook.RemoteError, improper + innermost(err)
}

// broken reports whether the other side ended the connection.
func broken(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

func classifyTLS(err error) (hook.Outcome, string) {
	if e, ok := errors.AsType[x509.HostnameError](err); ok {
		return hook.HostnameMismatch, fmt.Sprintf("the certificate is not for %s", e.Host)
	}
	if e, ok := errors.AsType[x509.CertificateInvalidError](err); ok {
		if e.Reason == x509.Expired {
			return hook.CertificateError, fmt.Sprintf("the certificate is expired or not valid yet (from %s to %s)",
				e.Cert.NotBefore.UTC().Format("2006-01-02"), e.Cert.NotAfter.UTC().Format("2006-01-02"))
		}
		return hook.CertificateError, "the certificate is not valid: " + e.Error()
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return hook.CertificateError, "the certificate is signed by an unknown authority; is the intermediate certificate missing?"
	}
	if e, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return hook.CertificateError, "the certificate could not be verified: " + e.Err.Error()
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return hook.TLSError, "the server does not speak TLS on this port"
	}
	if e, ok := errors.AsType[tls.AlertError](err); ok {
		return hook.TLSError, "the server refused the TLS handshake: " + e.Error()
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && (op.Op == "remote error" || op.Op == "local error") {
		return hook.TLSError, "the TLS handshake failed: " + op.Err.Error()
	}
	return 0, ""
}

// innermost returns the text of the error that err wraps at its core, without the
// addresses and URLs that the layers above put around it.
func innermost(err error) string {
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	if op, ok := errors.AsType[*net.OpError](err); ok {
		err = op.Err
	}
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err.Error()
		}
		err = inner
	}
}
