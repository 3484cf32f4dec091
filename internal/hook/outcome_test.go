package hook

import (
	"regexp"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func rapidMatch(s, pattern string) bool { return regexp.MustCompile(pattern).MatchString(s) }

// The contract's table of outcomes, row by row.
func TestOutcomesAreRetriedAsTheContractSays(t *testing.T) {
	for _, c := range []struct {
		outcome Outcome
		name    string
		retry   Retry
	}{
		{200, "200", Never}, {204, "204", Never}, {299, "299", Never},
		{301, "301", Never}, {302, "302", Never}, {308, "308", Never},
		{400, "400", Never}, {401, "401", Never}, {404, "404", Never}, {410, "410", Never}, {429, "429", Never},
		{500, "500", AtStep}, {503, "503", AtStep}, {599, "599", AtStep},
		{101, "101", Never}, {600, "600", Never}, {999, "999", Never},
		{-1, "ReadTimeOut", AtStep},
		{-2, "ConnectionRefused", AtStep},
		{-3, "Fallback", AtStep},
		{-4, "TimeLimiter", AtStep},
		{-5, "AsyncError", AtStep},
		{-6, "DNSForbidden", Never},
		{-7, "RemoteError", AtStep},
		{-8, "Delegate", AtOnce},
		{-9, "CertificateError", Never},
		{-10, "NeedInstantRetry", AtOnce},
		{-11, "HostnameMismatch", Never},
		{-12, "TLSError", Never},
		{-13, "DNSResolveTimeout", AtStep},
		{-14, "CannotGetAccessToken", AtStep},
		{-15, "CannotGetCustomHeader", AtStep},
		{-16, "TooManyRequests", AtOnce},
	} {
		if got := c.outcome.Retry(); got != c.retry {
			t.Errorf("%d is retried %v, want %v", c.outcome, got, c.retry)
		}
		if got := c.outcome.String(); got != c.name {
			t.Errorf("%d is called %s, want %s", c.outcome, got, c.name)
		}
		wantStatus, wantReason := int(c.outcome), 0
		if c.outcome < 0 {
			wantStatus, wantReason = -1, -int(c.outcome)
		}
		if c.outcome.Status() != wantStatus || c.outcome.FailedReasonType() != wantReason {
			t.Errorf("%d has status %d and reason %d", c.outcome, c.outcome.Status(), c.outcome.FailedReasonType())
		}
	}
}

func TestScheduleStepsAreTheContracts(t *testing.T) {
	d, now := Delivery{}, time.Unix(1e9, 0)
	var pauses []time.Duration
	for d.State == Waiting {
		d = d.After(503, now, DefaultSchedule())
		if d.State == Waiting {
			pauses = append(pauses, d.Due.Sub(now))
			now = d.Due
		}
	}
	if want := []time.Duration{5 * time.Minute, 20 * time.Minute, 60 * time.Minute}; !slices.Equal(pauses, want) {
		t.Errorf("pauses %v, want %v", pauses, want)
	}
	if d.State != Exhausted || d.Tries != 4 {
		t.Errorf("ends %v after %d attempts", d.State, d.Tries)
	}
}

// Whatever the outcomes: there are at most as many attempts as the schedule has
// steps and one, an ended delivery is never due, and outcomes that are retried at
// once leave everything as it was.
func TestAfter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		steps := Schedule(rapid.SliceOfN(rapid.Map(rapid.Int64Range(1, 1e12), func(n int64) time.Duration { return time.Duration(n) }), 0, 6).Draw(t, "steps"))
		now := time.UnixMilli(rapid.Int64Range(1e12, 2e12).Draw(t, "now"))
		d, used := Delivery{}, 0
		for d.State == Waiting {
			o := Outcome(rapid.OneOf(rapid.IntRange(-16, -1), rapid.IntRange(100, 999)).Draw(t, "outcome"))
			next := d.After(o, now, steps)
			if o.Retry() == AtOnce {
				if next != d {
					t.Fatalf("%v changed %+v to %+v", o, d, next)
				}
				continue
			}
			if used++; used > len(steps)+1 {
				t.Fatalf("attempt %d with %d steps", used, len(steps))
			}
			if next.Tries != used {
				t.Fatalf("tries %d after %d attempts", next.Tries, used)
			}
			if (next.State == Waiting) == next.Due.IsZero() {
				t.Fatalf("%v and due %v", next.State, next.Due)
			}
			if o.OK() != (next.State == Delivered) {
				t.Fatalf("%v makes it %v", o, next.State)
			}
			if next.State == Waiting && !next.Due.Equal(now.Add(steps[used-1])) {
				t.Fatalf("due %v, want %v later", next.Due, steps[used-1])
			}
			d, now = next, now.Add(time.Second)
		}
	})
}

func TestStatesAreReadAsTheyAreWritten(t *testing.T) {
	for s := Waiting; s <= Cancelled; s++ {
		b, _ := s.MarshalText()
		var got State
		if err := got.UnmarshalText(b); err != nil || got != s {
			t.Errorf("%s is read as %v, %v", b, got, err)
		}
	}
	var s State
	if s.UnmarshalText([]byte("lost")) == nil {
		t.Error("a state that does not exist is accepted")
	}
}
