package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"reflect"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/switchhook/switchhook/internal/admin"
	"github.com/switchhook/switchhook/internal/forward"
	"github.com/switchhook/switchhook/internal/gateway"
	inboxes "github.com/switchhook/switchhook/internal/inbox"
)

// receiveFlags are the settings of a gateway as people write them.
type receiveFlags struct {
	sourceFlags
	listen, admin         string
	inbox                 string
	tlsCert, tlsKey       string
	acme                  acmeFlags
	proxies               []string
	forwardTo             []string
	retention, duplicates time.Duration
	quarantineRequests    int
	quarantineSize        string
	quarantineKeep        time.Duration
	connections, each     int
	stopTimeout           time.Duration
	logLevel, logFormat   string
	check, ready          bool
}

// sourceFlags say which sources there are: those of a file, or a single one.
type sourceFlags struct {
	config, path, secretFile string
}

func (f *sourceFlags) addSource(fl *pflag.FlagSet) {
	fl.StringVar(&f.path, "path", "/webhooks", "without sources in a file: path of the URL that webhooks are sent to")
	fl.StringVar(&f.secretFile, "secret-file", "", "without sources in a file: file with the secret token; SWITCHHOOK_SECRET holds the token itself")
}

// theSource is the name of the one source that flags make.
const theSource = "webhooks"

// read reads the file again, each time it is called.
func (f *sourceFlags) read(cmd *cobra.Command) (r receiveFile, err error) {
	if f.config != "" {
		if r, err = readReceiveFile(f.config); err != nil {
			return r, err
		}
	}
	secret := secretFile{File: f.secretFile}
	if secret.File == "" && os.Getenv(envName("secret")) != "" {
		secret.Env = envName("secret")
	}
	switch {
	case len(r.sources) == 0 && secret == secretFile{}:
		return r, errors.New("there is no source: set SWITCHHOOK_SECRET or --secret-file to the secret token, or name a file with sources with --config")
	case len(r.sources) == 0:
		r.sources = []sourceFile{{Name: theSource, Path: f.path, Secrets: []secretFile{secret}}}
	case f.secretFile != "" || cmd.Flags().Changed("path"):
		return r, fmt.Errorf("--path and --secret-file are for a gateway without a file; the sources are in %s", f.config)
	}
	return r, nil
}

