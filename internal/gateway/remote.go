package gateway

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// Remote returns the address that a request came from. What X-Forwarded-For says
// counts as far as it was written by proxies that are known: anybody can begin it
// with what he likes.
func (g *Gateway) Remote(r *http.Request) string {
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	addr := at.Addr().Unmap().WithZone("")
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, hop := range slices.Backward(hops) {
		if !g.isProxy(addr) {
			break
		}
		next, err := netip.ParseAddr(strings.TrimSpace(hop))
		if err != nil {
			break
		}
		addr = next.Unmap().WithZone("")
	}
	return addr.String()
}

func (g *Gateway) isProxy(addr netip.Addr) bool {
	return slices.ContainsFunc(g.config.Proxies, func(p netip.Prefix) bool { return p.Contains(addr) })
}
