package inbox_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/switchhook/switchhook/internal/inbox"
)

// What is added comes out again as it was, also after the process has ended, in the
// order in which it was added.
func TestEventsComeOutAsTheyWere(t *testing.T) {
	file := filepath.Join(t.TempDir(), "inbox.db")
	in := open(t, file)
	var want []*inbox.Event
	for i := range 600 { // more than are read at a time
		e := event("zoom", fmt.Sprint("r", i), fmt.Sprint("text ", i))
		if i%7 == 0 {
			e.Body = append([]byte{0, 0xff, '\n'}, e.Body...)
			signedAt(e, "x")
		}
		a := add(t, in, e)
		if a.Duplicate || a.Conflict || a.ID != int64(i+1) {
			t.Fatalf("event %d: %+v", i, a)
		}
		want = append(want, e)
	}
	must(t, in.Close())
	in = open(t, file)
	defer in.Close()
	got := all(t, in)
	if len(got) != len(want) {
		t.Fatalf("%d events, want %d", len(got), len(want))
	}
	for i, e := range got {
		w := want[i]
		if e.ID != int64(i+1) || e.Source != w.Source || e.Name != w.Name || e.RequestID != w.RequestID || !bytes.Equal(e.Body, w.Body) ||
			!e.Time.Equal(w.Time) || e.Received.UnixMilli() != w.Received.UnixMilli() || e.Key() != w.Key() || fmt.Sprint(e.Headers) != fmt.Sprint(w.Headers) {
			t.Fatalf("event %d: %+v, want %+v", i, e, w)
		}
	}
}

// A number is never given twice, also if everything was deleted: forwarders remember
// numbers.
func TestNumbersAreNotGivenTwice(t *testing.T) {
	file := filepath.Join(t.TempDir(), "inbox.db")
	synctest.Test(t, func(t *testing.T) {
		in := open(t, file)
		add(t, in, event("zoom", "a", "a"))
		add(t, in, event("zoom", "b", "b"))
		time.Sleep(3 * time.Hour)
		must(t, in.Expire(t.Context(), time.Now(), time.Now(), nil))
		must(t, in.Close())
		in = open(t, file)
		defer in.Close()
		if a := add(t, in, event("zoom", "c", "c")); a.ID != 3 {
			t.Errorf("the next number is %d, want 3", a.ID)
		}
	})
}

// What is a duplicate rests on what is signed. The request id is not, so it only ever
// matters together with the body.
func TestDuplicates(t *testing.T) {
	first := func() *inbox.Event { return signedAt(event("zoom", "id", "text"), "10:00:00") }
	for name, c := range map[string]struct {
		before, second   *inbox.Event
		duplicate, other bool
	}{
		"the same attempt once more":               {nil, first(), true, false},
		"the next attempt":                         {nil, signedAt(event("zoom", "id", "text"), "10:05:00"), true, false},
		"a replay with another request id":         {nil, signedAt(event("zoom", "forged", "text"), "10:00:00"), true, false},
		"the same body in another delivery":        {nil, signedAt(event("zoom", "other", "text"), "10:05:00"), false, false},
		"the same request id with another body":    {nil, signedAt(event("zoom", "id", "other text"), "10:05:00"), false, true},
		"another source":                           {nil, signedAt(event("other", "id", "text"), "10:00:00"), false, false},
		"without request ids, at another time":     {signedAt(event("zoom", "", "text"), "10:00:01"), signedAt(event("zoom", "", "text"), "10:05:00"), false, false},
		"without request ids, the same attempt":    {signedAt(event("zoom", "", "text"), "10:00:01"), signedAt(event("zoom", "", "text"), "10:00:01"), true, false},
		"the request id of a source is its own":    {nil, signedAt(event("other", "id", "other text"), "10:05:00"), false, false},
		"a third body under the same request id":   {signedAt(event("zoom", "id", "2"), "10:01:00"), signedAt(event("zoom", "id", "3"), "10:05:00"), false, true},
		"again after another body, the first body": {signedAt(event("zoom", "id", "2"), "10:01:00"), signedAt(event("zoom", "id", "text"), "10:05:00"), true, false},
	} {
		t.Run(name, func(t *testing.T) {
			in := fresh(t)
			add(t, in, first())
			if c.before != nil {
				add(t, in, c.before)
			}
			before := len(all(t, in))
			a := add(t, in, c.second)
			if a.Duplicate != c.duplicate || a.Conflict != c.other {
				t.Errorf("%+v", a)
			}
			events := all(t, in)
			if stored := len(events) > before; stored == c.duplicate {
				t.Errorf("it is stored: %v", stored)
			}
			if last := events[len(events)-1]; !c.duplicate && last.Conflict != c.other {
				t.Errorf("it is marked as one whose request id came before: %v", last.Conflict)
			}
		})
	}
}

