package forward_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/switchhook/switchhook/internal/forward"
	"github.com/switchhook/switchhook/internal/inbox"
)

var errDown = errors.New("it is down")

// A target gets every event once, in the order of arrival: what was there when it was
// added, and what comes later at once.
func TestOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := fresh(t)
		for i := range 700 { // more than are read at a time
			arrive(t, in, "zoom", "a.b", i)
		}
		g := &target{most: 100}
		run(t, in, g, forward.Config{})
		synctest.Wait()
		equal(t, "what was there", g.taken(false), span(1, 700))
		for i := range 10 {
			arrive(t, in, "zoom", "a.b", 700+i)
			synctest.Wait()
			if n := len(g.taken(false)); n != 701+i {
				t.Fatalf("event %d has not come at once; there are %d", 701+i, n)
			}
		}
	})
}

// While a target is down, for an hour, nothing is lost, nothing overtakes, and it is
// not beset; other targets notice nothing.
func TestDownForAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := fresh(t)
		down := &target{fail: func(*forward.Message) error { return errDown }}
		up := &target{}
		run(t, in, down, forward.Config{Name: "down"})
		run(t, in, up, forward.Config{Name: "up"})
		for i := range 60 {
			arrive(t, in, "zoom", "a.b", i)
			time.Sleep(time.Minute)
		}
		equal(t, "the one that is up", up.taken(false), span(1, 60))
		p, err := in.Progress(t.Context(), "down")
		must(t, err)
		if p.Position != 0 || p.Tries < 60 || time.Since(p.Since) < time.Hour || p.Reason != errDown.Error() {
			t.Errorf("the one that is down: %+v", p)
		}
		down.set(func(g *target) {
			if n := len(g.got); n > 70 {
				t.Errorf("it was tried %d times in an hour", n)
			}
			for i, x := range g.got {
				if x.id != 1 {
					t.Errorf("event %d was tried before the first was taken", x.id)
				}
				// A second, two, four ... up to a minute.
				if want := min(time.Minute, time.Second<<min(i, 10)); i+1 < len(g.got) && g.got[i+1].at.Sub(x.at) != want {
					t.Errorf("pause %d is %v, want %v", i, g.got[i+1].at.Sub(x.at), want)
				}
			}
			g.fail = nil
		})
		time.Sleep(time.Minute)
		equal(t, "the one that was down", down.taken(false), span(1, 60))
		if p, err := in.Progress(t.Context(), "down"); err != nil || p.Position != 60 || p.Failure != (inbox.Failure{}) {
			t.Errorf("%+v %v", p, err)
		}
	})
}

// A target that panics fails, like others that fail: the process goes on, its event is
// tried again, and other targets notice nothing.
func TestPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := fresh(t)
		broken := &panicking{target: target{fail: func(m *forward.Message) error {
			if m.ID == 2 {
				panic("out of range")
			}
			return nil
		}}}
		up := &target{}
		run(t, in, broken, forward.Config{Name: "broken"})
		run(t, in, up, forward.Config{Name: "up"})
		for i := range 3 {
			arrive(t, in, "zoom", "a.b", i)
			synctest.Wait()
		}
		time.Sleep(10 * time.Minute)
		equal(t, "the other one", up.taken(false), span(1, 3))
		p, err := in.Progress(t.Context(), "broken")
		must(t, err)
		if p.Position != 1 || p.Tries < 10 || p.Reason != "a mistake in this program: out of range" {
			t.Errorf("it is at %+v", p)
		}
		broken.set(func(g *target) { g.fail = nil })
		time.Sleep(time.Minute)
		equal(t, "when it is mended", broken.taken(false), span(1, 3))
	})
}

// panicking panics also when it is asked.
type panicking struct{ target }

func (*panicking) Check(context.Context) error { panic("nil pointer") }

// Whoever says when he wants to be tried again is not tried earlier.
func TestLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := fresh(t)
		g := &target{fail: func(*forward.Message) error { return &forward.Later{Err: errDown, After: 30 * time.Second} }}
		run(t, in, g, forward.Config{})
		arrive(t, in, "zoom", "a.b", 1)
		time.Sleep(31 * time.Second)
		g.set(func(g *target) {
			if len(g.got) != 2 || g.got[1].at.Sub(g.got[0].at) != 30*time.Second {
				t.Errorf("%+v", g.got)
			}
		})
	})
}

