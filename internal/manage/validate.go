package manage

import (
	"context"
	"reflect"
	"time"

	"github.com/switchhook/switchhook/internal/challenge"
	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/outbox"
)

// Validate sends a challenge to one of a subscription's endpoints. If it proves itself
// it is valid from then on, even if it was disabled; otherwise it stays as it is, and
// the result says why.
func (m *Manager) Validate(ctx context.Context, by hook.Actor, id string, in hook.AppState) (r challenge.Result, err error) {
	s, a, err := m.Subscription(id)
	if err != nil {
		return r, err
	}
	if s.At(in).URL == "" {
		return r, &hook.Error{Kind: hook.NotFound, Subject: "subscription " + id, Detail: "has no " + string(in) + " endpoint"}
	}
	return m.ask(ctx, by, s, a, in, hook.OnRequest, func(e hook.Endpoint, reason string, now time.Time) (hook.Endpoint, hook.Notice) {
		switch {
		case reason == "":
			e.Checked = now
			return e.Set(hook.Valid, "", now), hook.NoNotice
		case e.State == hook.Pending:
			return e.Set(hook.Pending, reason, now), hook.NoNotice // the latest is of more use than the first
		}
		return e, hook.NoNotice
	})
}

// Revalidate sends the challenge of a regular round, and does what follows if the
// endpoint fails: it tells the owner of the app, and in the end disables it. An endpoint
// that has no rounds any more is left alone: somebody may have disabled it just now.
func (m *Manager) Revalidate(ctx context.Context, id string, in hook.AppState) error {
	s, a, err := m.Subscription(id)
	if err != nil || !s.InRounds(in, a) {
		return err
	}
	_, err = m.ask(ctx, hook.Actor{Kind: hook.BySystem}, s, a, in, hook.OnRound, hook.Endpoint.AfterRound)
	return err
}

// ask challenges an endpoint, and stores what judge makes of it: a reason if it has
// not proven itself.
func (m *Manager) ask(ctx context.Context, by hook.Actor, s *hook.Subscription, a *hook.App, in hook.AppState, occasion hook.Occasion,
	judge func(e hook.Endpoint, reason string, now time.Time) (hook.Endpoint, hook.Notice),
) (r challenge.Result, err error) {
	r = m.Prober.Prove(ctx, s.At(in).URL, s, a)
	m.log(r.Attempt(s))
	switch {
	case ctx.Err() != nil:
		return r, context.Cause(ctx) // the endpoint is not to blame
	case r.Inconclusive(), occasion == hook.OnRound && ours(r.Outcome):
		return r, &hook.Error{Kind: hook.Unavailable, Detail: "the endpoint could not be asked: " + r.Reason}
	}
	return r, m.alone(func() error {
		was, app, err := m.Subscription(s.ID)
		switch {
		case err != nil:
			return err
		case was.At(in).URL != s.At(in).URL, was.Auth != s.Auth, app.SecretToken != a.SecretToken, was.Generation != s.Generation:
			// The proof is for something else, or whoever disabled it meanwhile would find it
			// enabled again.
			return &hook.Error{Kind: hook.Conflict, Subject: "subscription " + s.ID, Detail: "was changed meanwhile; validate it again"}
		case occasion == hook.OnRound && !was.At(in).Checked.Equal(s.At(in).Checked):
			return &hook.Error{Kind: hook.Conflict, Subject: "subscription " + s.ID, Detail: "was validated meanwhile"}
		}
		now := time.Now()
		next := *was
		e, notice := judge(*was.At(in), r.Reason, now)
		*next.At(in) = e
		if e.State == hook.Disabled && was.At(in).State != hook.Disabled && was.Serving(app) == was.At(in) {
			next.Generation++
		}
		c := hook.Change{
			Validations: []hook.Validation{{Subscription: s.Key, In: in, URL: e.URL, At: now, Occasion: occasion, Reason: r.Reason, State: e.State}},
			Audit:       auditOf(by, &next, in, occasion, was.At(in).State, now),
		}
		if !reflect.DeepEqual(e, *was.At(in)) {
			c.Subscriptions = []*hook.Subscription{&next}
		}
		return m.store(c, now, m.notices(notice, &next, app, in, now)...)
	})
}

// ours reports whether the outcome means that nothing was sent because settings on our
// side cannot be used. Who asks for a challenge is told so; in a round it must not count
// against the endpoint.
func ours(o hook.Outcome) bool { return o == hook.AsyncError || o == hook.CannotGetCustomHeader }

// auditOf returns what the audit trail is told of a challenge: that somebody asked for
// it, or that the platform has disabled an endpoint.
func auditOf(by hook.Actor, s *hook.Subscription, in hook.AppState, occasion hook.Occasion, was hook.SubscriptionState, now time.Time) []hook.AuditEntry {
	e := hook.AuditEntry{At: now, By: by, Action: hook.Validated, Kind: "subscription", Subject: s.ID, Name: s.Name}
	state := s.At(in).State
	switch {
	case occasion == hook.OnRound && (state != hook.Disabled || was == hook.Disabled):
		return nil
	case occasion == hook.OnRound:
		e.Action = hook.TurnedOff
	}
	e.Changes = []string{string(in) + " endpoint: " + was.String() + " -> " + state.String()}
	return []hook.AuditEntry{e}
}

// notices returns the mail for a notice, if there is to be one.
func (m *Manager) notices(n hook.Notice, s *hook.Subscription, a *hook.App, in hook.AppState, now time.Time) []*outbox.Message {
	if n == hook.NoNotice {
		return nil
	}
	to := ""
	if owner := m.Directory.Account(a.Account); owner != nil {
		to = owner.OwnerEmail
	}
	return []*outbox.Message{m.compose(n, s, a, in, to, now)}
}
