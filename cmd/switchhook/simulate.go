package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/switchhook/switchhook/internal/api"
	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/manage"
	"github.com/switchhook/switchhook/internal/number"
	"github.com/switchhook/switchhook/internal/simulate"
)

func newSimulate() *cobra.Command {
	return group("simulate", "Let invented customers use a platform", newSimulateNumbers())
}

func newSimulateNumbers() *cobra.Command {
	s := &simulation{}
	cmd := &cobra.Command{
		Use:   "numbers",
		Short: "Make carriers, customers and numbers, and change names and addresses at a steady rate",
		Long: `Make carriers with an app each, customers, and their numbers on a running platform,
by its API, and then change caller names and emergency addresses at a steady rate,
until Ctrl-C.

It is all invented. Most of the numbers are those that countries have set aside for
fiction; with more than ` + strconv.Itoa(simulate.Fictional()) + `, the others are of North America's
exchange 555. But it is in the platform's database like everything else, and
nothing takes it away again: use a platform that is there for trying.

The same seed makes the same data and the same sequence of changes. On a platform
that has the data, it goes on with the changes, from the first one again.

If the platform does not follow, what it is behind with by more than a second is
left out and not made up for.`,
		Args: usageArgs(cobra.NoArgs),
	}
	s.client = addClient(cmd)
	fl := cmd.Flags()
	fl.IntVar(&s.world.Carriers, "carriers", 5, "how many carriers there are")
	fl.IntVar(&s.world.Customers, "customers", 200, "how many customers they have")
	fl.IntVar(&s.world.Numbers, "numbers", 100_000, "how many numbers these have")
	fl.IntVar(&s.world.Seed, "seed", 1, "which data, and which changes")
	fl.Float64Var(&s.load.rate, "changes-per-second", 50, "requests that change something; 0: only make the data")
	fl.DurationVar(&s.load.limit, "for", 0, "how long to change things (0: until Ctrl-C)")
	fl.IntVar(&s.load.count, "changes", 0, "end after so many changes (0: never)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		s.out = cmd.OutOrStdout()
		return s.run(cmd.Context())
	}
	return cmd
}

// simulation is a world on a platform.
type simulation struct {
	world  simulate.World
	load   load
	client *client
	out    io.Writer

	there int      // numbers of the world that are there already: the first ones
	apps  []string // the id of each carrier's
}

func (s *simulation) run(ctx context.Context) error {
	faults := s.world.Check()
	if s.load.rate < 0 || s.load.rate > maxRate || math.IsNaN(s.load.rate) {
		faults.Add("changes-per-second", "is %v; 0 to %d are allowed", s.load.rate, maxRate)
	}
	if s.load.limit < 0 || s.load.count < 0 {
		faults.Add("for", "and --changes must be 0 or more")
	}
	if len(faults) > 0 {
		return &usageError{fmt.Errorf("--%s %s", faults[0].Field, faults[0].Message)}
	}
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConnsPerHost = lanes
	s.client.http = &http.Client{Transport: t}
	defer t.CloseIdleConnections()

	for _, step := range []func(context.Context) error{s.look, s.accounts, s.carriers, s.numbers} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	s.tell()
	if s.load.rate == 0 {
		return nil
	}
	s.load.world, s.load.client, s.load.out = s.world, s.client, s.out
	return s.load.run(ctx)
}

