package deliver

import (
	"context"
	"errors"
	"time"

	"github.com/switchhook/switchhook/internal/hook"
)

const (
	// beats is how often a node renews its lease before it would lapse.
	beats = 3

	// lookEvery is how often a node looks for what nobody has in hand, in case it was
	// not told.
	lookEvery = 15 * time.Second

	// tellAfter is how long what is to be told to the other nodes gathers.
	tellAfter = 50 * time.Millisecond

	// joinAgain is the pause before joining again.
	joinAgain = 250 * time.Millisecond
)

// renew keeps the lease. If others have taken over what this node had in hand, it joins
// them as a new one.
func (s *Sender) renew(ctx context.Context) {
	t := time.NewTimer(s.Lease / beats)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		case <-s.beat:
		}
		nodes, err := s.sayIt(s.Current())
		switch {
		case err != nil:
			s.Log.Warn("the lease could not be renewed; trying again", "err", err)
			s.trouble()
		case nodes == 0:
			s.Log.Warn("this node was silent for longer than its lease, so others have taken over what it had in hand; it joins them anew")
			s.rejoin(ctx)
		default:
			s.setNodes(nodes)
		}
		t.Reset(s.Lease / beats)
	}
}

// Current returns the node that this sender is.
func (s *Sender) Current() Node {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.node
}

// trouble takes note that this node was cut off: so may the others have been.
func (s *Sender) trouble() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.troubled = time.Now()
}

// Holding returns what is in hand.
func (s *Sender) Holding() Holding {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Holding{Deliveries: s.held, Lanes: len(s.lanes)}
}

// sayIt says that the node lives, and what there is to know of it.
func (s *Sender) sayIt(n Node) (nodes int, err error) {
	now, has := time.Now(), s.Holding()
	if s.Decided != nil {
		has.Decided = s.Decided(now)
	}
	return s.store.Renew(n, has, now)
}

// Nodes returns how many nodes share the work, as far as this one knows.
func (s *Sender) Nodes() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.nodes
}

// setNodes divides the limits of endpoints among so many nodes.
func (s *Sender) setNodes(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n != s.nodes {
		s.nodes = n
		s.limitAll()
	}
}

// rejoin gives up what was in hand and makes the sender another node. Attempts that are
// under way are let finish: they are logged, but how their deliveries stand is for
// those to say who have them now.
func (s *Sender) rejoin(ctx context.Context) {
	s.mu.Lock()
	s.running, s.troubled = false, time.Now()
	for _, q := range s.queues {
		for _, f := range []*fifo{&q.first, &q.late} {
			for f.head != nil {
				s.unhold(q, len(f.pop().Event.Body))
			}
		}
	}
	s.mu.Unlock()
	for {
		node, err := s.join(ctx)
		if err == nil {
			s.Log.Info("joined again", "node", node.ID)
			return
		}
		s.Log.Warn("could not join again; trying again", "err", err)
		if !sleep(ctx, joinAgain) {
			return
		}
	}
}

// join makes the sender a node, finds out what is outstanding, and lets it take
// deliveries in hand.
func (s *Sender) join(ctx context.Context) (Node, error) {
	node, err := s.store.Join(time.Now(), s.Lease)
	if err != nil {
		return Node{}, err
	}
	if s.Joined != nil {
		err = s.Joined(ctx, node)
	}
	nodes := 1
	if err == nil && s.Lease > 0 {
		nodes, err = s.sayIt(node) // before that, who follows events waits for it
	}
	var backlogs []Backlog
	if err == nil {
		backlogs, err = s.store.Backlogs(ctx)
	}
	if err != nil {
		return Node{}, errors.Join(err, s.store.Leave(node))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.node, s.nodes, s.running = node, max(nodes, 1), true
	s.limitAll()
	s.remember(backlogs)
	return node, nil
}

// watch takes over what nodes had in hand whose lease has lapsed, and now and then looks
// for what nobody has in hand.
func (s *Sender) watch(ctx context.Context) {
	looked := time.Now()
	unsure := false // a node may have been given up whose deliveries were not taken over
	for {
		wait := s.Lease
		if s.steady() {
			lapsed, next, err := s.store.NextLapse(s.Current(), time.Now())
			if lapsed {
				s.Log.Warn("a node has gone silent; taking over what it had in hand")
			}
			if unsure = unsure || lapsed || err != nil; unsure && err == nil {
				err = s.takeOver(ctx)
				unsure = err != nil
			}
			if err != nil {
				s.Log.Warn("could not look for nodes that have gone silent; trying again", "err", err)
				wait = min(wait, time.Second)
			} else if !next.IsZero() {
				wait = min(wait, time.Until(next))
			}
		}
		told := false
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		case <-s.look:
			told = true
		}
		if told || time.Since(looked) >= lookEvery {
			looked = time.Now()
			if err := s.takeOver(ctx); err != nil && ctx.Err() == nil {
				s.Log.Warn("could not look for what nobody has in hand; trying again", "err", err)
				s.Look()
				if !sleep(ctx, joinAgain) {
					return
				}
			}
		}
	}
}

// steady reports whether this node has not been cut off lately. If it was, so may
// others have been, who are about to say that they live.
func (s *Sender) steady() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.troubled.IsZero() || time.Since(s.troubled) >= s.Lease
}

// takeOver finds out what is outstanding, anew.
func (s *Sender) takeOver(ctx context.Context) error {
	backlogs, err := s.store.Backlogs(ctx)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range backlogs {
		q := s.queue(b.Subscription)
		if b.Next.IsZero() {
			s.help(q)
		} else {
			s.nextDue(q, b.Next)
		}
		s.drop(q)
	}
	return nil
}

// Help tells the sender that subscriptions have deliveries in nobody's hand, which
// another node has no room for.
func (s *Sender) Help(keys []hook.SubscriptionKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range keys {
		q := s.queue(k)
		s.help(q)
		s.drop(q)
	}
}

// help has something loaded for the queue if there is room. What this node accepts
// meanwhile need not wait behind that. It is called with s.mu held.
func (s *Sender) help(q *queue) {
	q.help = true
	q.asked++
	s.wantLoad(q)
}

// Look tells the sender that any subscription may have deliveries in nobody's hand.
func (s *Sender) Look() { poke(s.look) }

// Beat makes the sender say that it lives, and find out how many others do.
func (s *Sender) Beat() { poke(s.beat) }

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // it is about to look
	}
}

// tell lets the other nodes know soon that the queue's subscription has more in the store
// than this node can take in hand. It is called with s.mu held.
func (s *Sender) tell(q *queue) {
	if s.Tell == nil || s.nodes < 2 {
		return
	}
	if len(s.telling) == 0 {
		time.AfterFunc(tellAfter, func() {
			s.mu.Lock()
			keys := make([]hook.SubscriptionKey, 0, len(s.telling))
			for k := range s.telling {
				keys = append(keys, k)
			}
			clear(s.telling)
			s.mu.Unlock()
			s.Tell(keys...)
		})
	}
	s.telling[q.key] = true
}
