// Package deliver carries accepted events to their endpoints.
//
// A [Sender] has some deliveries in hand, in memory: those that its own intake
// gave it, and those it claimed from the store. It sends them, fairly among
// endpoints, and records each outcome. All it must remember between two attempts
// is in the store, so a crash costs at most one repeated request, which the
// receiver knows by its request id.
//
// Each endpoint has a lane, which bounds what it may ask of the whole: requests in
// flight, deliveries in memory, and none while its circuit breaker is open. What
// does not fit waits in the store, at no cost to anybody.
package deliver

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/outbound"
)

// Store keeps what is outstanding.
type Store interface {
	Join(now time.Time, lease time.Duration) (Node, error)
	Renew(n Node, has Holding, now time.Time) (nodes int, err error)
	Leave(n Node) error
	NextLapse(self Node, now time.Time) (lapsed bool, next time.Time, err error)

	Backlogs(ctx context.Context) ([]Backlog, error)
	Claim(ctx context.Context, n Node, now time.Time, want []Want) ([]Claim, error)
	Finish(*Finished)
	Cancel(k hook.SubscriptionKey, generation int64, reason string, now time.Time, limit int) (more bool, err error)
}

// Client makes attempts.
type Client interface {
	Endpoint(*hook.Subscription, *hook.App) *outbound.Endpoint
	Send(context.Context, *outbound.Endpoint, outbound.Message) outbound.Result
}

// Node is a process that takes deliveries in hand. What it has in hand is its own
// until its lease lapses or it leaves.
type Node struct {
	ID int64
	// Slot goes into the ids of the events it accepts, which are all higher than After:
	// that of the last event in the store when the others could know of this node.
	Slot  int
	After hook.EventID
	// Lease is how long the node may be silent. 0: for ever, where only one process
	// can deliver at a time.
	Lease time.Duration
}

// Holding is what a node says of itself: that it has so many deliveries in hand, for so
// many lanes.
type Holding struct {
	Deliveries, Lanes int
	// Decided is an id up to which it is decided of all events that the node accepts
	// whether they are stored.
	Decided hook.EventID
}

// Outstanding is a delivery with its event.
type Outstanding struct {
	hook.Delivery
	Generation int64
	Event      *hook.Event
}

// Want asks for outstanding deliveries of a subscription.
type Want struct {
	Subscription hook.SubscriptionKey
	// Limit and Bytes bound how many deliveries, and how much of their bodies. One
	// is given whatever its size.
	Limit, Bytes int
}

// Claim is what was given.
type Claim struct {
	Subscription hook.SubscriptionKey
	// Deliveries are in the claiming node's hand now.
	Deliveries []Outstanding
	// More says that there are others due which nobody has in hand.
	More bool
	// Next is when the next is due that is not due yet: the zero time if there is
	// none.
	Next time.Time
}

// Backlog says from when on a subscription has outstanding deliveries.
type Backlog struct {
	Subscription hook.SubscriptionKey
	// Next is when the first is due. It is zero if there are first attempts.
	Next time.Time
}

// Finished is an attempt with what it means for its delivery.
type Finished struct {
	Attempt hook.Attempt
	// Was and Now are the delivery before and after.
	Was, Now hook.Delivery
	Node     int64
	// Keep leaves it in the node's hand. Otherwise, if more attempts follow, it goes
	// back to where any node may take it.
	Keep bool
	// Lazy says that nobody waits for it to be recorded, so it may wait for others to
	// be recorded with.
	Lazy bool
	// Done is called when the attempt is durable, or with the reason why it is not.
	// It is called by the goroutine that commits, so it must not wait for anything.
	Done func(error)
}

// Config says how to deliver. Zero values stand for defaults.
type Config struct {
	// Schedule holds the pauses between attempts. Default: the contract's.
	Schedule hook.Schedule
	// InFlight is how many requests one endpoint gets at a time. Default 16.
	InFlight int
	// MaxInFlight is how many requests are under way at a time in all. Default 4096.
	MaxInFlight int
	// StopTimeout is how long what is in flight may take to finish when the sender is
	// stopped. Default 10 s.
	StopTimeout time.Duration
	// Lease is how long this node may be silent before others take over what it has
	// in hand. Default: for ever, for databases that only one process delivers from.
	Lease time.Duration
	// Joined, if set, is called whenever the sender has become a node, before it takes
	// anything in hand. It does so again if others have taken it for dead.
	Joined func(context.Context, Node) error
	// Decided, if set, returns an id up to which it is decided of all events that this node
	// accepts whether they are stored. The other nodes are told with each renewal of the
	// lease.
	Decided func(now time.Time) hook.EventID
	// Tell, if set, lets the other nodes know of subscriptions that have deliveries in
	// nobody's hand which this one has no room for. They call [Sender.Help] then.
	Tell func(...hook.SubscriptionKey)
	// Observe, if set, is told of every log row when it is durable. It must not wait.
	Observe func(hook.Attempt, *hook.Event)
	// Attempted, if set, is told of every attempt when it has ended, by the goroutine
	// that made it, and of deliveries that were called off instead. It must not wait, nor
	// keep the attempt.
	Attempted func(*hook.Attempt, *hook.Event)
	Log       *slog.Logger
}

