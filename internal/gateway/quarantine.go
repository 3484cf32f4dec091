package gateway

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/switchhook/switchhook/internal/inbox"
	"github.com/switchhook/switchhook/webhook"
)

// refuse answers a request that cannot be verified. Of one that is signed after the
// rules nobody knows whether the sender has the wrong secret or this gateway. Was it
// the gateway, then 401 would lose the event, and 204 would make everybody's rubbish
// welcome. So it is kept as long as there is room, and the answer is 503 in any
// case: the sender keeps it, too.
func (g *Gateway) refuse(ctx context.Context, w http.ResponseWriter, r *http.Request, s *source, body []byte, reason error) answer {
	if errors.Is(reason, webhook.ErrTimestamp) || !signed(r.Header) {
		return answer{status: http.StatusUnauthorized, outcome: refused, err: reason}
	}
	denied := errors.Is(reason, webhook.ErrAuth)
	suspect := &inbox.Suspect{
		Source: s.Name, Received: time.Now(), Remote: g.Remote(r), Reason: reason.Error(), Headers: headersOf(r.Header), Body: body,
		Denied: denied || s.strict && !authorized(s.Auth, r.Header),
	}
	suspect.RequestID = suspect.Headers.Get(webhook.HeaderRequestID)
	d, err := g.inbox.Detain(ctx, suspect, g.config.Quarantine)
	if err != nil {
		return answer{status: http.StatusServiceUnavailable, outcome: unavailable, err: err}
	}
	g.metrics.detained(s.Name, d)
	g.alarms.raise(g.log, s.Name, d, suspect)
	if denied && s.Tokens != nil {
		// This is how the platform learns that it needs another token. Should it not, there
		// is the quarantine.
		w.Header().Set("WWW-Authenticate", `Bearer realm="webhooks", error="invalid_token"`)
		return answer{status: http.StatusUnauthorized, outcome: quarantined, err: reason}
	}
	return answer{status: http.StatusServiceUnavailable, outcome: quarantined, err: reason}
}

// signed reports whether a request has one well-formed signature, as each request of
// the platform has. One that has not comes from somebody else.
func signed(h http.Header) bool {
	signature := h[webhook.HeaderSignature]
	return len(signature) == 1 && wellFormed.MatchString(signature[0])
}

var wellFormed = regexp.MustCompile(`^v0=[0-9a-f]{64}$`)

// authorized reports whether a request has what it needs beside its signature. A
// receiver looks at that only once the signature is right, so it is given one that is.
func authorized(auth []webhook.Auth, h http.Header) bool {
	secret := rand.Text()
	r, err := webhook.New(webhook.Config{Secrets: []string{secret}, Auth: auth})
	if err != nil {
		return false
	}
	signer, err := webhook.NewSigner(secret)
	if err != nil {
		return false
	}
	timestamp, signature := signer.Sign(time.Now(), nil)
	own := h.Clone()
	own[webhook.HeaderTimestamp], own[webhook.HeaderSignature] = []string{timestamp}, []string{signature}
	_, err = r.Verify(own, nil)
	return err == nil
}

// Released says what became of what was in the quarantine.
type Released struct {
	Source string
	// Events are those that were released, Duplicates those that had come again
	// meanwhile, Challenges endpoint validations, which are of no use any more. What
	// remains does not fit any secret.
	Events, Duplicates, Challenges, Remaining int
	// Doubtful are those of the remaining that are signed with the right secret and were
	// refused for another reason: the time, or what was beside the signature.
	Doubtful int
}

// Recheck looks at what is in the quarantine once more, with the secrets of today, and
// releases what they fit. Anyway releases all that is rightly signed, also if it came
// at a wrong time or without what is asked for beside the signature.
func (g *Gateway) Recheck(ctx context.Context, anyway bool, only ...int64) (all []Released, err error) {
	s := g.current.Load()
	names := make([]string, 0, len(s.byName))
	for name := range s.byName {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		done, err := g.recheck(ctx, s.byName[name], anyway, only)
		if err != nil {
			return all, fmt.Errorf("source %s: %w", name, err)
		}
		if done != (Released{Source: name}) {
			all = append(all, done)
		}
		if done.Events > 0 || done.Duplicates > 0 {
			g.log.Warn("requests were released from the quarantine", "source", name, "events", done.Events, "duplicates", done.Duplicates, "remaining", done.Remaining)
		}
	}
	_, err = g.Quarantined(ctx)
	return all, err
}

