package inventory

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/number"
)

// The methods in this file do all that they are asked for, or nothing. What they refuse
// is an [*Error], or a *[hook.Error] of kind Invalid where the fault is no number's.

// chunk is how many numbers one transaction changes where there may be any number.
// Nobody else can write meanwhile. It is full events, so that numbers of a customer that
// end in the same value need no more events than they would in one piece.
const chunk = 3 * number.MaxPerEvent

// named checks how many numbers a request names.
func named(n, limit int) error {
	switch {
	case n == 0:
		return &Error{Kind: Empty}
	case n > limit:
		return &Error{Kind: TooMany, Limit: limit}
	}
	return nil
}

// Add adds numbers that a carrier peers for its customers, at most [MaxNumbers]. Their
// carrier is the given one. One that is there already is refused, unless it is as it was
// given: a request that is repeated because its answer was lost does no harm. What is
// found to be wrong with the numbers already, each in its place, is refused with the rest.
func (v *Inventory) Add(by hook.Actor, carrier int32, numbers []number.Number, found ...hook.Faults) (Result, error) {
	if err := named(len(numbers), MaxNumbers); err != nil {
		return Result{}, err
	}
	numbers = slices.Clone(numbers)
	var refused []Refusal
	seen := map[string]bool{}
	for i := range numbers {
		n := &numbers[i]
		*n = n.Normal()
		n.Carrier = carrier
		faults := v.faults(n)
		if i < len(found) {
			faults = slices.Concat(faults, found[i])
		}
		if seen[n.E164] {
			faults.Add("phone_number", "is named twice")
		}
		seen[n.E164] = true
		refused = append(refused, refusals(0, n.E164, faults)...)
	}
	return v.change(deed{by, hook.Created}, len(numbers), func(w *work) error {
		if ok, err := w.mustBe(carrier); !ok {
			return err
		}
		w.refused = slices.Clone(refused)
		for i := range numbers {
			t, err := w.find(numbers[i].E164)
			if err != nil {
				return err
			}
			if t == nil {
				err = w.add(numbers[i])
			} else if message := t.occupies(numbers[i]); message != "" {
				w.refuse(t.E164, Taken, "phone_number", message)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// faults returns what is wrong with a number that is to be added.
func (v *Inventory) faults(n *number.Number) hook.Faults {
	f := n.Check()
	if n.Account != "" && v.Directory.Account(n.Account) == nil {
		f.Add("account_id", "%q is not the id of an account", n.Account)
	}
	return f
}

// mustBe reports whether the carrier exists. If not, nothing is done.
func (w *work) mustBe(carrier int32) (ok bool, err error) {
	if ok, err = w.carrier(carrier); err == nil && !ok {
		w.fault = &Error{Kind: NoCarrier, Carrier: carrier}
	}
	return ok, err
}

// occupies says why n cannot be added where t is.
func (t *touched) occupies(n number.Number) string {
	switch {
	case t.Carrier != n.Carrier:
		return "belongs to another carrier"
	case t.Account != n.Account:
		return "is there already, for another customer"
	}
	// What is the customer's to say, the carrier does not repeat.
	n.CNAM, n.Address, n.Assigned = t.CNAM, t.Address, t.Assigned
	if n != t.Number {
		return "is there already, and is not as given; change it instead"
	}
	return ""
}

// Update is what a carrier wants of one of its numbers.
type Update struct {
	E164   string
	Change number.Change
	// Faults are found already, and refused with the rest.
	Faults hook.Faults
}

// Update changes numbers of a carrier, at most [MaxNumbers], in the order given. With an
// account, those of other customers do not exist for the caller.
func (v *Inventory) Update(by hook.Actor, carrier int32, account string, updates []Update) (Result, error) {
	if err := named(len(updates), MaxNumbers); err != nil {
		return Result{}, err
	}
	updates = slices.Clone(updates)
	var refused []Refusal
	for i := range updates {
		u := &updates[i]
		u.E164, u.Change = strings.TrimSpace(u.E164), u.Change.Normal()
		refused = append(refused, refusals(0, u.E164, slices.Concat(u.Change.Check(), u.Faults))...)
	}
	return v.change(deed{by, hook.Updated}, len(updates), func(w *work) error {
		if ok, err := w.mustBe(carrier); !ok {
			return err
		}
		w.refused = slices.Clone(refused)
		for i := range updates {
			u := &updates[i]
			t, err := w.own(u.E164, &Filter{Carrier: carrier, Account: account})
			if err != nil {
				return err
			}
			if t != nil {
				w.refused = append(w.refused, refusals(0, u.E164, u.Change.Conflicts(&t.Number))...)
				t.Number, _ = number.Apply(t.Number, u.Change)
			}
		}
		return nil
	})
}

// own returns a number that must be there and be selected. If it is not, it is refused,
// whosever it is.
func (w *work) own(e164 string, f *Filter) (*touched, error) {
	t, err := w.find(e164)
	if err != nil {
		return nil, err
	}
	if t == nil || !f.Selects(&t.Number) {
		w.refuse(e164, Unknown, "phone_number", "does not exist")
		return nil, nil
	}
	return t, nil
}

// Remove removes numbers of a carrier, at most [MaxNumbers]. The carrier is told that
// their names and addresses are cleared: if one is added again, it has none. With an
// account, those of other customers do not exist for the caller.
func (v *Inventory) Remove(by hook.Actor, carrier int32, account string, numbers []string) (Result, error) {
	if err := named(len(numbers), MaxNumbers); err != nil {
		return Result{}, err
	}
	return v.change(deed{by, hook.Removed}, len(numbers), func(w *work) error {
		if ok, err := w.mustBe(carrier); !ok {
			return err
		}
		for _, e164 := range numbers {
			t, err := w.own(strings.TrimSpace(e164), &Filter{Carrier: carrier, Account: account})
			if err != nil {
				return err
			}
			if t != nil {
				t.gone = true
			}
		}
		return nil
	})
}

// Set sets or clears what is a customer's to say, the caller name, the emergency address
// and whether somebody has the number, for a list of at most [MaxList] numbers. Those that within does not select do
// not exist for the caller.
func (v *Inventory) Set(by hook.Actor, numbers []string, within Filter, c number.Change) (Result, error) {
	if err := named(len(numbers), MaxList); err != nil {
		return Result{}, err
	}
	c = c.Normal()
	if err := checkSet(&c); err != nil {
		return Result{}, err
	}
	return v.change(deed{by, hook.Updated}, len(numbers), func(w *work) error {
		for _, e164 := range numbers {
			t, err := w.own(strings.TrimSpace(e164), &within)
			if err != nil {
				return err
			}
			if t != nil {
				t.Number, _ = number.Apply(t.Number, c)
			}
		}
		return nil
	})
}

// checkSet checks a change that a customer asks for.
func checkSet(c *number.Change) error {
	f := c.Check()
	if c.CNAM == nil && c.Address == nil && c.Assigned == nil {
		f.Add("", "none of cnam, emergency_address and assigned is to be changed")
	}
	if (*c != number.Change{CNAM: c.CNAM, Address: c.Address, Assigned: c.Assigned}) {
		f.Add("", "only cnam, emergency_address and assigned can be changed here; the rest is the carrier's to say")
	}
	return f.Err("change")
}

// Progress is how far a change has come that is made in pieces.
type Progress struct {
	Result
	// After is the last number that was looked at. Given as the filter's, it goes on
	// behind it.
	After string
}

// SetAll is [Inventory.Set] for everything that the filter selects, behind its After, in
// pieces of which each is done or not. Numbers that are changed meanwhile count as they
// are when it is their turn. It returns how far it came also with an error, and tells
// each, if it is not nil, after every piece.
func (v *Inventory) SetAll(ctx context.Context, by hook.Actor, f Filter, c number.Change, each func(Progress)) (Progress, error) {
	p := Progress{After: f.After}
	c = c.Normal()
	if err := checkSet(&c); err != nil {
		return p, err
	}
	f.Limit = chunk
	for {
		if err := ctx.Err(); err != nil {
			return p, fmt.Errorf("inventory: set all: %w", err)
		}
		f.After = p.After
		var last string
		var n int
		r, err := v.change(deed{by, hook.Updated}, chunk, func(w *work) error {
			kept, err := w.tx.Numbers(f)
			n = len(kept)
			for i := range kept {
				t := w.touch(touched{Kept: kept[i], was: kept[i].Number})
				t.Number, _ = number.Apply(t.Number, c)
				last = t.E164
			}
			return err
		})
		if err != nil {
			return p, err
		}
		if n > 0 {
			p.add(r)
			p.After = last
			if each != nil {
				each(p)
			}
		}
		if n < chunk {
			return p, nil
		}
	}
}