// Of equal requests that come at the same moment one is stored, and all are told its
// number.
func TestDuplicatesAtTheSameMoment(t *testing.T) {
	in := fresh(t)
	var wg sync.WaitGroup
	got := make([]inbox.Added, 64)
	for i := range got {
		wg.Go(func() { got[i] = add(t, in, signedAt(event("zoom", "id", "text"), "10:00:00")) })
	}
	wg.Wait()
	stored := 0
	for _, a := range got {
		if !a.Duplicate {
			stored++
		}
		if a.ID != 1 {
			t.Errorf("%+v", a)
		}
	}
	if stored != 1 {
		t.Errorf("%d of them are stored", stored)
	}
}

// Duplicates are known for as long as the platform may repeat itself, also across a
// restart, and not for ever: somebody may have an event sent once more on purpose.
func TestHorizon(t *testing.T) {
	file := filepath.Join(t.TempDir(), "inbox.db")
	synctest.Test(t, func(t *testing.T) {
		in := open(t, file)
		add(t, in, event("zoom", "id", "text"))
		time.Sleep(inbox.MinHorizon)
		if a := add(t, in, event("zoom", "id", "text")); !a.Duplicate {
			t.Errorf("after %v it is not known any more", inbox.MinHorizon)
		}
		must(t, in.Close())
		in = open(t, file)
		defer in.Close()
		if a := add(t, in, event("zoom", "id", "text")); !a.Duplicate {
			t.Error("after a restart it is not known any more")
		}
		if a := add(t, in, event("zoom", "id", "other")); !a.Conflict {
			t.Error("after a restart its request id is not known any more")
		}
		time.Sleep(time.Minute)
		a := add(t, in, event("zoom", "id", "text"))
		if a.Duplicate {
			t.Error("it is known for ever")
		}
		// Then its key says that it is the same.
		events := all(t, in)
		if first, again := events[0], events[len(events)-1]; first.Key() != again.Key() || first.ID == again.ID {
			t.Errorf("keys %s and %s", first.Key(), again.Key())
		}
	})
}

// Keys differ when events do.
func TestKeys(t *testing.T) {
	seen := map[string]string{}
	for name, e := range map[string]*inbox.Event{
		"an event":            signedAt(event("zoom", "id", "text"), "1"),
		"another request id":  signedAt(event("zoom", "id2", "text"), "1"),
		"another body":        signedAt(event("zoom", "id", "text2"), "1"),
		"another source":      signedAt(event("zoom2", "id", "text"), "1"),
		"without request id":  signedAt(event("zoom", "", "text"), "1"),
		"the same, later":     signedAt(event("zoom", "", "text"), "2"),
		"parts in other ways": signedAt(event("zoo", "mid", "text"), "1"),
	} {
		if other, ok := seen[e.Key()]; ok || len(e.Key()) != 32 {
			t.Errorf("%s has the key of %s: %s", name, other, e.Key())
		}
		seen[e.Key()] = name
	}
	if a, b := signedAt(event("zoom", "id", "text"), "1"), signedAt(event("zoom", "id", "text"), "2"); a.Key() != b.Key() {
		t.Error("two attempts of a delivery have different keys")
	}
}

// Only one process at a time receives into an inbox; others may look into it.
func TestOneProcessServes(t *testing.T) {
	file := filepath.Join(t.TempDir(), "inbox.db")
	in := open(t, file)
	defer in.Close()
	_, err := inbox.Open(t.Context(), inbox.Options{File: file, Serve: true})
	if err == nil || !strings.Contains(err.Error(), "another switchhook") {
		t.Error(err)
	}
	add(t, in, event("zoom", "a", "a"))
	looking := openWith(t, inbox.Options{File: file})
	defer looking.Close()
	equal(t, "what the other sees", ids(all(t, looking)), []int64{1})
}

