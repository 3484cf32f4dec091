package hook

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Delivery is an event owed to one subscription.
type Delivery struct {
	ID DeliveryID
	// Tries counts the attempts that used up one of the schedule, so it is also
	// the retry_num of the next attempt.
	Tries int
	// Due is when the next attempt is to start. It is zero while none was made,
	// which means since the event was accepted, and when none follows.
	Due   time.Time
	State State
}

// State is where a delivery stands.
type State uint8

const (
	// Waiting: another attempt is due, now or later.
	Waiting State = iota
	// Delivered: the endpoint answered 2xx.
	Delivered
	// Failed: the outcome was final, and repeating would not change it.
	Failed
	// Exhausted: every attempt of the schedule failed.
	Exhausted
	// Cancelled: the subscription was disabled or deleted first.
	Cancelled
)

var states = [...]string{"waiting", "delivered", "failed", "exhausted", "cancelled"}

// String returns the state's name in lower case.
func (s State) String() string {
	if int(s) < len(states) {
		return states[s]
	}
	return fmt.Sprintf("state %d", uint8(s))
}

// MarshalText writes the state's name.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads a state's name.
func (s *State) UnmarshalText(b []byte) error {
	i := slices.Index(states[:], string(b))
	if i < 0 {
		return fmt.Errorf("state %q is none of %s", b, strings.Join(states[:], ", "))
	}
	*s = State(i)
	return nil
}

// Schedule holds the pauses before the second attempt, the third, and so on.
type Schedule []time.Duration

// DefaultSchedule returns the contract's pauses: 5, 20 and 60 minutes.
func DefaultSchedule() Schedule {
	return Schedule{5 * time.Minute, 20 * time.Minute, 60 * time.Minute}
}

// After returns d as it stands after an attempt that ended with o at now.
func (d Delivery) After(o Outcome, now time.Time, s Schedule) Delivery {
	if o.Retry() == AtOnce {
		return d // still due, and in its old place
	}
	d.Tries++
	d.Due = time.Time{}
	switch {
	case o.OK():
		d.State = Delivered
	case o.Retry() == Never:
		d.State = Failed
	case d.Tries > len(s):
		d.State = Exhausted
	default:
		d.Due = now.Add(s[d.Tries-1])
	}
	return d
}
