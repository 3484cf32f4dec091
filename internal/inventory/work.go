package inventory

import (
	"errors"
	"fmt"
	"time"

	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/intake"
	"github.com/switchhook/switchhook/internal/number"
)

// Result says what came of a change.
type Result struct {
	// Numbers is how many it was for, and Changed how many are different since. Of
	// those that are not, nobody is told.
	Numbers, Changed int
	// Events is how many events tell carriers of it.
	Events int
}

func (r *Result) add(x Result) {
	r.Numbers += x.Numbers
	r.Changed += x.Changed
	r.Events += x.Events
}

// work is what one transaction does. Nothing is written before all of it is known.
type work struct {
	tx       Tx
	carriers map[int32]bool
	touched  []*touched // in the order of the request
	byNumber map[string]*touched
	refused  []Refusal
	fault    error      // why nothing is to be done at all
	removed  *time.Time // ToldOfRemoved, once it was asked for
}

// touched is a number that a transaction has looked at.
type touched struct {
	Kept
	was  number.Number // zero: it was not there
	gone bool
}

// deed says who does something, and what it is for the audit trail.
type deed struct {
	by     hook.Actor
	action hook.Action
}

// change runs f in a transaction, and stores what it has done with the events that tell
// of it. The events are on their way when it returns, so nothing has to be read back.
func (v *Inventory) change(d deed, rows int, f func(*work) error) (r Result, err error) {
	var w *work
	var pubs []*intake.Publication
	err = v.Store.ChangeNumbers(rows, func(tx Tx) error {
		v.Intake.Settle(pubs, false) // of a call before, which is undone
		pubs, r = nil, Result{}
		w = &work{tx: tx, carriers: map[int32]bool{}, byNumber: make(map[string]*touched, rows)}
		if err := f(w); err != nil || w.fault != nil || len(w.refused) > 0 {
			return err
		}
		now := time.Now()
		told, at := w.told(now)
		changed, err := w.store(at)
		if err != nil {
			return err
		}
		if pubs, err = v.Intake.Prepare(number.Events(told, at), now); err != nil {
			return err
		}
		r = Result{Numbers: len(w.touched), Changed: changed, Events: len(pubs)}
		return errors.Join(w.audit(d, now), tx.Publish(pubs))
	})
	v.Intake.Settle(pubs, err == nil)
	switch {
	case err != nil:
		return Result{}, err
	case w.fault != nil:
		return Result{}, w.fault
	case len(w.refused) > 0:
		return Result{}, &Error{Kind: Refused, Refused: w.refused}
	}
	return r, nil
}

// find returns a number, or nil if there is no such.
func (w *work) find(e164 string) (*touched, error) {
	if t := w.byNumber[e164]; t != nil {
		return t, nil
	}
	k, err := w.tx.Number(e164)
	if err != nil || k == nil {
		return nil, err
	}
	return w.touch(touched{Kept: *k, was: k.Number}), nil
}

func (w *work) touch(t touched) *touched {
	w.touched = append(w.touched, &t)
	w.byNumber[t.E164] = &t
	return &t
}

// add adds a number that is not there.
func (w *work) add(n number.Number) error {
	// It may have been there before, and who was told of that has to be told of this
	// later.
	if w.removed == nil {
		at, err := w.tx.ToldOfRemoved()
		if err != nil {
			return err
		}
		w.removed = &at
	}
	w.touch(touched{Kept: Kept{Number: n, Told: *w.removed}})
	return nil
}

// carrier reports whether there is a carrier of this code.
func (w *work) carrier(code int32) (ok bool, err error) {
	if ok, known := w.carriers[code]; known {
		return ok, nil
	}
	_, ok, err = w.tx.Carrier(code)
	w.carriers[code] = ok
	return ok, err
}

func (w *work) refuse(e164 string, why Why, field, message string) {
	w.refused = append(w.refused, Refusal{Number: e164, Why: why, Field: field, Message: message})
}

// after is the number as carriers know it when all is done. Of one that is gone they
// know that it has neither name nor address, so that if it ever comes back, it comes
// without.
func (t *touched) after() number.Number {
	n := t.Number
	if t.gone {
		n = t.was
		n.CNAM, n.Address = "", number.Address{}
	}
	return n
}

