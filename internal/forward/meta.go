package forward

import (
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/switchhook/switchhook/internal/inbox"
)

// Refused is an error of a target that will not take an event however often it is
// asked: it is larger than the target allows, or not what it is for. The event becomes
// a dead letter at once, so that those behind it have their turn.
type Refused struct{ Err error }

func (e *Refused) Error() string { return e.Err.Error() }
func (e *Refused) Unwrap() error { return e.Err }

func isRefused(err error) bool {
	_, ok := errors.AsType[*Refused](err)
	return ok
}

// NeedsSomebody is how long after a failure that somebody has to mend, as a wrong
// password, a target wants to be tried again: as late as the forwarder may.
const NeedsSomebody = 24 * time.Hour

// Meta returns what goes with the body of a message where it is forwarded as it is: the
// headers that it came with, and those of a forwarded event.
func (m *Message) Meta() inbox.Headers {
	meta := append(slices.Clip(m.Headers),
		inbox.Header{Name: HeaderKey, Value: m.Key},
		inbox.Header{Name: HeaderNumber, Value: strconv.FormatInt(m.ID, 10)},
		inbox.Header{Name: HeaderSource, Value: m.Source},
		inbox.Header{Name: HeaderReceived, Value: m.Received.UTC().Format(time.RFC3339Nano)},
	)
	if m.Replay {
		meta = append(meta, inbox.Header{Name: HeaderReplay, Value: "true"})
	}
	return meta
}
