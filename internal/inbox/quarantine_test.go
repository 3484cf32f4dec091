package inbox_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/switchhook/switchhook/internal/inbox"
)

func suspect(source, remote, id, text string) *inbox.Suspect {
	return &inbox.Suspect{
		Source: source, Received: time.Now(), Remote: remote, Reason: "bad signature", RequestID: id, Body: []byte(text),
		Headers: inbox.Headers{{Name: "X-Zm-Request-Id", Value: id}},
	}
}

func detain(t testing.TB, in *inbox.Inbox, s *inbox.Suspect, most inbox.Bounds) inbox.Detained {
	t.Helper()
	d, err := in.Detain(t.Context(), s, most)
	must(t, err)
	return d
}

// lockUp puts a request into the empty quarantine and returns its number there.
func lockUp(t testing.TB, in *inbox.Inbox, requestID string) int64 {
	t.Helper()
	detain(t, in, suspect("zoom", "1.1.1.1", requestID, "text"), roomy)
	all, err := in.Suspects(t.Context(), "", 0, 2)
	if err != nil || len(all) != 1 {
		t.Fatal(all, err)
	}
	return all[0].ID
}

func suspects(t testing.TB, in *inbox.Inbox, source string) (texts []string) {
	t.Helper()
	for last := int64(0); ; {
		all, err := in.Suspects(t.Context(), source, last, 3)
		must(t, err)
		if len(all) == 0 {
			return texts
		}
		for _, s := range all {
			texts = append(texts, s.RequestID+s.Headers.Get("X-Zm-Request-Id")+"/"+string(s.Body))
			last = s.ID
		}
	}
}

var roomy = inbox.Bounds{Requests: 100, Bytes: 1 << 20}

// A request that is sent again is kept once.
func TestQuarantineKeepsADeliveryOnce(t *testing.T) {
	in := fresh(t)
	for i, c := range []struct {
		s    *inbox.Suspect
		want inbox.Detained
	}{
		{suspect("zoom", "1.1.1.1", "id", "text"), inbox.Kept},
		{suspect("zoom", "1.1.1.2", "id", "text"), inbox.Known},
		{suspect("zoom", "1.1.1.1", "id", "other"), inbox.Kept},
		{suspect("zoom", "1.1.1.1", "id2", "text"), inbox.Kept},
		{suspect("other", "1.1.1.1", "id", "text"), inbox.Kept},
	} {
		if d := detain(t, in, c.s, roomy); d != c.want {
			t.Errorf("%d: %v, want %v", i, d, c.want)
		}
	}
	equal(t, "of zoom", suspects(t, in, "zoom"), []string{"id/text", "id/other", "id2/text"})
	if n, err := in.Quarantined(t.Context()); err != nil || n["zoom"] != 3 || n["other"] != 1 {
		t.Errorf("%v %v", n, err)
	}
}

// The quarantine of a source has bounds, and so has what comes from one address. What
// is there stays.
func TestQuarantineIsBounded(t *testing.T) {
	for name, c := range map[string]struct {
		most  inbox.Bounds
		sizes int
		want  int // that are kept of one address, and twice as many of two
	}{
		"by number": {inbox.Bounds{Requests: 10, Bytes: 1 << 30}, 10, 5},
		"by bytes":  {inbox.Bounds{Requests: 1000, Bytes: 20 * 1024}, 1024, 5}, // each counts a kilobyte more
	} {
		t.Run(name, func(t *testing.T) {
			in := fresh(t)
			flood := func(source, remote string) (kept int) {
				for i := range 20 {
					if detain(t, in, suspect(source, remote, fmt.Sprint(remote, i), strings.Repeat("x", c.sizes)), c.most) == inbox.Kept {
						kept++
					}
				}
				return kept
			}
			for i, want := range []int{c.want, c.want, 0} {
				if n := flood("zoom", fmt.Sprint("1.1.1.", i)); n != want {
					t.Errorf("of address %d %d are kept, want %d", i, n, want)
				}
			}
			if n := flood("other", "1.1.1.1"); n != c.want {
				t.Errorf("of another source %d are kept, want %d", n, c.want)
			}
			if first := suspects(t, in, "zoom")[0]; !strings.HasPrefix(first, "1.1.1.00/") {
				t.Errorf("the first that is kept is %.20s", first)
			}
			// Once there is room, it is used.
			if n, err := in.Drop(t.Context(), "zoom"); n != 2*c.want || err != nil {
				t.Errorf("%d are dropped, %v", n, err)
			}
			if n := flood("zoom", "1.1.1.9"); n != c.want {
				t.Errorf("after it was emptied %d are kept, want %d", n, c.want)
			}
		})
	}
}

// Who is given a network of IPv6 addresses has no more room than who has one address.
func TestQuarantineOfANetwork(t *testing.T) {
	in := fresh(t)
	for _, c := range []struct {
		remote string
		want   inbox.Detained
	}{
		{"2001:db8:1:2::1", inbox.Kept}, {"2001:db8:1:2:ffff::1", inbox.Kept}, {"2001:db8:1:2::3", inbox.Full},
		{"2001:db8:1:3::1", inbox.Kept}, {"192.0.2.1", inbox.Kept}, {"192.0.2.2", inbox.Full},
	} {
		if d := detain(t, in, suspect("zoom", c.remote, c.remote, "text"), inbox.Bounds{Requests: 4, Bytes: 1 << 20}); d != c.want {
			t.Errorf("%s: %v, want %v", c.remote, d, c.want)
		}
	}
}