// Where nothing happens, nobody is woken.
func TestNothingIsNoticed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "inbox.db")
	synctest.Test(t, func(t *testing.T) {
		in := open(t, file)
		defer in.Close()
		for i := range 5 {
			add(t, in, event("zoom", fmt.Sprint(i), fmt.Sprint(i)))
			for range i {
				_, err := in.Size(t.Context())
				must(t, err)
			}
		}
		time.Sleep(time.Minute)
		changes := in.Changes()
		select {
		case <-changes:
			t.Error("somebody was woken")
		case <-time.After(time.Minute):
		}
	})
}

// What another process does to the inbox is noticed within two seconds.
func TestOthersAreNoticed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "inbox.db")
	synctest.Test(t, func(t *testing.T) {
		in := open(t, file)
		defer in.Close()
		_, err := in.Join(t.Context(), "backend", false)
		must(t, err)
		time.Sleep(time.Minute)
		changes := in.Changes()
		other := openWith(t, inbox.Options{File: file})
		must(t, other.Replay(t.Context(), &inbox.Replay{Forwarder: "backend", Last: 1}))
		must(t, other.Close())
		before := time.Now()
		<-changes
		if took := time.Since(before); took > 2*time.Second {
			t.Errorf("noticed after %v", took)
		}
	})
}

// What is wrong with the file is said in words that tell what to do.
func TestFilesThatAreNoInboxes(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text.db")
	must(t, os.WriteFile(text, []byte(strings.Repeat("no database ", 100)), 0o600))
	foreign := filepath.Join(dir, "foreign.db")
	c, err := sqlite.OpenConn(foreign)
	must(t, err)
	must(t, sqlitex.ExecuteScript(c, `CREATE TABLE t (a)`, nil))
	must(t, c.Close())
	newer := filepath.Join(dir, "newer.db")
	must(t, open(t, newer).Close())
	c, err = sqlite.OpenConn(newer)
	must(t, err)
	must(t, sqlitex.ExecuteScript(c, `PRAGMA user_version = 99`, nil))
	must(t, c.Close())
	for name, c := range map[string]struct {
		o    inbox.Options
		want string
	}{
		"no directory":          {inbox.Options{File: filepath.Join(dir, "no", "inbox.db"), Serve: true}, "does not exist; create it first"},
		"a file in the way":     {inbox.Options{File: filepath.Join(text, "inbox.db"), Serve: true}, "not a directory"},
		"text":                  {inbox.Options{File: text, Serve: true}, "is not an SQLite database"},
		"another program's":     {inbox.Options{File: foreign, Serve: true}, "of another program"},
		"a later version's":     {inbox.Options{File: newer, Serve: true}, "its schema has version 99"},
		"none, to be looked at": {inbox.Options{File: filepath.Join(dir, "none.db")}, "there is no inbox"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := inbox.Open(t.Context(), c.o); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
	if _, err := os.Stat(filepath.Join(dir, "none.db")); err == nil {
		t.Error("looking at an inbox made one")
	}
}

// Nobody else on the machine can read what was received.
func TestFilesAreNotForOthers(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("left out: rights are others there")
	}
	dir := t.TempDir()
	in := open(t, filepath.Join(dir, "inbox.db"))
	defer in.Close()
	add(t, in, event("zoom", "a", "a"))
	entries, err := os.ReadDir(dir)
	must(t, err)
	for _, e := range entries {
		info, err := e.Info()
		must(t, err)
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has the mode %v", e.Name(), info.Mode())
		}
	}
}

