package hook

import (
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

const every = 72 * time.Hour

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// Round after round without an answer the owner is told at the second and the fourth,
// and the sixth is the end. At each stage one answer sets all of it back.
func TestAfterRound(t *testing.T) {
	for answered := range DisabledAfter + 1 { // after so many failures; the last: never
		e := Endpoint{State: Valid, StateSince: epoch}
		now := epoch
		fail := func(n int) (told []string) {
			for i := range n {
				now = now.Add(every)
				var notice Notice
				if e, notice = e.AfterRound(fmt.Sprint("reason ", i+1), now); notice != NoNotice {
					told = append(told, fmt.Sprint(i+1, ":", notice))
				}
				if !e.Checked.Equal(now) || e.Failures[i].Reason != fmt.Sprint("reason ", i+1) || !e.Failures[i].At.Equal(now) || len(e.Failures) != i+1 {
					t.Errorf("after %d failures it is %+v", i+1, e)
				}
				if want := []SubscriptionState{Failing, Disabled}[(i+1)/DisabledAfter]; e.State != want || e.Active() != (want == Failing) {
					t.Errorf("after %d failures it is %v, want %v", i+1, e.State, want)
				}
			}
			return told
		}
		all := []string{"2:1", "4:2", "6:3"}
		if got, want := fail(answered), all[:answered/2]; !slices.Equal(got, want) {
			t.Errorf("in %d failures the owner is told %v, want %v", answered, got, want)
		}
		if answered == DisabledAfter {
			if !strings.Contains(e.StateReason, "failed 6 validations in a row") || !strings.HasSuffix(e.StateReason, "reason 6") || !e.StateSince.Equal(now) {
				t.Errorf("disabled it is %+v", e)
			}
			continue
		}
		if answered > 0 && (!e.StateSince.Equal(epoch.Add(every)) || e.StateReason != fmt.Sprint("reason ", answered)) {
			t.Errorf("failing since the first and for the last reason it is %+v", e)
		}
		now = now.Add(every)
		was := e
		e, notice := e.AfterRound("", now)
		if e.State != Valid || e.StateReason != "" || e.Failures != nil || notice != NoNotice || !e.Checked.Equal(now) {
			t.Errorf("after an answer it is %+v and the owner is told %v", e, notice)
		}
		if since := e.StateSince; since.Equal(now) != (was.State != Valid) {
			t.Errorf("it is valid since %v", since)
		}
		if got := fail(DisabledAfter); !slices.Equal(got, all) {
			t.Errorf("after an answer and six failures the owner is told %v, want %v", got, all)
		}
	}
}

// Whatever the order of answers and failures, there is a notice exactly where the count
// in a row gets to 2, 4 and 6, and what was is not changed by what follows.
func TestNoticesCountInARow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e, row, now := Endpoint{State: Valid}, 0, epoch
		for e.State != Disabled {
			now = now.Add(every)
			before, failures := e, slices.Clone(e.Failures)
			var notice Notice
			if rapid.IntRange(0, 3).Draw(t, "answer") == 0 {
				row = 0
				e, notice = e.AfterRound("", now)
			} else {
				row++
				e, notice = e.AfterRound("down", now)
			}
			want := map[int]Notice{2: FirstNotice, 4: SecondNotice, 6: DisabledNotice}[row]
			if notice != want || len(e.Failures) != row || (e.State == Disabled) != (row == 6) {
				t.Fatalf("after %d failures in a row the notice is %v, the endpoint %+v", row, notice, e)
			}
			if !slices.Equal(before.Failures, failures) {
				t.Fatalf("a round changed what was before it")
			}
		}
	})
}

