package manage

import (
	"cmp"
	"context"
	"sync"
	"time"

	"github.com/switchhook/switchhook/internal/challenge"
	"github.com/switchhook/switchhook/internal/hook"
)

const (
	// proveAtOnce is how many endpoints are challenged at a time.
	proveAtOnce = 16

	// replan is how often a plan is made again because the platform changed while
	// endpoints were challenged.
	replan = 5
)

// Apply makes the platform as the manifest says, or, in a dry run, says what that
// would change. A manifest with a fault changes nothing. An endpoint that does not
// answer its challenge fails its own step; all the rest is done, as one.
func (m *Manager) Apply(ctx context.Context, by hook.Actor, mf *Manifest, dryRun bool) (*Plan, error) {
	return m.run(ctx, by, edit{subject: "manifest", dryRun: dryRun, plan: func(p *planner) error {
		p.manifest(mf)
		return nil
	}})
}

// edit is a change to be planned, and planned anew if the platform has changed while
// endpoints were challenged.
type edit struct {
	subject string
	// plan says what is to be. Faults are the planner's; an error ends it.
	plan   func(*planner) error
	dryRun bool
	// whole: an endpoint that does not prove itself prevents all of it, instead of
	// failing its own step.
	whole bool
}

// run makes an edit.
func (m *Manager) run(ctx context.Context, by hook.Actor, e edit) (*Plan, error) {
	proofs, drafts := map[proven]challenge.Result{}, map[string]*draft{}
	for round := 0; ; round++ {
		p, done, err := m.tryEdit(by, e, proofs, drafts)
		switch {
		case done || err != nil:
			return p, err
		case round == replan:
			return nil, &hook.Error{Kind: hook.Conflict, Subject: e.subject, Detail: "the platform kept changing while its endpoints were challenged; try again"}
		}
		if err := m.challenge(ctx, e, proofs, drafts); err != nil {
			return nil, err
		}
	}
}

// planner returns what the edit makes of the platform as it is. It is called with m.mu
// held.
func (m *Manager) planner(e edit, proofs map[proven]challenge.Result, drafts map[string]*draft) (*planner, error) {
	p := &planner{m: m, now: time.Now(), proofs: proofs, drafts: drafts, known: map[string]*hook.Account{}, seen: map[string]string{}}
	for _, a := range m.Directory.Accounts() {
		p.known[a.ID] = a
	}
	if err := e.plan(p); err != nil {
		return nil, err
	}
	p.stillNamed()
	return p, p.faults.Err(e.subject)
}

// audited says what the audit trail calls what a step does.
var audited = map[Action]hook.Action{Create: hook.Created, Update: hook.Updated, Remove: hook.Removed}

// tryEdit stores what the edit changes, unless there are endpoints to be challenged
// first.
func (m *Manager) tryEdit(by hook.Actor, e edit, proofs map[proven]challenge.Result, drafts map[string]*draft) (plan *Plan, done bool, err error) {
	err = m.alone(func() error {
		plan, done, err = m.edit(by, e, proofs, drafts)
		return err
	})
	return plan, done, err
}

// edit is tryEdit. It is called with m.mu held.
func (m *Manager) edit(by hook.Actor, e edit, proofs map[proven]challenge.Result, drafts map[string]*draft) (plan *Plan, done bool, err error) {
	p, err := m.planner(e, proofs, drafts)
	if err != nil {
		return nil, false, err
	}
	if e.dryRun {
		p.plan.Credentials = nil
		for i := range p.plan.Steps {
			if s := &p.plan.Steps[i]; s.Action == Create {
				s.ID = "" // it would be another one the next time
			}
		}
		return &p.plan, true, nil
	}
	if len(p.missing) > 0 {
		return nil, false, nil
	}
	if e.whole && len(p.unproven) > 0 {
		return nil, false, refusal(e.subject, p.unproven)
	}
	if p.change.Empty() && len(p.change.Validations) == 0 {
		return &p.plan, true, nil
	}
	p.audit(by)
	if err := m.store(p.change, p.now); err != nil {
		return nil, false, err
	}
	return &p.plan, true, nil
}

// audit says who did what the steps did. A subscription that is kept as pending was
// made, although its step failed.
func (p *planner) audit(by hook.Actor) {
	for _, s := range p.plan.Steps {
		action, ok := audited[cmp.Or(s.done, s.Action)]
		if !ok {
			continue
		}
		if s.Action == Fail && len(s.Changes) == 0 {
			s.Changes = []string{s.Reason}
		}
		p.change.Audit = append(p.change.Audit, hook.AuditEntry{At: p.now, By: by, Action: action, Kind: s.Kind, Subject: s.ID, Name: s.Name, Changes: s.Changes})
	}
}

// refusal says which endpoints did not prove themselves, by the field that names them.
func refusal(subject string, all []unproven) error {
	var f hook.Faults
	for _, u := range all {
		switch {
		case u.result.Inconclusive():
			return &hook.Error{Kind: hook.Unavailable, Detail: "the endpoint could not be asked: " + u.result.Reason}
		case u.result.Outcome == hook.CannotGetAccessToken:
			f.Add("/custom_header/token_url", "gave no access token: %s", u.result.Reason)
		case u.in == hook.Development:
			f.Add("/development_webhook_url", "did not prove itself: %s", u.result.Reason)
		default:
			f.Add("/event_webhook_url", "did not prove itself: %s", u.result.Reason)
		}
	}
	return f.Err(subject)
}

// challenge asks the endpoints for proof that the edit wants and that there is none of
// yet.
func (m *Manager) challenge(ctx context.Context, e edit, proofs map[proven]challenge.Result, drafts map[string]*draft) error {
	m.mu.Lock()
	p, err := m.planner(e, proofs, drafts)
	m.mu.Unlock()
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var made []*hook.Attempt
	room := make(chan struct{}, proveAtOnce)
	for _, q := range p.missing {
		wg.Go(func() {
			room <- struct{}{}
			defer func() { <-room }()
			r := m.Prober.Prove(ctx, q.url, q.subscription, q.app)
			mu.Lock()
			defer mu.Unlock()
			proofs[q.key()] = r
			made = append(made, r.Attempt(q.subscription))
		})
	}
	wg.Wait()
	m.log(made...)
	return context.Cause(ctx)
}