// While another process has the file locked, nothing is taken, and nothing is lost of
// what was; afterwards it goes on.
func TestLocked(t *testing.T) {
	file := filepath.Join(t.TempDir(), "inbox.db")
	in := openWith(t, inbox.Options{File: file, Serve: true, Busy: time.Millisecond})
	defer in.Close()
	add(t, in, event("zoom", "before", "before"))
	unlock := lock(t, file)
	defer unlock()
	e := event("zoom", "during", "during")
	for range 3 {
		if _, err := in.Add(t.Context(), e); !errors.Is(err, inbox.ErrUnavailable) {
			t.Fatalf("%v, want %v", err, inbox.ErrUnavailable)
		}
	}
	if in.Writable() {
		t.Error("it says that it can be written")
	}
	equal(t, "what can be read meanwhile", ids(all(t, in)), []int64{1})
	unlock()
	if a := add(t, in, e); a.Duplicate || a.ID != 2 {
		t.Errorf("%+v", a)
	}
	if !in.Writable() {
		t.Error("it still says that it cannot be written")
	}
}

// That the file can be written again is noticed without anybody writing: whoever asks
// before he sends would otherwise never send again.
func TestRecoveryIsNoticed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "inbox.db")
	in := openWith(t, inbox.Options{File: file, Serve: true, Busy: time.Millisecond})
	defer in.Close()
	unlock := lock(t, file)
	defer unlock()
	if _, err := in.Add(t.Context(), event("zoom", "a", "a")); err == nil || in.Writable() {
		t.Fatal(err, in.Writable())
	}
	unlock()
	for end := time.Now().Add(time.Minute); !in.Writable(); time.Sleep(time.Millisecond) { // a real lock, so real time
		if time.Now().After(end) {
			t.Fatal("it was not noticed within a minute")
		}
	}
}

// An event that the file does not take is refused alone: others are stored that come
// with it, while forwarders note how far they are.
func TestOneIsRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "inbox.db")
	in := open(t, file)
	defer in.Close()
	_, err := in.Join(t.Context(), "backend", false)
	must(t, err)
	other, err := sqlite.OpenConn(file, sqlite.OpenReadWrite)
	must(t, err)
	must(t, sqlitex.ExecuteTransient(other, `CREATE TRIGGER no BEFORE INSERT ON events WHEN NEW.source = 'bad' BEGIN SELECT RAISE(ABORT, 'no'); END`, nil))
	must(t, other.Close())
	ctx, stop := context.WithCancel(t.Context())
	var noting, adding sync.WaitGroup
	noting.Go(func() {
		for i := int64(0); ctx.Err() == nil; i++ {
			in.Save(inbox.Progress{Forwarder: "backend", Position: i})
		}
	})
	for i := range 200 {
		adding.Go(func() {
			source := []string{"good", "bad"}[i%2]
			if _, err := in.Add(t.Context(), event(source, fmt.Sprint(i), "text")); (err == nil) != (source == "good") {
				t.Errorf("event %d of source %s: %v", i, source, err)
			}
		})
	}
	adding.Wait()
	stop()
	noting.Wait()
	if n := len(all(t, in)); n != 100 {
		t.Errorf("%d events were stored, want 100", n)
	}
}

// What waits for the disk is bounded, also if it is many requests with nothing in them.
func TestManyWaiting(t *testing.T) {
	file := filepath.Join(t.TempDir(), "inbox.db")
	in := openWith(t, inbox.Options{File: file, Serve: true, Busy: time.Minute, MaxWaiting: 64 << 10})
	defer in.Close()
	unlock := lock(t, file)
	defer unlock()
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // they do not stay for what becomes of it
	refused := 0
	for i := range 256 {
		_, err := in.Detain(ctx, &inbox.Suspect{Source: "zoom", Received: time.Now(), Remote: "192.0.2.1", RequestID: fmt.Sprint(i)}, inbox.Bounds{Requests: 1000, Bytes: 1 << 20})
		if errors.Is(err, inbox.ErrUnavailable) {
			refused++
		}
	}
	unlock()
	if refused < 128 {
		t.Errorf("%d of 256 were refused", refused)
	}
}

