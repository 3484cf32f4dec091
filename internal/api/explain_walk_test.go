package api

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/manage"
)

// Whatever is done to a platform, and in whatever order: of every event and every
// subscription there ever was there is one answer. It says that the event was owed if
// and only if it was, and what it says of the time of the event is what was true then.
func TestWhyIsTrue(t *testing.T) {
	asked := map[hook.Cause]int{}
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &walk{asked: newAsked(t, options{}), r: rand.New(rand.NewPCG(seed, 1)), causes: asked}
				w.dev = &receiver{}
				w.net.Handle(t, "dev.test", w.dev.handler(t))
				for range 90 {
					w.step()
				}
				w.check()
			})
		})
	}
	for _, c := range []hook.Cause{
		hook.CauseDelivered, hook.CauseRetry, hook.CauseCancelled, hook.CauseNotSubscribed, hook.CauseNotValidated, hook.CauseDisabled,
		hook.CauseAppDisabled, hook.CauseMissingScope, hook.CauseOtherCarrier, hook.CauseCreatedLater, hook.CauseDeletedBefore,
	} {
		if asked[c] == 0 {
			t.Errorf("the walks never came to %s", c)
		}
	}
}

// walk does things in random order and remembers what was true when events were
// published.
type walk struct {
	*asked
	r      *rand.Rand
	dev    *receiver
	causes map[hook.Cause]int

	subs   []string // ids of all there ever were
	events []publishedEvent
}

type publishedEvent struct {
	id   string
	owed map[string]bool
	// verdicts are those of the subscriptions that were there.
	verdicts map[string]hook.Verdict
}

// app applies a change to the app without naming its subscriptions, which would be
// refused while it is not entitled to what they list.
func (w *walk) app(edit func(a *manage.App)) {
	edit(&w.m.Apps[0])
	m := *w.m
	m.Apps = slices.Clone(m.Apps)
	m.Apps[0].Subscriptions = nil
	w.apply(&m)
}

func (w *walk) now() (Subscription, bool) {
	list := w.db.Directory().Subscriptions("")
	if len(list) == 0 {
		return Subscription{}, false
	}
	return w.subscription(list[0].Name), true
}

func (w *walk) step() {
	s, there := w.now()
	if there && !slices.Contains(w.subs, s.ID) {
		w.subs = append(w.subs, s.ID)
	}
	const emergency = "number_management.peering_number_emergency_address_updated"
	entitled := slices.Contains(w.m.Apps[0].Scopes, cnamScope)
	switch w.r.IntN(14) {
	case 0:
		w.app(func(a *manage.App) { a.Scopes = [][]string{{cnamScope}, {cnamScope}, {"other:read"}, nil}[w.r.IntN(4)] })
	case 1:
		w.app(func(a *manage.App) { a.CarrierCodes = [][]int32{{1}, {1, 7}, {7}, nil}[w.r.IntN(4)] })
	case 2:
		w.app(func(a *manage.App) { a.Disabled = w.r.IntN(3) == 0 })
	case 3:
		w.app(func(a *manage.App) { a.State = []string{"production", "development"}[w.r.IntN(2)] })
	case 4:
		if there {
			w.disable(s)
		}
	case 5:
		w.blue.set(w.r.IntN(3) == 0)
		w.dev.set(w.r.IntN(3) == 0)
	case 6, 7:
		if there {
			w.call("POST", operator+"/subscriptions/"+s.ID+"/validate?endpoint="+[]string{"production", ""}[w.r.IntN(2)], "")
		}
	case 8:
		if entitled {
			w.change(func(a *manage.App) {
				a.Subscriptions[0].Events = [][]string{{cnamEvent}, {cnamEvent, emergency}, {emergency}}[w.r.IntN(3)]
				a.Subscriptions[0].Development = []string{"", "http://dev.test/hook"}[w.r.IntN(2)]
				a.Subscriptions[0].Disabled = there && w.r.IntN(4) == 0 // of one made so nothing is on record
			})
		}
	case 9:
		if there && w.r.IntN(3) == 0 {
			w.remove(s)
		}
	default:
		w.publishOne()
	}
	switch w.r.IntN(4) {
	case 0:
		w.later(2 * time.Millisecond) // within one the record knows no order
	case 1:
		w.later(time.Duration(w.r.Int64N(int64(3 * time.Hour))))
	default:
		w.later(time.Duration(w.r.Int64N(int64(time.Minute))))
	}
	if w.r.IntN(20) == 0 {
		w.check()
	}
}