// batch is how many requests are looked at at a time.
const batch = 100

func (g *Gateway) recheck(ctx context.Context, s *source, anyway bool, only []int64) (done Released, err error) {
	done.Source = s.Name
	var at time.Time
	r, err := webhook.New(webhook.Config{Secrets: s.Secrets, Tolerance: s.Tolerance, Now: func() time.Time { return at }})
	if err != nil {
		return done, err
	}
	for last := int64(0); ; {
		suspects, err := g.inbox.Suspects(ctx, s.Name, last, batch)
		if err != nil || len(suspects) == 0 {
			return done, err
		}
		for _, q := range suspects {
			last = q.ID
			h := http.Header{}
			for _, x := range q.Headers {
				h[x.Name] = []string{x.Value}
			}
			at = q.Received
			v, err := r.Verify(h, q.Body)
			doubtful := q.Denied
			if errors.Is(err, webhook.ErrStale) {
				seconds, _ := strconv.ParseInt(h.Get(webhook.HeaderTimestamp), 10, 64)
				at, doubtful = time.Unix(seconds, 0), true
				v, err = r.Verify(h, q.Body)
			}
			if err == nil && doubtful && !anyway {
				done.Doubtful++
			}
			if err != nil || doubtful && !anyway || len(only) > 0 && !slices.Contains(only, q.ID) {
				done.Remaining++
				continue
			}
			if err := g.release(ctx, s, q, v, &done); err != nil {
				return done, err
			}
		}
	}
}

func (g *Gateway) release(ctx context.Context, s *source, q *inbox.Suspect, v *webhook.Verified, done *Released) error {
	if _, isChallenge, _ := v.Challenge(); isChallenge {
		done.Challenges++
		_, err := g.inbox.Release(ctx, q.ID, nil)
		return err
	}
	added, err := g.inbox.Release(ctx, q.ID, eventOf(s.Name, q.Received, v, q.Headers, q.Body))
	if err != nil {
		return err
	}
	if added.Duplicate {
		done.Duplicates++
	} else {
		done.Events++
	}
	return nil
}

// Quarantined returns how many requests are in the quarantine of each source.
func (g *Gateway) Quarantined(ctx context.Context) (map[string]int, error) {
	n, err := g.inbox.Quarantined(ctx)
	if err != nil {
		return nil, err
	}
	g.alarms.settle(n)
	return n, nil
}

// alarms say that requests are not accepted, and when that goes on.
type alarms struct {
	mu  sync.Mutex
	all map[string]*alarm // by source
}

type alarm struct {
	since, said time.Time
	kept, lost  int
}

// alarmAgain is how often the log tells that something goes on being wrong.
const alarmAgain = 10 * time.Minute

func (a *alarms) raise(log *slog.Logger, source string, d inbox.Detained, s *inbox.Suspect) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.all == nil {
		a.all = map[string]*alarm{}
	}
	one := a.all[source]
	if one == nil {
		one = &alarm{since: s.Received}
		a.all[source] = one
	}
	first := one.lost == 0 && d == inbox.Full
	switch d {
	case inbox.Kept:
		one.kept++
	case inbox.Full:
		one.lost++
	}
	if !first && s.Received.Sub(one.said) < alarmAgain {
		return
	}
	one.said = s.Received
	if one.lost > 0 {
		log.Error("the quarantine is full; requests that are not accepted are only asked to come again",
			"source", source, "not_kept", one.lost, "kept", one.kept, "since", one.since, "err", s.Reason, "from", s.Remote)
		return
	}
	log.Error("requests are not accepted and are kept in the quarantine; if the sender is right, correct the secret and reload",
		"source", source, "kept", one.kept, "since", one.since, "err", s.Reason, "from", s.Remote)
}

// settle ends the alarms about sources of which nothing is in the quarantine any more.
func (a *alarms) settle(quarantined map[string]int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for source := range a.all {
		if quarantined[source] == 0 {
			delete(a.all, source)
		}
	}
}
