package api

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/switchhook/switchhook/internal/catalog"
	"github.com/switchhook/switchhook/internal/challenge"
	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/outbound"
	"github.com/switchhook/switchhook/webhook"
)

// listenStore is what those ask of the store who listen for an app's events.
type listenStore interface {
	// EventsAfter returns events that are wanted with ids above after and up to upTo, the
	// earliest first. It says up to which event it has looked, and whether there may be
	// more above that.
	EventsAfter(ctx context.Context, wanted func(*hook.Event) bool, after, upTo hook.EventID, limit int) (events []*hook.Event, end hook.EventID, more bool, err error)
	// LastEventUpTo returns the last event up to upTo that has all others before it, and the
	// last of all. It says whether other nodes were asked if it may be a later one.
	LastEventUpTo(ctx context.Context, upTo hook.EventID) (id, last hook.EventID, asked bool, err error)
	// FollowEvents returns a channel that has something when there may be events that other
	// nodes have accepted.
	FollowEvents() (news <-chan struct{}, stop func())
}

// ListenedRequest is a request as the platform would make it to an endpoint of the app,
// for whoever listens to make it in its place.
type ListenedRequest struct {
	EventID string  `json:"event_id,omitempty"` // none: a challenge
	Event   string  `json:"event"`
	Account string  `json:"account_id,omitempty"`
	TS      Instant `json:"event_ts"`
	// RequestID is the same each time that the event is sent to a listener of the app.
	RequestID string `json:"request_id"`
	// Again says that somebody has asked for it to be sent again.
	Again bool `json:"again"`
	// Headers are those of the request, in lower case.
	Headers map[string]string `json:"headers"`
	// Body has the bytes that are signed.
	Body string `json:"body"`
	// Expected is what has to be answered, if it is a challenge.
	Expected *challenge.Expected `json:"expected,omitempty"`
}

// Listening is what a listener is told first: that it will be told of everything from
// here on.
type Listening struct {
	App     string `json:"app_id"`
	Name    string `json:"name"`
	Account string `json:"account_id"`
	// Events are the event types that it will get as things stand.
	Events []string `json:"events"`
	// After is the event up to which it has been told.
	After string `json:"after"`
}

// listen sends the events that an app may receive, as they are accepted: as the requests
// that an endpoint of the app would get, each once, from now on, or from where
// Last-Event-ID says.
func (a *api) listen(w http.ResponseWriter, r *http.Request) error {
	q := newQuery(r.URL.Query(), "app_id", "event", "challenge")
	app, patterns, err := a.listenQuery(r, q)
	if err != nil {
		return err
	}
	after, resumed, err := a.listenAfter(r)
	if err != nil {
		return err
	}
	var l *listener
	f, err := a.openFeed(w, r, "events", func() error { return cmp.Or(a.mayListen(r), l.prepare()) })
	if err != nil {
		return err
	}
	defer f.close()
	l = &listener{feed: f, app: app.ID, patterns: patterns, after: after, calls: make(chan func(), maxResends)}
	if err := l.prepare(); err != nil {
		return err
	}
	f.calls = l.calls
	elsewhere, stop := a.Store.FollowEvents()
	defer stop()
	f.elsewhere = elsewhere
	a.listeners.add(l)
	defer a.listeners.remove(l)
	horizon, err := a.Store.Horizon(r.Context())
	if err != nil {
		return err
	}
	writeEvent(&f.first, "ready", "", Listening{app.ID, app.Name, app.Account, l.types(), after.String()})
	if q.Get("challenge") == "true" {
		writeEvent(&f.first, "challenge", "", l.challenge(time.Now()))
	}
	if resumed && after > 0 && after < horizon {
		f.gap(horizon, after.String())
	}
	f.run(l)
	return nil
}

// mayListen says why who listens may not any more, or nothing.
func (a *api) mayListen(r *http.Request) error {
	if caller(r) != nil {
		if _, err := a.Tokens.Read(bearer(r), time.Now(), a.Directory.App); err != nil {
			return &hook.Error{Kind: hook.BadToken}
		}
		return nil
	}
	_, err := a.authorize(r, hook.KeyManage)
	return err
}