// look finds out what is there already, before anything is changed. Numbers are imported
// in their order, so how many there are says which.
func (s *simulation) look(ctx context.Context) error {
	raw, err := s.client.get(ctx, operator+"/carriers", nil)
	if err != nil {
		return err
	}
	v, err := decode[struct{ Carriers []api.Carrier }](raw)
	if err != nil {
		return err
	}
	for _, c := range v.Carriers {
		other := s.world
		other.Seed = int(c.Code) / simulate.CodesPerSeed
		i := int(c.Code)%simulate.CodesPerSeed - 1
		ours := other.Seed > 0 && i >= 0 && c.Name == other.Carrier(i).Name
		switch {
		case other.Seed == s.world.Seed && ours:
			s.there += c.Numbers
		case other.Seed == s.world.Seed:
			return fmt.Errorf("carrier %d is there and is none of these: it is %s; take another --seed", c.Code, printable(c.Name))
		case ours && c.Numbers > 0:
			return fmt.Errorf("the platform has the data of seed %d, and those of two seeds do not go together: they share phone numbers", other.Seed)
		}
	}
	return s.same(ctx)
}

// same checks that the numbers that are there are those of this world: with other
// figures they have other owners.
func (s *simulation) same(ctx context.Context) error {
	there := min(s.there, s.world.Numbers)
	if there == 0 {
		return nil
	}
	for _, i := range []int{0, there / 2, there - 1} {
		want := s.world.Number(i)
		raw, err := s.client.get(ctx, operator+"/numbers/"+url.PathEscape(want.E164), nil)
		if err != nil {
			return fmt.Errorf("%d numbers of seed %d are there, but not %s: %w", s.there, s.world.Seed, want.E164, err)
		}
		is, err := decode[number.Number](raw)
		if err != nil {
			return err
		}
		if is.Carrier != want.Carrier || is.Account != want.Account {
			return fmt.Errorf("the numbers of seed %d that are there were made with other --carriers or --customers: %s is %s's; take the same, or another platform",
				s.world.Seed, want.E164, printable(is.Account))
		}
	}
	return nil
}

// accounts makes the accounts, and the carriers' apps.
func (s *simulation) accounts(ctx context.Context) error {
	account := func(a hook.Account) manage.Account { return manage.Account{ID: a.ID, Name: a.Name} }
	// As many at a time as one request may well have.
	const batch = 2000
	for i := 0; i < s.world.Customers; i += batch {
		var m manage.Manifest
		for c := i; c < min(s.world.Customers, i+batch); c++ {
			m.Accounts = append(m.Accounts, account(s.world.Customer(c)))
		}
		if _, err := s.apply(ctx, &m); err != nil {
			return err
		}
	}
	for i := range s.world.Carriers {
		a := account(s.world.CarrierAccount(i))
		app := manage.App{
			Name: "number sync", Account: a.ID, CarrierCodes: []int32{s.world.Carrier(i).Code},
			Scopes: []string{"number_management_numbers:read:admin", "number_management_numbers:write:admin"},
		}
		// Its customers have authorized it, so that it may ask for a token of theirs.
		for _, c := range s.world.CustomersOf(i) {
			app.Installations = append(app.Installations, manage.Installation{Account: s.world.Customer(c).ID})
		}
		p, err := s.apply(ctx, &manage.Manifest{Accounts: []manage.Account{a}, Apps: []manage.App{app}})
		if err != nil {
			return err
		}
		for _, step := range p.Steps {
			if step.Kind == "app" {
				s.apps = append(s.apps, step.ID)
			}
		}
	}
	return nil
}

func (s *simulation) apply(ctx context.Context, m *manage.Manifest) (manage.Plan, error) {
	raw, err := s.client.post(ctx, operator+"/apply", nil, m)
	if err != nil {
		return manage.Plan{}, err
	}
	return decode[manage.Plan](raw)
}

func (s *simulation) carriers(ctx context.Context) error {
	for i := range s.world.Carriers {
		c := s.world.Carrier(i)
		body, err := json.Marshal(map[string]string{"name": c.Name, "app_id": s.apps[i]})
		if err != nil {
			return err
		}
		path := operator + "/carriers/" + strconv.Itoa(int(c.Code))
		if _, err := s.client.call(ctx, request{method: http.MethodPut, path: path, body: bytes.NewReader(body)}); err != nil {
			return err
		}
	}
	return nil
}