// How much is in hand at most, that is, in memory. It is shared among the
// subscriptions that have something in hand, of which each gets at least a little.
const (
	maxHeld      = 32 << 10
	maxHeldBytes = 64 << 20

	maxShare = 1024
	minShare = 4

	// claimRows is how much is claimed at a time, so that nobody has to wait long
	// for the store.
	claimRows = 256

	// idleClaimRows is the same for an endpoint that nothing is sent to.
	idleClaimRows = 32

	// cancelRows is the same for calling deliveries off.
	cancelRows = 200

	// keepIdle is how many workers wait for work; more of them end.
	keepIdle = 64

	// recordAgain is the pause before recording what could not be recorded.
	recordAgain = time.Second
)

// Sender delivers. Make one with [New].
type Sender struct {
	Config
	store     Store
	client    Client
	directory *hook.Directory

	mu    sync.Mutex
	node  Node
	nodes int // that share the work
	// troubled is when this node could not say that it lives.
	troubled time.Time
	telling  map[hook.SubscriptionKey]bool // what the others are about to be told
	running  bool
	closing  bool
	queues   map[hook.SubscriptionKey]*queue
	lanes    map[string]*lane
	ready    ring // lanes whose turn is to come
	alarms   alarms
	alarm    chan struct{} // the first alarm is another one
	held     int
	bytes    int
	active   int // queues that have something in hand
	flying   int // attempts under way

	workers int
	idle    int
	work    *sync.Cond
	settled *sync.Cond // a worker ended, or an attempt was recorded

	loads     []*queue // to be loaded or swept, in turn
	loading   chan struct{}
	beat      chan struct{} // say that we live
	look      chan struct{} // look for what is outstanding
	recording int           // attempts that are not durable yet
	failed    []*job        // of those, the ones to be recorded again

	fallbacks *rate.Limiter
	sending   context.Context // of attempts; ends when they have to be cut off
	cut       context.CancelFunc
}

// New returns a Sender. It takes nothing in hand until it runs.
func New(s Store, d *hook.Directory, cl Client, c Config) *Sender {
	if c.Schedule == nil {
		c.Schedule = hook.DefaultSchedule()
	}
	if c.InFlight == 0 {
		c.InFlight = 16
	}
	if c.MaxInFlight == 0 {
		c.MaxInFlight = 4096
	}
	if c.StopTimeout == 0 {
		c.StopTimeout = 10 * time.Second
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	sender := &Sender{
		Config: c, store: s, client: cl, directory: d,
		queues: map[hook.SubscriptionKey]*queue{}, lanes: map[string]*lane{},
		alarm: make(chan struct{}, 1), loading: make(chan struct{}, 1), beat: make(chan struct{}, 1), look: make(chan struct{}, 1),
		nodes: 1, telling: map[hook.SubscriptionKey]bool{},
		fallbacks: rate.NewLimiter(fallbackRate, fallbackBurst),
	}
	sender.work, sender.settled = sync.NewCond(&sender.mu), sync.NewCond(&sender.mu)
	return sender
}

// Start makes the sender a node, finds out what is outstanding, and lets it take
// deliveries in hand: later ones have to wait behind those. Every Start wants a Run.
func (s *Sender) Start(ctx context.Context) (Node, error) {
	s.mu.Lock()
	s.sending, s.cut = context.WithCancel(context.WithoutCancel(ctx))
	s.mu.Unlock()
	return s.join(ctx)
}

// Run delivers until ctx is done, then lets what is in flight finish, gives the
// rest back and returns.
func (s *Sender) Run(ctx context.Context) error {
	defer s.cut()
	var helpers sync.WaitGroup
	helpers.Go(func() { s.tick(ctx) })
	helpers.Go(func() { s.load(ctx) })
	if s.Lease > 0 {
		helpers.Go(func() { s.renew(ctx) })
		helpers.Go(func() { s.watch(ctx) })
	}
	<-ctx.Done()
	helpers.Wait()
	s.stop()
	return s.store.Leave(s.Current())
}

// remember takes note of what is outstanding. It is called with s.mu held.
func (s *Sender) remember(backlogs []Backlog) {
	for _, b := range backlogs {
		q := s.queue(b.Subscription)
		if b.Next.IsZero() {
			q.stored = true
			s.wantLoad(q)
		} else {
			s.nextDue(q, b.Next)
		}
	}
}

// sleep reports false if ctx was done first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// stop lets attempts finish that are under way, cuts off those that take too long,
// and waits until all are recorded.
func (s *Sender) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closing = true
	s.work.Broadcast()
	late := time.AfterFunc(s.StopTimeout, s.cut)
	defer late.Stop()
	for s.workers > 0 {
		s.settled.Wait()
	}
	s.recordFailed()
	giveUp := false
	later := time.AfterFunc(s.StopTimeout, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		giveUp = true
		s.settled.Broadcast()
	})
	defer later.Stop()
	for s.recording > 0 && !giveUp {
		s.settled.Wait()
	}
	if n := s.recording + len(s.failed); n > 0 {
		s.Log.Error("attempts could not be recorded; they will be made again", "attempts", n)
	}
}

// Changed tells the sender that a subscription was changed.
func (s *Sender) Changed(k hook.SubscriptionKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.queue(k)
	s.kick(q.lane) // what it has in hand may go to another endpoint now
	s.drop(q)
	s.limitAll()
}

// CalledOff tells the sender that a subscription was disabled or deleted. What is
// outstanding of an earlier generation is called off; that looks at all of it.
func (s *Sender) CalledOff(k hook.SubscriptionKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.queue(k)
	s.kick(q.lane) // as above
	q.sweep = true
	s.wantLoad(q)
	s.limitAll()
}

// Resent tells the sender that a delivery of a subscription was made due again.
func (s *Sender) Resent(k hook.SubscriptionKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.queue(k)
	s.markStored(q)
}
