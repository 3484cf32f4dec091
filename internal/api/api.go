// Package api is the HTTP face of the platform.
//
// [New] returns a handler for publishing and for the operator API. Handlers
// decode, call and encode; what they may answer when something is wrong stands in
// one table.
package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"path"
	"reflect"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/switchhook/switchhook/internal/catalog"
	"github.com/switchhook/switchhook/internal/deliver"
	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/intake"
	"github.com/switchhook/switchhook/internal/inventory"
	"github.com/switchhook/switchhook/internal/manage"
	"github.com/switchhook/switchhook/internal/oauth"
	"github.com/switchhook/switchhook/internal/outbound"
	"github.com/switchhook/switchhook/internal/outbox"
	"github.com/switchhook/switchhook/webhook"
)

// Store keeps what the API shows, and what it changes that nobody else does.
type Store interface {
	FindKey(ctx context.Context, secret hook.Secret) (*hook.OperatorKey, error)

	Event(ctx context.Context, id hook.EventID) (e *hook.Event, owed []hook.SubscriptionKey, err error)
	Delivery(ctx context.Context, id hook.DeliveryID) (*hook.Standing, error)
	Deliveries(ctx context.Context, f hook.DeliveryFilter) (page []hook.Standing, next *hook.Cursor, err error)
	Resend(id hook.DeliveryID, now time.Time, detail string, entries ...hook.AuditEntry) error
	Challenges(ctx context.Context, k hook.SubscriptionKey, limit int) ([]hook.Attempt, error)
	Validations(ctx context.Context, k hook.SubscriptionKey, limit int) ([]hook.Validation, error)
	WebhookLog(ctx context.Context, f hook.LogFilter) (page []hook.LogRow, more bool, err error)
	Audit(ctx context.Context, f hook.AuditFilter) ([]hook.AuditEntry, error)
	// DeletedSubscription returns one that the log still names, or nil.
	DeletedSubscription(ctx context.Context, k hook.SubscriptionKey) (*hook.Subscription, error)

	// Nodes returns those who deliver, by their slots.
	Nodes(ctx context.Context) ([]hook.Node, error)

	// Mails returns the latest messages of the outbox.
	Mails(ctx context.Context, limit int) ([]*outbox.Message, error)
	Mail(ctx context.Context, id int64) (*outbox.Message, error)
	PutMail(m *outbox.Message, entries ...hook.AuditEntry) error

	PutCatalogDocument(product string, source []byte, now time.Time, entries ...hook.AuditEntry) error
	SetCheckMode(eventType string, m hook.CheckMode, entries ...hook.AuditEntry) error

	explainStore
	logStore
	listenStore
}

// Mailer sends what is in the outbox.
type Mailer interface {
	// Wake says that something was put in.
	Wake()
}

// Config says what the API is for.
type Config struct {
	Store     Store
	Directory *hook.Directory
	Intake    *intake.Intake
	Manager   *manage.Manager
	Inventory *inventory.Inventory
	Catalog   *catalog.Catalog
	Client    *outbound.Client
	Sender    *deliver.Sender
	Mailer    Mailer
	Tokens    *oauth.Tokens
	// PageKey signs page tokens. All nodes have the same one.
	PageKey []byte
	// Rates are how many calls an account may make. The zero value: as many as it likes.
	Rates Rates
	// PublicURL is where the API is reached from outside. Empty: where a request came.
	PublicURL string
	// Version is the program's.
	Version string
	// Stopping is closed when the platform begins to stop: streams end then. It may be nil.
	Stopping <-chan struct{}
	Log      *slog.Logger
}

type api struct {
	Config
	keys    keyCache
	guesses guesses
	budgets budgets

	description func() ([]byte, error) // of the API, in OpenAPI
	streams     atomic.Int32           // that are open
	listeners   listeners
	imports     atomic.Int32 // that are under way
}

// operator is where the operator API begins. Publishing has the path that the
// contract gives it.
const operator = "/operator/v1"