// A forwarder goes on where it was, also after a stop in the middle of a failure.
func TestRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "inbox.db")
		in := openInbox(t, file)
		for i := range 20 {
			arrive(t, in, "zoom", "a.b", i)
		}
		first := &target{fail: func(m *forward.Message) error {
			if m.ID == 8 {
				return errDown
			}
			return nil
		}}
		stop := run(t, in, first, forward.Config{})
		time.Sleep(time.Minute)
		stop()
		must(t, in.Close())
		equal(t, "before", first.taken(false), span(1, 7))
		if !first.closed {
			t.Error("the target was not closed")
		}
		in = openInbox(t, file)
		defer in.Close()
		second := &target{}
		stop = run(t, in, second, forward.Config{})
		synctest.Wait()
		equal(t, "after", second.taken(false), span(8, 20))
		stop()
	})
}

// What is repeated has the same key.
func TestKeysOfRepeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := fresh(t)
		failures := 3
		g := &target{}
		g.fail = func(*forward.Message) error {
			if failures--; failures >= 0 {
				return errDown
			}
			return nil
		}
		run(t, in, g, forward.Config{})
		e := arrive(t, in, "zoom", "a.b", 1)
		time.Sleep(time.Minute)
		must(t, in.Replay(t.Context(), &inbox.Replay{Forwarder: "backend"}))
		time.Sleep(time.Minute)
		g.set(func(g *target) {
			if len(g.got) != 5 || !g.got[4].replay {
				t.Fatalf("%+v", g.got)
			}
			for _, x := range g.got {
				if x.key != e.Key() {
					t.Errorf("key %s, want %s", x.key, e.Key())
				}
			}
		})
	})
}

// A target gets what it is for, and its position passes the rest.
func TestFilter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := fresh(t)
		for i, c := range []struct{ source, name string }{
			{"zoom", "a.b"}, {"zoom", "a.c"}, {"zoom", "b.a"}, {"other", "a.b"}, {"zoom", ""}, {"other", "x"},
		} {
			arrive(t, in, c.source, c.name, i)
		}
		for name, c := range map[string]struct {
			filter inbox.Filter
			want   []int64
		}{
			"all":            {inbox.Filter{}, span(1, 6)},
			"a source":       {inbox.Filter{Sources: []string{"zoom"}}, []int64{1, 2, 3, 5}},
			"types":          {inbox.Filter{Names: []string{"a.*", "x"}}, []int64{1, 2, 4, 6}},
			"both":           {inbox.Filter{Sources: []string{"zoom"}, Names: []string{"a.*"}}, []int64{1, 2}},
			"nothing of all": {inbox.Filter{Sources: []string{"none"}}, nil},
		} {
			g := &target{}
			run(t, in, g, forward.Config{Name: name, Filter: c.filter})
			time.Sleep(time.Second)
			equal(t, name, g.taken(false), c.want)
			if p, err := in.Progress(t.Context(), name); err != nil || p.Position != 6 {
				t.Errorf("%s: %+v %v", name, p, err)
			}
		}
	})
}

// With a bound, an event that is never taken becomes a dead letter when it is reached,
// and holds up the rest only until then. Without one it does so for ever.
func TestGiveUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := fresh(t)
		poison := func(m *forward.Message) error {
			if m.ID == 2 || m.ID == 3 {
				return fmt.Errorf("status 400 for %d", m.ID)
			}
			return nil
		}
		bounded, patient := &target{fail: poison}, &target{fail: poison}
		run(t, in, bounded, forward.Config{Name: "bounded", GiveUp: 10 * time.Minute})
		run(t, in, patient, forward.Config{Name: "patient"})
		for i := range 4 {
			arrive(t, in, "zoom", "a.b", i)
		}
		time.Sleep(10*time.Minute - time.Second)
		equal(t, "before the bound", bounded.taken(false), []int64{1})
		time.Sleep(2 * time.Second)
		equal(t, "after the bound of the first", bounded.taken(false), []int64{1})
		time.Sleep(10 * time.Minute)
		equal(t, "after both", bounded.taken(false), []int64{1, 4})
		letters, err := in.DeadLetters(t.Context(), 0, "bounded")
		must(t, err)
		if len(letters) != 2 || letters[0].Event != 2 || letters[0].Reason != "status 400 for 2" || letters[0].Tries < 10 || letters[1].Event != 3 {
			t.Errorf("%+v", letters)
		}
		time.Sleep(2 * time.Hour)
		equal(t, "without a bound", patient.taken(false), []int64{1})

		// When it is mended, dead letters can be had again, and are none then.
		must(t, in.Replay(t.Context(), &inbox.Replay{Forwarder: "bounded", Dead: true}))
		bounded.set(func(g *target) {
			g.fail = func(m *forward.Message) error {
				if m.ID == 3 {
					return errDown
				}
				return nil
			}
		})
		time.Sleep(time.Hour)
		equal(t, "replayed", bounded.taken(true), []int64{2})
		letters, err = in.DeadLetters(t.Context(), 0, "bounded")
		must(t, err)
		if len(letters) != 1 || letters[0].Event != 3 || letters[0].Reason != errDown.Error() {
			t.Errorf("%+v", letters)
		}
		if left, err := in.Replays(t.Context(), ""); err != nil || len(left) != 0 {
			t.Errorf("%+v %v", left, err)
		}

		// So they are if they are asked for by their numbers.
		bounded.set(func(g *target) { g.fail = nil })
		must(t, in.Replay(t.Context(), &inbox.Replay{Forwarder: "bounded", Position: 2, Last: 3}))
		synctest.Wait()
		equal(t, "replayed by number", bounded.taken(true), []int64{2, 3})
		if letters, err = in.DeadLetters(t.Context(), 0, "bounded"); err != nil || len(letters) > 0 {
			t.Errorf("%+v %v", letters, err)
		}
	})
}