// testID returns the id of a subscription as the platform makes them, but the same each
// time.
func testID(r *rand.Rand) string {
	var b [16]byte
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// However many endpoints are made at one instant, in each hour of the 72 as many of them
// have their first round as in any other, give or take what chance does; and those of
// one subscription are as far apart as those of any two.
func TestRoundsAreSpread(t *testing.T) {
	const n, hours = 36_000, 72
	r := rand.New(rand.NewPCG(1, 2))
	var in [hours]int
	var apart [hours]int
	for range n / 2 {
		s := &Subscription{ID: testID(r), Created: epoch}
		var next []time.Duration
		for _, state := range AppStates() {
			d := s.NextRound(state, every, epoch).Sub(epoch)
			if d <= 0 || d > every {
				t.Fatalf("the first round is after %v", d)
			}
			in[(d-1)/time.Hour]++
			next = append(next, d)
		}
		apart[(next[0]-next[1]+every)%every/time.Hour]++
	}
	// Five times the standard deviation of a fair draw.
	for hour, got := range in {
		if got < 500-5*22 || got > 500+5*22 {
			t.Errorf("%d rounds in hour %d, want about %d", got, hour, n/hours)
		}
	}
	for hour, got := range apart {
		if got < 250-5*16 || got > 250+5*16 {
			t.Errorf("of %d subscriptions the endpoints are %d hours apart, want about %d", got, hour, n/2/hours)
		}
	}
}

// An endpoint has one instant in each period and no other, whenever one asks; and the
// round after a check is the first that comes then.
func TestRounds(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	rapid.Check(t, func(t *rapid.T) {
		s := &Subscription{ID: testID(r), Created: epoch}
		every := rapid.SampledFrom([]time.Duration{time.Millisecond, time.Second, time.Hour, every, 1001 * time.Millisecond}).Draw(t, "every")
		at := epoch.Add(time.Duration(rapid.Int64Range(-int64(100*24*time.Hour), int64(1000*24*time.Hour)).Draw(t, "at")))
		in := rapid.SampledFrom(AppStates()).Draw(t, "in")
		round := s.Round(in, every, at)
		if round.After(at) || !round.Add(every).After(at) {
			t.Fatalf("the latest round before %v is at %v", at, round)
		}
		if later := s.Round(in, every, at.Add(7*every)); !later.Equal(round.Add(7 * every)) {
			t.Fatalf("seven periods after %v it is at %v", round, later)
		}
		if round.Nanosecond()%int(time.Millisecond) != 0 {
			t.Fatalf("%v is not a whole millisecond", round)
		}
		s.At(in).Checked = at
		next := s.NextRound(in, every, at)
		if !next.Equal(round.Add(every)) {
			t.Fatalf("checked at %v, after a round at %v, it is asked again at %v", at, round, next)
		}
		// A restart, which knows the time of the check to the millisecond, changes nothing
		// for one that was asked when it was due.
		s.At(in).Checked = round.Add(time.Duration(rapid.IntRange(0, int(time.Millisecond)-1).Draw(t, "took")))
		next = s.NextRound(in, every, at)
		s.At(in).Checked = s.At(in).Checked.Truncate(time.Millisecond)
		if again := s.NextRound(in, every, at); !again.Equal(next) || !next.Equal(round.Add(every)) {
			t.Fatalf("asked at %v it is asked again at %v, after a restart at %v", round, next, again)
		}
	})
}

// An endpoint that was checked while the clock was ahead is asked within a period of the right
// time, as any other.
func TestRoundsAfterAWrongClock(t *testing.T) {
	s := &Subscription{ID: "s", Endpoint: Endpoint{State: Valid}}
	own := s.Round(Production, every, epoch).Add(every)
	for name, reason := range map[string]string{"answered": "", "failed": "down"} {
		e, _ := s.AfterRound(reason, epoch.Add(10*365*24*time.Hour))
		wrong := &Subscription{ID: "s", Endpoint: e}
		if next := wrong.NextRound(Production, every, epoch); next.Before(own) || next.Sub(epoch) > 3*every/2 {
			t.Errorf("%s: the next round is at %v, want %v", name, next, own)
		}
	}
}

// Whoever was never checked is asked at the first instant after it was made; of an
// endpoint without a URL, one that gets nothing, and one whose app is switched off, there
// are no rounds.
func TestInRounds(t *testing.T) {
	s := &Subscription{ID: "s", Created: epoch, Endpoint: Endpoint{URL: "https://a.test/", State: Valid}}
	if next := s.NextRound(Production, every, epoch.Add(2*every)); !next.Equal(s.Round(Production, every, epoch).Add(every)) {
		t.Errorf("the first round is at %v", next)
	}
	for state, want := range map[SubscriptionState]bool{Pending: false, Valid: true, Failing: true, Disabled: false} {
		s.State = state
		if s.InRounds(Production, &App{}) != want || s.InRounds(Production, &App{Disabled: true}) || s.InRounds(Development, &App{}) {
			t.Errorf("rounds of an endpoint that is %v", state)
		}
	}
	s.Development = Endpoint{URL: "https://b.test/", State: Valid}
	if !s.InRounds(Development, &App{State: Production}) {
		t.Error("an endpoint has no rounds while the other one is served")
	}
}

// A round that was made up for late and failed is not followed by another one within half
// a period: the endpoint would have failed twice for one reason. One that succeeded may be.
func TestRoundsAfterALateOne(t *testing.T) {
	s := &Subscription{ID: "s"}
	own := s.Round(Production, every, epoch)
	for name, c := range map[string]struct {
		late time.Duration // after its own instant
		want time.Duration
	}{
		"in time":                  {3 * time.Second, every},
		"a day late":               {24 * time.Hour, every},
		"half a period late":       {36 * time.Hour, every},
		"a bit more than half":     {36*time.Hour + time.Millisecond, 2 * every},
		"a minute before its next": {every - time.Minute, 2 * every},
	} {
		at := own.Add(c.late)
		s.Endpoint, _ = Endpoint{State: Valid}.AfterRound("down", at)
		if next := s.NextRound(Production, every, epoch.Add(2*every)); !next.Equal(own.Add(c.want)) {
			t.Errorf("%s: the next round after a failure is %v after its instant, want %v", name, next.Sub(own), c.want)
		}
		s.Endpoint, _ = s.AfterRound("", at)
		if next := s.NextRound(Production, every, epoch.Add(2*every)); !next.Equal(own.Add(every)) {
			t.Errorf("%s: the next round after an answer is %v after its instant", name, next.Sub(own))
		}
	}
}