func newReceive() *cobra.Command {
	var f receiveFlags
	cmd := &cobra.Command{
		Use:   "receive",
		Short: "Receive webhooks, keep them safe, and forward them",
		Long: `Receive webhooks in front of systems that are slower or less reliable than a
sender's three seconds allow: verify, store, answer, and forward for as long as it takes.

For one source, flags do:

    switchhook receive --secret-file token --forward-to http://localhost:3000/hooks

For several, and for other ways to forward, there is a file (--config); it may also
have what are flags here. Secrets and forwarders are read again on SIGHUP.`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	fl := cmd.Flags()
	fl.StringVar(&f.config, "config", os.Getenv(envName("config")), "YAML file with settings, sources and forwarders")
	f.addSource(fl)
	inboxFlag(fl, &f.inbox)
	fl.StringVar(&f.listen, "listen", "127.0.0.1:8050", "address to receive webhooks on")
	fl.StringVar(&f.tlsCert, "tls-cert", "", "file with the certificate and its chain in PEM form; it is read again when it changes. Without one, a proxy has to speak TLS")
	fl.StringVar(&f.tlsKey, "tls-key", "", "file with the certificate's key")
	f.acme.add(fl)
	fl.StringVar(&f.admin, "admin", "", "address for health and metrics, as in 127.0.0.1:8051; not for the public (default: none)")
	fl.StringSliceVar(&f.proxies, "trusted-proxies", nil, "addresses, as CIDR prefixes, of proxies whose X-Forwarded-For is true")
	fl.StringSliceVar(&f.forwardTo, "forward-to", nil, "where events go: a URL, postgres://HOST/DATABASE for its tables, file:PATH for lines of JSON, or - for standard output")
	fl.DurationVar(&f.retention, "retention", 7*24*time.Hour, "how long events are kept that all forwarders are done with")
	fl.DurationVar(&f.duplicates, "duplicates-within", inboxes.MinHorizon, "how long an event is recognised when it comes again")
	fl.IntVar(&f.quarantineRequests, "quarantine-requests", 10_000, "requests that are kept for each source of those that are not accepted")
	fl.StringVar(&f.quarantineSize, "quarantine-size", "64MiB", "bytes that they may have together")
	fl.DurationVar(&f.quarantineKeep, "quarantine-keep", 7*24*time.Hour, "how long they are kept")
	fl.IntVar(&f.connections, "max-connections", 4096, "connections that are open at a time")
	fl.IntVar(&f.each, "max-connections-per-address", 0, "connections of one address (default: a quarter of all)")
	fl.DurationVar(&f.stopTimeout, "stop-timeout", 5*time.Second, "time that requests and forwarders get to finish when the gateway stops")
	fl.StringVar(&f.logLevel, "log-level", "info", "debug, info, warn or error")
	fl.StringVar(&f.logFormat, "log-format", "text", "text or json")
	fl.BoolVar(&f.check, "check", false, "only look whether the settings are right")
	fl.BoolVar(&f.ready, "ready", false, "print the URL on standard output once requests are answered, and that of --admin after it")
	return cmd
}

func inboxFlag(fl *pflag.FlagSet, into *string) {
	fl.StringVar(into, "inbox", "inbox.db", "file that received events are kept in")
}

func (f *receiveFlags) run(cmd *cobra.Command) (err error) {
	if err := configure(cmd, f.config, keySources, keyForwarders); err != nil {
		return err
	}
	log, err := newLog(cmd.ErrOrStderr(), f.logLevel, f.logFormat)
	if err != nil {
		return &usageError{err}
	}
	s, err := f.settings(log)
	if err != nil {
		return &usageError{err}
	}
	file, err := f.file(cmd)
	if err != nil {
		return &usageError{err}
	}
	r := &receiving{flags: f, cmd: cmd, log: log, running: map[string]*runningForwarder{}}
	sources, err := file.gatewaySources(r.tokenRefused)
	if err == nil {
		err = gateway.New(gateway.Config{}).Use(sources)
	}
	if err != nil {
		return &usageError{err}
	}
	var tlsConfig *tls.Config
	if f.tlsCert != "" {
		c, err := gateway.LoadCertificate(f.tlsCert, f.tlsKey, log)
		if err != nil {
			return err
		}
		tlsConfig = c.TLS()
	}
	acme, err := f.acme.open(log)
	if err != nil {
		return &usageError{err}
	}
	if acme != nil {
		tlsConfig, r.acme = acme.TLS(), acme
	}
	for _, w := range file.forwarders {
		target, err := w.open(cmd.OutOrStdout())
		if err == nil {
			err = target.Close()
		}
		if err != nil {
			return &usageError{fmt.Errorf("forwarder %s: %w", w.Name, err)}
		}
	}
	if f.check {
		_, err := fmt.Fprintf(cmd.OutOrStdout(), "the settings are right: %s, %s\n", plural(len(file.sources), "source", "sources"), plural(len(file.forwarders), "forwarder", "forwarders"))
		return err
	}
	// Whoever reads standard output may end before the gateway does. That is a forwarder
	// that fails like any other, and not the end of all. Commands would inherit it if the
	// signal were ignored; that it is caught, they do not.
	closed := make(chan os.Signal, 1)
	signal.Notify(closed, syscall.SIGPIPE)
	defer signal.Stop(closed)
	return r.run(cmd.Context(), s, tlsConfig, file)
}

// settings are those that are no sources and no forwarders, and that need a restart to
// be changed.
func (f *receiveFlags) settings(log *slog.Logger) (c gateway.Config, err error) {
	for name, d := range map[string]time.Duration{"retention": f.retention, "quarantine-keep": f.quarantineKeep, "stop-timeout": f.stopTimeout} {
		if d <= 0 {
			return c, fmt.Errorf("--%s %v must be more than 0", name, d)
		}
	}
	quarantine, err := parseSize(f.quarantineSize)
	switch {
	case err != nil:
		return c, fmt.Errorf("--quarantine-size: %w", err)
	case f.duplicates < inboxes.MinHorizon:
		return c, fmt.Errorf("--duplicates-within %v must be at least %v: senders repeat a request for 85 minutes", f.duplicates, inboxes.MinHorizon)
	case f.retention < f.duplicates:
		return c, fmt.Errorf("--retention %v must be at least --duplicates-within %v: duplicates are recognised in what is kept", f.retention, f.duplicates)
	case f.quarantineRequests < 1 || quarantine < 1:
		return c, errors.New("--quarantine-requests and --quarantine-size must be at least 1")
	case f.connections < 1 || f.each < 0:
		return c, errors.New("--max-connections must be at least 1")
	case (f.tlsCert == "") != (f.tlsKey == ""):
		return c, errors.New("--tls-cert and --tls-key go together")
	case f.tlsCert != "" && len(f.acme.domains) > 0:
		return c, errors.New("--tls-cert and --acme-domain are two ways to the same end; use one")
	}
	for name, address := range map[string]string{"listen": f.listen, "admin": f.admin} {
		if _, port, err := net.SplitHostPort(address); (err != nil || port == "") && (name == "listen" || address != "") {
			return c, fmt.Errorf("--%s %q must be HOST:PORT, as in 127.0.0.1:%[3]s; :%[3]s is on all addresses of this machine", name, address, map[string]string{"listen": "8050", "admin": "8051"}[name])
		}
	}
	for _, text := range f.proxies {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return c, fmt.Errorf("--trusted-proxies %q is not a CIDR prefix, as in 10.0.0.0/8", text)
		}
		c.Proxies = append(c.Proxies, p)
	}
	c.Quarantine = inboxes.Bounds{Requests: f.quarantineRequests, Bytes: int(quarantine)}
	c.MaxConnections, c.MaxPerAddress, c.StopTimeout, c.Log = f.connections, f.each, f.stopTimeout, log
	return c, nil
}