// publishOne publishes an event in an instant in which nothing else happens, which the
// record could not tell apart.
func (w *walk) publishOne() {
	w.later(2 * time.Millisecond)
	defer w.later(2 * time.Millisecond)
	name := []string{"ACME", "503", "404"}[w.r.IntN(3)]
	e := publishedEvent{owed: map[string]bool{}, verdicts: map[string]hook.Verdict{}}
	typ, _ := w.catalog.Lookup(cnamEvent)
	for _, s := range w.db.Directory().Subscriptions("") {
		v, _ := w.db.Directory().Verdict(&hook.Event{Type: cnamEvent, Account: "customer", Carrier: 1}, &typ.EventType, s.Key)
		e.verdicts[s.ID], e.owed[s.ID] = v, v == hook.Entitled
		if !slices.Contains(w.subs, s.ID) {
			w.subs = append(w.subs, s.ID)
		}
	}
	e.id = w.publish(cnam(name)).Event
	w.events = append(w.events, e)
}

var causeOf = map[hook.Verdict]hook.Cause{
	hook.NotSubscribed: hook.CauseNotSubscribed, hook.NotValidated: hook.CauseNotValidated, hook.SubscriptionOff: hook.CauseDisabled,
	hook.AppOff: hook.CauseAppDisabled, hook.MissingScope: hook.CauseMissingScope, hook.OtherCarrier: hook.CauseOtherCarrier,
}

// check asks about everything.
func (w *walk) check() {
	typ, _ := w.catalog.Lookup(cnamEvent)
	for _, e := range w.events {
		all := get[Explained](w.platform, operator+"/events/"+e.id+"/explain?page_size=300")
		for _, id := range w.subs {
			x := w.why(e.id, id)
			w.causes[x.Cause]++
			verdict, there := e.verdicts[id]
			switch {
			case x.Owed != e.owed[id] || x.Owed != x.Cause.Owed():
				w.t.Errorf("%s: it was owed: %v; the answer: %s", e.id, e.owed[id], x.words())
			case !slices.Contains(hook.Causes(), x.Cause) || x.Text == "":
				w.t.Errorf("%s: %+v", e.id, x)
			case x.Owed:
			case !there && x.Cause != hook.CauseCreatedLater && x.Cause != hook.CauseDeletedBefore:
				w.t.Errorf("%s: there was no such subscription; the answer: %s", e.id, x.words())
			case there && (x.Cause != causeOf[verdict] || x.AsOf != hook.OnlyThen && x.AsOf != hook.ThenAndNow):
				w.t.Errorf("%s: it was %s; the answer: %s", e.id, causeOf[verdict], x.words())
			}
			k, err := hook.KeyOf(id)
			must(w.t, err)
			now, known := w.db.Directory().Verdict(&hook.Event{Type: cnamEvent, Account: "customer", Carrier: 1}, &typ.EventType, k)
			if known && x.AsOf != "" && (now == hook.Entitled) != strings.Contains(x.Text, " Now it would be owed the event.") {
				w.t.Errorf("%s: now it is %s; the answer: %s", e.id, causeOf[now], x.words())
			}
			if known && x.AsOf == hook.ThenAndNow && now == hook.Entitled {
				w.t.Errorf("%s: it would be owed now; the answer: %s", e.id, x.words())
			}
			listed := slices.ContainsFunc(all.Subscriptions, func(y Explanation) bool { return y.Subscription == id && y.Cause == x.Cause && y.Text == x.Text })
			if listed != (known || x.Owed) {
				w.t.Errorf("%s: asked about by itself and among all there are two answers: %s", e.id, x.words())
			}
		}
	}
}
