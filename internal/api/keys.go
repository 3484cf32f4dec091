package api

import (
	"context"
	"sync"
	"time"

	"github.com/switchhook/switchhook/internal/hook"
)

// keyLife is how long a key that was found valid is not looked up again, and so
// how long a key may still be used after it was revoked.
const keyLife = time.Second

// keyCache keeps the operator keys that are in use at the moment.
type keyCache struct {
	mu    sync.Mutex
	found map[hook.SecretHash]keyEntry // by hash
}

type keyEntry struct {
	key   *hook.OperatorKey
	until time.Time
}

// find returns the key with this secret, or nil if there is none that is valid.
func (c *keyCache) find(ctx context.Context, db Store, secret hook.Secret) (*hook.OperatorKey, error) {
	hash := hook.HashSecret(secret)
	now := time.Now()
	c.mu.Lock()
	e, ok := c.found[hash]
	c.mu.Unlock()
	if ok && now.Before(e.until) {
		return e.key, nil
	}
	k, err := db.FindKey(ctx, secret)
	c.mu.Lock()
	defer c.mu.Unlock()
	if k == nil || err != nil {
		delete(c.found, hash)
		return nil, err
	}
	if c.found == nil || len(c.found) > 1000 {
		c.found = map[hook.SecretHash]keyEntry{}
	}
	c.found[hash] = keyEntry{k, now.Add(keyLife)}
	return k, nil
}