// listenQuery reads which events of which app are meant. An app may mean itself only.
func (a *api) listenQuery(r *http.Request, q *query) (app *hook.App, patterns []string, err error) {
	if c := q.Get("challenge"); c != "" && c != "true" && c != "false" {
		q.faults.Add("challenge", "must be true or false")
	}
	for _, list := range q.Values["event"] {
		for p := range strings.SplitSeq(list, ",") {
			patterns = append(patterns, strings.TrimSpace(p))
		}
	}
	id, own := q.Get("app_id"), caller(r)
	switch {
	case own != nil && id == "":
		id = own.ID
	case own != nil && id != own.ID:
		return nil, nil, &hook.Error{Kind: hook.Forbidden, Subject: "app " + own.ID, Detail: "may listen for its own events only"}
	case id == "":
		q.faults.Add("app_id", "is missing")
	}
	if err := q.err(); err != nil {
		return nil, nil, err
	}
	if app, err = a.Manager.App(id); err != nil {
		return nil, nil, err
	}
	return app, patterns, a.checkPatterns(app, patterns)
}

// checkPatterns refuses what would never bring an event as things stand: whoever listens
// for it has made a mistake, and would wait for ever.
func (a *api) checkPatterns(app *hook.App, patterns []string) error {
	var faults hook.Faults
	for _, p := range patterns {
		var some, may bool
		why := ""
		for _, t := range a.Catalog.Types() {
			if matchesType(p, t.Name) {
				obstacle := obstacleTo(app, t)
				some, may, why = true, may || obstacle == "", obstacle
			}
		}
		switch {
		case !some:
			faults.Add("event", "%.100q is no event type of the catalog, nor does any begin so", p)
		case !may:
			faults.Add("event", "%.100q: %s", p, why)
		}
	}
	if err := faults.Err("query"); err != nil {
		return err
	}
	if len(patterns) == 0 && !slices.ContainsFunc(a.Catalog.Types(), func(t *catalog.Type) bool { return obstacleTo(app, t) == "" }) {
		return &hook.Error{Kind: hook.Conflict, Subject: "app " + app.ID, Detail: "may receive no events: it has the scopes of no event type, or those that it has are for carriers, and it is bound to no carrier code"}
	}
	return nil
}

// obstacleTo says why the app will receive no event of the type, whatever happens, or
// nothing.
func obstacleTo(app *hook.App, t *catalog.Type) string {
	switch {
	case !app.Entitled(&t.EventType):
		return "the app has none of the scopes " + strings.Join(t.Scopes, ", ")
	case t.Routing == hook.ByCarrier && len(app.CarrierCodes) == 0:
		return "the app is bound to no carrier code"
	}
	return ""
}

// matchesType reports whether a pattern is an event type's name, or its beginning and a
// star for the rest.
func matchesType(pattern, name string) bool {
	if begin, ok := strings.CutSuffix(pattern, "*"); ok {
		return strings.HasPrefix(name, begin)
	}
	return pattern == name
}

// listenAfter reads where to go on.
func (a *api) listenAfter(r *http.Request) (after hook.EventID, resumed bool, err error) {
	last := r.Header.Get("Last-Event-ID")
	if last == "0" {
		return 0, true, nil
	}
	if last != "" {
		if after, err = hook.ParseEventID(last); err != nil {
			return 0, false, hook.Faults{{Field: "Last-Event-ID", Message: err.Error()}}.Err("header")
		}
	}
	if last == "" {
		after, err = a.listenFromNow(r.Context())
		return after, false, err
	}
	_, newest, _, err := a.Store.LastEventUpTo(r.Context(), math.MaxInt64)
	if err != nil {
		return 0, false, err
	}
	horizon, err := a.Store.Horizon(r.Context())
	if err == nil && after > max(newest, horizon) { // below that, all there was may have been deleted
		err = ahead("platform")
	}
	return after, true, err
}

// aMoment is how long who begins to listen waits for other nodes, and asksEvery how often
// it looks whether they have answered.
const (
	aMoment   = 500 * time.Millisecond
	asksEvery = 25 * time.Millisecond
)

