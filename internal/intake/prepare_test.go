package intake_test

import (
	"slices"
	"testing"
	"time"

	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/intake"
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

// tracer is told of events, and of what becomes of them.
type tracer struct{ told []string }

func (f *tracer) Accept(e *hook.Event, continues, links hook.Trace, _ time.Time) (hook.Trace, func(*intake.Receipt)) {
	f.told = append(f.told, "begin "+continues.String()[36:52]+" "+links.String()[36:52])
	return hook.Trace{Span: 0xe, ID: [16]byte{1}}, func(r *intake.Receipt) {
		switch {
		case r.Err != nil:
			f.told = append(f.told, "failed")
		case r.Duplicate:
			f.told = append(f.told, "duplicate")
		default:
			f.told = append(f.told, "stored")
		}
	}
}

// Whoever follows events is told of each that can be stored, whether it is published or
// happens here, and in the end what became of it. Whoever only counts is told the end
// of what cannot be read as well.
func TestFollowed(t *testing.T) {
	w := newWorld(t)
	w.put("carrier", "acme")
	f := &tracer{}
	var counted []string
	w.intake.Tracer = f
	w.intake.Observe = func(e *hook.Event, r *intake.Receipt) {
		switch {
		case e == nil:
			counted = append(counted, "unreadable")
		case r.Duplicate:
			counted = append(counted, "duplicate")
		default:
			counted = append(counted, "stored")
		}
	}
	r := w.intake.Accept([]intake.Item{
		{Raw: []byte(orderOf("acme")), Key: "k", Trace: hook.Trace{Span: 0xa}}, {Raw: []byte("rubbish")},
		{Raw: []byte(orderOf("acme")), Link: hook.Trace{Span: 0xb}}, {Raw: []byte(orderOf("acme")), Key: "k"},
	}, now)
	if e, _ := w.stored(r[0].Event); e.Trace.Span != 0xe {
		t.Errorf("its trace is %v", e.Trace)
	}
	events := []*hook.Event{{Account: "acme", Type: cnam, TS: now, Carrier: 1, Body: []byte(`{}`)}}
	for _, stored := range []bool{false, true} {
		pubs, err := w.intake.Prepare(events, now)
		must(t, err)
		if pubs[0].Event.Trace.Span != 0xe {
			t.Errorf("its trace is %v", pubs[0].Event.Trace)
		}
		w.intake.Settle(pubs, stored)
	}
	const a, b, none = "000000000000000a", "000000000000000b", "0000000000000000"
	want := []string{
		"begin " + a + " " + none, "begin " + none + " " + b, "begin " + none + " " + none, "stored", "stored", "duplicate",
		"begin " + none + " " + none, "failed", "begin " + none + " " + none, "stored",
	}
	if !slices.Equal(f.told, want) {
		t.Errorf("told %q,\nwant %q", f.told, want)
	}
	if want := []string{"stored", "stored", "duplicate", "unreadable", "stored"}; !slices.Equal(counted, want) {
		t.Errorf("counted %q, want %q", counted, want)
	}
}