// What waits for the disk is bounded.
func TestTooMuchWaiting(t *testing.T) {
	file := filepath.Join(t.TempDir(), "inbox.db")
	in := openWith(t, inbox.Options{File: file, Serve: true, Busy: time.Minute, MaxWaiting: 1 << 20})
	defer in.Close()
	unlock := lock(t, file)
	defer unlock()
	results := make(chan error, 64)
	for i := range 64 {
		go func() {
			_, err := in.Add(t.Context(), event("zoom", fmt.Sprint(i), strings.Repeat("x", 100_000)))
			results <- err
		}()
	}
	// The first may be with the writer already; ten of those after it fit.
	for range 64 - 11 - 1 {
		if err := <-results; !errors.Is(err, inbox.ErrUnavailable) {
			t.Fatalf("%v, want %v", err, inbox.ErrUnavailable)
		}
	}
	unlock()
	stored := 0
	for range 12 {
		if err := <-results; err == nil {
			stored++
		}
	}
	if n := len(all(t, in)); n != stored || stored < 10 {
		t.Errorf("%d were said to be stored, and %d are", stored, n)
	}
}

// Who does not want to wait any longer is not held up; what he has added may be there.
func TestAddGivesUp(t *testing.T) {
	file := filepath.Join(t.TempDir(), "inbox.db")
	in := openWith(t, inbox.Options{File: file, Serve: true, Busy: time.Minute})
	defer in.Close()
	unlock := lock(t, file)
	defer unlock()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := in.Add(ctx, event("zoom", "a", "a")); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	unlock()
	if a := add(t, in, event("zoom", "a", "a")); !a.Duplicate {
		t.Error("it was not stored")
	}
}

// A closed inbox takes nothing.
func TestClosed(t *testing.T) {
	in := open(t, filepath.Join(t.TempDir(), "inbox.db"))
	must(t, in.Close())
	if _, err := in.Add(t.Context(), event("zoom", "a", "a")); !errors.Is(err, inbox.ErrUnavailable) {
		t.Error(err)
	}
}

// Retention takes what is old, and nothing that a forwarder still needs, that
// duplicates are recognised by, or that was given up.
func TestExpire(t *testing.T) {
	file := filepath.Join(t.TempDir(), "inbox.db")
	synctest.Test(t, func(t *testing.T) {
		in := open(t, file)
		defer in.Close()
		for i := range 1000 {
			add(t, in, event("zoom", fmt.Sprint("r", i), fmt.Sprint(i)))
			time.Sleep(time.Minute)
		}
		for _, name := range []string{"quick", "slow"} {
			_, err := in.Join(t.Context(), name, false)
			must(t, err)
		}
		in.Save(inbox.Progress{Forwarder: "quick", Position: 1000})
		in.Save(inbox.Progress{Forwarder: "slow", Position: 500})
		must(t, in.Bury(t.Context(), inbox.DeadLetter{Forwarder: "quick", Event: 7, At: time.Now()}))
		time.Sleep(time.Second)

		must(t, in.Expire(t.Context(), time.Now().Add(-24*time.Hour), time.Now(), []string{"quick", "slow"}))
		if n := len(all(t, in)); n != 1000 {
			t.Errorf("%d events are left, although none is old", n)
		}
		must(t, in.Expire(t.Context(), time.Now().Add(-time.Minute), time.Now(), []string{"quick", "slow"}))
		left := ids(all(t, in))
		if len(left) != 501 || left[0] != 7 || left[1] != 501 {
			t.Errorf("%d events are left, from %v on; want the one that was given up, and what is before a forwarder", len(left), left[:2])
		}
		// What is to be forwarded again is there until it was.
		again := &inbox.Replay{Forwarder: "quick", Position: 600, Last: 700}
		must(t, in.Replay(t.Context(), again))
		must(t, in.Expire(t.Context(), time.Now().Add(-time.Minute), time.Now(), []string{"quick"}))
		if left = ids(all(t, in)); len(left) != 401 || left[1] != 601 {
			t.Errorf("%d events are left, from %v on; want those that are to be replayed, and what is after them", len(left), left[:2])
		}
		_, err := in.Cancel(t.Context(), again.ID)
		must(t, err)
		// A forwarder that is not configured any more keeps nothing.
		must(t, in.Expire(t.Context(), time.Now().Add(-time.Minute), time.Now(), []string{"quick"}))
		left = ids(all(t, in))
		for _, id := range left[1:] {
			if id <= 1000-int64(inbox.MinHorizon/time.Minute) {
				t.Fatalf("event %d is left", id)
			}
		}
		if n := len(left) - 1; n < int(inbox.MinHorizon/time.Minute)-1 {
			t.Errorf("%d events are left; those of the last %v are needed to know duplicates", n, inbox.MinHorizon)
		}
	})
}

