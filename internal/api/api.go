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
	"reflect"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/switchhook/switchhook/internal/catalog"
	"github.com/switchhook/switchhook/internal/deliver"
	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/intake"
	"github.com/switchhook/switchhook/internal/manage"
	"github.com/switchhook/switchhook/internal/oauth"
	"github.com/switchhook/switchhook/internal/outbound"
	"github.com/switchhook/switchhook/webhook"
)

// Store keeps what the API shows, and what it changes that nobody else does.
type Store interface {
	FindKey(ctx context.Context, secret hook.Secret) (*hook.OperatorKey, error)

	Event(ctx context.Context, id hook.EventID) (e *hook.Event, owed []hook.SubscriptionKey, err error)
	Delivery(ctx context.Context, id hook.DeliveryID) (*hook.Standing, error)
	Deliveries(ctx context.Context, f hook.DeliveryFilter) (page []hook.Standing, next *hook.Cursor, err error)
	Resend(id hook.DeliveryID, now time.Time, detail string) error
	Challenges(ctx context.Context, k hook.SubscriptionKey, limit int) ([]hook.Attempt, error)
	// DeletedSubscription returns one that the log still names, or nil.
	DeletedSubscription(ctx context.Context, k hook.SubscriptionKey) (*hook.Subscription, error)

	PutCatalogDocument(product string, source []byte, now time.Time) error
	SetCheckMode(eventType string, m hook.CheckMode) error
}

// Config says what the API is for.
type Config struct {
	Store     Store
	Directory *hook.Directory
	Intake    *intake.Intake
	Manager   *manage.Manager
	Catalog   *catalog.Catalog
	Client    *outbound.Client
	Sender    *deliver.Sender
	Tokens    *oauth.Tokens
	// PublicURL is where the API is reached from outside. Empty: where a request came.
	PublicURL string
	// Version is the program's.
	Version string
	Log     *slog.Logger
}

type api struct {
	Config
	keys    keyCache
	guesses guesses
}

// operator is where the operator API begins. Publishing has the path that the
// contract gives it.
const operator = "/operator/v1"

// New returns the handler.
func New(c Config) http.Handler {
	a := &api{Config: c}
	mux := http.NewServeMux()
	for pattern, r := range a.routes() {
		mux.Handle(pattern, a.handle(r))
	}
	mux.Handle("POST /oauth/token", a.handle(route{serve: a.token}))
	mux.Handle("GET /health", a.handle(route{serve: func(w http.ResponseWriter, _ *http.Request) error {
		writeJSON(w, http.StatusOK, map[string]string{"status": "ok", "version": c.Version})
		return nil
	}}))
	mux.Handle("/", a.handle(route{serve: func(w http.ResponseWriter, r *http.Request) error {
		if methods := methodsOf(mux, r); len(methods) > 0 {
			w.Header().Set("Allow", strings.Join(methods, ", "))
			return &methodError{r.Method, r.URL.Path}
		}
		return &hook.Error{Kind: hook.NotFound, Subject: r.Method + " " + r.URL.Path, Detail: "is no call of this API"}
	}}))
	return mux
}

// methodsOf returns the methods with which a request's path can be called.
func methodsOf(mux *http.ServeMux, r *http.Request) (methods []string) {
	for _, m := range []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodDelete} {
		if _, pattern := mux.Handler(&http.Request{Method: m, Host: r.Host, URL: r.URL}); pattern != "/" {
			methods = append(methods, m)
		}
	}
	return methods
}

// methodError says that a path cannot be called with a method.
type methodError struct{ method, path string }

func (e *methodError) Error() string { return e.path + " cannot be called with " + e.method }