// news reports whether the carrier has to be told.
func (t *touched) news() bool {
	n := t.after()
	return n.CNAM != t.was.CNAM || n.Address != t.was.Address
}

// told returns what is to be told, and the instant of it. That is now, unless something
// was told of one of the numbers in this very millisecond, or by a clock that was ahead:
// events in the order of event_ts must end with what is true.
func (w *work) told(now time.Time) (all []number.Changed, at time.Time) {
	at = time.UnixMilli(now.UnixMilli())
	all = make([]number.Changed, 0, len(w.touched))
	for _, t := range w.touched {
		if !t.news() {
			continue
		}
		all = append(all, number.Changed{Before: t.was, After: t.after()})
		if !t.Told.Before(at) {
			at = t.Told.Add(time.Millisecond)
		}
	}
	return all, at
}

// different reports whether there is anything to store.
func (t *touched) different() bool { return t.gone || t.Number != t.was }

// owner is who has a number.
type owner struct {
	carrier int32
	account string
}

// store stores what is different, told at an instant, and counts it.
func (w *work) store(at time.Time) (changed int, err error) {
	var removed time.Time // the latest that was told of those that go
	more := map[owner]int{}
	for _, t := range w.touched {
		if !t.different() {
			continue
		}
		changed++
		switch {
		case t.gone:
			more[owner{t.Carrier, t.Account}]--
		case t.was == number.Number{}:
			more[owner{t.Carrier, t.Account}]++
		}
		if t.news() {
			t.Told = at
		}
		if !t.gone {
			if err := w.tx.PutNumber(&t.Kept); err != nil {
				return 0, err
			}
			continue
		}
		if err := w.tx.RemoveNumber(t.E164); err != nil {
			return 0, err
		}
		if t.Told.After(removed) {
			removed = t.Told
		}
	}
	for o, n := range more {
		if err := w.tx.Counted(o.carrier, o.account, n); err != nil {
			return 0, err
		}
	}
	if removed.IsZero() {
		return changed, nil
	}
	before, err := w.tx.ToldOfRemoved()
	if err == nil && removed.After(before) {
		err = w.tx.SetToldOfRemoved(removed)
	}
	return changed, err
}

// audit leaves an entry for all of it, if anything is different. Of values it has none:
// addresses are somebody's, and the events have them.
func (w *work) audit(d deed, now time.Time) error {
	var first *touched
	n := 0
	var changes []string
	count := map[string]int{}
	for _, t := range w.touched {
		if !t.different() {
			continue
		}
		if n++; first == nil {
			first = t
		}
		for _, field := range t.fields() {
			if count[field]++; count[field] == 1 {
				changes = append(changes, field)
			}
		}
	}
	if n == 0 {
		return nil
	}
	e := hook.AuditEntry{At: now, By: d.by, Action: d.action, Kind: "number", Subject: first.E164, Changes: changes}
	if n > 1 {
		e.Name = fmt.Sprintf("%d numbers", n)
		for i, field := range changes {
			changes[i] = fmt.Sprintf("%s: %d", field, count[field])
		}
	}
	return w.tx.Audit(e)
}

// fields names what is different about a number, of one that is there before and after.
func (t *touched) fields() (all []string) {
	switch {
	case t.gone:
		return []string{"removed"}
	case t.was == number.Number{}:
		return []string{"added"}
	}
	for _, x := range []struct {
		name      string
		different bool
	}{
		{"sip_trunk_name", t.SIPTrunkName != t.was.SIPTrunkName},
		{"status", t.Status != t.was.Status},
		{"allocated_product", t.AllocatedProduct != t.was.AllocatedProduct},
		{"number_type", t.NumberType != t.was.NumberType},
		{"billing_ref_id", t.BillingRefID != t.was.BillingRefID},
		{"service_info", t.ServiceInfo != t.was.ServiceInfo},
		{"assigned", t.Assigned != t.was.Assigned},
		{"cnam", t.CNAM != t.was.CNAM},
		{"emergency_address", t.Address != t.was.Address},
	} {
		if x.different {
			all = append(all, x.name)
		}
	}
	return all
}
