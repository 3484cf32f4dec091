package inventory_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/switchhook/switchhook/internal/catalog"
	"github.com/switchhook/switchhook/internal/deliver"
	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/intake"
	"github.com/switchhook/switchhook/internal/inventory"
	"github.com/switchhook/switchhook/internal/memnet"
	"github.com/switchhook/switchhook/internal/number"
	"github.com/switchhook/switchhook/internal/outbound"
	"github.com/switchhook/switchhook/internal/seal"
	"github.com/switchhook/switchhook/internal/store"
)

// Carriers learn of a change in the instant in which it is made, each of its own numbers,
// and of nothing that did not change.
func TestDelivered(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		key, err := seal.NewKey(bytes.Repeat([]byte{7}, 32))
		must(t, err)
		log := slog.New(slog.NewTextHandler(t.Output(), nil))
		db, err := store.Open(t.Context(), store.Options{Database: "sqlite:" + filepath.Join(dir, "test.db"), Key: key, Deliver: true, Log: log})
		must(t, err)
		defer func() { must(t, db.Close()) }()

		var mu sync.Mutex
		var got []string
		start := time.Now()
		nw := &memnet.Net{}
		c := hook.Change{Accounts: []*hook.Account{{ID: "customer"}, {ID: "carrier"}}}
		for _, code := range []int32{1, 2} {
			name := fmt.Sprint("carrier-", code)
			nw.Handle(t, name+".test", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				var body bytes.Buffer
				_, _ = body.ReadFrom(r.Body)
				mu.Lock()
				defer mu.Unlock()
				got = append(got, fmt.Sprintf("%v %s %s", time.Since(start), name, body.String()))
			}))
			c.Apps = append(c.Apps, &hook.App{ID: name, Account: "carrier", Name: name, ClientID: name, Scopes: []string{"number_management:read:peering_numbers_cnam:admin"},
				CarrierCodes: []int32{code}, SecretToken: "a-secret-token-for-tests"})
			c.Subscriptions = append(c.Subscriptions, &hook.Subscription{ID: name, Key: hook.SubscriptionKey(code), App: name, Name: name,
				Events: []string{number.CNAMUpdated}, Endpoint: hook.Endpoint{URL: "http://" + name + ".test/", State: hook.Valid},
				Scope: hook.ScopeAccount, Subscribers: []hook.Subscriber{{}}, Source: hook.SourceDefault})
		}
		must(t, db.Change(c, start))

		client := outbound.New(outbound.Config{DialContext: nw.DialContext})
		defer client.Close()
		sender := deliver.New(db, db.Directory(), client, deliver.Config{Log: log})
		ctx, cancel := context.WithCancel(context.Background())
		_, err = sender.Start(ctx)
		must(t, err)
		ended := make(chan error, 1)
		go func() { ended <- sender.Run(ctx) }()
		defer func() { cancel(); must(t, <-ended) }()

		in := &intake.Intake{Catalog: catalog.New(catalog.NumberManagement()), Directory: db.Directory(), Store: db, Sender: sender, IDs: hook.NewIDs(0, 0)}
		inv := &inventory.Inventory{Store: db, Directory: db.Directory(), Intake: in}
		for _, code := range []int32{1, 2} {
			_, err := inv.PutCarrier(t.Context(), hook.Actor{}, number.Carrier{Code: code, Name: "Carrier"})
			must(t, err)
			_, err = inv.Add(by, code, []number.Number{{E164: phone(int(code)), Account: "customer"}, {E164: phone(int(code) + 10), Account: "customer"}})
			must(t, err)
		}
		everything := func(name string) {
			t.Helper()
			_, err := inv.SetAll(t.Context(), by, inventory.Filter{Account: "customer"}, number.Change{CNAM: new(name)}, nil)
			must(t, err)
			synctest.Wait()
		}
		time.Sleep(time.Second)
		everything("ACME")
		everything("ACME") // as it is already
		time.Sleep(time.Second)
		_, err = inv.Remove(by, 2, "", []string{phone(2), phone(12)})
		must(t, err)
		synctest.Wait()

		mu.Lock()
		defer mu.Unlock()
		slices.Sort(got)
		const event = `{"event":"number_management.peering_number_cnam_updated","event_ts":%d,"payload":{"account_id":"customer","object":{"carrier_code":%d,"phone_numbers":["%s","%s"]%s}}}`
		first, second := start.Add(time.Second).UnixMilli(), start.Add(2*time.Second).UnixMilli()
		want := []string{
			"1s carrier-1 " + fmt.Sprintf(event, first, 1, phone(1), phone(11), `,"cnam":"ACME"`),
			"1s carrier-2 " + fmt.Sprintf(event, first, 2, phone(2), phone(12), `,"cnam":"ACME"`),
			"2s carrier-2 " + fmt.Sprintf(event, second, 2, phone(2), phone(12), ""),
		}
		if !slices.Equal(got, want) {
			t.Errorf("got\n%q\nwant\n%q", got, want)
		}
	})
}
