package main

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/switchhook/switchhook/internal/api"
	"github.com/switchhook/switchhook/internal/catalog"
	"github.com/switchhook/switchhook/internal/challenge"
	"github.com/switchhook/switchhook/internal/console"
	"github.com/switchhook/switchhook/internal/deliver"
	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/intake"
	"github.com/switchhook/switchhook/internal/inventory"
	"github.com/switchhook/switchhook/internal/mail"
	"github.com/switchhook/switchhook/internal/manage"
	"github.com/switchhook/switchhook/internal/monitor"
	"github.com/switchhook/switchhook/internal/oauth"
	"github.com/switchhook/switchhook/internal/outbound"
	"github.com/switchhook/switchhook/internal/rounds"
	"github.com/switchhook/switchhook/internal/seal"
	"github.com/switchhook/switchhook/internal/store"
	"github.com/switchhook/switchhook/internal/tracing"
)

// platform is everything that serves, wired up.
type platform struct {
	store   *store.DB
	client  *outbound.Client
	sender  *deliver.Sender
	mailer  *mail.Sender // nil without a mail server
	intake  *intake.Intake
	manager *manage.Manager
	numbers *inventory.Inventory
	rounds  *rounds.Keeper
	monitor *monitor.Monitor
	handler http.Handler
	// stopping is closed when the platform begins to stop.
	stopping chan struct{}

	retention time.Duration
	log       *slog.Logger
}

// settings say how a platform is to be.
type settings struct {
	database string
	key      *seal.Key
	outbound outbound.Config
	deliver  deliver.Config
	// mail says how mails are sent. nil: they are not.
	mail *mail.Config
	// retention is how long the log is kept.
	retention time.Duration
	publicURL string
	// every is the period in which endpoints are validated again. 0: the contract's.
	every            time.Duration
	maxSubscriptions int
	rates            api.Rates
	// monitor is told what the platform does. nil: one that nobody looks at.
	monitor *monitor.Monitor
	// tracer follows events. nil: nobody does.
	tracer *tracing.Tracer
	log    *slog.Logger
}

// lease is how long a node may be silent before others take over what it has in hand.
const lease = 4 * time.Second

func newPlatform(ctx context.Context, s settings) (_ *platform, err error) {
	s.every = cmp.Or(s.every, rounds.Every)
	p := &platform{monitor: s.monitor, retention: s.retention, log: s.log, stopping: make(chan struct{})}
	if p.monitor == nil {
		p.monitor = monitor.New(version(), s.log)
	}
	p.store, err = store.Open(ctx, store.Options{
		Database: s.database, Key: s.key, Deliver: true, Mail: s.mail != nil, Retention: s.retention, Log: s.log, Host: host(), Version: version(),
		Observe: func(c store.Commit) { p.monitor.Committed(c.Rows, c.Took, c.Err) }, Renewed: p.monitor.Renewed,
	})
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.store.Close())
		}
	}()
	p.client = outbound.New(s.outbound)
	s.deliver.Attempted, s.deliver.Log = p.monitor.Attempted, s.log
	if s.tracer != nil {
		s.deliver.Attempted = func(a *hook.Attempt, e *hook.Event) {
			p.monitor.Attempted(a, e)
			s.tracer.Attempted(a, e)
		}
	}
	if store.IsPostgres(s.database) {
		s.deliver.Lease, s.deliver.Tell = lease, p.store.Tell
	}
	ids := hook.NewIDs(0, 0)
	s.deliver.Joined = func(_ context.Context, n deliver.Node) error {
		// Whoever had the slot before gives no more ids, so none above its last was given.
		ids.Become(n.Slot, int64(n.After))
		return nil
	}
	p.intake = &intake.Intake{Directory: p.store.Directory(), Store: p.store, IDs: ids, Observe: p.monitor.Published}
	s.deliver.Decided = p.intake.Mark
	p.sender = deliver.New(p.store, p.store.Directory(), p.client, s.deliver)
	p.intake.Sender = p.sender
	if _, err := p.sender.Start(ctx); err != nil {
		return nil, err
	}
	types, err := loadCatalog(ctx, p.store, s.log)
	if err != nil {
		return nil, err
	}
	if p.mailer, err = newMailer(p.store, s.mail, s.log); err != nil {
		return nil, err
	}
	shared := &sharedCatalog{types, p.store}
	p.intake.Catalog = shared
	if s.tracer != nil {
		p.intake.Tracer = s.tracer
	}
	p.manager = &manage.Manager{
		Store: p.store, Directory: p.store.Directory(), Catalog: shared, Sender: p.sender,
		Prober: &challenge.Prober{Client: p.client, IDs: ids, Observe: p.monitor.Challenged}, Policy: s.outbound.Policy,
		MaxSubscriptions: s.maxSubscriptions, Every: s.every, PublicURL: s.publicURL, Log: s.log,
	}
	p.numbers = &inventory.Inventory{Store: p.store, Directory: p.store.Directory(), Intake: p.intake, Apps: p.manager}
	p.rounds = rounds.New(p.store.Directory(), p.manager, s.every, s.log)
	p.rounds.Claim = p.store.ClaimRound
	p.manager.Rounds, p.manager.Mail = p.rounds, p.mailer
	p.store.Listen(store.News{
		Changed: p.manager.Changed, Nodes: p.sender.Beat, Mail: p.mailer.Wake,
		Catalog: func() error { return p.learnCatalog(types) },
		Mark: func(id hook.EventID) {
			// Of the next millisecond, for within one the ids of another node may be higher.
			ids.Raise(hook.FirstID(id.Time().Add(time.Millisecond)))
			p.sender.Beat()
		},
		Work: func(keys []hook.SubscriptionKey) {
			if keys == nil {
				p.sender.Look()
			} else {
				p.sender.Help(keys)
			}
		},
	})
	answers := api.New(api.Config{
		Store: p.store, Directory: p.store.Directory(), Intake: p.intake, Manager: p.manager, Inventory: p.numbers, Catalog: types, Client: p.client, Sender: p.sender, Mailer: p.mailer,
		Tokens: oauth.New(s.key.Derive), PageKey: s.key.Derive("pages"), Rates: s.rates, PublicURL: s.publicURL, Version: version(), Log: s.log,
		Stopping: p.stopping,
	})
	p.handler = console.New(console.Config{Catalog: types, Next: answers, Log: s.log})
	p.monitor.Serving(monitor.Platform{Sender: p.sender, Store: p.store})
	return p, nil
}

