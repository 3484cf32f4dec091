package intake_test

import (
	"testing"

	"github.com/switchhook/switchhook/internal/hook"
)

// What happens on the platform itself goes the way of what is published: it has an id, is
// owed to those who are entitled, and is in the sender's hand until it is known whether
// it is stored.
func TestPrepare(t *testing.T) {
	w := newWorld(t)
	w.put("carrier", "acme")
	w.subscribe(1, "carrier", []string{cnam})
	w.subscribe(2, "acme", []string{cnam}) // bound to no carrier
	events := []*hook.Event{{Account: "acme", Type: cnam, TS: now, Carrier: 1, Body: []byte(`{}`)}, {Account: "acme", Type: cnam, TS: now, Carrier: 2, Body: []byte(`{}`)}}
	for _, stored := range []bool{false, true} {
		pubs, err := w.intake.Prepare(events, now)
		must(t, err)
		if len(pubs) != 2 || len(pubs[0].Owed) != 1 || pubs[0].Owed[0].Subscription != 1 || len(pubs[1].Owed) != 0 || pubs[0].Event.ID == 0 || pubs[1].Event.ID <= pubs[0].Event.ID {
			t.Fatalf("%+v", pubs)
		}
		if stored {
			must(t, w.db.Publish(pubs)) // refuses what is stale
			must(t, pubs[0].Err)
		}
		w.intake.Settle(pubs, stored)
	}
	if got := w.sender.settled; len(got) != 4 || got[0].stored || !got[2].stored {
		t.Errorf("settled as %+v", got)
	}
	if _, err := w.intake.Prepare([]*hook.Event{events[0], {Type: "no.such_type"}}, now); kindOf(err) != hook.Conflict {
		t.Errorf("an event type that is not in the catalog: %v", err)
	}
}
