package api

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/switchhook/switchhook/internal/deliver"
	"github.com/switchhook/switchhook/internal/memnet"
)

// How nodes look: none, one that has a lease, and one that needs none.
func TestNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlatform(t, options{idle: true, net: &memnet.Net{}})
		text := shown(p, "GET "+operator+"/nodes")
		n, err := p.db.Join(time.Now(), 4*time.Second)
		must(t, err)
		time.Sleep(time.Second)
		_, err = p.db.Renew(n, deliver.Holding{Deliveries: 1024, Lanes: 3}, time.Now())
		must(t, err)
		_, err = p.db.Join(time.Now(), 0)
		must(t, err)
		golden(t, "nodes.golden", text+shown(p, "GET "+operator+"/nodes"))
	})
}
