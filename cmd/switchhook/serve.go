package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/switchhook/switchhook/internal/admin"
	"github.com/switchhook/switchhook/internal/api"
	"github.com/switchhook/switchhook/internal/deliver"
	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/manage"
	"github.com/switchhook/switchhook/internal/monitor"
	"github.com/switchhook/switchhook/internal/outbound"
	"github.com/switchhook/switchhook/internal/rounds"
	"github.com/switchhook/switchhook/internal/seal"
	"github.com/switchhook/switchhook/internal/store"
	"github.com/switchhook/switchhook/internal/tracing"
)

// serveFlags are the settings of serve as people write them.
type serveFlags struct {
	config, listen, admin, database, masterKeyFile  string
	otlpEndpoint                                    string
	publicURL                                       string
	dev                                             bool
	allow                                           []string
	endpointCA                                      string
	anyHeader                                       bool
	userAgent, region                               string
	retrySteps                                      []time.Duration
	connectTimeout, answerTimeout                   time.Duration
	inFlight, maxInFlight, maxConnections, keepBody int
	stopTimeout, retention, every                   time.Duration
	maxSubscriptions                                int
	rates                                           api.Rates
	smtp                                            smtpFlags
	logLevel, logFormat                             string
	ready                                           bool
}

func newServe() *cobra.Command {
	var f serveFlags
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the platform",
		Long: `Run the platform: take published events, deliver them, answer the API.

Every flag can also be set in the environment (--log-level as
SWITCHHOOK_LOG_LEVEL) and in a YAML file (log-level: info), in this order of
precedence: flag, environment, file, default.`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	fl := cmd.Flags()
	fl.StringVar(&f.config, "config", os.Getenv(envName("config")), "YAML file with settings")
	fl.StringVar(&f.listen, "listen", "127.0.0.1:8040", "address to answer the API on")
	fl.StringVar(&f.admin, "admin", "", "address for health and metrics, as in 127.0.0.1:8041; not for the public (default: none)")
	fl.StringVar(&f.otlpEndpoint, "otlp-endpoint", "", "URL of an OTLP receiver that traces go to, as in http://127.0.0.1:4318 (default: as OTEL_EXPORTER_OTLP_ENDPOINT says, or none)")
	fl.StringVar(&f.publicURL, "public-url", "", "URL under which the API is reached from outside, as apps are told it (default: where their request came)")
	f.databaseFlags(fl)
	fl.BoolVar(&f.dev, "dev", false, "for local work: permit endpoints on http and on this machine, and make a master key")
	fl.StringSliceVar(&f.allow, "allow", nil, "addresses that endpoints may have although they are not public, as CIDR prefixes")
	fl.StringVar(&f.endpointCA, "endpoint-ca", "", "file with certificate authorities in PEM form that may certify endpoints, beside the system's")
	fl.BoolVar(&f.anyHeader, "allow-any-header", false, "permit custom authentication headers whose name does not begin with x-")
	fl.StringVar(&f.userAgent, "user-agent", userAgent(), "user-agent of deliveries")
	fl.StringVar(&f.region, "region", "us", "clid in x-zm-trackingid")
	fl.DurationSliceVar(&f.retrySteps, "retry-steps", hook.DefaultSchedule(), "pauses before the second attempt, the third, and so on")
	fl.DurationVar(&f.connectTimeout, "connect-timeout", 5*time.Second, "limit for resolving, dialling, TLS and token together")
	fl.DurationVar(&f.answerTimeout, "answer-timeout", 3*time.Second, "limit from sending a request to the end of its answer")
	fl.IntVar(&f.inFlight, "in-flight", 16, "requests that one endpoint gets at a time")
	fl.IntVar(&f.maxInFlight, "max-in-flight", 4096, "requests under way at a time in all")
	fl.IntVar(&f.maxConnections, "max-connections", 8192, "connections to endpoints that are open at a time")
	fl.IntVar(&f.keepBody, "keep-response", 4096, "bytes of each answer's body that are kept in the log")
	fl.DurationVar(&f.stopTimeout, "stop-timeout", 10*time.Second, "time that requests under way get to finish when the platform stops")
	fl.DurationVar(&f.retention, "retention", 7*24*time.Hour, "how long the webhook log and its events are kept")
	fl.DurationVar(&f.every, "revalidate-every", rounds.Every, "period in which each endpoint has to prove itself again")
	fl.IntVar(&f.maxSubscriptions, "max-subscriptions", manage.DefaultMaxSubscriptions, "event subscriptions that one app may have")
	fl.IntVar(&f.rates.Light, "rate-limit-light", 0, "light calls of the public API that an account may make in a second (0: no limit)")
	fl.IntVar(&f.rates.Medium, "rate-limit-medium", 0, "medium calls of the public API that an account may make in a second (0: no limit)")
	fl.IntVar(&f.rates.Heavy, "rate-limit-heavy", 0, "heavy calls of the public API that an account may make in a second (0: no limit)")
	f.smtp.add(fl)
	fl.StringVar(&f.logLevel, "log-level", "info", "debug, info, warn or error")
	fl.StringVar(&f.logFormat, "log-format", "text", "text or json")
	fl.BoolVar(&f.ready, "ready", false, "print the URL on standard output once requests are answered, and that of --admin after it")
	return cmd
}

