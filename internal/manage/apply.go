package manage

import (
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
	proofs, drafts := map[proven]challenge.Result{}, map[string]*draft{}
	for round := 0; ; round++ {
		p, done, err := m.tryApply(by, mf, dryRun, proofs, drafts)
		switch {
		case done || err != nil:
			return p, err
		case round == replan:
			return nil, &hook.Error{Kind: hook.Conflict, Subject: "manifest", Detail: "the platform kept changing while its endpoints were challenged; apply it again"}
		}
		if err := m.challenge(ctx, mf, proofs, drafts); err != nil {
			return nil, err
		}
	}
}

func (m *Manager) planner(proofs map[proven]challenge.Result, drafts map[string]*draft) *planner {
	return &planner{m: m, now: time.Now(), proofs: proofs, drafts: drafts}
}

// audited says what the audit trail calls what a step does.
var audited = map[Action]hook.Action{Create: hook.Created, Update: hook.Updated, Remove: hook.Removed}

// tryApply stores what the manifest changes, unless there are endpoints to be
// challenged first.
func (m *Manager) tryApply(by hook.Actor, mf *Manifest, dryRun bool, proofs map[proven]challenge.Result, drafts map[string]*draft) (plan *Plan, done bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.planner(proofs, drafts)
	p.make(mf)
	if err := p.faults.Err("manifest"); err != nil {
		return nil, false, err
	}
	if dryRun {
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
	if p.change.Empty() && len(p.change.Validations) == 0 {
		return &p.plan, true, nil
	}
	for _, s := range p.plan.Steps {
		if action, ok := audited[s.Action]; ok {
			p.change.Audit = append(p.change.Audit, hook.AuditEntry{At: p.now, By: by, Action: action, Kind: s.Kind, Subject: s.ID, Name: s.Name, Changes: s.Changes})
		}
	}
	if err := m.store(p.change, p.now); err != nil {
		return nil, false, err
	}
	return &p.plan, true, nil
}

// challenge asks the endpoints for proof that the manifest wants and that there is
// none of yet.
func (m *Manager) challenge(ctx context.Context, mf *Manifest, proofs map[proven]challenge.Result, drafts map[string]*draft) error {
	m.mu.Lock()
	p := m.planner(proofs, drafts)
	p.make(mf)
	m.mu.Unlock()
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