// Lists are what was asked for, the latest first.
func TestList(t *testing.T) {
	file := filepath.Join(t.TempDir(), "inbox.db")
	synctest.Test(t, func(t *testing.T) {
		in := open(t, file)
		defer in.Close()
		start := time.Now()
		for i, c := range []struct{ source, name, id string }{
			{"zoom", "a.b", "r1"}, {"zoom", "a.c", "r2"}, {"other", "a.b", "r3"}, {"zoom", "", "r4"}, {"zoom", "A.b", "r5"},
		} {
			e := event(c.source, c.id, fmt.Sprint(i))
			e.Name = c.name
			add(t, in, e)
			time.Sleep(time.Minute)
		}
		must(t, in.Bury(t.Context(), inbox.DeadLetter{Forwarder: "backend", Event: 2}))
		for name, c := range map[string]struct {
			q    inbox.Query
			want []int64
		}{
			"all":            {inbox.Query{}, []int64{5, 4, 3, 2, 1}},
			"of a source":    {inbox.Query{Source: "other"}, []int64{3}},
			"of a type":      {inbox.Query{Name: "a.b"}, []int64{3, 1}},
			"of types":       {inbox.Query{Name: "a.*"}, []int64{3, 2, 1}},
			"of any type":    {inbox.Query{Name: "*"}, []int64{5, 4, 3, 2, 1}},
			"of a request":   {inbox.Query{RequestID: "r4"}, []int64{4}},
			"from a time on": {inbox.Query{From: start.Add(3 * time.Minute)}, []int64{5, 4}},
			"to a time":      {inbox.Query{To: start.Add(time.Minute)}, []int64{1}},
			"given up":       {inbox.Query{Forwarder: "backend"}, []int64{2}},
			"before another": {inbox.Query{Before: 3}, []int64{2, 1}},
			"a few":          {inbox.Query{Limit: 2}, []int64{5, 4}},
			"all at once":    {inbox.Query{Source: "zoom", Name: "a.*", From: start.Add(time.Minute), To: start.Add(time.Hour), Before: 4, Limit: 9}, []int64{2}},
			"none":           {inbox.Query{Source: "%"}, nil},
		} {
			if c.q.Limit == 0 {
				c.q.Limit = 100
			}
			events, err := in.List(t.Context(), c.q)
			must(t, err)
			equal(t, name, ids(events), c.want)
		}
		e, err := in.Get(t.Context(), 3)
		if err != nil || e.Source != "other" {
			t.Errorf("%+v %v", e, err)
		}
		if e, err := in.Get(t.Context(), 99); e != nil || err != nil {
			t.Errorf("%+v %v", e, err)
		}
	})
}

// However events come, the inbox holds each once: of all that have the same signed
// bytes, or the same request id and body, the first.
func TestEachEventOnce(t *testing.T) {
	in := fresh(t)
	n, before := 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		n++
		type request struct{ source, id, body, at string }
		var stored []request
		for range rapid.IntRange(1, 30).Draw(rt, "requests") {
			r := request{
				rapid.SampledFrom([]string{"s", "z"}).Draw(rt, "source"), rapid.SampledFrom([]string{"", "1", "2"}).Draw(rt, "id"),
				rapid.SampledFrom([]string{"a", "b", "c"}).Draw(rt, "body"), rapid.SampledFrom([]string{"10:00", "10:05"}).Draw(rt, "at"),
			}
			want := false
			for _, s := range stored {
				want = want || s.source == r.source && s.body == r.body && (s.at == r.at || s.id == r.id && r.id != "")
			}
			a, err := in.Add(t.Context(), signedAt(event(fmt.Sprint(r.source, n), r.id, r.body), r.at))
			if err != nil || a.Duplicate != want {
				rt.Fatalf("%+v after %+v: %+v %v", r, stored, a, err)
			}
			if !want {
				stored = append(stored, r)
			}
		}
		got := len(all(t, in))
		if got-before != len(stored) {
			rt.Fatalf("%d events, want %d", got-before, len(stored))
		}
		before = got
	})
}