// newMailer returns what sends the mails, or nil if there is no mail server.
func newMailer(db *store.DB, c *mail.Config, log *slog.Logger) (*mail.Sender, error) {
	if c == nil {
		log.Info("no mail server is configured (--smtp): notices are in this log and in the API only")
		return nil, nil
	}
	installation, err := db.Installation()
	if err != nil {
		return nil, err
	}
	own := *c
	own.Installation, own.Log = installation, log
	return mail.New(db, own)
}

// loadCatalog returns the built-in event types and those that were imported.
func loadCatalog(ctx context.Context, db *store.DB, log *slog.Logger) (*catalog.Catalog, error) {
	types := catalog.New(catalog.NumberManagement())
	return types, readCatalog(ctx, types, db, log)
}

// sharedCatalog knows what was imported on any node.
type sharedCatalog struct {
	*catalog.Catalog
	store *store.DB
}

// Lookup returns an event type. One that is not known may have been imported on another
// node just now.
func (c *sharedCatalog) Lookup(name string) (*catalog.Type, bool) {
	t, ok := c.Catalog.Lookup(name)
	if !ok {
		c.store.Refresh()
		t, ok = c.Catalog.Lookup(name)
	}
	return t, ok
}

// learnCatalog makes the event types be those that another node has imported, too.
func (p *platform) learnCatalog(types *catalog.Catalog) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return readCatalog(ctx, types, p.store, p.log)
}

// readCatalog adds the event types that were imported.
func readCatalog(ctx context.Context, types *catalog.Catalog, db *store.DB, log *slog.Logger) error {
	docs, err := db.CatalogDocuments(ctx)
	if err != nil {
		return err
	}
	for _, d := range docs {
		doc, err := catalog.Parse(d.Source)
		if err != nil {
			log.Error("an imported document can no longer be read; import it again", "product", d.Product, "err", err)
			continue
		}
		types.Put(doc)
	}
	modes, err := db.CheckModes(ctx)
	if err != nil {
		return err
	}
	for name, mode := range modes {
		if err := types.SetCheck(name, mode); err != nil {
			log.Warn("a check mode is set for an event type that is not in the catalog any more", "event", name)
		}
	}
	return nil
}

// host returns the name of this machine, for those who look at a list of nodes.
func host() string {
	name, err := os.Hostname()
	if err != nil {
		return "?"
	}
	return name
}

// expire deletes what is older than the retention, a little at a time, until ctx is
// done.
func (p *platform) expire(ctx context.Context) {
	t := time.NewTicker(min(time.Hour, max(time.Minute, p.retention/24)))
	defer t.Stop()
	for {
		if err := p.store.Expire(ctx, time.Now().Add(-p.retention)); err != nil && ctx.Err() == nil {
			p.log.Error("old log rows could not be deleted", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// serve answers requests on the listener and delivers until ctx is done. Then it
// stops taking requests, lets what is under way finish, and closes everything.
func (p *platform) serve(ctx context.Context, l net.Listener) error {
	server := &http.Server{
		Handler:           p.handler,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(p.log.Handler(), slog.LevelDebug),
	}
	// Streams have no end of their own, and are not waited for.
	server.RegisterOnShutdown(func() { close(p.stopping) })
	// The sender outlives the server, so that what a request has published last is
	// taken in hand like everything before.
	sending, stopSending := context.WithCancel(context.WithoutCancel(ctx))
	rounding, stopRounds := context.WithCancel(ctx)
	defer stopRounds()
	var helpers sync.WaitGroup
	helpers.Go(func() { p.expire(sending) })
	helpers.Go(func() { p.rounds.Run(rounding) })
	if p.mailer != nil {
		helpers.Go(func() { _ = p.mailer.Run(sending) }) // it ends well, or not at all
	}
	sent := make(chan error, 1)
	go func() { sent <- p.sender.Run(sending) }()
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	defer p.monitor.Stopping() // also when it fails

	var err error
	select {
	case <-ctx.Done():
		p.monitor.Stopping()
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		if err = server.Shutdown(end); errors.Is(err, context.DeadlineExceeded) {
			err = server.Close()
		}
		cancel()
	case err = <-served:
	case err = <-sent:
		sent <- nil
		err = errors.Join(err, server.Close())
	}
	stopRounds()
	stopSending()
	err = errors.Join(err, <-sent)
	helpers.Wait()
	p.client.Close()
	return errors.Join(err, p.store.Close())
}

// authorities returns the system's certificate authorities and those in a file.
func authorities(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		return nil, err
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s: no certificate in PEM form in it", file)
	}
	return pool, nil
}
