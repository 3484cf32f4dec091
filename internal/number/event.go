package number

import (
	"strconv"
	"time"

	"github.com/switchhook/switchhook/internal/canon"
	"github.com/switchhook/switchhook/internal/hook"
)

// The event types by which carriers learn of changes.
const (
	AddressUpdated = "number_management.peering_number_emergency_address_updated"
	CNAMUpdated    = "number_management.peering_number_cnam_updated"
)

// MaxPerEvent is how many numbers one event names.
const MaxPerEvent = 200

// Changed is a number before and after a request. A number that is new was a zero Number before.
type Changed struct {
	Before, After Number
}

// Events returns what carriers have to be told of what one request changed at an instant. Numbers
// of the same carrier and customer whose caller name, or whose address, is now the same are in
// one event, or as many as it takes. Numbers whose name and address are what they were are in none.
//
// Both events and numbers are in the order in which the request has changed them, so the same
// request makes the same bytes. A number that it has changed several times counts once, by what
// it was before all of it and is after.
//
// The events have no id yet.
func Events(changed []Changed, at time.Time) []*hook.Event {
	var groups []*group
	open := map[news]*group{} // those that have room
	tell := func(n *Number, what news) {
		what.Carrier, what.Account = n.Carrier, n.Account
		g := open[what]
		if g == nil {
			g = &group{news: what}
			groups = append(groups, g)
			open[what] = g
		}
		if g.numbers = append(g.numbers, n.E164); len(g.numbers) == MaxPerEvent {
			delete(open, what)
		}
	}
	for _, c := range net(changed) {
		if c.Before.CNAM != c.After.CNAM {
			tell(&c.After, news{Type: CNAMUpdated, CNAM: c.After.CNAM})
		}
		if c.Before.Address != c.After.Address {
			tell(&c.After, news{Type: AddressUpdated, Address: c.After.Address})
		}
	}
	events := make([]*hook.Event, len(groups))
	for i, g := range groups {
		events[i] = g.event(at)
	}
	return events
}

// net returns the changes with one entry for each number.
func net(changed []Changed) []Changed {
	place := make(map[string]int, len(changed))
	out := make([]Changed, 0, len(changed))
	for _, c := range changed {
		if i, known := place[c.After.E164]; known {
			out[i].After = c.After
			continue
		}
		place[c.After.E164] = len(out)
		out = append(out, c)
	}
	return out
}

// news is what an event says of all its numbers.
type news struct {
	Type    string
	Carrier int32
	Account string
	CNAM    string
	Address Address
}

type group struct {
	news
	numbers []string
}

// event writes the event. It is canonical as it stands.
func (g *group) event(at time.Time) *hook.Event {
	b := make([]byte, 0, 512+len(`"+123456789012345",`)*len(g.numbers))
	b = append(b, `{"event":`...)
	b = canon.AppendText(b, g.Type)
	b = append(b, `,"event_ts":`...)
	b = strconv.AppendInt(b, at.UnixMilli(), 10)
	b = append(b, `,"payload":{"account_id":`...)
	b = canon.AppendText(b, g.Account)
	b = append(b, `,"object":{"carrier_code":`...)
	b = strconv.AppendInt(b, int64(g.Carrier), 10)
	b = append(b, `,"phone_numbers":[`...)
	for i, number := range g.numbers {
		if i > 0 {
			b = append(b, ',')
		}
		b = canon.AppendText(b, number)
	}
	b = append(b, ']')
	if g.CNAM != "" {
		b = append(b, `,"cnam":`...)
		b = canon.AppendText(b, g.CNAM)
	}
	if g.Address != (Address{}) {
		b = append(b, `,"emergency_address":`...)
		b = g.Address.append(b)
	}
	b = append(b, "}}}"...)
	return &hook.Event{Account: g.Account, Type: g.Type, TS: time.UnixMilli(at.UnixMilli()), Carrier: g.Carrier, Body: b}
}

// append writes the address, without what is empty of it.
func (a *Address) append(b []byte) []byte {
	opening := byte('{')
	for _, x := range []struct{ name, value string }{
		{"country", a.Country}, {"address_line1", a.Line1}, {"address_line2", a.Line2}, {"city", a.City}, {"zip", a.ZIP}, {"state_code", a.State},
	} {
		if x.value == "" {
			continue
		}
		b = append(b, opening)
		b = canon.AppendText(b, x.name)
		b = append(b, ':')
		b = canon.AppendText(b, x.value)
		opening = ','
	}
	return append(b, '}')
}
