// Package outbound is the one client that calls foreign URLs.
//
// [Client.Send] makes one attempt and says how it went in the words of the
// contract: a [hook.Outcome]. It calls public addresses only, follows no
// redirect, waits no longer than it is told to, reads no more than it needs, and
// keeps secrets out of what it reports.
package outbound

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"

	"code.dny.dev/ssrf"
	"golang.org/x/sync/singleflight"

	"github.com/switchhook/switchhook/internal/hook"
)

// Config says how to call. The zero value of each field but UserAgent stands for
// the contract's or a sensible default.
type Config struct {
	// Policy says which addresses may be called beside public ones.
	Policy hook.EndpointPolicy
	// CAs are trusted to certify endpoints. nil: the system's.
	CAs *x509.CertPool
	// UserAgent is sent as user-agent.
	UserAgent string
	// Region is the clid of x-zm-trackingid. Default "us".
	Region string
	// ConnectTimeout bounds resolving, dialling, TLS and getting a token, together.
	// Default 5 s.
	ConnectTimeout time.Duration
	// AnswerTimeout bounds the time from sending the request to the end of the
	// answer. Default 3 s.
	AnswerTimeout time.Duration
	// KeepBody is how many bytes of an answer's body are kept. Default 4 KiB;
	// negative: none.
	KeepBody int
	// MaxConnections bounds the connections that are open at a time, idle ones
	// included. Default 8192.
	MaxConnections int
	// Resolver resolves host names. Default: the system's.
	Resolver *net.Resolver
	// DialContext makes connections, instead of the dialer that looks at addresses:
	// for networks where something else does that.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)
}

// Client calls endpoints and token URLs. It is safe for concurrent use.
type Client struct {
	Config
	dial           func(ctx context.Context, network, address string) (net.Conn, error)
	tls            *tls.Config
	slots          chan struct{} // as many as there are connections
	pool           pool
	tokenTransport *http.Transport
	tokens         tokens
}

// MaxKeepBody is the most that Config.KeepBody can be: what is read of an answer.
const MaxKeepBody = 64 << 10

const (
	// readHeader and readBody are how much of an answer is read before the connection
	// is given up: enough for any answer that is not an attack.
	readHeader = 64 << 10
	readBody   = MaxKeepBody

	// slotTimeout is how long an attempt waits for a free connection slot.
	slotTimeout = time.Second

	// idleTimeout is how long a connection is kept. It is below what load balancers
	// commonly grant.
	idleTimeout = 30 * time.Second
)

// New returns a Client.
func New(c Config) *Client {
	def(&c.Region, "us")
	def(&c.ConnectTimeout, 5*time.Second)
	def(&c.AnswerTimeout, 3*time.Second)
	def(&c.KeepBody, 4<<10)
	def(&c.MaxConnections, 8192)
	cl := &Client{
		Config: c, slots: make(chan struct{}, c.MaxConnections),
		pool: pool{hosts: map[string][]*conn{}}, tokens: tokens{group: &singleflight.Group{}},
	}
	dial := c.DialContext
	if dial == nil {
		dial = (&net.Dialer{Resolver: c.Resolver, ControlContext: cl.guard()}).DialContext
	}
	cl.dial = cl.slotted(dial)
	cl.tls = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: c.CAs, NextProtos: []string{"http/1.1"}}
	cl.tokenTransport = &http.Transport{
		DialContext:            cl.dial,
		TLSClientConfig:        cl.tls.Clone(),
		TLSHandshakeTimeout:    2 * c.ConnectTimeout, // for what it goes on with when a fetch has ended
		MaxResponseHeaderBytes: readHeader,
		IdleConnTimeout:        idleTimeout,
	}
	return cl
}

func def[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// Close closes idle connections.
func (c *Client) Close() {
	c.pool.closeIdle(0)
	c.tokenTransport.CloseIdleConnections()
}

// azureWire is a public address at which machines in Azure find their host.
var azureWire = netip.MustParsePrefix("168.63.129.16/32")

// guard looks at each address when it is dialled, so that a name that resolves
// differently the second time does not help.
func (c *Client) guard() func(context.Context, string, string, syscall.RawConn) error {
	g := guardOf(c.Policy)
	return func(_ context.Context, network, address string, conn syscall.RawConn) error {
		return g.Safe(network, address, conn)
	}
}

// Callable reports whether an address is one that may be called by a policy.
func Callable(a netip.Addr, by hook.EndpointPolicy) bool {
	network := "tcp4"
	if a.Is6() {
		network = "tcp6"
	}
	return guardOf(by).Safe(network, netip.AddrPortFrom(a, 443).String(), nil) == nil
}

func guardOf(policy hook.EndpointPolicy) *ssrf.Guardian {
	var v4, v6 []netip.Prefix
	for _, p := range policy.Allowed {
		if p.Addr().Is4() {
			v4 = append(v4, p)
		} else {
			v6 = append(v6, p)
		}
	}
	return ssrf.New(ssrf.WithAnyPort(), ssrf.WithAllowedV4Prefixes(v4...), ssrf.WithAllowedV6Prefixes(v6...), ssrf.WithDeniedV4Prefixes(azureWire))
}
