package inventory_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"testing"

	"pgregory.net/rapid"

	"github.com/switchhook/switchhook/internal/inventory"
	"github.com/switchhook/switchhook/internal/number"
)

// model is what should be in the inventory.
type model map[string]entry

type entry struct {
	carrier int32
	account string
	trunk   string
	said
}

// pool are the numbers that there can be: enough for changes that take several events.
const pool = 230

func phone(i int) string { return fmt.Sprintf("+1415%07d", 2_000_000+i) }

// differences counts what carriers are to be told of.
func differences(before, after model) (n int) {
	for e164, a := range after {
		n += news(before[e164].said, a.said)
	}
	for e164, b := range before {
		if _, ok := after[e164]; !ok {
			n += news(b.said, said{})
		}
	}
	return n
}

func news(a, b said) (n int) {
	if a.cnam != b.cnam {
		n++
	}
	if a.address != b.address {
		n++
	}
	return n
}

// Whatever is done to numbers, and whenever it is interrupted: a carrier that replays its
// events in the order of event_ts knows name and address of each of its numbers, no
// carrier is owed another's, and nobody is told twice or of what did not change.
func TestReplayGivesInventory(t *testing.T) {
	fresh := begin(t, t.TempDir())
	fresh.end()
	empty, err := os.ReadFile(fresh.file())
	must(t, err)
	rapid.Check(t, func(r *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "")
		must(r, err)
		w := &world{t: r, dir: dir}
		must(r, os.WriteFile(w.file(), empty, 0o600))
		w.open()
		defer w.end()
		kept, mentions := model{}, 0
		for range rapid.IntRange(8, 16).Draw(r, "steps") {
			w.faulty.next = rapid.SampledFrom([]fault{none, none, none, within, atCommit, neighbour, answer}).Draw(r, "fault")
			w.faulty.after = rapid.IntRange(0, 6).Draw(r, "after")
			kind := w.faulty.next
			next := maps.Clone(kept)
			err, ok := w.step(r, next)
			w.faulty.next = none
			switch {
			case errors.Is(err, errFault) && kind == answer:
				w.crash()
			case errors.Is(err, errFault):
				ok = false
			case (err == nil) != ok:
				r.Fatalf("the answer is %v", err)
			}
			if ok {
				mentions += differences(kept, next)
				kept = next
			}
			if rapid.IntRange(0, 9).Draw(r, "crash") == 0 {
				w.crash()
			}
			w.holds(r, kept)
		}
		w.replays(r, kept, mentions)
	})
}

// step does something, and does to the model what should come of it: ok says whether it
// should be done.
func (w *world) step(r *rapid.T, m model) (err error, ok bool) {
	carrier := int32(rapid.IntRange(1, 2).Draw(r, "carrier"))
	account := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(r, "account")
	switch rapid.SampledFrom([]string{"import", "set", "set all", "add", "remove", "update"}).Draw(r, "step") {
	case "add":
		return w.add(r, m, carrier, account)
	case "update":
		return w.update(r, m, carrier)
	case "remove":
		chosen := some(r, inventory.MaxNumbers)
		_, err := w.inv.Remove(by, carrier, "", chosen)
		for _, e164 := range chosen {
			if m[e164].carrier != carrier {
				return err, false
			}
		}
		for _, e164 := range chosen {
			delete(m, e164)
		}
		return err, true
	case "set":
		chosen, c := some(r, inventory.MaxList), change(r)
		_, err := w.inv.Set(by, chosen, inventory.Filter{Account: account}, c)
		for _, e164 := range chosen {
			if m[e164].account != account {
				return err, false
			}
			m[e164] = m[e164].with(c)
		}
		return err, true
	case "set all":
		c := change(r)
		_, err := w.inv.SetAll(context.Background(), by, inventory.Filter{Carrier: carrier, Account: account}, c, nil)
		for e164, e := range m {
			if e.carrier == carrier && e.account == account {
				m[e164] = e.with(c)
			}
		}
		return err, true
	default:
		return w.importing(r, m, carrier, account), true
	}
}

func (e entry) with(c number.Change) entry {
	if c.CNAM != nil {
		e.cnam = *c.CNAM
	}
	if c.Address != nil {
		e.address = *c.Address
	}
	return e
}

// some draws numbers: a few, among which many meet, or very many.
func some(r *rapid.T, most int) []string {
	first, n := rapid.IntRange(0, 6).Draw(r, "first"), rapid.IntRange(1, 4).Draw(r, "n")
	if rapid.IntRange(0, 7).Draw(r, "many") == 0 {
		n = min(most, pool-first)
	}
	var list []string
	for i := range n {
		list = append(list, phone(first+i))
	}
	return list
}

