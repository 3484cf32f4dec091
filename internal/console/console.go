// Package console is the HTML that people look at.
//
// [New] returns a handler that serves the event catalog as pages and passes on
// what is no page. They are made on the server and need no script. What they show
// comes from documents that anybody may have written, so it is never anything but
// text: html/template escapes it, nothing here declares a part of it safe, and
// the browser is told to load and run nothing else.
package console

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"encoding/hex"
	"html/template"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/switchhook/switchhook/internal/catalog"
)

//go:embed style.css pages
var files embed.FS

// Config says what the pages show.
type Config struct {
	Catalog *catalog.Catalog
	// Next answers what is no page.
	Next http.Handler
	Log  *slog.Logger
}

// New returns the handler.
func New(c Config) http.Handler {
	k := &console{Config: c}
	mux := http.NewServeMux()
	mux.Handle("/", c.Next)
	mux.Handle("/api-hub/{product}/events/webhooks.json", c.Next) // which is the API's, not an event type's
	mux.HandleFunc("/api-hub", k.page(k.products))
	mux.HandleFunc("/api-hub/{product}/events", k.page(k.events))
	mux.HandleFunc("/api-hub/{product}/events/{event}", k.page(k.event))
	// Where people end up who shorten an address, or type a slash too many.
	mux.HandleFunc("/api-hub/{$}", k.page(func(*http.Request) view { return moved("/api-hub") }))
	for _, path := range []string{"/api-hub/{product}", "/api-hub/{product}/{$}", "/api-hub/{product}/events/{$}"} {
		mux.HandleFunc(path, k.page(func(r *http.Request) view { return moved(eventsPath(r.PathValue("product"))) }))
	}
	return mux
}

type console struct{ Config }

// view is a page before it is written. Its template is called like its file.
type view struct {
	status   int
	template string
	Title    string
	// Trail are the pages above this one.
	Trail []link
	Data  any

	location string
}

type link struct{ Href, Text string }

func moved(to string) view { return view{status: http.StatusMovedPermanently, location: to} }

// missing is the page about something that is not there.
func missing(what string, trail ...link) view {
	return view{status: http.StatusNotFound, template: "missing", Title: "Not found", Data: what, Trail: trail}
}

// page turns what a function returns into an answer. Nothing else writes any.
func (k *console) page(show func(*http.Request) view) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "Pages can only be read.", http.StatusMethodNotAllowed)
			return
		}
		v := show(r)
		if v.location != "" {
			http.Redirect(w, r, v.location, v.status)
			return
		}
		var b bytes.Buffer
		if err := pages.ExecuteTemplate(&b, v.template, v); err != nil {
			k.Log.ErrorContext(r.Context(), "console", "route", r.Pattern, "err", err)
			http.Error(w, "Internal error.", http.StatusInternalServerError)
			return
		}
		h := w.Header()
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-cache") // may be kept, but has to be asked for again
		if v.status != http.StatusOK {
			w.WriteHeader(v.status)
			_, _ = w.Write(b.Bytes()) // who hangs up does not get to read it
			return
		}
		sum := sha256.Sum256(b.Bytes())
		h.Set("ETag", `"`+hex.EncodeToString(sum[:16])+`"`)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b.Bytes()))
	}
}

// style is the one style sheet. It is in every page, so that a page is one request,
// and the policy names it by its hash.
var style = func() template.CSS {
	text, err := files.ReadFile("style.css")
	if err != nil {
		panic(err) // it is embedded
	}
	return template.CSS(text) //nolint:gosec // it is ours
}()

var policy = func() string {
	sum := sha256.Sum256([]byte(style))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
		"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}()

var pages = template.Must(template.New("").Funcs(template.FuncMap{
	"style":  func() template.CSS { return style },
	"breaks": breaks,
	"prose":  prose,
	"plain":  plain,
}).ParseFS(files, "pages/*.html"))

// breaks cuts a name behind the dots and underscores in it, where it may be broken
// if a line is too short for it.
func breaks(name string) []string {
	var list []string
	for part := range strings.SplitAfterSeq(plain(name), ".") {
		for part := range strings.SplitAfterSeq(part, "_") {
			if part != "" {
				list = append(list, part)
			}
		}
	}
	return list
}

func eventsPath(product string) string { return "/api-hub/" + url.PathEscape(product) + "/events" }

func eventPath(product, event string) string {
	return eventsPath(product) + "/" + url.PathEscape(event)
}
