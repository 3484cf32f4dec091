package inbox_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/switchhook/switchhook/internal/inbox"
)

// How far a forwarder is, and how it fails, outlives the process; it never goes back.
func TestProgress(t *testing.T) {
	file := filepath.Join(t.TempDir(), "inbox.db")
	synctest.Test(t, func(t *testing.T) {
		in := open(t, file)
		p, err := in.Join(t.Context(), "backend", false)
		must(t, err)
		if p != (inbox.Progress{Forwarder: "backend"}) {
			t.Errorf("a new one is at %+v", p)
		}
		since := time.Now().Truncate(time.Millisecond)
		want := inbox.Progress{Forwarder: "backend", Position: 7, Failure: inbox.Failure{Tries: 3, Since: since, Reason: "no answer"}}
		in.Save(want)
		must(t, in.Close()) // which is soon enough
		in = open(t, file)
		defer in.Close()
		p, err = in.Join(t.Context(), "backend", true)
		must(t, err)
		if !p.Since.Equal(since) || p.Position != 7 || p.Tries != 3 || p.Reason != "no answer" {
			t.Errorf("%+v, want %+v", p, want)
		}
		in.Save(inbox.Progress{Forwarder: "backend", Position: 5})
		time.Sleep(time.Second)
		if p, err = in.Progress(t.Context(), "backend"); err != nil || p.Position != 7 {
			t.Errorf("it went back to %d, %v", p.Position, err)
		}
	})
}

// Progress is on the disk a moment after it was told, without anything else to write.
func TestProgressIsSavedSoon(t *testing.T) {
	file := filepath.Join(t.TempDir(), "inbox.db")
	synctest.Test(t, func(t *testing.T) {
		in := open(t, file)
		defer in.Close()
		for _, name := range []string{"a", "b"} {
			_, err := in.Join(t.Context(), name, false)
			must(t, err)
		}
		for i := range int64(3) {
			for _, name := range []string{"a", "b"} {
				in.Save(inbox.Progress{Forwarder: name, Position: i + 1})
			}
			time.Sleep(100 * time.Millisecond)
			all, err := in.Forwarders(t.Context())
			must(t, err)
			if len(all) != 2 || all[0].Position != i+1 || all[1].Position != i+1 {
				t.Errorf("%+v", all)
			}
		}
	})
}

// A forwarder begins with what there is, or only with what is new.
func TestJoin(t *testing.T) {
	in := fresh(t)
	for i := range 3 {
		add(t, in, event("zoom", fmt.Sprint(i), fmt.Sprint(i)))
	}
	for _, again := range []bool{false, true} { // the second time they are not new
		for name, c := range map[string]struct {
			onlyNew bool
			want    int64
		}{"all": {false, 0}, "new": {true, 3}} {
			p, err := in.Join(t.Context(), name, c.onlyNew)
			if err != nil || p.Position != c.want {
				t.Errorf("%s, again %v: %+v %v", name, again, p, err)
			}
		}
		add(t, in, event("zoom", "later", "later"))
	}
}

