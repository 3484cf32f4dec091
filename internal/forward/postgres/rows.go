package postgres

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/switchhook/switchhook/internal/forward"
	"github.com/switchhook/switchhook/internal/inbox"
	"github.com/switchhook/switchhook/webhook/numbermanagement"
)

// eventRows returns messages as rows of the table of events.
func eventRows(messages []*forward.Message) columns {
	c := newEventColumns()
	for _, m := range messages {
		c[0].addText(m.Key)
		c[1].addInt8(m.ID)
		c[2].addText(clean(m.Source))
		c[3].addOptional(clean(m.Name))
		at, _ := timeOf(m)
		c[4].addTime(at)
		c[5].addTime(m.Received)
		c[6].addOptional(clean(m.RequestID))
		c[7].add(headersOf(m.Headers))
		if isJSON(m.Body) {
			c[8].add(m.Body)
			c[9].add(nil)
		} else {
			c[8].add(nil)
			c[9].add(append([]byte{}, m.Body...))
		}
	}
	return c
}

// clean returns a text as PostgreSQL can keep it: without what is no UTF-8 and, as in
// no text of PostgreSQL, without the character 0.
func clean(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

func headersOf(h inbox.Headers) []byte {
	all := make(map[string]string, len(h))
	for _, x := range h {
		all[strings.ToLower(x.Name)] = x.Value
	}
	text, _ := json.Marshal(all) // texts always can be
	return text
}

// maxDepth is how deep JSON may be that PostgreSQL is given as such: how deep it can
// read depends on max_stack_depth.
const maxDepth = 1000

func isJSON(b []byte) bool {
	return utf8.Valid(b) && json.Valid(b) && depth(b) <= maxDepth
}

// depth returns how deep valid JSON is.
func depth(b []byte) (deepest int) {
	now, text := 0, false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case text && c == '\\':
			i++
		case c == '"':
			text = !text
		case text:
		case c == '{' || c == '[':
			now++
			deepest = max(deepest, now)
		case c == '}' || c == ']':
			now--
		}
	}
	return deepest
}

var (
	firstTime = time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC)
	lastTime  = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)
)

// timeOf returns when an event occurred, if it says so and it is a time that people and
// PostgreSQL have a date for.
func timeOf(m *forward.Message) (time.Time, bool) {
	if t := m.Time; t.After(firstTime) && t.Before(lastTime) {
		return t, true
	}
	return time.Time{}, false
}

// at is when something was said, and by which event.
type at struct {
	time  time.Time
	event int64
}

func (a at) before(b at) bool {
	return a.time.Before(b.time) || a.time.Equal(b.time) && a.event < b.event
}

// number is what events say of a phone number.
type number struct {
	told    at // carrier and account, by any event
	carrier int32
	account string

	cnamTold at // zero: not at all
	cnam     string

	addressTold at
	address     numbermanagement.EmergencyAddress
}

// numbers are phone numbers as they are after some events.
type numbers map[string]*number

// apply adds what a message says, if it is about numbers. An error says that it cannot
// be told what it says.
func (n numbers) apply(m *forward.Message) error {
	var about numbermanagement.Numbers
	var set func(*number, at)
	switch m.Name {
	case string(numbermanagement.CNAMUpdatedEvent):
		var u numbermanagement.CNAMUpdated
		if err := payload(m, &u); err != nil {
			return err
		}
		if strings.Contains(u.CNAM, "\x00") {
			return errNull
		}
		about = u.Numbers
		set = func(x *number, told at) {
			if x.cnamTold.before(told) {
				x.cnamTold, x.cnam = told, u.CNAM
			}
		}
	case string(numbermanagement.EmergencyAddressUpdatedEvent):
		var u numbermanagement.EmergencyAddressUpdated
		if err := payload(m, &u); err != nil {
			return err
		}
		var a numbermanagement.EmergencyAddress
		if u.Address != nil {
			a = *u.Address
		}
		if strings.Contains(a.Line1+a.Line2+a.City+a.StateCode+a.ZIP+a.Country, "\x00") {
			return errNull
		}
		about = u.Numbers
		set = func(x *number, told at) {
			if x.addressTold.before(told) {
				x.addressTold, x.address = told, a
			}
		}
	default:
		return nil
	}
	when, ok := timeOf(m)
	if !ok {
		return errors.New("it has no event_ts by which it could be told what is later")
	}
	if strings.Contains(about.AccountID+strings.Join(about.PhoneNumbers, ""), "\x00") {
		return errNull
	}
	told := at{when, m.ID}
	for _, e164 := range about.PhoneNumbers {
		x := n[e164]
		if x == nil {
			x = &number{}
			n[e164] = x
		}
		if x.told.before(told) {
			x.told, x.carrier, x.account = told, about.CarrierCode, about.AccountID
		}
		set(x, told)
	}
	return nil
}

var errNull = errors.New("a text in it has the character 0, which no text in PostgreSQL may have")

// payload reads the payload of an event.
func payload(m *forward.Message, into any) error {
	var members map[string]json.RawMessage
	err := json.Unmarshal(m.Body, &members)
	if err == nil && members["payload"] == nil {
		err = errors.New("it is missing")
	}
	if err == nil {
		err = json.Unmarshal(members["payload"], into)
	}
	if err != nil {
		return fmt.Errorf("payload: %w", err)
	}
	return nil
}

// rows returns the numbers as rows of their table. They are in order, so that those who
// write the same numbers at the same time wait for each other and not in a circle.
func (n numbers) rows() columns {
	c := newNumberColumns()
	for _, e164 := range slices.Sorted(maps.Keys(n)) {
		x := n[e164]
		c[0].addText(e164)
		c[1].addInt4(x.carrier)
		c[2].addText(x.account)
		c[3].addTime(x.told.time)
		c[4].addInt8(x.told.event)
		c[5].addOptional(x.cnam)
		c[6].addTime(x.cnamTold.time)
		c[7].addNumber(x.cnamTold.event)
		a := &x.address
		for i, s := range []string{a.Line1, a.Line2, a.City, a.StateCode, a.ZIP, a.Country} {
			c[8+i].addOptional(s)
		}
		c[14].addTime(x.addressTold.time)
		c[15].addNumber(x.addressTold.event)
	}
	return c
}