// Room that another process has made is used within two seconds.
func TestQuarantineIsEmptiedByOthers(t *testing.T) {
	file := filepath.Join(t.TempDir(), "inbox.db")
	synctest.Test(t, func(t *testing.T) {
		in := open(t, file)
		defer in.Close()
		most := inbox.Bounds{Requests: 1, Bytes: 1 << 20}
		detain(t, in, suspect("zoom", "1.1.1.1", "a", "text"), most)
		if d := detain(t, in, suspect("zoom", "1.1.1.1", "b", "text"), most); d != inbox.Full {
			t.Fatal(d)
		}
		other := openWith(t, inbox.Options{File: file})
		defer other.Close()
		n, err := other.Drop(t.Context(), "")
		if n != 1 || err != nil {
			t.Fatal(n, err)
		}
		time.Sleep(2 * time.Second)
		if d := detain(t, in, suspect("zoom", "1.1.1.1", "b", "text"), most); d != inbox.Kept {
			t.Error(d)
		}
	})
}

// A request leaves the quarantine when it becomes an event, once, and not without
// becoming one.
func TestRelease(t *testing.T) {
	in := fresh(t)
	id := lockUp(t, in, "id")
	for i, want := range []int64{1, 0} { // the second time it is not there any more
		a, err := in.Release(t.Context(), id, event("zoom", "id", "text"))
		if err != nil || a.ID != want {
			t.Errorf("%d: %+v %v", i, a, err)
		}
	}
	equal(t, "events", ids(all(t, in)), []int64{1})
	// It may have come again and been accepted meanwhile.
	id = lockUp(t, in, "id")
	if a, err := in.Release(t.Context(), id, event("zoom", "id", "text")); err != nil || !a.Duplicate {
		t.Errorf("%+v %v", a, err)
	}
	id = lockUp(t, in, "challenge")
	_, err := in.Release(t.Context(), id, nil)
	must(t, err)
	equal(t, "events", ids(all(t, in)), []int64{1})
	if left := suspects(t, in, ""); len(left) > 0 {
		t.Error(left)
	}
}

// What the sender repeats, and is accepted now, is not in the quarantine any more.
func TestAcceptedLeavesTheQuarantine(t *testing.T) {
	in := fresh(t)
	e := event("zoom", "id", "text")
	detain(t, in, suspect("zoom", "1.1.1.1", "id", string(e.Body)), roomy)
	detain(t, in, suspect("zoom", "1.1.1.1", "id2", string(e.Body)), roomy)
	add(t, in, e)
	equal(t, "what is left", suspects(t, in, ""), []string{"id2/" + string(e.Body)})
}

// What nobody has looked at for long is deleted.
func TestQuarantineExpires(t *testing.T) {
	file := filepath.Join(t.TempDir(), "inbox.db")
	synctest.Test(t, func(t *testing.T) {
		in := open(t, file)
		defer in.Close()
		detain(t, in, suspect("zoom", "1.1.1.1", "old", "text"), roomy)
		time.Sleep(time.Hour)
		detain(t, in, suspect("zoom", "1.1.1.1", "young", "text"), roomy)
		must(t, in.Expire(t.Context(), time.Now(), time.Now().Add(-time.Minute), nil))
		equal(t, "what is left", suspects(t, in, ""), []string{"young/text"})
	})
}

// Who does not want to wait any longer is not held up, and is told nothing of what the
// writer does meanwhile.
func TestDetainGivesUp(t *testing.T) {
	in := fresh(t)
	over, cancel := context.WithCancel(t.Context())
	cancel()
	var all sync.WaitGroup
	for i := range 200 {
		all.Go(func() {
			d, err := in.Detain(over, suspect("zoom", "192.0.2.1", fmt.Sprint(i), "text"), roomy)
			if (err != nil) != (d == 0) || err != nil && !errors.Is(err, context.Canceled) {
				t.Errorf("%v, %v", d, err)
			}
		})
		all.Go(func() {
			n, err := in.Drop(over, "zoom")
			if err != nil && (n != 0 || !errors.Is(err, context.Canceled)) {
				t.Errorf("%d were dropped, %v", n, err)
			}
		})
	}
	all.Wait()
}

// What the file does not take is not counted, and neither is twice what was to be stored
// with it and is stored after it.
func TestOneIsNotDetained(t *testing.T) {
	for _, end := range []string{"ABORT", "ROLLBACK"} { // of the statement, and of the transaction
		t.Run(end, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "inbox.db")
			in := open(t, file)
			defer in.Close()
			other, err := sqlite.OpenConn(file, sqlite.OpenReadWrite)
			must(t, err)
			must(t, sqlitex.ExecuteTransient(other, `CREATE TRIGGER no BEFORE INSERT ON quarantine WHEN NEW.body = x'626164' BEGIN SELECT RAISE(`+end+`, 'no'); END`, nil))
			must(t, other.Close())
			var all sync.WaitGroup
			for i := range 100 {
				all.Go(func() {
					body := []string{"good", "bad"}[i%2]
					d, err := in.Detain(t.Context(), suspect("zoom", fmt.Sprint("192.0.2.", i), fmt.Sprint(i), body), inbox.Bounds{Requests: 51, Bytes: 1 << 20})
					if (d == inbox.Kept) != (body == "good") || (err == nil) != (body == "good") {
						t.Errorf("%s: %v %v", body, d, err)
					}
				})
			}
			all.Wait()
		})
	}
}
