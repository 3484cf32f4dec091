package inventory

import (
	"fmt"

	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/number"
)

// Imported says what came of lines of a file.
type Imported struct {
	Result
	// Done is how many of the lines, from the first on, are dealt with: made durable or
	// refused.
	Done int
	// Refused has the lines that were refused, one entry for each fault.
	Refused []Refusal
}

// Import makes the changes of lines of a file and refuses those that it cannot make, one
// by one. A line whose number is not there adds it, if it says whose it is. Importing
// the same lines again changes nothing, so whoever was interrupted may begin anywhere
// before that.
//
// It takes any number of lines, but some thousand at a time are best: they are stored in
// pieces, of which each is done or not. After an error, what came of those before stands.
func (v *Inventory) Import(by hook.Actor, records []*number.Record) (Imported, error) {
	var all Imported
	for len(records) > all.Done {
		next := records[all.Done:min(len(records), all.Done+chunk)]
		im, err := v.importSome(by, next)
		if err != nil {
			return all, err
		}
		all.add(im.Result)
		all.Done += len(next)
		all.Refused = append(all.Refused, im.Refused...)
	}
	return all, nil
}

// line is a line of a file, ready to be stored.
type line struct {
	*number.Record
	// fresh is the number that it adds if there is none yet, and refused what is wrong
	// with that.
	fresh   number.Number
	refused []Refusal
}

// prepare does what can be done while others write.
func (v *Inventory) prepare(r *number.Record) line {
	l := line{Record: r}
	switch {
	case len(r.Faults) > 0:
		l.refused = refusals(r.Line, r.E164, r.Faults)
	case r.Carrier == 0 || r.Account == "":
		l.refused = []Refusal{{r.Line, r.E164, Unknown, "phone_number", "does not exist; a line with carrier_code and account_id adds it"}}
	default:
		n, _ := number.Apply(number.Number{E164: r.E164, Carrier: r.Carrier, Account: r.Account}, r.Change)
		l.fresh = n.Normal()
		l.refused = refusals(r.Line, r.E164, v.faults(&l.fresh))
	}
	return l
}

func (v *Inventory) importSome(by hook.Actor, records []*number.Record) (im Imported, err error) {
	lines := make([]line, len(records))
	for i, r := range records {
		lines[i] = v.prepare(r)
	}
	done := 0
	im.Result, err = v.change(deed{by, hook.Imported}, len(lines), func(w *work) error {
		im.Refused, done = nil, 0
		for i := range lines {
			refused, err := w.line(&lines[i])
			if err != nil {
				return err
			}
			if len(refused) == 0 {
				done++
			}
			im.Refused = append(im.Refused, refused...)
		}
		return nil
	})
	im.Numbers = done
	return im, err
}

// line makes the change of a line, or says why not.
func (w *work) line(l *line) ([]Refusal, error) {
	if len(l.Faults) > 0 {
		return l.refused, nil
	}
	if l.Carrier != 0 {
		if ok, err := w.carrier(l.Carrier); err != nil || !ok {
			return []Refusal{l.refusal(BadCarrier, "carrier_code", fmt.Sprintf("there is no carrier %d", l.Carrier))}, err
		}
	}
	t, err := w.find(l.E164)
	switch {
	case err != nil:
		return nil, err
	case t == nil && len(l.refused) > 0:
		return l.refused, nil
	case t == nil:
		return nil, w.add(l.fresh)
	case l.Carrier != 0 && l.Carrier != t.Carrier:
		return []Refusal{l.refusal(Taken, "carrier_code", fmt.Sprintf("is %d, but the number belongs to another carrier, %d", l.Carrier, t.Carrier))}, nil
	case l.Account != "" && l.Account != t.Account:
		return []Refusal{l.refusal(Taken, "account_id", fmt.Sprintf("is %q, but the number belongs to another customer, %q", l.Account, t.Account))}, nil
	}
	if f := l.Change.Conflicts(&t.Number); len(f) > 0 {
		return refusals(l.Line, l.E164, f), nil
	}
	t.Number, _ = number.Apply(t.Number, l.Change)
	return nil, nil
}

func (l *line) refusal(why Why, field, message string) Refusal {
	return Refusal{l.Line, l.E164, why, field, message}
}