// New returns the handler.
func New(c Config) http.Handler {
	a := &api{Config: c, description: sync.OnceValues(openAPIJSON)}
	mux := http.NewServeMux()
	for pattern, r := range a.routes() {
		mux.Handle(pattern, a.handle(r))
	}
	mux.Handle("POST /oauth/token", a.handle(route{open{}, a.token}))
	mux.Handle("GET /api-hub/{product}/events/webhooks.json", a.handle(route{open{}, a.exportCatalog}))
	mux.Handle("GET "+operator+"/openapi.json", a.handle(route{open{}, a.describe}))
	mux.Handle("GET /health", a.handle(route{open{}, func(w http.ResponseWriter, _ *http.Request) error {
		writeJSON(w, http.StatusOK, map[string]string{"status": "ok", "version": c.Version})
		return nil
	}}))
	unknown := func(_ http.ResponseWriter, r *http.Request) error {
		return &hook.Error{Kind: hook.NotFound, Subject: r.Method + " " + r.URL.Path, Detail: "is no call of this API"}
	}
	mux.Handle("/", a.handle(route{open{}, func(w http.ResponseWriter, r *http.Request) error {
		if methods := methodsOf(mux, r); len(methods) > 0 {
			w.Header().Set("Allow", strings.Join(methods, ", "))
			return &methodError{r.Method, r.URL.Path}
		}
		return unknown(w, r)
	}}))
	astray := a.handle(route{open{}, unknown})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p := r.URL.EscapedPath(); p != path.Clean(p) && p != path.Clean(p)+"/" {
			astray(w, r) // where ServeMux would redirect, and clients would follow with their token
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// methodsOf returns the methods with which a request's path can be called.
func methodsOf(mux *http.ServeMux, r *http.Request) (methods []string) {
	for _, m := range []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
		if _, pattern := mux.Handler(&http.Request{Method: m, Host: r.Host, URL: r.URL}); pattern != "/" {
			methods = append(methods, m)
		}
	}
	return methods
}

// methodError says that a path cannot be called with a method.
type methodError struct{ method, path string }

func (e *methodError) Error() string { return e.path + " cannot be called with " + e.method }

// routes returns all calls that take an operator key or an access token.
func (a *api) routes() map[string]route {
	const read, publish, manage = key(hook.KeyRead), key(hook.KeyPublish), key(hook.KeyManage)
	const subscriptions = "/v2/marketplace/app/event_subscription"
	const peeringNumbers = "/v2/number_management/peering_numbers"
	listening := keyOrApp{manage, access{medium, []string{scopeList}}}
	return map[string]route{
		"POST /v2/events": {publish, a.publish},

		"POST " + subscriptions:             {access{medium, []string{scopeWrite}}, a.createSubscription},
		"GET " + subscriptions:              {access{medium, []string{scopeList}}, a.listSubscriptions},
		"DELETE " + subscriptions:           {access{light, []string{scopeDelete}}, a.unsubscribe},
		"PATCH " + subscriptions + "/{id}":  {access{light, []string{scopeUpdate}}, a.subscribe},
		"DELETE " + subscriptions + "/{id}": {access{light, []string{scopeDelete}}, a.deleteOwnSubscription},

		"GET " + peeringNumbers:                             {access{light, []string{scopeNumbersRead, scopeNumbersList}}, a.peeringNumbers},
		"POST " + peeringNumbers:                            {access{light, []string{scopeNumbersWrite, scopeNumbersAdd}}, a.addNumbers},
		"PATCH " + peeringNumbers:                           {access{light, []string{scopeNumbersWrite, scopeNumbersUpdate}}, a.updateNumbers},
		"DELETE " + peeringNumbers:                          {access{light, []string{scopeNumbersWrite, scopeNumbersDelete}}, a.removeNumbers},
		"GET /v2/number_management/carrier/peering_numbers": {access{light, []string{scopeNumbersRead, scopeNumbersOfCarrier}}, a.carrierNumbers},

		"GET /v2/marketplace/apps/{id}/webhook_logs": {access{medium, []string{scopeLogs, scopeLogsAdmin}}, a.webhookLogs},

		"GET " + operator + "/events/{id}":             {read, a.event},
		"GET " + operator + "/events/{id}/explain":     {read, a.explain},
		"POST " + operator + "/events/{id}/listeners":  {manage, a.toListeners},
		"GET " + operator + "/events/stream":           {listening, a.listen},
		"GET " + operator + "/deliveries":              {read, a.deliveries},
		"GET " + operator + "/deliveries/{id}":         {read, a.delivery},
		"POST " + operator + "/deliveries/{id}/resend": {manage, a.resend},
		"POST " + operator + "/resend":                 {manage, a.resendAll},

		"POST " + operator + "/apply":                         {manage, a.apply},
		"GET " + operator + "/accounts":                       {read, a.accounts},
		"GET " + operator + "/apps":                           {read, a.apps},
		"GET " + operator + "/apps/{id}":                      {read, a.app},
		"GET " + operator + "/apps/{id}/secret_token":         {manage, a.secretToken},
		"POST " + operator + "/apps/{id}/secret_token":        {manage, a.rotateToken},
		"POST " + operator + "/apps/{id}/client_secret":       {manage, a.rotateClientSecret},
		"DELETE " + operator + "/apps/{id}":                   {manage, a.deleteApp},
		"GET " + operator + "/subscriptions":                  {read, a.subscriptions},
		"GET " + operator + "/subscriptions/{id}":             {read, a.subscription},
		"GET " + operator + "/subscriptions/{id}/challenges":  {read, a.challenges},
		"GET " + operator + "/subscriptions/{id}/validations": {read, a.validations},
		"POST " + operator + "/subscriptions/{id}/validate":   {manage, a.validate},
		"POST " + operator + "/subscriptions/{id}/disable":    {manage, a.disable},
		"DELETE " + operator + "/subscriptions/{id}":          {manage, a.deleteSubscription},

		"GET " + operator + "/accounts/{id}":                        {read, a.showAccount},
		"PUT " + operator + "/accounts/{id}":                        {manage, a.putAccount},
		"PUT " + operator + "/accounts/{id}/users/{user}":           {manage, a.putUser},
		"DELETE " + operator + "/accounts/{id}/users/{user}":        {manage, a.deleteUser},
		"PUT " + operator + "/accounts/{id}/user_groups/{group}":    {manage, a.putGroup},
		"DELETE " + operator + "/accounts/{id}/user_groups/{group}": {manage, a.deleteGroup},
		"POST " + operator + "/apps":                                {manage, a.createApp},
		"PUT " + operator + "/apps/{id}":                            {manage, a.putApp},
		"PUT " + operator + "/apps/{id}/installations":              {manage, a.install},
		"DELETE " + operator + "/apps/{id}/installations":           {manage, a.uninstall},
		"POST " + operator + "/apps/{id}/subscriptions":             {manage, a.createDefault},
		"PUT " + operator + "/subscriptions/{id}":                   {manage, a.putSubscription},

		"GET " + operator + "/carriers":                 {read, a.carriers},
		"PUT " + operator + "/carriers/{code}":          {manage, a.putCarrier},
		"DELETE " + operator + "/carriers/{code}":       {manage, a.deleteCarrier},
		"GET " + operator + "/numbers":                  {read, a.numbers},
		"PATCH " + operator + "/numbers":                {manage, a.setNumbers},
		"GET " + operator + "/numbers/{phone_number}":   {read, a.number},
		"PATCH " + operator + "/numbers/{phone_number}": {manage, a.setNumber},
		"POST " + operator + "/numbers/import":          {manage, a.importNumbers},
		"GET " + operator + "/numbers/export":           {read, a.exportNumbers},

		"GET " + operator + "/event_types":              {read, a.eventTypes},
		"GET " + operator + "/event_types/{name}":       {read, a.eventType},
		"PUT " + operator + "/event_types/{name}/check": {manage, a.setCheck},
		"POST " + operator + "/catalog":                 {manage, a.importCatalog},

		"GET " + operator + "/webhook_logs":        {read, a.listLog},
		"GET " + operator + "/webhook_logs/stream": {read, a.followLog},

		"GET " + operator + "/audit": {read, a.audit},
		"GET " + operator + "/nodes": {read, a.nodes},

		"GET " + operator + "/notices":       {read, a.notices},
		"GET " + operator + "/notices/{id}":  {read, a.notice},
		"POST " + operator + "/notices/test": {manage, a.testNotice},
	}
}

// route is a handler with what a request must show to be let in.
type route struct {
	door
	serve func(http.ResponseWriter, *http.Request) error
}

// door lets requests in: it returns them with all that is known of who makes them, or
// says why not.
type door interface {
	admit(a *api, w http.ResponseWriter, req *http.Request) (*http.Request, error)
}

// open lets everybody in.
type open struct{}

func (open) admit(_ *api, _ http.ResponseWriter, req *http.Request) (*http.Request, error) {
	return req, nil
}

// key lets operator keys in that have the scope.
type key hook.KeyScope

func (k key) admit(a *api, _ http.ResponseWriter, req *http.Request) (*http.Request, error) {
	found, err := a.authorize(req, hook.KeyScope(k))
	if err != nil {
		return nil, err
	}
	by := hook.Actor{Kind: hook.ByOperator, ID: found.ID, Name: found.Name}
	return req.WithContext(context.WithValue(req.Context(), actorOf{}, by)), nil
}

// handle turns what a route returns into an answer. Nothing else writes errors.
func (a *api) handle(r route) http.HandlerFunc {
	return func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set(webhook.HeaderTrackingID, fmt.Sprintf("v=2.0;clid=%s;rid=WEB_%016x%016x", a.Client.Region, rand.Uint64(), rand.Uint64()))
		defer func() {
			p := recover()
			if p != nil && p != http.ErrAbortHandler { //nolint:errorlint // it is the value itself
				a.Log.ErrorContext(req.Context(), "api", "route", req.Pattern, "panic", p, "stack", string(debug.Stack()))
			}
			if p != nil {
				panic(http.ErrAbortHandler) // the answer may have begun
			}
		}()
		admitted, err := r.admit(a, w, req)
		if err == nil {
			err = r.serve(w, admitted)
		}
		if err != nil {
			a.fail(w, req, err)
		}
	}
}