// routes returns all calls that take an operator key.
func (a *api) routes() map[string]route {
	return map[string]route{
		"POST /v2/events": {hook.KeyPublish, a.publish},

		"GET " + operator + "/events/{id}":             {hook.KeyRead, a.event},
		"GET " + operator + "/deliveries":              {hook.KeyRead, a.deliveries},
		"GET " + operator + "/deliveries/{id}":         {hook.KeyRead, a.delivery},
		"POST " + operator + "/deliveries/{id}/resend": {hook.KeyManage, a.resend},
		"POST " + operator + "/resend":                 {hook.KeyManage, a.resendAll},

		"POST " + operator + "/apply":                        {hook.KeyManage, a.apply},
		"GET " + operator + "/accounts":                      {hook.KeyRead, a.accounts},
		"GET " + operator + "/apps":                          {hook.KeyRead, a.apps},
		"GET " + operator + "/apps/{id}":                     {hook.KeyRead, a.app},
		"GET " + operator + "/apps/{id}/secret_token":        {hook.KeyManage, a.secretToken},
		"POST " + operator + "/apps/{id}/secret_token":       {hook.KeyManage, a.rotateToken},
		"POST " + operator + "/apps/{id}/client_secret":      {hook.KeyManage, a.rotateClientSecret},
		"DELETE " + operator + "/apps/{id}":                  {hook.KeyManage, a.deleteApp},
		"GET " + operator + "/subscriptions":                 {hook.KeyRead, a.subscriptions},
		"GET " + operator + "/subscriptions/{id}":            {hook.KeyRead, a.subscription},
		"GET " + operator + "/subscriptions/{id}/challenges": {hook.KeyRead, a.challenges},
		"POST " + operator + "/subscriptions/{id}/validate":  {hook.KeyManage, a.validate},
		"POST " + operator + "/subscriptions/{id}/disable":   {hook.KeyManage, a.disable},
		"DELETE " + operator + "/subscriptions/{id}":         {hook.KeyManage, a.deleteSubscription},

		"GET " + operator + "/event_types":              {hook.KeyRead, a.eventTypes},
		"GET " + operator + "/event_types/{name}":       {hook.KeyRead, a.eventType},
		"PUT " + operator + "/event_types/{name}/check": {hook.KeyManage, a.setCheck},
		"POST " + operator + "/catalog":                 {hook.KeyManage, a.importCatalog},
	}
}

// route is a handler with the scope that an operator key needs for it.
type route struct {
	scope hook.KeyScope
	serve func(http.ResponseWriter, *http.Request) error
}

// handle turns what a route returns into an answer. Nothing else writes errors.
func (a *api) handle(r route) http.HandlerFunc {
	return func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set(webhook.HeaderTrackingID, fmt.Sprintf("v=2.0;clid=%s;rid=WEB_%016x%016x", a.Client.Region, rand.Uint64(), rand.Uint64()))
		defer func() {
			if p := recover(); p != nil && p != http.ErrAbortHandler { //nolint:errorlint // it is the value itself
				a.Log.ErrorContext(req.Context(), "api", "route", req.Pattern, "panic", p, "stack", string(debug.Stack()))
				panic(http.ErrAbortHandler) // the answer may have begun
			}
		}()
		k, err := a.authorize(req, r.scope)
		if err == nil {
			err = r.serve(w, req.WithContext(context.WithValue(req.Context(), keyOf{}, k)))
		}
		if err != nil {
			a.fail(w, req, err)
		}
	}
}

// keyOf is where the context of a request has its operator key.
type keyOf struct{}

// byKey says who asked for something, for the log.
func byKey(req *http.Request) string {
	k := req.Context().Value(keyOf{}).(*hook.OperatorKey)
	return fmt.Sprintf("asked for with operator key %q (%s)", k.Name, k.ID)
}

// authorize returns the operator key of a request, which must have the scope. A
// route without a scope is for everybody.
func (a *api) authorize(req *http.Request, scope hook.KeyScope) (*hook.OperatorKey, error) {
	if scope == "" {
		return nil, nil
	}
	scheme, secret, _ := strings.Cut(req.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") || secret == "" {
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

// contract says how each kind of error looks outside.
var contract = map[hook.Kind]struct {
	status, code int
	message      string // before the error's own words
}{
	hook.Invalid:         {http.StatusBadRequest, 300, "Validation Failed."},
	hook.NotFound:        {http.StatusNotFound, 404, "Not found:"},
	hook.Conflict:        {http.StatusConflict, 409, "Conflict:"},
	hook.Unauthenticated: {http.StatusUnauthorized, 124, "Invalid access token:"},
	hook.Forbidden:       {http.StatusForbidden, 403, "Forbidden:"},
	hook.TooLarge:        {http.StatusRequestEntityTooLarge, 413, "Too large:"},
	hook.TooMany:         {http.StatusTooManyRequests, 429, "Too many requests:"},
	hook.Unavailable:     {http.StatusServiceUnavailable, 503, "Unavailable:"},
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
		return c.status, fault{Code: c.code, Message: c.message, Errors: e.Faults}
	}
	return c.status, fault{Code: c.code, Message: c.message + " " + e.Error()}
}

func (a *api) fail(w http.ResponseWriter, req *http.Request, err error) {
	if failToken(w, err) {
		return
	}
	status, f := faultOf(err)
	if status == http.StatusInternalServerError {
		a.Log.ErrorContext(req.Context(), "api", "route", req.Pattern, "err", err)
	}
	switch status {
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		e, _ := errors.AsType[*hook.Error](err)
		w.Header().Set("Retry-After", retryAfter(e.Wait))
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", "Bearer") // RFC 9110, 11.6.1
	}
	writeJSON(w, status, f)
}

// maxDocument is how many bytes a body may have that is not an event.
const maxDocument = 1 << 20

// readJSON decodes a body strictly: a member that nobody reads is most likely
// misspelt.
func readJSON(w http.ResponseWriter, r *http.Request, v any) error {
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxDocument))
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
