package hook

import "strconv"

// Outcome is how one attempt ended: the endpoint's HTTP status if it answered
// in full and in time, else one of the negative numbers of the contract.
type Outcome int16

// The outcomes of attempts that brought no answer.
const (
	// ReadTimeOut: connected, but no full answer in time.
	ReadTimeOut Outcome = -1
	// ConnectionRefused: no connection could be made.
	ConnectionRefused Outcome = -2
	// Fallback: the endpoint's circuit breaker is open; nothing was sent.
	Fallback Outcome = -3
	// TimeLimiter: resolving, dialling, TLS and token took too long; nothing was sent.
	TimeLimiter Outcome = -4
	// AsyncError: the attempt could not be run at all.
	AsyncError Outcome = -5
	// DNSForbidden: the host resolves to an address that may not be called.
	DNSForbidden Outcome = -6
	// RemoteError: reset, unexpected end or breach of the HTTP protocol.
	RemoteError Outcome = -7
	// Delegate: handed to another worker, because this one is leaving.
	Delegate Outcome = -8
	// CertificateError: the certificate is expired, of an unknown authority, or otherwise bad.
	CertificateError Outcome = -9
	// NeedInstantRetry: no connection slot in time; nothing was sent.
	NeedInstantRetry Outcome = -10
	// HostnameMismatch: the certificate is for another name.
	HostnameMismatch Outcome = -11
	// TLSError: the handshake failed for another reason.
	TLSError Outcome = -12
	// DNSResolveTimeout: the resolver timed out or failed, or the name does not exist.
	DNSResolveTimeout Outcome = -13
	// CannotGetAccessToken: OAuth mode, and the token URL gave no usable token.
	CannotGetAccessToken Outcome = -14
	// CannotGetCustomHeader: the authentication settings cannot be read.
	CannotGetCustomHeader Outcome = -15
	// TooManyRequests: our own limit for this endpoint; nothing was sent.
	TooManyRequests Outcome = -16
)

// Retry says whether and when another attempt follows an outcome.
type Retry uint8

const (
	// Never: the outcome is final.
	Never Retry = iota
	// AtStep: after the next pause of the [Schedule], while there is one.
	AtStep
	// AtOnce: as soon as there is room; it does not use up a retry.
	AtOnce
)

var outcomes = [...]struct {
	name  string
	retry Retry
}{
	-ReadTimeOut:           {"ReadTimeOut", AtStep},
	-ConnectionRefused:     {"ConnectionRefused", AtStep},
	-Fallback:              {"Fallback", AtStep},
	-TimeLimiter:           {"TimeLimiter", AtStep},
	-AsyncError:            {"AsyncError", AtStep},
	-DNSForbidden:          {"DNSForbidden", Never},
	-RemoteError:           {"RemoteError", AtStep},
	-Delegate:              {"Delegate", AtOnce},
	-CertificateError:      {"CertificateError", Never},
	-NeedInstantRetry:      {"NeedInstantRetry", AtOnce},
	-HostnameMismatch:      {"HostnameMismatch", Never},
	-TLSError:              {"TLSError", Never},
	-DNSResolveTimeout:     {"DNSResolveTimeout", AtStep},
	-CannotGetAccessToken:  {"CannotGetAccessToken", AtStep},
	-CannotGetCustomHeader: {"CannotGetCustomHeader", AtStep},
	-TooManyRequests:       {"TooManyRequests", AtOnce},
}

// OK reports whether the endpoint accepted the delivery: any 2xx counts.
func (o Outcome) OK() bool { return o >= 200 && o <= 299 }

// Retry returns what follows: after a 5xx the next step, after any other
// answer nothing. A status outside 1xx to 5xx is a breach of protocol that
// repeating does not mend.
func (o Outcome) Retry() Retry {
	if n := -int(o); n > 0 && n < len(outcomes) {
		return outcomes[n].retry
	}
	if o >= 500 && o <= 599 {
		return AtStep
	}
	return Never
}

// Status returns the endpoint's HTTP status, or -1 if it gave none, as the
// webhook log shows it.
func (o Outcome) Status() int {
	if o > 0 {
		return int(o)
	}
	return -1
}

// FailedReasonType returns the reason that the webhook log gives for an attempt
// without an answer, 1 to 16, or 0 if there was an answer.
func (o Outcome) FailedReasonType() int {
	if o < 0 {
		return -int(o)
	}
	return 0
}

// String returns the status in digits, or the contract's name for the outcome.
func (o Outcome) String() string {
	if n := -int(o); n > 0 && n < len(outcomes) {
		return outcomes[n].name
	}
	return strconv.Itoa(int(o))
}
