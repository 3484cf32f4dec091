package hook

import (
	"cmp"
	"fmt"
	"strings"
	"time"
)

// owed says how a delivery stands.
func (c *Case) owed(now time.Time) Explanation {
	tries := c.tries()
	var x Explanation
	switch c.Standing.State {
	case Delivered:
		x = c.delivered(tries)
	case Failed:
		x = c.failed(tries)
	case Exhausted:
		x = c.exhausted(tries)
	case Cancelled:
		x = c.cancelled(tries)
	default:
		x = c.waiting(tries, now)
	}
	if again := c.again(); again != nil && x.Cause != CauseAgain {
		x.Text += fmt.Sprintf(" It was made again at %s, %s; attempts are counted from there.", at(again.Started), again.Detail)
	}
	if s := c.Subscription; s != nil && !s.Deleted.IsZero() {
		what := " The subscription was deleted"
		if x.Cause == CauseCancelling {
			what = " That was"
		}
		x.Text += what + c.deletion(c.Event.ID.Time())
	}
	return x
}

// again returns the row that says that somebody had the delivery made again, the
// latest one, or nil.
func (c *Case) again() *Attempt {
	for i := len(c.Standing.Log) - 1; i >= 0; i-- {
		if a := &c.Standing.Log[i]; a.Kind == KindResend {
			return a
		}
	}
	return nil
}

// tries returns the attempts that used up one of the schedule, since the delivery was
// last made again.
func (c *Case) tries() (all []Attempt) {
	for _, a := range c.Standing.Log {
		switch {
		case a.Kind == KindResend:
			all = nil
		case a.Kind == KindAttempt && a.Outcome.Retry() != AtOnce:
			all = append(all, a)
		}
	}
	return all
}

// endings names how attempts ended.
func endings(tries []Attempt) string {
	var all []string
	for _, a := range tries {
		all = append(all, a.Outcome.String())
	}
	return strings.Join(all, ", ")
}

// inDevelopment reports whether an attempt went to the development endpoint, where
// nobody looks who waits at the other one.
func (c *Case) inDevelopment(a *Attempt) bool {
	s, url := c.Subscription, a.Target.URL
	return s != nil && url != "" && url == s.Development.URL && url != s.URL
}

// to says where an attempt went.
func (c *Case) to(a *Attempt) string {
	switch {
	case c.inDevelopment(a):
		return "the development endpoint " + place(a.Target.URL)
	case a.Target.URL == "":
		return "the endpoint"
	}
	return "the endpoint " + place(a.Target.URL)
}

func (c *Case) delivered(tries []Attempt) Explanation {
	x := Explanation{Cause: CauseDelivered}
	if len(tries) == 0 { // a row that cannot be
		x.Text = "The event was delivered."
		return x
	}
	last := &tries[len(tries)-1]
	end := last.Started.Add(last.Timing.Done)
	x.Text = fmt.Sprintf("The event was delivered at %s, with the %s attempt", at(end), nth(len(tries)))
	if before := tries[:len(tries)-1]; len(before) > 0 {
		x.Text += fmt.Sprintf(" (before: %s)", endings(before))
	}
	if took := end.Sub(c.Event.TS); took >= 0 {
		x.Text += ", " + span(took) + " after it occurred"
	}
	x.Text += fmt.Sprintf(": %s answered %s.", c.to(last), last.Outcome)
	if c.inDevelopment(last) {
		x.Text += " That is the one that serves while the app is in state development."
		x.Remedy = "To have events at the production endpoint, put the app into state production with switchhook apply. Then this one can be sent there: " + c.resend()
	}
	return x
}

// resend is the command that makes the delivery again.
func (c *Case) resend() string { return "switchhook deliveries resend " + c.Standing.ID.String() + "." }

func (c *Case) failed(tries []Attempt) Explanation {
	x := Explanation{Cause: CauseFailed, Text: "The delivery failed for good."}
	if len(tries) == 0 {
		return x
	}
	last := &tries[len(tries)-1]
	x.Text = fmt.Sprintf("The %s attempt, at %s, failed for good: %s. That is not tried again.", nth(len(tries)), at(last.Started), c.said(last))
	if before := tries[:len(tries)-1]; len(before) > 0 {
		x.Text += fmt.Sprintf(" Before: %s.", endings(before))
	}
	x.Remedy = c.mend(last) + " " + c.sendAgain("Then send it again")
	return x
}

