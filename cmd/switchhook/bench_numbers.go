package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/switchhook/switchhook/internal/api"
	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/inventory"
	"github.com/switchhook/switchhook/internal/number"
	"github.com/switchhook/switchhook/internal/simulate"
	"github.com/switchhook/switchhook/internal/store"
)

// inventory measures files of numbers, beside what reading them costs. One carrier of five
// has an endpoint that learns of the changes; the events of the others are stored and
// owed to nobody.
func (b *bench) inventory(ctx context.Context) error {
	n := b.phones
	if n == 0 {
		n = 1_000_000
		if len(b.only) > 1 {
			n = 200_000
		}
	}
	w := simulate.World{Seed: 1, Carriers: 5, Customers: 200, Numbers: n}
	if f := w.Check(); len(f) > 0 {
		return f.Err("the flags")
	}
	file := filepath.Join(b.dir, "numbers.csv")
	told, err := writeNumbers(file, w)
	if err != nil {
		return err
	}
	p, publish, err := b.platformWith(ctx, "numbers", func(db *store.DB) error { return b.worldIn(db, w) })
	if err != nil {
		return err
	}
	defer p.stop()
	base := strings.TrimSuffix(publish, "/v2/events") + operator + "/numbers"

	t := tabwriter.NewWriter(b.out, 0, 0, 2, ' ', 0)
	rate := func(start time.Time) float64 { return float64(n) / time.Since(start).Seconds() }
	start := time.Now()
	if err := readNumbers(file); err != nil {
		return err
	}
	bare := rate(start)
	fmt.Fprintf(t, "a file of %d numbers, read and checked and no more\t%.0f lines/s\t\n", n, bare)

	cpu := p.cpu()
	start = time.Now()
	done, err := b.importFile(ctx, base+"/import", file)
	if err != nil {
		return err
	}
	took := rate(start)
	fmt.Fprintf(t, "imported\t%.0f lines/s\tratio %.2f; %d events, each of %.1f numbers; 1 carrier of 5 has an endpoint\n", took, took/bare, done.Events, float64(told)/float64(done.Events))
	_, peak := p.memory()
	fmt.Fprintf(t, "platform memory\t%.0f MiB at most\tCPU %.1f s for a million lines\n", peak, (p.cpu()-cpu).Seconds()*1e6/float64(n))
	if done.Changed != n || done.Refused > 0 {
		return fmt.Errorf("of %d lines %d were made and %d refused", n, done.Changed, done.Refused)
	}

	start = time.Now()
	if done, err = b.importFile(ctx, base+"/import", file); err != nil {
		return err
	}
	took = rate(start)
	fmt.Fprintf(t, "imported again, which changes nothing\t%.0f lines/s\tratio %.2f\n", took, took/bare)
	if done.Changed+done.Events > 0 {
		return fmt.Errorf("the same file again changed %d numbers, with %d events", done.Changed, done.Events)
	}

	start = time.Now()
	lines, err := b.exportLines(ctx, base+"/export")
	if err != nil {
		return err
	}
	took = rate(start)
	fmt.Fprintf(t, "exported\t%.0f lines/s\tratio %.2f\n", took, took/bare)
	if lines != n+1 {
		return fmt.Errorf("the export has %d lines and not %d", lines, n+1)
	}

	start = time.Now()
	changed, err := b.renameAll(ctx, base)
	if err != nil {
		return err
	}
	fmt.Fprintf(t, "one name for all of them\t%.0f numbers/s\t%d events, each of %.1f numbers\n", rate(start), changed.Events, float64(changed.Changed)/float64(changed.Events))
	if changed.Changed != n {
		return fmt.Errorf("%d numbers of %d were given the name", changed.Changed, n)
	}
	now, peak := p.memory()
	fmt.Fprintf(t, "platform memory\t%.0f MiB at most\t%.0f MiB at the end\n", peak, now)
	return t.Flush()
}