// An event that fails has all its time, whatever has become of the one before it: who
// filters that out does not lose the next.
func TestGiveUpAfterFilter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := fresh(t)
		arrive(t, in, "zoom", "a.b", 1)
		g := &target{fail: func(*forward.Message) error { return errDown }}
		stop := run(t, in, g, forward.Config{GiveUp: time.Hour})
		time.Sleep(59 * time.Minute)
		stop()
		time.Sleep(time.Minute)
		arrive(t, in, "zoom", "c.d", 2)
		g = &target{fail: g.fail}
		run(t, in, g, forward.Config{GiveUp: time.Hour, Filter: inbox.Filter{Names: []string{"c.*"}}})
		time.Sleep(30 * time.Minute)
		g.set(func(g *target) { g.fail = nil })
		time.Sleep(time.Minute)
		equal(t, "taken", g.taken(false), []int64{2})
	})
}

// A replay brings what was asked for, once, and holds up neither what is new nor, if
// it fails, anything else.
func TestReplay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := fresh(t)
		start := time.Now()
		for i := range 10 {
			arrive(t, in, "zoom", fmt.Sprint("a.", i%2), i)
			time.Sleep(time.Minute)
		}
		g := &target{most: 1}
		run(t, in, g, forward.Config{Filter: inbox.Filter{Names: []string{"a.*"}}})
		synctest.Wait()
		arrive(t, in, "zoom", "b.0", 10)
		for name, c := range map[string]struct {
			r    inbox.Replay
			want []int64
		}{
			"all":            {inbox.Replay{}, span(1, 10)}, // the last one is not for this forwarder
			"a time":         {inbox.Replay{From: start.Add(2 * time.Minute), To: start.Add(4 * time.Minute)}, []int64{3, 4}},
			"a type":         {inbox.Replay{Name: "a.1"}, []int64{2, 4, 6, 8, 10}},
			"an event":       {inbox.Replay{Position: 6, Last: 7}, []int64{7}},
			"another source": {inbox.Replay{Source: "other"}, nil},
			"dead letters":   {inbox.Replay{Dead: true}, nil},
		} {
			g.set(func(g *target) { g.got = nil })
			c.r.Forwarder = "backend"
			must(t, in.Replay(t.Context(), &c.r))
			synctest.Wait()
			equal(t, name, g.taken(true), c.want)
			equal(t, name+", what is new", g.taken(false), nil)
		}
		// A replay that fails.
		g.set(func(g *target) {
			g.got = nil
			g.fail = func(m *forward.Message) error {
				if m.Replay {
					return errDown
				}
				return nil
			}
		})
		must(t, in.Replay(t.Context(), &inbox.Replay{Forwarder: "backend", Position: 2, Last: 4}))
		time.Sleep(time.Minute)
		arrive(t, in, "zoom", "a.0", 11)
		synctest.Wait()
		equal(t, "what is new beside a replay that fails", g.taken(false), []int64{12})
		replays, err := in.Replays(t.Context(), "backend")
		must(t, err)
		if len(replays) != 1 || replays[0].Tries < 2 || replays[0].Reason != errDown.Error() {
			t.Errorf("%+v", replays)
		}
		// Somebody calls it off.
		if ok, err := in.Cancel(t.Context(), replays[0].ID); !ok || err != nil {
			t.Fatal(ok, err)
		}
		g.set(func(g *target) { g.fail = nil })
		time.Sleep(5 * time.Minute)
		if n := len(g.taken(true)); n > 1 {
			t.Errorf("%d events of it came after it had been called off", n)
		}
	})
}

