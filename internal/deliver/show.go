package deliver

import (
	"time"

	"github.com/switchhook/switchhook/internal/hook"
)

// Lane says what the endpoint of a subscription is given by this node at the moment.
// There is nothing to tell of an endpoint for which nothing is outstanding.
func (s *Sender) Lane(k hook.SubscriptionKey) hook.Lane {
	sub, app := s.directory.Subscription(k)
	if sub == nil {
		return hook.Lane{}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.lanes[sub.Serving(app).URL]
	if l == nil {
		return hook.Lane{}
	}
	v := hook.Lane{Flying: l.flying, InFlight: s.allowed(l), SparedUntil: l.breaker.until}
	if l.limiter != nil {
		v.PerSecond = float64(l.limiter.Limit())
	}
	if l.breaker.probing {
		v.SparedUntil = time.Time{} // one request is finding out whether it answers
	}
	return v
}
