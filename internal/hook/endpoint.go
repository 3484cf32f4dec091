package hook

import (
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"time"
)

// Endpoint is a URL that a subscription's events go to, and where its validation
// stands.
type Endpoint struct {
	URL   string
	State SubscriptionState
	// StateReason says in a sentence why the endpoint is in its state, and StateSince
	// since when.
	StateReason string
	StateSince  time.Time
	// Checked is when it was last asked to prove itself, or accepted without that.
	Checked time.Time
	// Failures are the rounds that it has failed in a row, the earliest first.
	Failures []Failure
}

// Failure is a challenge that was not answered as it should be.
type Failure struct {
	At     time.Time `json:"at"`
	Reason string    `json:"reason"`
}

// Active reports whether events are owed to the endpoint.
func (e *Endpoint) Active() bool { return e.State == Valid || e.State == Failing }

// Set returns the endpoint in another state since now.
func (e Endpoint) Set(s SubscriptionState, reason string, now time.Time) Endpoint {
	if e.State != s {
		e.StateSince = now
	}
	if s == Valid {
		e.Failures = nil
	}
	e.State, e.StateReason = s, reason
	return e
}

// Notice is what the owner of an app is told about an endpoint.
type Notice uint8

// The notices.
const (
	NoNotice Notice = iota
	// FirstNotice and SecondNotice: the endpoint fails its challenges.
	FirstNotice
	SecondNotice
	// DisabledNotice: it failed so often that nothing is sent to it any more.
	DisabledNotice
)

// After so many rounds failed in a row there is a notice, and after the last number
// the endpoint is disabled.
const (
	FirstNoticeAfter  = 2
	SecondNoticeAfter = 4
	DisabledAfter     = 6
)

// AfterRound returns the endpoint as it stands after a round at now, and what its
// owner is told. The reason is empty if it has proven itself.
func (e Endpoint) AfterRound(reason string, now time.Time) (Endpoint, Notice) {
	e.Checked = now
	if reason == "" {
		return e.Set(Valid, "", now), NoNotice
	}
	e.Failures = append(slices.Clone(e.Failures), Failure{now, reason})
	switch n := len(e.Failures); {
	case n >= DisabledAfter:
		return e.Set(Disabled, disabledAfterRounds(n, reason), now), DisabledNotice
	case n == SecondNoticeAfter:
		return e.Set(Failing, reason, now), SecondNotice
	case n == FirstNoticeAfter:
		return e.Set(Failing, reason, now), FirstNotice
	}
	return e.Set(Failing, reason, now), NoNotice
}

// InRounds reports whether one of the subscription's endpoints has regular rounds:
// while events would be owed to it. Nobody keeps up the endpoints of an app that is
// switched off.
func (s *Subscription) InRounds(in AppState, a *App) bool {
	e := s.At(in)
	return e.URL != "" && e.Active() && !a.Disabled
}

func disabledAfterRounds(n int, reason string) string {
	return fmt.Sprintf("the endpoint failed %d validations in a row, the last: %s", n, reason)
}

// Round returns the latest instant, not after t, at which the round of an endpoint
// falls: one in every period, at a time of its own, so that the rounds of endpoints
// that were made together are spread over the whole period. It is a whole millisecond,
// as is all that the store remembers: of a finer one it could not tell after a restart
// whether it has been held. A period is at least a millisecond.
func (s *Subscription) Round(in AppState, every time.Duration, t time.Time) time.Time {
	every = max(time.Millisecond, every.Truncate(time.Millisecond))
	h := fnv.New64a()
	fmt.Fprint(h, s.ID, in)
	phase := time.Duration(h.Sum64()%uint64(every/time.Millisecond)) * time.Millisecond
	since := (time.Duration(t.UnixNano()) - phase) % every
	if since < 0 {
		since += every
	}
	return t.Add(-since)
}

// NextRound returns when one of the subscription's endpoints is to be asked again, as seen
// at now: at the first instant of its own after it was last checked. A check that lies ahead,
// because the clock was wrong then, counts as one that is made now.
//
// A round that was held late, because the platform was stopped, may be just before the
// next instant. If it failed, that next one is left out: it would fail for the same
// reason, and bring the endpoint's end nearer than the owner was told.
func (s *Subscription) NextRound(in AppState, every time.Duration, now time.Time) time.Time {
	e := s.At(in)
	checked := e.Checked
	if checked.IsZero() {
		checked = s.Created
	}
	next := s.Round(in, every, earliest(checked, now)).Add(every)
	if n := len(e.Failures); n > 0 && next.Sub(earliest(e.Failures[n-1].At, now)) < every/2 {
		next = next.Add(every)
	}
	return next
}

func earliest(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// SubscriptionState is where the validation of an endpoint stands.
type SubscriptionState uint8

const (
	// Pending: the endpoint has not proven itself yet; nothing is owed.
	Pending SubscriptionState = iota
	// Valid: the endpoint answered its last challenge.
	Valid
	// Failing: it did not answer the last one, but still gets events.
	Failing
	// Disabled: nothing is sent any more.
	Disabled
)

var subscriptionStates = [...]string{"pending", "valid", "failing", "disabled"}

// String returns the state's name in lower case.
func (s SubscriptionState) String() string {
	if int(s) < len(subscriptionStates) {
		return subscriptionStates[s]
	}
	return fmt.Sprintf("state %d", uint8(s))
}

// MarshalText writes the state's name.
func (s SubscriptionState) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads a state's name.
func (s *SubscriptionState) UnmarshalText(b []byte) error {
	i := slices.Index(subscriptionStates[:], string(b))
	if i < 0 {
		return fmt.Errorf("state %q is none of %s", b, strings.Join(subscriptionStates[:], ", "))
	}
	*s = SubscriptionState(i)
	return nil
}