// change draws what a customer asks for.
func change(r *rapid.T) number.Change {
	names := []*string{nil, new(""), new("ACME"), new("HARBOR BAKERY")}
	addresses := []*number.Address{nil, {}, new(address("1 Main Street")), new(address("2 Main Street"))}
	c := number.Change{CNAM: rapid.SampledFrom(names).Draw(r, "cnam"), Address: rapid.SampledFrom(addresses).Draw(r, "address")}
	if c.CNAM == nil && c.Address == nil {
		c.CNAM = new("ACME")
	}
	return c
}

func (w *world) add(r *rapid.T, m model, carrier int32, account string) (err error, ok bool) {
	chosen := some(r, inventory.MaxNumbers)
	var list []number.Number
	for _, e164 := range chosen {
		list = append(list, number.Number{E164: e164, Account: account})
	}
	_, err = w.inv.Add(by, carrier, list)
	for _, e164 := range chosen {
		switch e, there := m[e164]; {
		case !there:
			m[e164] = entry{carrier: carrier, account: account}
		case e.carrier != carrier || e.account != account || e.trunk != "":
			return err, false
		}
	}
	return err, true
}

func (w *world) update(r *rapid.T, m model, carrier int32) (err error, ok bool) {
	c := number.Change{SIPTrunkName: new(rapid.SampledFrom([]string{"", "west"}).Draw(r, "trunk"))}
	chosen := some(r, inventory.MaxNumbers)
	var list []inventory.Update
	for _, e164 := range chosen {
		list = append(list, inventory.Update{E164: e164, Change: c})
	}
	_, err = w.inv.Update(by, carrier, "", list)
	for _, e164 := range chosen {
		e := m[e164]
		if e.carrier != carrier {
			return err, false
		}
		e.trunk = *c.SIPTrunkName
		m[e164] = e
	}
	return err, true
}

// importing imports a line for each of some numbers, of which those are refused that are
// somebody else's.
func (w *world) importing(r *rapid.T, m model, carrier int32, account string) error {
	var list []*number.Record
	refused := 0
	if rapid.Bool().Draw(r, "nobody's") {
		carrier, account = 0, ""
	}
	for _, e164 := range some(r, pool) {
		c := change(r)
		list = append(list, record(e164, carrier, account, c))
		e, there := m[e164]
		switch {
		case !there && carrier != 0:
			m[e164] = entry{carrier: carrier, account: account}.with(c)
		case there && (carrier == 0 || e.carrier == carrier && e.account == account):
			m[e164] = e.with(c)
		default:
			refused++
		}
	}
	im, err := w.inv.Import(by, list)
	if err == nil && (im.Done != len(list) || len(im.Refused) != refused || im.Numbers != len(list)-refused) {
		r.Errorf("%+v of %d lines, %d to be refused", im, len(list), refused)
	}
	return err
}

// holds checks that the inventory has what the model has, and as many.
func (w *world) holds(r *rapid.T, want model) {
	got := model{}
	carrier, account := int32(rapid.IntRange(0, 2).Draw(r, "counted of carrier")), rapid.SampledFrom([]string{"", "a", "b", "c"}).Draw(r, "counted of account")
	count := 0
	for _, e := range want {
		if (carrier == 0 || e.carrier == carrier) && (account == "" || e.account == account) {
			count++
		}
	}
	if n, err := w.inv.Count(context.Background(), inventory.Filter{Carrier: carrier, Account: account}); err != nil || n != count {
		r.Errorf("%d numbers of carrier %d and account %q are counted, %v; want %d", n, carrier, account, err, count)
	}
	for _, n := range w.numbers(inventory.Filter{Limit: 300}) {
		got[n.E164] = entry{n.Carrier, n.Account, n.SIPTrunkName, said{n.CNAM, n.Address}}
	}
	if !maps.Equal(got, want) {
		r.Fatalf("the inventory is\n%v\nwant\n%v", got, want)
	}
}

// replays checks that the events say the same, once.
func (w *world) replays(r *rapid.T, want model, mentions int) {
	for _, carrier := range []int32{1, 2} {
		known := map[string]said{}
		for e164, e := range want {
			if e.carrier == carrier && e.said != (said{}) {
				known[e164] = e.said
			}
		}
		if got := w.replayed(carrier); !maps.Equal(got, known) {
			r.Errorf("the events of carrier %d say\n%v\nwant\n%v", carrier, got, known)
		}
	}
	got := 0
	for _, e := range w.events() {
		got += len(e.Payload.Object.Numbers)
	}
	if got != mentions {
		r.Errorf("the events tell of %d changes, and there were %d", got, mentions)
	}
}
