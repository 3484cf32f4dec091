package deliver_test

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/switchhook/switchhook/internal/deliver"
	"github.com/switchhook/switchhook/internal/outbound"
)

// How the sender stands can be asked at any time, also while endpoints come and go; and
// when nothing is left to do, nothing is in hand.
func TestStanding(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlatform(t, deliver.Config{InFlight: 1}, outbound.Config{})
		const endpoints, events = 600, 3
		let := make(chan struct{})
		for i := range endpoints {
			host := fmt.Sprintf("e%d.test", i)
			p.net.Handle(t, host, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-let }))
			p.subscribe("http://" + host + "/")
		}
		defer p.run()()
		p.publish(events)
		synctest.Wait()
		want := deliver.Standing{Nodes: 1, Lanes: endpoints, InHand: endpoints * events, Deepest: events, InFlight: endpoints, Bytes: endpoints * events * len(event(0))}
		got := p.sender.Standing()
		if got.Bytes < want.Bytes { // event_ts is added to each
			t.Errorf("%d bytes in hand, want %d at least", got.Bytes, want.Bytes)
		}
		if got.Bytes = want.Bytes; got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
		var asking sync.WaitGroup
		for range 2 {
			asking.Go(func() {
				for range 200 {
					if v := p.sender.Standing(); v.Lanes > endpoints || v.Deepest > events || v.InFlight > endpoints {
						t.Errorf("%+v", v)
					}
				}
			})
		}
		close(let)
		asking.Wait()
		synctest.Wait()
		if got := p.sender.Standing(); got != (deliver.Standing{Nodes: 1}) {
			t.Errorf("in the end: %+v", got)
		}
	})
}