// databaseFlags are those of every command that opens the database itself.
func (f *serveFlags) databaseFlags(fl *pflag.FlagSet) {
	fl.StringVar(&f.database, "database", "sqlite:switchhook.db", "database URL: sqlite:PATH, or postgres://USER@HOST/DATABASE")
	fl.StringVar(&f.masterKeyFile, "master-key-file", "", "file with the key that secrets are sealed with (default: PATH.key beside the database, with PostgreSQL switchhook.key); SWITCHHOOK_MASTER_KEY holds the key itself")
}

func (f *serveFlags) run(cmd *cobra.Command) error {
	if err := configure(cmd, f.config); err != nil {
		return err
	}
	log, err := newLog(cmd.ErrOrStderr(), f.logLevel, f.logFormat)
	if err != nil {
		return &usageError{err}
	}
	// Before a key is made: who cannot listen has nothing to seal.
	if err := f.check(); err != nil {
		return err
	}
	mails, err := f.smtp.config(cmd.Flags())
	if err != nil {
		return err
	}
	ctx := cmd.Context()
	l, err := net.Listen("tcp", f.listen)
	if err != nil {
		return listenError("listen", f.listen, err)
	}
	s, err := f.settings(log)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	s.monitor = monitor.New(version(), log)
	adminURL, closeAdmin, err := f.serveAdmin(ctx, s.monitor, log)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	defer closeAdmin()
	if s.tracer, err = f.tracer(ctx, s.monitor, log); err != nil {
		return errors.Join(err, l.Close())
	}
	defer closeTracer(s.tracer)
	if s.mail = mails; mails != nil {
		mails.StopTimeout = f.stopTimeout
	}
	ignoreFileSize()
	p, err := newPlatform(ctx, s)
	if err != nil {
		if ctx.Err() != nil {
			err = nil // it was stopped before it began
		}
		return errors.Join(err, l.Close())
	}
	log.Info("serving", "url", "http://"+l.Addr().String(), "database", withoutPassword(f.database), "version", version())
	if f.ready {
		fmt.Fprintln(cmd.OutOrStdout(), "http://"+l.Addr().String())
		if adminURL != "" {
			fmt.Fprintln(cmd.OutOrStdout(), adminURL)
		}
	}
	err = p.serve(ctx, l)
	log.Info("stopped")
	return err
}

