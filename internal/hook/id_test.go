package hook

import (
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestIDsRiseWhateverTheClockDoes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		node := rapid.IntRange(0, MaxNode).Draw(t, "node")
		last := rapid.Int64Range(0, 1<<62).Draw(t, "after")
		ids := NewIDs(node, last)
		for range rapid.IntRange(1, 200).Draw(t, "n") {
			at := time.UnixMilli(rapid.Int64Range(0, 1<<41).Draw(t, "now"))
			id := ids.Next(at)
			// Ids of different nodes are compared by their time and sequence; the node
			// only tells them apart.
			if without(id) <= without(last) {
				t.Fatalf("id %x after %x", id, last)
			}
			if got := int(id >> sequenceBits & MaxNode); got != node {
				t.Fatalf("id %x has node %d, want %d", id, got, node)
			}
			last = id
		}
	})
}

// without takes the node out of an id.
func without(id int64) int64 {
	return id>>(sequenceBits+nodeBits)<<sequenceBits | id&(1<<sequenceBits-1)
}

func TestIDsTellTheirTime(t *testing.T) {
	now := time.UnixMilli(1763758800123)
	ids := NewIDs(3, 0)
	first := EventID(ids.Next(now))
	if !first.Time().Equal(now) || int64(first) < FirstID(now) {
		t.Errorf("id of %v says %v", now, first.Time())
	}
	// A millisecond holds 16,384 events; what is more borrows from the next.
	for range 1<<sequenceBits - 1 {
		if id := EventID(ids.Next(now)); !id.Time().Equal(now) {
			t.Fatalf("id %s says %v", id, id.Time())
		}
	}
	if id := EventID(ids.Next(now)); !id.Time().Equal(now.Add(time.Millisecond)) {
		t.Errorf("the first id too many says %v", id.Time())
	}
}

func TestIDsAreGivenOnce(t *testing.T) {
	ids := NewIDs(0, 0)
	now := time.Now()
	const callers, each = 8, 5000
	got := make([][]int64, callers)
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			for range each {
				got[i] = append(got[i], ids.Next(now))
			}
		})
	}
	wg.Wait()
	seen := map[int64]bool{}
	for _, list := range got {
		for _, id := range list {
			if seen[id] {
				t.Fatalf("id %x was given twice", id)
			}
			seen[id] = true
		}
	}
}

func TestIDsAreReadAsTheyAreWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := DeliveryID{
			EventID(rapid.Int64Range(0, 1<<62).Draw(t, "event")),
			SubscriptionKey(rapid.Int64Range(0, 1<<62).Draw(t, "subscription")),
		}
		if got, err := ParseEventID(d.Event.String()); err != nil || got != d.Event {
			t.Fatalf("ParseEventID(%q) = %v, %v", d.Event, got, err)
		}
		if got, err := ParseDeliveryID(d.String()); err != nil || got != d {
			t.Fatalf("ParseDeliveryID(%q) = %v, %v", d, got, err)
		}
		// The contract's shape: lower-case hex in groups of 8_4_4_4_12.
		if !rapidMatch(d.String(), `^[0-9a-f]{8}_[0-9a-f]{4}_[0-9a-f]{4}_[0-9a-f]{4}_[0-9a-f]{12}$`) {
			t.Fatalf("request id %q", d)
		}
		if trace := d.Trace(Trace{}, 1).String()[len("00-"):][:32]; trace != strings.ReplaceAll(d.String(), "_", "") {
			t.Fatalf("trace id %q", trace)
		}
	})
}

func TestWhatIsNoIDIsRefused(t *testing.T) {
	for _, s := range []string{
		"", "0193a4f2", "0193a4f2_b7c0_000", "0193a4f2_b7c0_00011", "0193A4F2_b7c0_0001", "0193a4f2-b7c0-0001",
		"f193a4f2_b7c0_0001", // beyond 63 bits
		"+193a4f2_b7c0_0001", "0193a4f2_b7c0_0001_7f3e_9c2d11aa0b5", "0193a4f2_b7c0_0001_7f3e_9c2d11aa0b52x",
	} {
		if id, err := ParseEventID(s); err == nil {
			t.Errorf("ParseEventID(%q) = %v", s, id)
		}
		if id, err := ParseDeliveryID(s); err == nil {
			t.Errorf("ParseDeliveryID(%q) = %v", s, id)
		}
	}
}

func TestNewIDIsNoFlag(t *testing.T) {
	for range 2000 {
		if id := NewID(); id[0] == '-' {
			t.Fatalf("%s begins with a hyphen", id)
		}
	}
}

func TestNewIDHasAKey(t *testing.T) {
	id := NewID()
	k, err := KeyOf(id)
	if err != nil || k < 0 || len(id) != 22 {
		t.Errorf("KeyOf(%q) = %v, %v", id, k, err)
	}
	for _, s := range []string{"", "short", id + "x", id[:21] + "!", id[:21]} {
		if _, err := KeyOf(s); err == nil {
			t.Errorf("KeyOf(%q): no error", s)
		}
	}
}
