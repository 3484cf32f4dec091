package forward_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/switchhook/switchhook/internal/forward"
	"github.com/switchhook/switchhook/internal/inbox"
)

// asked is a target that can be asked how it is.
type asked struct {
	target
	trouble error
	times   []time.Duration
	start   time.Time
}

func (a *asked) Check(context.Context) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.times = append(a.times, time.Since(a.start))
	return a.trouble
}

// What is wrong with a target that has nothing to do is known, at the start and while it
// has nothing, and takes no time from the event that comes then.
func TestCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := fresh(t)
		to := &asked{trouble: errors.New("wrong password"), start: time.Now()}
		to.fail = func(*forward.Message) error { return to.trouble }
		f := forward.New(in, to, forward.Config{Name: "backend", GiveUp: 10 * time.Minute})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			f.Run(ctx)
		}()
		defer func() {
			cancel()
			<-ended
		}()
		synctest.Wait()
		if p := f.Progress(); p.Tries != 1 || p.Reason != "wrong password" || !p.Since.Equal(to.start) {
			t.Errorf("at the start: %+v", p)
		}
		time.Sleep(29*time.Minute + time.Second)
		synctest.Wait()
		if n := len(to.times); n != 59 || to.times[58] != 29*time.Minute {
			t.Errorf("asked at %v", to.times)
		}
		if p := f.Progress(); p.Tries != 59 || !p.Since.Equal(to.start) {
			t.Errorf("after half an hour: %+v", p)
		}
		arrive(t, in, "zoom", "a.b", 1)
		time.Sleep(9 * time.Minute)
		if p := f.Progress(); p.Tries == 0 || p.Since.Before(to.start.Add(29*time.Minute)) {
			t.Errorf("with an event: %+v", p)
		}
		letters, err := in.DeadLetters(t.Context(), 0, "backend")
		must(t, err)
		if len(letters) > 0 {
			t.Errorf("%+v", letters)
		}
		to.set(func(*target) { to.trouble = nil })
		time.Sleep(2 * time.Minute)
		equal(t, "taken", to.taken(false), []int64{1})
		if p := f.Progress(); p.Failure != (inbox.Failure{}) {
			t.Errorf("in the end: %+v", p)
		}
		to.set(func(*target) { to.trouble = errors.New("it is gone") })
		time.Sleep(time.Minute)
		if p := f.Progress(); p.Reason != "it is gone" || p.Position != 1 {
			t.Errorf("when it is gone: %+v", p)
		}
		to.set(func(*target) { to.trouble = nil })
		time.Sleep(time.Minute)
		if p := f.Progress(); p.Failure != (inbox.Failure{}) {
			t.Errorf("when it is back: %+v", p)
		}
	})
}

// What a target will never take is a dead letter at once, and what is behind it is
// forwarded.
func TestRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := fresh(t)
		to := &target{fail: func(m *forward.Message) error {
			if m.ID == 2 {
				return &forward.Refused{Err: errors.New("too large")}
			}
			return nil
		}}
		run(t, in, to, forward.Config{})
		for i := range 3 {
			arrive(t, in, "zoom", "a.b", i)
		}
		time.Sleep(time.Second)
		equal(t, "taken", to.taken(false), []int64{1, 3})
		letters, err := in.DeadLetters(t.Context(), 0, "backend")
		must(t, err)
		if len(letters) != 1 || letters[0].Event != 2 || letters[0].Tries != 1 || letters[0].Reason != "too large" {
			t.Errorf("%+v", letters)
		}
		must(t, in.Replay(t.Context(), &inbox.Replay{Forwarder: "backend", Dead: true}))
		time.Sleep(time.Second)
		if letters, err = in.DeadLetters(t.Context(), 0, "backend"); err != nil || len(letters) != 1 {
			t.Errorf("after another try: %+v, %v", letters, err)
		}
		to.set(func(g *target) { g.fail = nil })
		must(t, in.Replay(t.Context(), &inbox.Replay{Forwarder: "backend", Dead: true}))
		time.Sleep(time.Second)
		equal(t, "replayed", to.taken(true), []int64{2})
	})
}

// What was taken while something before it was not is not given again.
func TestAhead(t *testing.T) {
	var all []*forward.Message
	for id := range int64(5) {
		all = append(all, &forward.Message{Event: &inbox.Event{ID: id}})
	}
	var a forward.Ahead
	one, two := errors.New("one"), errors.New("two")
	n, err := a.Settle(all, a.Rest(all), []error{nil, one, nil, two, nil})
	if n != 1 || !errors.Is(err, one) {
		t.Fatal(n, err)
	}
	all = all[n:]
	if rest := a.Rest(all); len(rest) != 2 || rest[0] != all[0] || rest[1] != all[2] {
		t.Fatal(rest)
	}
	n, err = a.Settle(all, a.Rest(all), []error{nil, two})
	if n != 2 || !errors.Is(err, two) {
		t.Fatal(n, err)
	}
	// The next one is given up, and the one behind it was taken long ago.
	all = all[n+1:]
	if rest := a.Rest(all); len(rest) != 0 {
		t.Fatal(rest)
	}
	if n, err := a.Settle(all, nil, nil); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	// If somebody wants it once more, it is given.
	if rest := a.Rest(all); len(rest) != 1 {
		t.Fatal(rest)
	}
}