// tracer returns what follows events, or nil if nobody wants that.
func (f *serveFlags) tracer(ctx context.Context, m *monitor.Monitor, log *slog.Logger) (*tracing.Tracer, error) {
	c := tracing.Config{Endpoint: f.otlpEndpoint, Version: version(), Metrics: m.Registry(), Log: log}
	if !c.Wanted() {
		return nil, nil
	}
	t, err := tracing.Open(ctx, c)
	switch {
	case err != nil && f.otlpEndpoint != "":
		return nil, &usageError{err}
	case err != nil:
		// The variables may be meant for everything that runs here.
		log.Warn("no traces are kept", "err", err)
		return nil, nil
	}
	return t, nil
}

// closeTracer gives the last spans a moment to leave.
func closeTracer(t *tracing.Tracer) {
	if t == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	t.Close(ctx)
}

// serveAdmin shows the pages for those who run the platform, if they want that, from
// before it starts until it has stopped.
func (f *serveFlags) serveAdmin(ctx context.Context, m *monitor.Monitor, log *slog.Logger) (url string, closed func(), err error) {
	if f.admin == "" {
		return "", func() {}, nil
	}
	l, err := net.Listen("tcp", f.admin)
	if err != nil {
		return "", nil, listenError("admin", f.admin, err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var serving sync.WaitGroup
	serving.Go(func() { admin.Serve(ctx, l, m.Pages(), log) })
	return "http://" + l.Addr().String(), func() { cancel(); serving.Wait() }, nil
}

func (f *serveFlags) settings(log *slog.Logger) (settings, error) {
	s := settings{database: f.database, log: log}
	var err error
	if s.key, err = f.key(log); err != nil {
		return s, err
	}
	policy := hook.EndpointPolicy{AnyHeader: f.anyHeader}
	for _, text := range f.allow {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return s, &usageError{fmt.Errorf("--allow %q is not a CIDR prefix, as in 10.0.0.0/8", text)}
		}
		policy.Allowed = append(policy.Allowed, p)
	}
	if f.dev {
		policy.HTTP, policy.Allowed = true, append(policy.Allowed, hook.Loopback()...)
	}
	if f.dev || policy.Local() {
		log.Warn("endpoints that are not public may be called: not for production", "http", policy.HTTP, "addresses", policy.Allowed)
	}
	cas, err := authorities(f.endpointCA)
	if err != nil {
		return s, err
	}
	s.outbound = outbound.Config{
		Policy: policy, CAs: cas, UserAgent: f.userAgent, Region: f.region,
		ConnectTimeout: f.connectTimeout, AnswerTimeout: f.answerTimeout, KeepBody: cmp.Or(f.keepBody, -1), MaxConnections: f.maxConnections,
	}
	s.deliver = deliver.Config{
		Schedule: f.retrySteps, InFlight: f.inFlight, MaxInFlight: f.maxInFlight, StopTimeout: f.stopTimeout,
	}
	s.every, s.maxSubscriptions, s.rates = f.every, f.maxSubscriptions, f.rates
	s.retention, s.publicURL = f.retention, strings.TrimSuffix(f.publicURL, "/")
	return s, nil
}

// listenError says what keeps the program from listening where a flag says.
func listenError(flag, address string, err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("--%s %s: another program listens there already; stop it, or choose another port", flag, address)
	}
	return fmt.Errorf("--%s %s: %w", flag, address, err)
}