func (c *Case) exhausted(tries []Attempt) Explanation {
	x := Explanation{Cause: CauseExhausted, Text: "Every attempt failed, and no more are made."}
	if len(tries) == 0 {
		return x
	}
	last := &tries[len(tries)-1]
	x.Text = fmt.Sprintf("All %d attempts failed (%s), and no more are made. The last one, at %s: %s.", len(tries), endings(tries), at(last.Started), c.said(last))
	if len(tries) == 1 {
		x.Text = fmt.Sprintf("The only attempt, at %s, failed, and no more are made: %s.", at(last.Started), c.said(last))
	}
	x.Remedy = c.mend(last) + " " + c.sendAgain("Then send it again")
	return x
}

func (c *Case) cancelled(tries []Attempt) Explanation {
	x := Explanation{Cause: CauseCancelled, Text: "The delivery was cancelled.", Remedy: c.sendAgain("Send it again")}
	if last := c.Standing.Last; last != nil && last.Kind == KindCancel {
		x.Text = fmt.Sprintf("The delivery was cancelled at %s: %s.", at(last.Started), last.Detail)
	}
	if n := len(tries); n == 0 {
		x.Text += " Nothing had been sent."
	} else {
		x.Text += fmt.Sprintf(" Before that, %s had failed (%s).", count(n, "attempt", "attempts"), endings(tries))
	}
	return x
}

// sendAgain says how what ended undelivered is sent again, or why it cannot be.
func (c *Case) sendAgain(words string) string {
	s, a := c.Subscription, c.App
	switch {
	case s == nil || !s.Deleted.IsZero() || a == nil:
		return "It cannot be sent again, for its subscription was deleted."
	case a.Disabled:
		return fmt.Sprintf("Enable the app %s with switchhook apply, and send it again: %s", appName(a), c.resend())
	case !s.Serving(a).Active():
		return fmt.Sprintf("The subscription is %s, so validate it: switchhook subscriptions validate %s; and send it again: %s", s.Serving(a).State, s.ID, c.resend())
	}
	return words + ": " + c.resend()
}

// waiting says what a delivery waits for.
func (c *Case) waiting(tries []Attempt, now time.Time) Explanation {
	st := c.Standing
	x := Explanation{Next: st.Due}
	if x.Next.IsZero() {
		x.Next = st.ID.Event.Time()
	}
	next := fmt.Sprintf("The %s attempt has not been made yet", nth(len(tries)+1))
	switch {
	case c.calledOff():
		x.Cause, x.Next = CauseCancelling, time.Time{}
		x.Text = "The delivery is about to be cancelled, for " + c.calledOffBecause() + "."
	case st.Due.After(now):
		c.scheduled(&x, tries, now)
	case c.Lane.SparedUntil.After(now):
		x.Cause = CauseSpared
		x.Text = fmt.Sprintf("%s: the endpoint does not answer, so it is spared until %s, when one request finds out whether it answers again.%s", next, at(c.Lane.SparedUntil), c.failedBefore(tries))
		x.Remedy = c.askWhy("Make the endpoint answer.")
	case c.Lane.PerSecond > 0 && (c.Place.Ahead > 0 || st.Last != nil && st.Last.Outcome == TooManyRequests):
		x.Cause = CauseRate
		x.Text = fmt.Sprintf("%s: the endpoint gets at most %g requests a second%s.", next, c.Lane.PerSecond, c.ahead(", and "))
		if n := time.Duration(float64(c.Place.Ahead) / c.Lane.PerSecond * float64(time.Second)); n >= time.Second && c.Place.Ahead < MaxAhead {
			x.Text += fmt.Sprintf(" That takes about %s.", span(n))
		}
		x.Text += c.failedBefore(tries)
		x.Remedy = "Nothing is lost. If the endpoint can take more, raise max_per_second of its subscriptions with switchhook apply."
	case c.Place.Ahead > 0:
		x.Cause = CauseBacklog
		x.Text = fmt.Sprintf("%s%s.", next, c.ahead(": "))
		if c.Lane.InFlight > 0 && c.Lane.Flying >= c.Lane.InFlight {
			x.Text += fmt.Sprintf(" The endpoint has all the requests under way that it may have at a time (%d).", c.Lane.InFlight)
		}
		x.Text += c.failedBefore(tries)
		x.Remedy = "Nothing is lost. If this lasts, the endpoint is slower than what is published to it: let it answer first and work later, or raise max_in_flight of its subscriptions with switchhook apply."
	case st.Last != nil && st.Last.Outcome == NeedInstantRetry:
		x.Cause = CauseConnections
		x.Text = fmt.Sprintf("%s: at %s this machine had no connection to spare, so nothing was sent. It is tried again as soon as there is one.%s", next, at(st.Last.Started), c.failedBefore(tries))
		x.Remedy = "If this happens often, raise --max-connections of switchhook serve, and the number of files that its process may open."
	default:
		c.aboutToStart(&x, tries, now)
	}
	return x
}