// A replay is bounded when it is asked for, and is gone when it is done.
func TestReplays(t *testing.T) {
	file := filepath.Join(t.TempDir(), "inbox.db")
	synctest.Test(t, func(t *testing.T) {
		in := open(t, file)
		defer in.Close()
		start := time.Now()
		for i := range 10 {
			add(t, in, event("zoom", fmt.Sprint(i), fmt.Sprint(i)))
			time.Sleep(time.Minute)
		}
		all := &inbox.Replay{Forwarder: "backend"}
		some := &inbox.Replay{Forwarder: "backend", From: start.Add(3 * time.Minute), To: start.Add(5 * time.Minute), Name: "a.*", Source: "zoom"}
		other := &inbox.Replay{Forwarder: "other", Position: 4, Last: 5, Dead: true}
		for _, r := range []*inbox.Replay{all, some, other} {
			must(t, in.Replay(t.Context(), r))
		}
		if all.Position != 0 || all.Last != 10 || some.Position != 3 || some.Last != 10 || other.Position != 4 || other.Last != 5 {
			t.Errorf("%+v %+v %+v", all, some, other)
		}
		add(t, in, event("zoom", "later", "later"))
		replays, err := in.Replays(t.Context(), "backend")
		must(t, err)
		if len(replays) != 2 || replays[0].ID != all.ID || replays[1].ID != some.ID || replays[1].Name != "a.*" || !replays[1].To.Equal(some.To) {
			t.Fatalf("%+v", replays)
		}
		events, err := in.After(t.Context(), some.Position, some.Last)
		must(t, err)
		var selected []int64
		for _, e := range events {
			if replays[1].Match(e) {
				selected = append(selected, e.ID)
			}
		}
		equal(t, "what it is about", selected, []int64{4, 5})

		replays[0].Position, replays[0].Tries = 4, 2
		must(t, in.Step(t.Context(), replays[0], nil))
		if replays, err = in.Replays(t.Context(), "backend"); err != nil || replays[0].Position != 4 || replays[0].Tries != 2 {
			t.Errorf("%+v %v", replays[0], err)
		}
		replays[0].Position = replays[0].Last
		must(t, in.Step(t.Context(), replays[0], nil))
		if ok, err := in.Cancel(t.Context(), some.ID); !ok || err != nil {
			t.Error(ok, err)
		}
		if ok, err := in.Cancel(t.Context(), some.ID); ok || err != nil {
			t.Error("it was called off twice", err)
		}
		if err := in.Step(t.Context(), replays[1], nil); !errors.Is(err, inbox.ErrCancelled) {
			t.Error("it goes on after it was called off", err)
		}
		if left, err := in.Replays(t.Context(), ""); err != nil || len(left) != 1 || !left[0].Dead {
			t.Errorf("%+v %v", left, err)
		}
	})
}

// What was given up stays until it was forwarded after all, or somebody drops it.
func TestDeadLetters(t *testing.T) {
	in := fresh(t)
	for i := range 4 {
		add(t, in, event("zoom", fmt.Sprint(i), fmt.Sprint(i)))
	}
	for _, id := range []int64{1, 2, 3} {
		must(t, in.Bury(t.Context(), inbox.DeadLetter{Forwarder: "backend", Event: id, At: time.Now(), Failure: inbox.Failure{Tries: 9, Reason: "status 400"}}))
	}
	must(t, in.Bury(t.Context(), inbox.DeadLetter{Forwarder: "other", Event: 1}))
	letters := func(event int64, forwarder string) (ids []int64) {
		t.Helper()
		all, err := in.DeadLetters(t.Context(), event, forwarder)
		must(t, err)
		for _, d := range all {
			ids = append(ids, d.Event)
		}
		return ids
	}
	equal(t, "of the backend", letters(0, "backend"), []int64{1, 2, 3})
	equal(t, "of the first event", letters(1, ""), []int64{1, 1})
	if all, err := in.DeadLetters(t.Context(), 2, ""); err != nil || all[0].Reason != "status 400" || all[0].Tries != 9 || all[0].Forwarder != "backend" {
		t.Errorf("%+v %v", all, err)
	}
	r := &inbox.Replay{Forwarder: "backend", Dead: true}
	must(t, in.Replay(t.Context(), r))
	r.Position = 1
	must(t, in.Step(t.Context(), r, []int64{1}))
	equal(t, "after the first was forwarded", letters(0, "backend"), []int64{2, 3})
	if n, err := in.Forget(t.Context(), "backend", 2, 99); n != 1 || err != nil {
		t.Error(n, err)
	}
	if n, err := in.Forget(t.Context(), "backend"); n != 1 || err != nil {
		t.Error(n, err)
	}
	equal(t, "of the other", letters(0, "other"), []int64{1})
	if size, err := in.Size(t.Context()); err != nil || size.DeadLetters != 1 || size.Last != 4 || size.First != 1 {
		t.Errorf("%+v %v", size, err)
	}
}