// actorOf is where the context of a request has who makes it.
type actorOf struct{}

// actor returns who makes a request, which is known of all that need a key or token.
func actor(req *http.Request) hook.Actor { return req.Context().Value(actorOf{}).(hook.Actor) }

// bearer returns what a request shows as Authorization: Bearer, or nothing.
func bearer(req *http.Request) string {
	scheme, secret, _ := strings.Cut(req.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return secret
}

// authorize returns the operator key of a request, which must have the scope.
func (a *api) authorize(req *http.Request, scope hook.KeyScope) (*hook.OperatorKey, error) {
	secret := bearer(req)
	if secret == "" {
		return nil, &hook.Error{Kind: hook.Unauthenticated, Detail: "send an operator key as Authorization: Bearer KEY; make one with: switchhook keys create"}
	}
	k, err := a.keys.find(req.Context(), a.Store, hook.Secret(secret))
	switch {
	case err != nil:
		return nil, err
	case k == nil:
		return nil, &hook.Error{Kind: hook.Unauthenticated, Detail: "the operator key is unknown or revoked"}
	case !k.Allows(scope):
		return nil, &hook.Error{Kind: hook.Forbidden, Subject: "operator key " + k.ID, Detail: fmt.Sprintf("does not have the scope %q", scope)}
	}
	return k, nil
}

// fault is the body of an answer that says what is wrong.
type fault struct {
	// Index or Line says which item of a batch is meant: its place in the array, from
	// 0, or its line of the stream, from 1.
	Index   *int        `json:"index,omitempty"`
	Line    int         `json:"line,omitempty"`
	Code    int         `json:"code"`
	Message string      `json:"message"`
	Errors  hook.Faults `json:"errors,omitempty"`
}

// contract says how each kind of error looks outside. In messages {error} stands for
// all of the error's own words, {subject} and {detail} for parts of them. Clients match
// on what the public API has.
var contract = map[hook.Kind]struct {
	status, code int
	message      string
}{
	hook.Invalid:         {http.StatusBadRequest, 300, "Validation Failed. {error}"},
	hook.NotFound:        {http.StatusNotFound, 404, "Not found: {error}"},
	hook.Conflict:        {http.StatusConflict, 409, "Conflict: {error}"},
	hook.Unauthenticated: {http.StatusUnauthorized, 124, "Invalid access token: {error}"},
	hook.Forbidden:       {http.StatusForbidden, 403, "Forbidden: {error}"},
	hook.TooLarge:        {http.StatusRequestEntityTooLarge, 413, "Too large: {error}"},
	hook.TooMany:         {http.StatusTooManyRequests, 429, "Too many requests: {error}"},
	hook.Unavailable:     {http.StatusServiceUnavailable, 503, "Unavailable: {error}"},

	hook.BadParameter:          {http.StatusBadRequest, 1500, "{detail}."},
	hook.BadToken:              {http.StatusUnauthorized, 124, "Invalid access token."},
	hook.MissingScopes:         {http.StatusBadRequest, 4711, "Invalid access token, does not contain scopes:[{detail}]"},
	hook.EventUnknown:          {http.StatusNotFound, 1601, "App event not exists: {subject}"},
	hook.EventNotAllowed:       {http.StatusBadRequest, 1602, "The event is not allowed for the app: {subject}"},
	hook.SubscriptionUnknown:   {http.StatusNotFound, 1601, "App event subscription is invalid: {subject}"},
	hook.EndpointUnproven:      {http.StatusNotFound, 1701, "The event webhook url validate failed: {subject}. {detail}"},
	hook.TokenURLUnproven:      {http.StatusNotFound, 1702, "The Oauth token url validate failed: {subject}. {detail}"},
	hook.UnknownHeaderType:     {http.StatusNotFound, 1801, "The custom header type validate failed: {subject}."},
	hook.NotAuthorizedToCreate: {http.StatusBadRequest, 1300, "The user don't authorize the app: {subject}."},
	hook.NotAuthorized:         {http.StatusBadRequest, 1002, "The user don't authorize the app: {subject}."},
	hook.UserUnknown:           {http.StatusNotFound, 1001, "User does not exist or does not belong to this account: {subject}."},
	hook.UserNotPermitted:      {http.StatusBadRequest, 1003, "The user {subject} missed permission to subscribe application events: {detail}"},
	hook.PageTokenInvalid:      {http.StatusBadRequest, 1003100, "The next page token is invalid or expired."},

	hook.LogNotPermitted: {http.StatusUnauthorized, 201, "No permission."},
	hook.LogAppUnknown:   {http.StatusNotFound, 1401, "The app does not exist: {subject}"},
	hook.LogRetryNum:     {http.StatusBadRequest, 1506, "The retry_num is invalid: {detail}."},
	hook.LogOrder:        {http.StatusNotFound, 1501, "The to is before the from: {detail}."},
	hook.LogRange:        {http.StatusNotFound, 1502, "The time range is beyond seven days: {detail}."},
	hook.LogFormat:       {http.StatusNotFound, 1503, "The time format is invalid: {detail}."},
	hook.LogFuture:       {http.StatusNotFound, 1504, "The from is in the future: {detail}."},

	hook.NumbersRefused: {http.StatusBadRequest, 1000, "Some data failed: {detail}"},
	hook.CarrierUnknown: {http.StatusBadRequest, 1001, "Carrier not found"},
	hook.NumbersMissing: {http.StatusBadRequest, 1002, "Request data cannot be empty"},
	hook.NumbersTooMany: {http.StatusBadRequest, 1003, "Too many numbers, should less than 200"},
}

// faultOf returns how an error looks outside. What is not a hook.Error is nobody
// else's business.
func faultOf(err error) (status int, f fault) {
	if e, ok := errors.AsType[*methodError](err); ok {
		return http.StatusMethodNotAllowed, fault{Code: 405, Message: "Method not allowed: " + e.Error()}
	}
	e, ok := errors.AsType[*hook.Error](err)
	if !ok {
		return http.StatusInternalServerError, fault{Code: 500, Message: "Internal error."}
	}
	c := contract[e.Kind]
	if len(e.Faults) > 0 {
		message, _, _ := strings.Cut(c.message, " {error}")
		return c.status, fault{Code: c.code, Message: message, Errors: e.Faults}
	}
	words := strings.NewReplacer("{error}", e.Error(), "{subject}", e.Subject, "{detail}", e.Detail)
	return c.status, fault{Code: c.code, Message: strings.TrimSpace(words.Replace(c.message))}
}

func (a *api) fail(w http.ResponseWriter, req *http.Request, err error) {
	if failToken(w, err) {
		return
	}
	status, f := a.faultFor(w, req, err)
	if e, ok := errors.AsType[*numbersError](err); ok {
		writeJSON(w, status, struct {
			fault
			Numbers []NumberFault `json:"errors"`
		}{f, e.numbers})
		return
	}
	writeJSON(w, status, f)
}

// faultFor is [faultOf] for an answer whose header is still to be written.
func (a *api) faultFor(w http.ResponseWriter, req *http.Request, err error) (status int, f fault) {
	status, f = faultOf(err)
	if status == http.StatusInternalServerError && req.Context().Err() == nil { // else nobody waits for it any more
		a.Log.ErrorContext(req.Context(), "api", "route", req.Pattern, "err", err)
	}
	switch status {
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		e, _ := errors.AsType[*hook.Error](err)
		w.Header().Set("Retry-After", retryAfter(e.Wait))
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", "Bearer") // RFC 9110, 11.6.1
	}
	return status, f
}

// maxDocument is how many bytes a body may have that is not an event.
const maxDocument = 1 << 20

// readJSON decodes a body strictly: a member that nobody reads is most likely
// misspelt.
func readJSON(w http.ResponseWriter, r *http.Request, v any) error {
	return decodeJSON(http.MaxBytesReader(w, r.Body, maxDocument), v)
}

func decodeJSON(r io.Reader, v any) error {
	dec := json.NewDecoder(r)
	dec.DisallowUnknownFields()
	err := dec.Decode(v)
	if err == nil {
		err = ended(dec)
	}
	if e, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return &hook.Error{Kind: hook.TooLarge, Subject: "body", Detail: fmt.Sprintf("has more than %d bytes", e.Limit)}
	}
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return hook.Faults{{Field: "/" + strings.ReplaceAll(e.Field, ".", "/"), Message: fmt.Sprintf("is %s, and must be %s", withArticle(e.Value), expected(e.Type))}}.Err("body")
	}
	if err != nil {
		return hook.Faults{{Message: "the body is not as expected: " + strings.TrimPrefix(err.Error(), "json: ")}}.Err("body")
	}
	return nil
}

// withArticle and expected say what a JSON value is, and what it should have been.
func withArticle(value string) string {
	kind, _, _ := strings.Cut(value, " ") // as in "number 1.5"
	if strings.ContainsAny(kind[:1], "ao") {
		return "an " + value
	}
	return "a " + value
}

func expected(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Slice, reflect.Array:
		return "an array"
	case reflect.Struct, reflect.Map, reflect.Pointer:
		return "an object"
	case reflect.Float64, reflect.Float32:
		return "a number"
	}
	return "a whole number of " + strconv.Itoa(t.Bits()) + " bits"
}

// ended returns an error if anything but white space follows.
func ended(dec *json.Decoder) error {
	_, err := dec.Token()
	if errors.Is(err, io.EOF) {
		return nil
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return err
	}
	return errors.New("there is something after the JSON value")
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = newEncoder(w).Encode(v) // who hangs up does not get to read it
}

// newEncoder returns an encoder that leaves the bodies of events as they are: they
// are shown with the bytes that are signed.
func newEncoder(w io.Writer) *json.Encoder {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc
}