// worldIn puts the accounts and carriers of a world into a database, and an app with an
// endpoint for the first carrier.
func (b *bench) worldIn(db *store.DB, w simulate.World) error {
	now := time.Now()
	var c hook.Change
	for i := range w.Customers {
		c.Accounts = append(c.Accounts, new(w.Customer(i)))
	}
	app := &hook.App{
		ID: "carrier", Account: "bench", Name: "carrier", ClientID: "carrier", ClientSecret: hook.HashSecret(benchSecret),
		Scopes: []string{"number_management_numbers:read:admin"}, CarrierCodes: []int32{w.Carrier(0).Code}, SecretToken: benchSecret, Created: now,
	}
	id := hook.NewID()
	key, err := hook.KeyOf(id)
	if err != nil {
		return err
	}
	c.Apps = append(c.Apps, app)
	c.Subscriptions = append(c.Subscriptions, &hook.Subscription{
		ID: id, Key: key, App: app.ID, Name: "bench", Events: []string{number.CNAMUpdated, number.AddressUpdated}, Scope: hook.ScopeAccount, Subscribers: []hook.Subscriber{{}},
		Endpoint: hook.Endpoint{URL: "http://" + b.sink + "/ok/0", State: hook.Valid, Checked: now}, Source: hook.SourceDefault, Created: now,
	})
	if err := db.Change(c, now); err != nil {
		return err
	}
	return db.ChangeNumbers(w.Carriers, func(tx inventory.Tx) error {
		for i := range w.Carriers {
			c := w.Carrier(i)
			if err := tx.PutCarrier(c.Code, c.Name); err != nil {
				return err
			}
		}
		return nil
	})
}

// writeNumbers writes the numbers of a world into a file. It returns how often a carrier
// has to be told of one of them.
func writeNumbers(file string, w simulate.World) (told int, err error) {
	f, err := os.Create(file)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	out := number.NewWriter(f)
	for i := range w.Numbers {
		n := w.Number(i)
		if n.CNAM != "" {
			told++
		}
		if n.Address != (number.Address{}) {
			told++
		}
		if err := out.Write(&n); err != nil {
			return 0, err
		}
	}
	return told, out.Flush()
}

// readNumbers reads a file of numbers, and does nothing with them.
func readNumbers(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	r, err := number.NewReader(f)
	for err == nil {
		var rec *number.Record
		if rec, err = r.Next(); err == nil && len(rec.Faults) > 0 {
			err = rec.Faults.Err(rec.E164)
		}
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// operate makes a call of the operator API that must succeed.
func (b *bench) operate(ctx context.Context, method, url, media string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+b.key)
	req.Header.Set("Content-Type", media)
	req.Header.Set("Accept", "application/x-ndjson")
	res, err := b.client.Do(req)
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(res.Body)
		return nil, errors.Join(fmt.Errorf("%s %s: status %d: %s", method, url, res.StatusCode, text), res.Body.Close())
	}
	return res, nil
}

// importFile imports a file and returns what came of it.
func (b *bench) importFile(ctx context.Context, url, file string) (done api.Imported, err error) {
	f, err := os.Open(file)
	if err != nil {
		return done, err
	}
	defer func() { _ = f.Close() }()
	res, err := b.operate(ctx, http.MethodPost, url, "text/csv", f)
	if err != nil {
		return done, err
	}
	defer res.Body.Close()
	return done, lastLine(res.Body, &done)
}

// renameAll gives all numbers one name.
func (b *bench) renameAll(ctx context.Context, url string) (done api.Changed, err error) {
	res, err := b.operate(ctx, http.MethodPatch, url, "application/json", strings.NewReader(`{"filter":{"all":true},"set":{"cnam":"ALL THE SAME"}}`))
	if err != nil {
		return done, err
	}
	defer res.Body.Close()
	return done, lastLine(res.Body, &done)
}

// lastLine reads the last line of an answer, which says that all is done.
func lastLine(r io.Reader, v any) error {
	var line []byte
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		line = append(line[:0], lines.Bytes()...)
	}
	if err := lines.Err(); err != nil {
		return err
	}
	if !bytes.HasPrefix(line, []byte(`{"type":"done"`)) {
		return fmt.Errorf("it ended with %s", line)
	}
	return json.Unmarshal(line, v)
}

// exportLines exports all numbers and counts lines.
func (b *bench) exportLines(ctx context.Context, url string) (n int, err error) {
	res, err := b.operate(ctx, http.MethodGet, url, "", nil)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	buf := make([]byte, 64<<10)
	for {
		read, err := res.Body.Read(buf)
		n += bytes.Count(buf[:read], []byte{'\n'})
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
}