// file returns the sources and forwarders, from the file and the flags.
func (f *receiveFlags) file(cmd *cobra.Command) (r receiveFile, err error) {
	if r, err = f.read(cmd); err != nil {
		return r, err
	}
	for i, to := range f.forwardTo {
		w := forwarderFile{Name: fmt.Sprintf("forward-to-%d", i+1)}
		path, isFile := strings.CutPrefix(to, "file:")
		switch {
		case to == "-":
			w.Stdout = &struct{}{}
		case isFile:
			w.File = &fileFile{Path: path}
		default:
			if w.Postgres, err = database(to); err != nil {
				return r, err
			}
			if w.Postgres == nil {
				if !strings.HasPrefix(to, "http://") && !strings.HasPrefix(to, "https://") {
					shown := to[strings.LastIndex(to, "@")+1:] // there may be a password before it
					return r, fmt.Errorf("--forward-to %q is none of http://..., https://..., postgres://HOST/DATABASE, file:PATH and -", shown)
				}
				w.HTTP = &httpFile{URL: to}
			}
		}
		r.forwarders = append(r.forwarders, w)
	}
	return r, r.check()
}

// receiving is a gateway that runs, with what goes with it.
type receiving struct {
	flags   *receiveFlags
	cmd     *cobra.Command
	log     *slog.Logger
	inbox   *inboxes.Inbox
	gateway *gateway.Gateway
	acme    *gateway.ACME // nil: certificates come from elsewhere
	metrics *forward.Metrics

	mu      sync.Mutex
	running map[string]*runningForwarder

	tokens struct {
		mu      sync.Mutex
		said    time.Time // when the log was told last that somebody gets none
		refused int       // since then
	}
}