// A replay of nothing is over at once, and the next one has its turn.
func TestReplayOfNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := fresh(t)
		must(t, in.Replay(t.Context(), &inbox.Replay{Forwarder: "backend"}))
		arrive(t, in, "zoom", "a.b", 1)
		must(t, in.Replay(t.Context(), &inbox.Replay{Forwarder: "backend", Position: 7, Last: 5}))
		must(t, in.Replay(t.Context(), &inbox.Replay{Forwarder: "backend"}))
		g := &target{}
		run(t, in, g, forward.Config{})
		synctest.Wait()
		equal(t, "replayed", g.taken(true), span(1, 1))
		if left, err := in.Replays(t.Context(), ""); err != nil || len(left) > 0 {
			t.Errorf("%+v %v", left, err)
		}
	})
}

// A replay that is stopped in the middle goes on where it was.
func TestReplayGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "inbox.db")
		in := openInbox(t, file)
		for i := range 10 {
			arrive(t, in, "zoom", "a.b", i)
		}
		g := &target{most: 1, fail: func(m *forward.Message) error {
			if m.Replay && m.ID == 5 {
				return errDown
			}
			return nil
		}}
		stop := run(t, in, g, forward.Config{})
		must(t, in.Replay(t.Context(), &inbox.Replay{Forwarder: "backend"}))
		time.Sleep(time.Minute)
		stop()
		must(t, in.Close())
		in = openInbox(t, file)
		defer in.Close()
		again := &target{}
		stop = run(t, in, again, forward.Config{})
		defer stop()
		time.Sleep(time.Minute)
		equal(t, "before", g.taken(true), span(1, 4))
		equal(t, "after", again.taken(true), span(5, 10))
		equal(t, "new after", again.taken(false), nil)
	})
}

// A target that hangs is left alone after the time it has to stop.
func TestStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := fresh(t)
		arrive(t, in, "zoom", "a.b", 1)
		g := &target{hang: true}
		stop := run(t, in, g, forward.Config{StopTimeout: 3 * time.Second})
		synctest.Wait()
		before := time.Now()
		stop()
		if took := time.Since(before); took != 3*time.Second {
			t.Errorf("it stopped after %v", took)
		}
		if p, err := in.Progress(t.Context(), "backend"); err != nil || p.Tries != 0 {
			t.Errorf("that it was stopped counts as a failure: %+v %v", p, err)
		}
		idle := &target{}
		stop = run(t, in, idle, forward.Config{Name: "idle", OnlyNew: true, StopTimeout: 3 * time.Second})
		synctest.Wait()
		before = time.Now()
		stop()
		if took := time.Since(before); took != 0 {
			t.Errorf("an idle one stopped after %v", took)
		}
	})
}

// However a target fails and whenever the forwarder is stopped: every event is taken,
// in the order of arrival, and nothing is repeated that was taken.
func TestAtLeastOnceInOrder(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		most := rapid.IntRange(0, 3).Draw(rt, "at a time")
		rounds := rapid.SliceOfN(rapid.SliceOfN(rapid.Bool(), 1, 5), 1, 4).Draw(rt, "what fails, in each life")
		synctest.Test(t, func(t *testing.T) {
			in := fresh(t)
			var got []int64
			number := int64(0)
			for _, fails := range rounds {
				for range 4 {
					number++
					arrive(t, in, "zoom", "a.b", int(number))
				}
				n := 0
				g := &target{most: most, fail: func(*forward.Message) error {
					if n++; fails[n%len(fails)] {
						return errDown
					}
					return nil
				}}
				stop := run(t, in, g, forward.Config{})
				time.Sleep(10 * time.Second)
				stop()
				time.Sleep(time.Second) // until it is on the disk where it was
				got = append(got, g.taken(false)...)
			}
			g := &target{}
			stop := run(t, in, g, forward.Config{})
			synctest.Wait()
			stop()
			if got = append(got, g.taken(false)...); !slices.Equal(got, span(1, number)) {
				t.Errorf("%v, want 1 to %d", got, number)
			}
		})
		if t.Failed() {
			rt.FailNow()
		}
	})
}