// calledOff reports whether the delivery is not owed any more.
func (c *Case) calledOff() bool {
	s := c.Subscription
	return s == nil || !s.Deleted.IsZero() || c.App == nil || c.App.Disabled || c.Place.Generation < s.Generation
}

// deletedFirst is the reason for which what is owed to a deleted subscription is
// cancelled.
const deletedFirst = "the subscription was deleted"

func (c *Case) calledOffBecause() string {
	s := c.Subscription
	switch {
	case s == nil || !s.Deleted.IsZero() || c.App == nil:
		return deletedFirst
	case c.App.Disabled:
		return fmt.Sprintf("the app %s is disabled", appName(c.App))
	}
	text := "the subscription was disabled"
	if e := s.Serving(c.App); e.State == Disabled && e.StateReason != "" {
		text += ": " + e.StateReason
	}
	return text
}

// ahead says how many deliveries are due before this one, if any are.
func (c *Case) ahead(link string) string {
	n := c.Place.Ahead
	switch {
	case n == 0:
		return ""
	case n >= MaxAhead:
		return link + count(n, "", "or more other deliveries of this subscription are due before it")
	}
	return link + count(n, "other delivery of this subscription is due before it", "other deliveries of this subscription are due before it")
}

// scheduled explains a delivery whose next attempt is due later.
func (c *Case) scheduled(x *Explanation, tries []Attempt, now time.Time) {
	due := fmt.Sprintf("The %s attempt is due at %s, in %s.", nth(len(tries)+1), at(x.Next), span(x.Next.Sub(now)))
	x.Cause = CauseRetry
	if len(tries) == 0 { // a clock that was set back
		x.Text = due
		return
	}
	last := &tries[len(tries)-1]
	x.Text = due + c.failedBefore(tries)
	if last.Outcome == Fallback {
		x.Cause = CauseSpared
		if c.Lane.SparedUntil.After(now) {
			x.Text += fmt.Sprintf(" The endpoint is spared until %s, when one request finds out whether it answers again.", at(c.Lane.SparedUntil))
		}
		x.Remedy = c.askWhy("Make the endpoint answer; the platform notices by itself.")
		return
	}
	x.Remedy = c.mend(last) + " The next attempt is made by itself."
}

// failedBefore says how the latest of the attempts failed, and the others before it.
func (c *Case) failedBefore(tries []Attempt) string {
	if len(tries) == 0 {
		return ""
	}
	last, before := &tries[len(tries)-1], tries[:len(tries)-1]
	failed := "failed"
	if last.Outcome == Fallback {
		failed = "was not made"
	}
	text := fmt.Sprintf(" The %s, at %s, %s: %s.", nth(len(tries)), at(last.Started), failed, c.said(last))
	if len(before) > 0 {
		text += fmt.Sprintf(" Before: %s.", endings(before))
	}
	return text
}

// askWhy is a remedy for an endpoint that does not answer.
func (c *Case) askWhy(what string) string {
	if c.Subscription == nil {
		return what
	}
	return what + " What went wrong is in: switchhook deliveries list --subscription " + c.Subscription.ID + "."
}