// runningForwarder is a forwarder with what it was made of.
type runningForwarder struct {
	*forward.Forwarder
	made  forwarderFile
	stop  context.CancelFunc
	ended chan struct{}
}

// tokensAgain is how often the log tells that somebody gets no token: anybody can ask,
// as often as he likes.
const tokensAgain = 10 * time.Second

func (r *receiving) tokenRefused(req *http.Request, err error) {
	r.tokens.mu.Lock()
	defer r.tokens.mu.Unlock()
	r.tokens.refused++
	if now := time.Now(); now.Sub(r.tokens.said) >= tokensAgain {
		r.log.Warn("somebody who asks for a token gets none", "err", err, "from", r.gateway.Remote(req), "refused", r.tokens.refused)
		r.tokens.said, r.tokens.refused = now, 0
	}
}

func (r *receiving) run(ctx context.Context, c gateway.Config, t *tls.Config, file receiveFile) (err error) {
	l, err := net.Listen("tcp", r.flags.listen)
	if err != nil {
		return listenError("listen", r.flags.listen, err)
	}
	defer func() { _ = l.Close() }() // the server has done so already, if it ran
	var private net.Listener
	if r.flags.admin != "" {
		if private, err = net.Listen("tcp", r.flags.admin); err != nil {
			return listenError("admin", r.flags.admin, err)
		}
		defer func() { _ = private.Close() }()
	}
	ignoreFileSize()
	if r.inbox, err = inboxes.Open(ctx, inboxes.Options{File: r.flags.inbox, Serve: true, Horizon: r.flags.duplicates, Log: r.log}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.inbox.Close()) }()
	numbers := admin.NewRegistry(version())
	r.metrics = forward.NewMetrics(numbers)
	c.Inbox, c.Metrics = r.inbox, numbers
	r.gateway = gateway.New(c)
	// Forwarders outlive the listener, so that what arrives last has a chance to go at
	// once. Should they not be right, nothing is received.
	forwarding, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer r.stopAll()
	defer stop()
	if err := r.use(forwarding, file); err != nil {
		return err
	}
	var helpers sync.WaitGroup
	defer helpers.Wait()
	helping, stopHelpers := context.WithCancel(ctx)
	defer stopHelpers()
	helpers.Go(func() { r.expire(helping) })
	helpers.Go(func() { r.reload(helping, forwarding) })
	if private != nil {
		helpers.Go(func() { admin.Serve(helping, private, r.gateway.Admin(numbers, r.progress), r.log) })
	}
	if r.acme != nil {
		helpers.Go(func() { r.acme.Run(helping) })
	}
	scheme := "http://"
	if t != nil {
		scheme = "https://"
	}
	for _, s := range file.sources {
		r.log.Info("receiving", "source", s.Name, "url", scheme+l.Addr().String()+s.Path)
	}
	if r.flags.ready {
		fmt.Fprintln(r.cmd.OutOrStdout(), scheme+l.Addr().String())
		if private != nil {
			fmt.Fprintln(r.cmd.OutOrStdout(), "http://"+private.Addr().String())
		}
	}
	err = r.gateway.Serve(ctx, l, t)
	r.log.Info("stopped")
	return err
}

// use makes the sources and forwarders those of the file, all of them or, if there is
// an error, none.
func (r *receiving) use(ctx context.Context, file receiveFile) error {
	sources, err := file.gatewaySources(r.tokenRefused)
	if err != nil {
		return err
	}
	opened, err := r.open(file.forwarders)
	if err == nil {
		err = r.gateway.Use(sources)
	}
	if err != nil {
		for _, t := range opened {
			err = errors.Join(err, t.Close())
		}
		return err
	}
	r.forward(ctx, file.forwarders, opened)
	return nil
}