// listenFromNow returns the event that those begin after who want what is accepted from
// now on. If other nodes are long in saying how far they are, it may be an earlier one.
func (a *api) listenFromNow(ctx context.Context) (hook.EventID, error) {
	for end := time.Now().Add(aMoment); ; {
		upTo, _ := a.Intake.Decided()
		after, _, asked, err := a.Store.LastEventUpTo(ctx, upTo)
		if err != nil || !asked || time.Now().After(end) {
			return after, err
		}
		select {
		case <-time.After(asksEvery):
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// listener is somebody who listens for an app's events.
type listener struct {
	*feed
	app      string
	patterns []string // none: all
	after    hook.EventID
	calls    chan func()

	known    *hook.App // as it was when endpoint was made
	endpoint *outbound.Endpoint
	left     bool
}

func (l *listener) position() string { return l.after.String() }

// prepare makes the endpoint that the requests are for, if the app is another one since
// it was made.
func (l *listener) prepare() error {
	app := l.Directory.App(l.app)
	switch {
	case app == nil:
		return &hook.Error{Kind: hook.NotFound, Subject: "app " + l.app, Detail: "has been deleted"}
	case app.Disabled:
		return &hook.Error{Kind: hook.Conflict, Subject: "app " + l.app, Detail: "is disabled, so it receives nothing"}
	}
	if l.endpoint == nil || app != l.known {
		l.known, l.endpoint = app, l.Client.EndpointAt("http://localhost/", &hook.Subscription{}, app)
	}
	if _, problem := l.Client.Header(l.endpoint, outbound.Message{}, time.Now()); problem != "" {
		return &hook.Error{Kind: hook.Conflict, Subject: "app " + l.app, Detail: problem}
	}
	return nil
}

func (l *listener) next() (more bool, news <-chan struct{}, err error) {
	upTo, news := l.Intake.Decided() // before the store looks how far the other nodes are
	if err := l.prepare(); err != nil {
		return false, nil, err
	}
	events, end, more, err := l.Store.EventsAfter(l.r.Context(), l.wants, l.after, upTo, streamRows)
	if err != nil {
		return false, nil, err
	}
	l.after = end
	now := time.Now()
	for _, e := range events {
		l.event("", e.ID.String(), l.request(e, false, now))
	}
	return more, news, nil
}

// wants reports whether the event is one that the app may receive, and that is asked for.
func (l *listener) wants(e *hook.Event) bool {
	if len(l.patterns) > 0 && !slices.ContainsFunc(l.patterns, func(p string) bool { return matchesType(p, e.Type) }) {
		return false
	}
	t, ok := l.Catalog.Lookup(e.Type)
	return ok && l.Directory.MayReceive(e, &t.EventType, l.app)
}

// types returns the event types that it will get as things stand.
func (l *listener) types() (names []string) {
	for _, t := range l.Catalog.Types() {
		if len(l.patterns) > 0 && !slices.ContainsFunc(l.patterns, func(p string) bool { return matchesType(p, t.Name) }) {
			continue
		}
		if obstacleTo(l.known, t) == "" {
			names = append(names, t.Name)
		}
	}
	return names
}

// request returns what an endpoint of the app would get of the event now.
func (l *listener) request(e *hook.Event, again bool, now time.Time) ListenedRequest {
	x := l.sign(e.ID, e.Trace, e.Body, now)
	x.EventID, x.Event, x.Account, x.TS, x.Again = e.ID.String(), e.Type, e.Account, Instant(e.TS), again
	return x
}

// challenge returns the challenge that an endpoint of the app would get now.
func (l *listener) challenge(now time.Time) ListenedRequest {
	body, expected := challenge.New(l.known.SecretToken, now)
	x := l.sign(hook.EventID(l.Intake.IDs.Next(now)), hook.Trace{}, body, now)
	x.Event, x.TS, x.Expected = webhook.EventURLValidation, Instant(now), &expected
	return x
}

func (l *listener) sign(id hook.EventID, trace hook.Trace, body []byte, now time.Time) ListenedRequest {
	m := outbound.Message{Delivery: hook.DeliveryID{Event: id, Subscription: hook.ListenerKey(l.app)}, Trace: trace, Span: rand.Uint64(), Body: body}
	header, _ := l.Client.Header(l.endpoint, m, now)
	x := ListenedRequest{RequestID: m.Delivery.String(), Headers: make(map[string]string, len(header)), Body: string(body)}
	for _, h := range header {
		x.Headers[h[0]] = h[1]
	}
	return x
}

// listened reports whether a key stands in the request ids of those who listen for an app.
func (a *api) listened(k hook.SubscriptionKey) bool {
	return slices.ContainsFunc(a.Directory.Apps(), func(app *hook.App) bool { return hook.ListenerKey(app.ID) == k })
}

// maxResends bounds how many resends a listener may have before it.
const maxResends = 16

// listeners are those who listen now.
type listeners struct {
	mu  sync.Mutex
	all map[*listener]bool
}

func (s *listeners) add(l *listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = map[*listener]bool{}
	}
	s.all[l] = true
}

// remove ends what a listener was still asked to do. It is called by its goroutine.
func (s *listeners) remove(l *listener) {
	s.mu.Lock()
	delete(s.all, l)
	s.mu.Unlock()
	l.left = true
	for {
		select {
		case call := <-l.calls:
			call()
		default: // and nobody adds any more
			return
		}
	}
}

// ask has each listener for an app, or all if app is empty, do something, and returns a
// channel that gets the results of those that it asked, and how many listeners there are.
func (s *listeners) ask(app string, do func(*listener) bool) (results <-chan bool, asked, all int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := make(chan bool, len(s.all))
	for l := range s.all {
		if app != "" && l.app != app {
			continue
		}
		all++
		select {
		case l.calls <- func() { c <- do(l) }:
			asked++
		default: // it does not keep up
		}
	}
	return c, asked, all
}

// toListeners sends an event again to those who listen now, and waits until it is
// written to them.
func (a *api) toListeners(w http.ResponseWriter, r *http.Request) error {
	id, err := hook.ParseEventID(r.PathValue("id"))
	if err != nil {
		return hook.Faults{{Field: "id", Message: err.Error()}}.Err("")
	}
	q := r.URL.Query()
	var faults hook.Faults
	for _, name := range slices.Sorted(maps.Keys(q)) {
		if name != "app_id" {
			faults.Add(name, "is not known; known is app_id")
		}
	}
	if err := faults.Err("query"); err != nil {
		return err
	}
	app := q.Get("app_id")
	if app != "" {
		if _, err := a.Manager.App(app); err != nil {
			return err
		}
	}
	e, _, err := a.Store.Event(r.Context(), id)
	if err != nil {
		return err
	}
	written, asked, all := a.listeners.ask(app, func(l *listener) bool { return l.again(e) })
	got := 0
	late := time.NewTimer(streamWrite)
	defer late.Stop()
wait:
	for range asked {
		select {
		case ok := <-written:
			if ok {
				got++
			}
		case <-late.C: // whoever does not read now is cut off, or has left
			break wait
		case <-r.Context().Done():
			return r.Context().Err()
		}
	}
	if got == 0 {
		return &hook.Error{Kind: hook.Conflict, Subject: "event " + e.ID.String(), Detail: nobodyListens(app, all)}
	}
	writeJSON(w, http.StatusOK, struct {
		Event     string `json:"event_id"`
		Listeners int    `json:"listeners"`
	}{e.ID.String(), got})
	return nil
}

// again sends an event again, and reports whether it was written. It is called by the
// goroutine of the listener.
func (l *listener) again(e *hook.Event) bool {
	if l.left || l.prepare() != nil || !l.wants(e) {
		return false
	}
	l.event("", "", l.request(e, true, time.Now()))
	return l.flush(l)
}

// nobodyListens says why an event was sent to nobody.
func nobodyListens(app string, all int) string {
	where := "for app " + app
	if app == "" {
		where = "on this platform"
	}
	if all == 0 {
		return "nobody listens " + where + " now; begin with: switchhook listen --app APP"
	}
	return fmt.Sprintf("none of the %d who listen %s gets events like this one: their apps may not receive it, they listen for other event types, or they do not read", all, where)
}
