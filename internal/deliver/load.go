package deliver

import (
	"context"
	"math"
	"time"
)

// wantLoad asks for the queue to be loaded from the store, if there is something to
// load and room for it, or swept. It is called with s.mu held.
func (s *Sender) wantLoad(q *queue) {
	if q.loading || !s.running || s.closing {
		return
	}
	n, _ := s.share()
	// With some in hand it is asked for again when one of them has ended.
	if !q.sweep && (!q.stored && !q.help || q.held > n/2 || q.held > 0 && s.full()) {
		return
	}
	q.loading = true
	s.loads = append(s.loads, q)
	select {
	case s.loading <- struct{}{}:
	default:
	}
}

// load loads queues in turn until ctx is done.
func (s *Sender) load(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.loading:
		}
		for ctx.Err() == nil { // what cannot be loaded is asked for again
			wants, queues := s.wants()
			if len(queues) == 0 {
				break
			}
			if err := s.loadThese(ctx, wants, queues); err != nil && ctx.Err() == nil {
				s.Log.Error("outstanding deliveries could not be loaded; trying again", "err", err)
				if !sleep(ctx, time.Second) {
					return
				}
			}
		}
	}
}

// want is a Want with what its queue looked like then.
type want struct {
	Want
	stored bool
	seen   int
	asked  int
	sweep  bool
	// generation and reason are for sweeping.
	generation int64
	reason     string
}

// wants takes the next queues off the list, as many as fit into one claim.
func (s *Sender) wants() (wants []want, queues []*queue) {
	s.mu.Lock()
	defer s.mu.Unlock()
	rows := 0
	for len(s.loads) > 0 && rows < claimRows {
		q := s.loads[0]
		s.loads = s.loads[1:]
		s.refresh(q)
		n, bytes := s.share()
		limit := min(claimRows-rows, max(1, min(n-q.held, maxHeld-s.held-rows)))
		if !q.lane.breaker.until.IsZero() {
			limit = min(limit, idleClaimRows)
		}
		w := want{Want: Want{q.key, limit, max(1, min(bytes-q.bytes, maxHeldBytes-s.bytes))}, stored: q.stored, seen: q.seen, asked: q.asked}
		if q.sweep || q.subscription == nil {
			q.sweep = false
			w.sweep, w.generation, w.reason = true, math.MaxInt64, "the subscription was deleted"
			if q.subscription != nil {
				w.generation, w.reason = q.subscription.Generation, cancelReason(q)
			}
		}
		rows += w.Limit
		wants, queues = append(wants, w), append(queues, q)
	}
	return wants, queues
}

// loadThese sweeps and loads the queues. On an error all of them are asked for
// again.
func (s *Sender) loadThese(ctx context.Context, wants []want, queues []*queue) error {
	claims := make([]Claim, len(wants))
	again := make([]bool, len(wants)) // to be swept further
	node := s.Current()
	var asked []Want
	var index []int
	var err error
	for i, w := range wants {
		if w.sweep && err == nil {
			again[i], err = s.store.Cancel(w.Subscription, w.generation, w.reason, time.Now(), cancelRows)
		}
		if !again[i] {
			asked, index = append(asked, w.Want), append(index, i)
		}
	}
	if err == nil && len(asked) > 0 {
		var got []Claim
		got, err = s.store.Claim(ctx, node, time.Now(), asked)
		for j, c := range got {
			claims[index[j]] = c
		}
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	for i, q := range queues {
		q.loading = false
		// What another node has claimed, which this one was, is not in hand any more.
		if lost := node.ID != s.node.ID; err != nil || again[i] || lost {
			q.sweep = q.sweep || again[i] || err != nil && wants[i].sweep
			q.stored = q.stored || err != nil || lost
			s.wantLoad(q)
			continue
		}
		s.loaded(q, wants[i], claims[i])
	}
	return err
}

// loaded takes what was claimed in hand. It is called with s.mu held.
func (s *Sender) loaded(q *queue, w want, c Claim) {
	for _, d := range c.Deliveries {
		j := &job{Outstanding: d, node: s.node.ID, queue: q}
		s.hold(q, len(d.Event.Body))
		if d.Due.IsZero() {
			q.first.push(j)
		} else {
			q.late.push(j)
		}
	}
	if !c.Next.IsZero() {
		s.nextDue(q, c.Next)
	}
	// What was stored while the claim was under way, the claim may not have seen.
	if w.stored {
		q.stored, q.help = c.More || q.seen != w.seen, q.asked != w.asked
	} else {
		q.stored, q.help = q.seen != w.seen, c.More || q.asked != w.asked
	}
	if c.More {
		s.tell(q)
	}
	s.kick(q.lane)
	s.wantLoad(q)
	s.drop(q)
}
