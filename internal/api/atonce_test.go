package api

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/switchhook/switchhook/internal/manage"
	"github.com/switchhook/switchhook/internal/memnet"
)

// A hundred programs that ask at once get as many subscriptions as the app may have,
// and the others are told why not, in the words of the contract.
func TestCapOverHTTP(t *testing.T) {
	const programs = 100
	for _, limit := range []int{0, 3} {
		p := newPlatform(t, options{idle: true, cap: limit})
		e := newEndpoint(t)
		c := p.program(p.apply(ownManifest()).Credentials[0], "")
		want := limit
		if limit == 0 {
			want = manage.DefaultMaxSubscriptions
		}
		body := `{"events":["` + cnamEvent + `"],"event_webhook_url":"` + e.url + `","subscription_scope":"account"}`
		fault := fmt.Sprintf(`{"code":1500,"message":"The app has %d event subscriptions, and at most %d are allowed."}`+"\n", want, want)
		var mu sync.Mutex
		made := map[string]bool{}
		var wg sync.WaitGroup
		for range programs {
			wg.Go(func() {
				a := c.call("POST", subscriptions, body)
				mu.Lock()
				defer mu.Unlock()
				switch {
				case a.status == 201:
					made[a.body] = true
				case a.status != 400 || a.body != fault:
					t.Errorf("%d %s", a.status, a.body)
				}
			})
		}
		wg.Wait()
		if n := len(c.list("page_size=300").Rows); n != want || len(made) != want {
			t.Errorf("%d were made and %d are listed, want %d", len(made), n, want)
		}
		if n := p.publish(cnam("x")).Deliveries; n != want {
			t.Errorf("an event has %d deliveries, want %d", n, want)
		}
	}
}

// Once a change was answered, the very next event meets it, while others publish and
// change theirs.
func TestChangesCountAtOnce(t *testing.T) {
	const programs, rounds = 4, 12
	// Without sockets between: what takes a moment to count has no moment here.
	var net memnet.Net
	e := &endpoint{release: make(chan struct{})}
	net.Handle(t, "good.test", e.handler(t))
	p := newPlatform(t, options{cap: 1000, net: &net})
	offerOrders(t, p)
	m := ownManifest()
	for i := range programs {
		m.Accounts[0].Users = append(m.Accounts[0].Users, manage.User{ID: fmt.Sprint("u", i)})
	}
	c := p.program(p.apply(m).Credentials[0], "")

	done := make(chan struct{})
	var others sync.WaitGroup
	for range 2 {
		others.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					p.publish(order("carrier", "eve"))
				}
			}
		})
	}
	var wg sync.WaitGroup
	for i := range programs {
		user := fmt.Sprint("u", i)
		wg.Go(func() {
			owed := func(after string, want int) {
				t.Helper()
				// In a stream, an array and alone: each is matched in a way of its own.
				for _, kind := range []string{"stream", "array", "alone"} {
					body := order("carrier", user)
					switch kind {
					case "stream":
						a := p.want(202, "POST", "/v2/events", body, ndjson)
						if !strings.Contains(a.body, fmt.Sprintf(`"deliveries":%d`, want)) {
							t.Errorf("%s, in a stream: %s, want %d deliveries", after, a.body, want)
						}
					case "array":
						a := p.want(202, "POST", "/v2/events", "["+body+"]")
						if !strings.Contains(a.body, fmt.Sprintf(`"deliveries":%d`, want)) {
							t.Errorf("%s, in an array: %s, want %d deliveries", after, a.body, want)
						}
					case "alone":
						if n := p.publish(body).Deliveries; n != want {
							t.Errorf("%s: %d deliveries, want %d", after, n, want)
						}
					}
				}
			}
			for range rounds {
				id := c.creates(OwnSubscription{Events: []string{orderEvent}, URL: "http://good.test/hook", Scope: "user", Users: []string{user}})
				owed("created", 1)
				c.want(204, "DELETE", subscriptions+"?event_subscription_id="+id+"&user_ids="+user, "")
				owed("unsubscribed", 0)
				c.want(204, "PATCH", subscriptions+"/"+id, `{"account_id":"carrier","user_ids":["`+user+`"]}`)
				owed("subscribed", 1)
				p.want(204, "POST", operator+"/subscriptions/"+id+"/disable", "")
				owed("disabled", 0)
				if v := read[Validation](t, p.want(200, "POST", operator+"/subscriptions/"+id+"/validate", "")); !v.Valid {
					t.Errorf("validated: %+v", v)
				}
				owed("validated", 1)
				c.want(204, "DELETE", subscriptions+"/"+id, "")
				owed("deleted", 0)
			}
		})
	}
	wg.Wait()
	close(done)
	others.Wait()
}