// aboutToStart explains a delivery that nothing keeps waiting.
func (c *Case) aboutToStart(x *Explanation, tries []Attempt, now time.Time) {
	since := span(max(0, now.Sub(x.Next)))
	switch again := c.again(); {
	case len(tries) > 0:
		last := &tries[len(tries)-1]
		x.Cause = CauseRetry
		x.Text = fmt.Sprintf("The %s attempt has been due for %s, and is under way or about to start.%s", nth(len(tries)+1), since, c.failedBefore(tries))
		x.Remedy = c.mend(last) + " The next attempt is made by itself."
	case again != nil:
		x.Cause = CauseAgain
		x.Text = fmt.Sprintf("The delivery was made again at %s, %s. That attempt is under way or about to start.", at(again.Started), again.Detail)
	default:
		x.Cause = CauseFirst
		x.Text = fmt.Sprintf("The event was accepted %s ago, and its first attempt is under way or about to start.", since)
	}
	if last := c.Standing.Last; last != nil && last.Outcome == Delegate {
		x.Text += " One was cut off when the platform was stopped, which does not count."
	}
}

// said says in words how an attempt ended.
func (c *Case) said(a *Attempt) string {
	to := c.to(a)
	switch o := a.Outcome; {
	case o < 0:
		return cmp.Or(a.Detail, "it ended without an answer") + " (" + o.String() + ")"
	case o >= 300 && o <= 399:
		return fmt.Sprintf("%s answered %d, a redirect, which is never followed", to, o)
	case o >= 400 && o <= 499:
		return fmt.Sprintf("%s refused it with %d", to, o)
	case o >= 500 && o <= 599:
		return fmt.Sprintf("%s answered %d", to, o)
	default:
		return fmt.Sprintf("%s answered %d, which is no end of a request", to, o)
	}
}

// mends says what to do about an outcome.
var mends = map[Outcome]string{ //nolint:gosec // words about tokens, and no token
	401:                   "Look at what the endpoint takes for proof: the secret token it verifies with, its window of time, and the subscription's custom_header.",
	403:                   "Look at what the endpoint takes for proof: the secret token it verifies with, its window of time, and the subscription's custom_header.",
	404:                   "Look at the path of the subscription's URL: the endpoint does not know it.",
	405:                   "Let the endpoint accept POST at this path.",
	410:                   "Look at the path of the subscription's URL: the endpoint does not know it any more.",
	413:                   "Let the endpoint accept larger bodies: an event may have 1 MiB.",
	415:                   "Let the endpoint accept application/json; charset=utf-8.",
	429:                   "Let the endpoint answer 503 where it is busy, which is tried again; or bound what it gets with max_per_second.",
	ReadTimeOut:           "Let the endpoint answer first and work later: all of its answer has to come in time.",
	ConnectionRefused:     "Start the program at the endpoint, or open the way to it.",
	TimeLimiter:           "Look at the way to the endpoint: its name server, its firewall, its TLS.",
	AsyncError:            "Look at the log of the platform.",
	DNSForbidden:          "Give the endpoint a public address, or permit this one with --allow of switchhook serve.",
	RemoteError:           "Look at what stands before the endpoint, such as a proxy that closes connections.",
	CertificateError:      "Renew the endpoint's certificate, and send its whole chain; a private authority is named with --endpoint-ca of switchhook serve.",
	HostnameMismatch:      "Give the endpoint a certificate for its host name.",
	TLSError:              "Let the endpoint speak TLS 1.2 or later.",
	DNSResolveTimeout:     "Look at the host name in the subscription's URL, and at its name server.",
	CannotGetAccessToken:  "Look at the token URL, the client id and the client secret in the subscription's custom_header.",
	CannotGetCustomHeader: "Set the subscription's custom_header again: it was sealed with another master key.",
	Fallback:              "Make the endpoint answer.",
}

// mend says what to do about how an attempt ended.
func (c *Case) mend(a *Attempt) string {
	if text, ok := mends[a.Outcome]; ok {
		return text
	}
	show := "Its answer is in: switchhook deliveries show " + c.Standing.ID.String() + "."
	switch {
	case a.Outcome >= 300 && a.Outcome <= 399:
		return "Subscribe to the URL that it redirects to. " + show
	case a.Outcome >= 500 && a.Outcome <= 599:
		return "Mend the endpoint. " + show
	}
	return "Find out why the endpoint does not take the event. " + show
}