// numbers imports the numbers that are not there yet.
func (s *simulation) numbers(ctx context.Context) error {
	if s.there > 0 {
		fmt.Fprintf(s.out, "%s numbers of seed %d are there already\n", thousands(s.there), s.world.Seed)
	}
	if s.there >= s.world.Numbers {
		return nil
	}
	start := time.Now()
	done, err := s.imported(ctx)
	if err != nil {
		return err
	}
	took := time.Since(start)
	fmt.Fprintf(s.out, "%s numbers made in %v (%.0f/s), told of in %s\n", thousands(done.Changed), took.Round(time.Millisecond), float64(done.Lines)/took.Seconds(),
		grouped(done.Events, "event", "events"))
	return nil
}

// imported imports what is not there, and says every ten seconds how far it is.
func (s *simulation) imported(ctx context.Context) (done api.Imported, err error) {
	r, w := io.Pipe()
	defer func() { _ = r.Close() }()
	go func() { w.CloseWithError(s.write(w)) }()
	res, err := s.client.send(ctx, request{
		method: http.MethodPost, path: operator + "/numbers/import", body: r,
		header: map[string]string{"Content-Type": "text/csv", "Accept": "application/x-ndjson"},
	})
	if err != nil {
		return done, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(res.Body)
		return done, apiError(res.StatusCode, body)
	}
	said := time.Now()
	lines := bufio.NewScanner(res.Body)
	for lines.Scan() {
		line, err := decode[importLine](lines.Bytes())
		switch {
		case err != nil:
			return done, err
		case line.Type == "error":
			return done, apiError(res.StatusCode, lines.Bytes())
		case line.Type == "refused":
			return done, fmt.Errorf("%s cannot be made: %s %s", line.Number, line.Field, printable(line.Message))
		case line.Type == "done":
			return line.Imported, nil
		}
		done = line.Imported
		if time.Since(said) >= reportEvery {
			said = time.Now()
			fmt.Fprintf(s.out, "%s of %s numbers made\n", thousands(s.there+done.Lines), thousands(s.world.Numbers))
		}
	}
	return done, errors.Join(errors.New("the import broke off; run this again to go on"), lines.Err())
}

// importLine is a line of an import's answer.
type importLine struct {
	Type string `json:"type"`
	api.Imported
	Number  string `json:"phone_number"`
	Field   string `json:"field"`
	Message string `json:"message"`
}

func (s *simulation) write(w io.Writer) error {
	out := number.NewWriter(w)
	for i := s.there; i < s.world.Numbers; i++ {
		n := s.world.Number(i)
		if err := out.Write(&n); err != nil {
			return err
		}
	}
	return out.Flush()
}

// tell says what there is, and how one gets the events.
func (s *simulation) tell() {
	fmt.Fprintf(s.out, "%s, %s, %s:\n", grouped(s.world.Carriers, "carrier", "carriers"), grouped(s.world.Customers, "customer", "customers"), grouped(s.world.Numbers, "number", "numbers"))
	o := &output{w: s.out}
	var rows [][]string
	for i, app := range s.apps {
		c := s.world.Carrier(i)
		rows = append(rows, []string{strconv.Itoa(int(c.Code)), c.Name, app, strconv.Itoa(len(s.world.CustomersOf(i)))})
	}
	_ = o.table("CARRIER|NAME|APP|CUSTOMERS", rows)
	fmt.Fprintf(s.out, `
An endpoint gets the changes of a carrier's numbers once it is subscribed to its app:

  curl %s%s/apps/%s/subscriptions -H "Authorization: Bearer $SWITCHHOOK_KEY" -d '{"event_subscription_name": "numbers",
    "event_webhook_url": "https://YOUR.ENDPOINT/webhooks", "events": ["%s", "%s"]}'
  switchhook apps secret %[3]s   # what it verifies with

`, strings.TrimSuffix(s.client.server, "/"), operator, s.apps[0], number.CNAMUpdated, number.AddressUpdated)
}