// open opens the targets of the forwarders that are new or changed.
func (r *receiving) open(all []forwarderFile) (opened map[string]forward.Target, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	opened = map[string]forward.Target{}
	for _, w := range all {
		// A secret in a file may have changed although nothing else has.
		if old := r.running[w.Name]; old != nil && reflect.DeepEqual(old.made, w) && !w.hasSecret() {
			continue
		}
		target, err := w.open(r.cmd.OutOrStdout())
		if err != nil {
			return opened, fmt.Errorf("forwarder %s: %w", w.Name, err)
		}
		opened[w.Name] = target
	}
	return opened, nil
}

// forward starts the forwarders whose targets were opened, and stops those that they
// replace or that are no more.
func (r *receiving) forward(ctx context.Context, all []forwarderFile, opened map[string]forward.Target) {
	r.mu.Lock()
	defer r.mu.Unlock()
	ending := map[string]*runningForwarder{}
	for name, old := range r.running {
		stays := slices.ContainsFunc(all, func(w forwarderFile) bool { return w.Name == name })
		if opened[name] != nil || !stays {
			old.stop()
			ending[name] = old
		}
	}
	for name, old := range ending {
		<-old.ended
		delete(r.running, name)
		if opened[name] == nil {
			r.metrics.Forget(name)
		}
	}
	for _, w := range all {
		target := opened[w.Name]
		if target == nil {
			continue
		}
		f := forward.New(r.inbox, target, forward.Config{
			Name: w.Name, Filter: w.filter(), OnlyNew: w.OnlyNew, MinPause: w.MinPause, MaxPause: w.MaxPause, GiveUp: w.GiveUp,
			StopTimeout: r.flags.stopTimeout, Log: r.log, Metrics: r.metrics,
		})
		running, stop := context.WithCancel(ctx)
		own := &runningForwarder{f, w, stop, make(chan struct{})}
		go func() {
			defer close(own.ended)
			f.Run(running)
		}()
		r.running[w.Name] = own
	}
}

func (r *receiving) stopAll() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, own := range r.running {
		own.stop()
	}
	for _, own := range r.running {
		<-own.ended
	}
}

// progress returns how far the forwarders have come.
func (r *receiving) progress() (all []inboxes.Progress) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(r.running)) {
		p := r.running[name].Progress()
		p.Forwarder = name
		all = append(all, p)
	}
	return all
}

// reload reads secrets and forwarders again on SIGHUP, and looks at the quarantine, as
// at the start.
func (r *receiving) reload(ctx, forwarding context.Context) {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	for {
		// What is still there is told by the health page and by the log.
		if _, err := r.gateway.Recheck(ctx, false); err != nil && ctx.Err() == nil {
			r.log.Error("the quarantine cannot be looked at", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-hangup:
		}
		// A key that is misspelt now would silently be one that is not there.
		_, err := settingsIn(r.cmd, r.flags.config, keySources, keyForwarders)
		var file receiveFile
		if err == nil {
			file, err = r.flags.file(r.cmd)
		}
		if err == nil {
			err = r.use(forwarding, file)
		}
		if err != nil {
			r.log.Error("the settings are not right; those from before stay in use", "err", err)
			continue
		}
		r.log.Info("sources and forwarders were read again", "sources", len(file.sources), "forwarders", len(file.forwarders))
	}
}

// expire deletes what need not be kept any longer, until ctx is done.
func (r *receiving) expire(ctx context.Context) {
	t := time.NewTicker(min(time.Hour, max(time.Minute, r.flags.retention/24)))
	defer t.Stop()
	for {
		var names []string
		for _, p := range r.progress() {
			names = append(names, p.Forwarder)
		}
		now := time.Now()
		if err := r.inbox.Expire(ctx, now.Add(-r.flags.retention), now.Add(-r.flags.quarantineKeep), names); err != nil && ctx.Err() == nil {
			r.log.Error("old events could not be deleted", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}