// check refuses values that would make the platform idle or break it.
func (f *serveFlags) check() error {
	for name, d := range map[string]time.Duration{
		"connect-timeout": f.connectTimeout, "answer-timeout": f.answerTimeout, "stop-timeout": f.stopTimeout, "retention": f.retention,
	} {
		if d <= 0 {
			return &usageError{fmt.Errorf("--%s %v must be more than 0", name, d)}
		}
	}
	if f.every < time.Second {
		return &usageError{fmt.Errorf("--revalidate-every %v must be at least 1s", f.every)}
	}
	for name, n := range map[string]int{"in-flight": f.inFlight, "max-in-flight": f.maxInFlight, "max-connections": f.maxConnections, "max-subscriptions": f.maxSubscriptions} {
		if n < 1 {
			return &usageError{fmt.Errorf("--%s %d must be at least 1", name, n)}
		}
	}
	for name, n := range map[string]int{"light": f.rates.Light, "medium": f.rates.Medium, "heavy": f.rates.Heavy} {
		if n < 0 {
			return &usageError{fmt.Errorf("--rate-limit-%s %d must be 0 or more", name, n)}
		}
	}
	for _, d := range f.retrySteps {
		if d <= 0 {
			return &usageError{fmt.Errorf("--retry-steps %v: every pause must be more than 0", f.retrySteps)}
		}
	}
	for name, text := range map[string]string{"region": f.region, "user-agent": f.userAgent} {
		if text == "" || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) || name == "region" && strings.ContainsAny(text, " ;=") {
			return &usageError{fmt.Errorf("--%s %q cannot be in a header: use letters, digits and what stands between them", name, text)}
		}
	}
	for name, address := range map[string]string{"listen": f.listen, "admin": f.admin} {
		if _, port, err := net.SplitHostPort(address); (err != nil || port == "") && (name == "listen" || address != "") {
			return &usageError{fmt.Errorf("--%s %q must be HOST:PORT, as in 127.0.0.1:%[3]s; :%[3]s is on all addresses of this machine", name, address, map[string]string{"listen": "8040", "admin": "8041"}[name])}
		}
	}
	if f.keepBody < 0 || f.keepBody > outbound.MaxKeepBody {
		return &usageError{fmt.Errorf("--keep-response %d must be 0 to %d", f.keepBody, outbound.MaxKeepBody)}
	}
	return nil
}

// key finds the master key: in the environment, in the file that is named, or
// beside the database.
func (f *serveFlags) key(log *slog.Logger) (*seal.Key, error) {
	if text := os.Getenv(envName("master-key")); text != "" {
		k, err := seal.Parse(text)
		if err != nil {
			err = fmt.Errorf("%s: %w", envName("master-key"), err)
		}
		return k, err
	}
	file, isFile := strings.CutPrefix(f.database, "sqlite:")
	if !store.IsPostgres(f.database) && (!isFile || file == "") {
		return nil, &usageError{fmt.Errorf("--database %q is neither of the form sqlite:PATH nor postgres://USER@HOST/DATABASE", f.database)}
	}
	path := f.masterKeyFile
	if path == "" {
		if path = "switchhook.key"; isFile {
			path = file + ".key"
		}
	}
	// A database that is there was made with a key: a new one is of no use to it.
	made := false
	if info, err := os.Stat(file); isFile && err == nil {
		made = info.Size() > 0
	}
	if !f.dev || made {
		k, err := seal.Load(path)
		switch {
		case !errors.Is(err, os.ErrNotExist):
		case made:
			err = fmt.Errorf("there is no master key at %s; name the one that the secrets in %s are sealed with: --master-key-file FILE", path, file)
		default:
			err = fmt.Errorf("there is no master key at %s; if this platform has one, name it with --master-key-file; for a new platform make one with: head -c 32 /dev/urandom | base64 > %s && chmod 600 %s, and keep a copy of it apart from the database", path, path, path)
		}
		return k, err
	}
	k, created, err := seal.LoadOrCreate(path)
	if created {
		log.Warn("made a master key; whoever has it can read the secrets in the database", "file", filepath.Clean(path))
	}
	return k, err
}

// withoutPassword returns a database URL as it may be shown.
func withoutPassword(database string) string {
	u, err := url.Parse(database)
	if err != nil || !store.IsPostgres(database) {
		return database
	}
	if q := u.Query(); q.Has("password") {
		q.Set("password", "xxxxx")
		u.RawQuery = q.Encode()
	}
	return u.Redacted()
}

func newLog(w io.Writer, level, format string) (*slog.Logger, error) {
	o := &slog.HandlerOptions{}
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("log level %q is none of debug, info, warn, error", level)
	}
	o.Level = l
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(w, o)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, o)), nil
	}
	return nil, fmt.Errorf("log format %q is neither text nor json", format)
}
