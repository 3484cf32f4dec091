package intake

import (
	"sync"
	"time"

	"github.com/switchhook/switchhook/internal/hook"
)

// undecided knows which ids are given and may still become those of stored events.
//
// Ids are given before events are stored, and those that are stored at the same time are
// stored in any order. So whoever follows events by their ids would pass by one that is
// stored late, if they did not know how far there is none to come.
type undecided struct {
	mu    sync.Mutex
	first int // the turn of floors[0]
	// Those that are not over, in the order in which they have begun, and so with floors
	// that do not fall.
	floors []floor
	more   chan struct{} // nil: nobody wants to know
}

// floor is the id that all ids of a turn are higher than.
type floor struct {
	id   hook.EventID
	over bool
}

// begin is called before ids are given. What it returns is for [undecided.end].
func (u *undecided) begin(ids *hook.IDs) (turn int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.floors = append(u.floors, floor{id: hook.EventID(ids.Last())})
	return u.first + len(u.floors) - 1
}

// end is called when the events of these ids are stored, or never will be.
func (u *undecided) end(turn int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.floors[turn-u.first].over = true
	n := 0
	for n < len(u.floors) && u.floors[n].over {
		n++
	}
	u.floors = append(u.floors[:0], u.floors[n:]...)
	if u.first += n; n > 0 && u.more != nil {
		close(u.more)
		u.more = nil
	}
}

// Decided returns up to which id it is decided of all events whether they are stored:
// none will be added there any more. The channel is closed when that is further.
func (in *Intake) Decided() (upTo hook.EventID, more <-chan struct{}) {
	u := &in.undecided
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.more == nil {
		u.more = make(chan struct{})
	}
	if len(u.floors) > 0 {
		return u.floors[0].id, u.more
	}
	return hook.EventID(in.IDs.Last()), u.more
}

// Mark returns an id up to which it is decided, too. It is meant for other nodes: if
// nothing is under way it is about that of now, whenever something was accepted last, so
// that they need not wait for this node.
func (in *Intake) Mark(now time.Time) hook.EventID {
	u := &in.undecided
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.floors) > 0 {
		return u.floors[0].id
	}
	in.IDs.Raise(hook.FirstID(now) - 1)
	return hook.EventID(in.IDs.Last())
}
