package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/switchhook/switchhook/internal/pgtest"
)

// A platform whose database is stopped, or dies, goes on by itself when the database is
// back, and delivers what it has acknowledged. Meanwhile producers are told to try
// again later.
func TestDatabaseGoesAway(t *testing.T) {
	server := pgtest.Start(t)
	in := installOn(t, server.URL())
	box := openInbox(t, "inbox", "secret-of-inbox")
	p := in.serve("--retry-steps", "200ms,200ms,200ms")
	p.subscribe(box)

	var mu sync.Mutex
	acked, refused := map[string]bool{}, 0
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer func() {
		stop()
		p.kill() // if the test fails, nobody answers any more
		wg.Wait()
	}()
	for _, name := range []string{"A", "B", "C"} {
		wg.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				event := fmt.Sprint(name, n)
				res, body, err := p.call(context.WithoutCancel(ctx), http.DefaultClient, "POST", "/v2/events", "application/json", strings.NewReader(numbered(event)))
				if err != nil {
					t.Errorf("%v", err)
					return
				}
				switch res.StatusCode {
				case http.StatusAccepted:
					mu.Lock()
					acked[event] = true
					mu.Unlock()
				case http.StatusServiceUnavailable:
					mu.Lock()
					refused++
					mu.Unlock()
					if res.Header.Get("Retry-After") == "" {
						t.Errorf("refused without saying when to try again: %s", body)
					}
					time.Sleep(10 * time.Millisecond) // a producer would wait for longer
				default:
					t.Errorf("status %d: %s", res.StatusCode, body)
				}
			}
		})
	}
	count := func(n *int) int {
		mu.Lock()
		defer mu.Unlock()
		if n == nil {
			return len(acked)
		}
		return *n
	}
	for i, end := range []func() error{server.Stop, server.Kill, server.Stop, server.Kill} {
		before := count(nil)
		waitFor(t, "more acknowledgements", func() bool { return count(nil) >= before+100 })
		must(t, end())
		if i > 1 { // else it is back before anybody notices
			before := count(&refused)
			waitFor(t, "a refusal", func() bool { return count(&refused) > before })
		}
		must(t, server.Run())
	}
	before := count(nil)
	waitFor(t, "more acknowledgements", func() bool { return count(nil) >= before+100 })
	stop()
	wg.Wait()
	waitFor(t, "everything that was acknowledged", func() bool {
		at := box.numbers()
		for event := range acked {
			if _, ok := at[event]; !ok {
				return false
			}
		}
		return true
	})
	waitFor(t, "the last delivery's end", func() bool {
		var list struct{ Deliveries []any }
		p.ask("GET", operator+"/deliveries?state=waiting", "", http.StatusOK, &list)
		return len(list.Deliveries) == 0
	})
	t.Logf("%d acknowledged, %d refused, %d repeated", len(acked), refused, box.repeated)
	p.stop()
	for _, f := range box.faults {
		t.Error(f)
	}
}

// A password does not show, wherever it stands in the URL.
func TestPasswordsOfDatabases(t *testing.T) {
	for database, want := range map[string]string{
		"postgres://ann:secret@db.example.com/hooks":            "postgres://ann:xxxxx@db.example.com/hooks",
		"postgres://db.example.com/hooks?password=secret&x=y":   "postgres://db.example.com/hooks?password=xxxxx&x=y",
		"postgresql://ann:secret@a:1,b:2/hooks?sslmode=require": "postgresql://ann:xxxxx@a:1,b:2/hooks?sslmode=require",
		"sqlite:switchhook.db":                                  "sqlite:switchhook.db",
	} {
		if got := withoutPassword(database); got != want {
			t.Errorf("%s is shown as %s, want %s", database, got, want)
		}
	}
}
