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
	"syscall"

	"code.dny.dev/ssrf"

	"github.com/switchhook/switchhook/internal/hook"
)

// fail says how an attempt ended that brought no answer.
func (a *attempt) fail(ctx context.Context, err error) Result {
	r := Result{Timing: a.timing()}
	if ctx.Err() != nil && context.Cause(ctx) != errTimeout {
		r.Outcome, r.Detail = hook.Delegate, "cut off, because this worker is leaving"
		return r
	}
	if ctx.Err() != nil {
		r.Outcome, r.Detail = a.timedOut()
		return r
	}
	shaking := a.endpoint.url.Scheme == "https" && a.connected.Load() != 0 && a.tls.Load() == 0
	r.Outcome, r.Detail = classify(err, shaking)
	return r
}

func (a *attempt) timedOut() (hook.Outcome, string) {
	switch a.phase.Load() {
	case phaseSent:
		what := "no answer"
		if a.firstByte.Load() != 0 {
			what = "no complete answer"
		}
		return hook.ReadTimeOut, fmt.Sprintf("%s within %v of sending the request", what, a.client.AnswerTimeout)
	case phaseResolve:
		return hook.DNSResolveTimeout, fmt.Sprintf("the host name was not resolved within %v", a.client.ConnectTimeout)
	}
	what := "no connection"
	if a.connected.Load() != 0 {
		what = "no TLS handshake"
	}
	return hook.TimeLimiter, fmt.Sprintf("%s within %v", what, a.client.ConnectTimeout)
}

// classify judges an error of net/http by what it wraps; the order matters where
// one wraps another. Shaking says that it came up during a TLS handshake.
func classify(err error, shaking bool) (hook.Outcome, string) {
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
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return hook.RemoteError, "the connection was closed before the end of the answer"
	}
	if shaking {
		return hook.TLSError, "the TLS handshake failed: " + innermost(err)
	}
	return hook.RemoteError, "the answer is not proper HTTP: " + innermost(err)
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
