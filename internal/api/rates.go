package api

import (
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/switchhook/switchhook/internal/hook"
)

// weight is the label that the public API's documentation gives a call.
type weight uint8

const (
	light weight = iota
	medium
	heavy
	weights
)

func (w weight) String() string { return [...]string{"Light", "Medium", "Heavy"}[w] }

// Rates are how many calls of each label an account may make in a second. 0: as many
// as it likes.
type Rates struct{ Light, Medium, Heavy int }

func (r Rates) of(w weight) int { return [...]int{r.Light, r.Medium, r.Heavy}[w] }

// budgets count the calls of accounts.
type budgets struct {
	mu sync.Mutex
	by map[string]*[weights]*rate.Limiter
}

// maxBudgets bounds how many accounts are remembered. One that is forgotten begins
// with a full budget.
const maxBudgets = 10_000

// take takes a call off an account's budget, or says how long to wait for the next. The
// answer's header tells how much is left.
func (b *budgets) take(w http.ResponseWriter, account string, kind weight, perSecond int, now time.Time) error {
	if perSecond <= 0 {
		return nil
	}
	b.mu.Lock()
	if b.by == nil || len(b.by) > maxBudgets {
		b.by = map[string]*[weights]*rate.Limiter{}
	}
	all := b.by[account]
	if all == nil {
		all = &[weights]*rate.Limiter{}
		b.by[account] = all
	}
	if all[kind] == nil {
		all[kind] = rate.NewLimiter(rate.Limit(perSecond), perSecond)
	}
	l := all[kind]
	b.mu.Unlock()

	ok := l.AllowN(now, 1)
	left := max(0, l.TokensAt(now))
	full := now.Add(time.Duration((float64(perSecond) - left) / float64(perSecond) * float64(time.Second)))
	h := w.Header()
	h.Set("X-RateLimit-Category", kind.String())
	h.Set("X-RateLimit-Type", "QPS")
	h.Set("X-RateLimit-Limit", strconv.Itoa(perSecond))
	h.Set("X-RateLimit-Remaining", strconv.Itoa(int(left)))
	h.Set("X-RateLimit-Reset", full.Add(time.Second-1).UTC().Format(time.RFC3339)) // not earlier than it is true
	if ok {
		return nil
	}
	wait := time.Duration((1 - left) / float64(perSecond) * float64(time.Second))
	return &hook.Error{Kind: hook.TooMany, Detail: fmt.Sprintf("the limit of %d %s calls in a second is reached for this account", perSecond, kind), Wait: wait}
}
