package api

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/inventory"
	"github.com/switchhook/switchhook/internal/number"
)

// Carrier is a carrier as the API shows it.
type Carrier struct {
	Code    int32    `json:"carrier_code"`
	Name    string   `json:"name"`
	Apps    []string `json:"app_ids"`
	Numbers int      `json:"numbers"`
}

func (a *api) carriers(w http.ResponseWriter, r *http.Request) error {
	all, err := a.Inventory.Carriers(r.Context())
	if err != nil {
		return err
	}
	views := []Carrier{}
	for _, c := range all {
		views = append(views, Carrier{c.Code, c.Name, orEmpty(c.Apps), c.Numbers})
	}
	writeJSON(w, http.StatusOK, map[string]any{"carriers": views})
	return nil
}

// CarrierSettings are what can be said of a carrier.
type CarrierSettings struct {
	Name string        `json:"name"`
	App  given[string] `json:"app_id"`
}

func (a *api) putCarrier(w http.ResponseWriter, r *http.Request) error {
	var body CarrierSettings
	if err := readJSON(w, r, &body); err != nil {
		return err
	}
	code, err := carrierCode(r)
	if err != nil {
		return err
	}
	if body.App.null || body.App.there && body.App.value == "" {
		return hook.Faults{{Field: "/app_id", Message: "names no app; to unbind one, take the code out of its carrier_codes"}}.Err("body")
	}
	made, err := a.Inventory.PutCarrier(r.Context(), actor(r), number.Carrier{Code: code, Name: body.Name, App: body.App.value})
	if err != nil {
		return below(err, "/")
	}
	all, err := a.Inventory.Carriers(r.Context())
	if err != nil {
		return err
	}
	for _, c := range all {
		if c.Code == code {
			writeJSON(w, putStatus(made), Carrier{c.Code, c.Name, orEmpty(c.Apps), c.Numbers})
			return nil
		}
	}
	return &hook.Error{Kind: hook.Conflict, Subject: fmt.Sprintf("carrier %d", code), Detail: "was removed meanwhile"}
}

func (a *api) deleteCarrier(w http.ResponseWriter, r *http.Request) error {
	code, err := carrierCode(r)
	if err != nil {
		return err
	}
	return noContent(w, a.Inventory.RemoveCarrier(actor(r), code))
}

func carrierCode(r *http.Request) (int32, error) {
	var f hook.Faults
	code := parseCode(r.PathValue("code"), "code", &f)
	return code, f.Err("path")
}

func parseCode(text, field string, f *hook.Faults) int32 {
	code, err := strconv.ParseInt(text, 10, 32)
	if err != nil || code < 1 || strconv.FormatInt(code, 10) != text {
		f.Add(field, "%.40q is not the code of a carrier, a number from 1 to 2147483647", text)
		return 0
	}
	return int32(code)
}

// below puts the fields that an error names below a prefix.
func below(err error, prefix string) error {
	if e, ok := errors.AsType[*hook.Error](err); ok && len(e.Faults) > 0 {
		under := *e
		under.Faults = e.Faults.In(prefix)
		return &under
	}
	return err
}

// numbers lists numbers in the order of their digits.
func (a *api) numbers(w http.ResponseWriter, r *http.Request) error {
	q, f := numberFilter(r, "phone_number", "page_size", "next_page_token")
	f.Number, f.Limit = plus(q.Get("phone_number")), q.pageSize()
	var digits uint64
	if q.position(&digits) {
		f.After = "+" + strconv.FormatUint(digits, 10)
	}
	if err := q.err(); err != nil {
		return err
	}
	page, next, err := a.Inventory.List(r.Context(), f)
	if err != nil {
		return err
	}
	total, err := a.Inventory.Count(r.Context(), f)
	if err != nil {
		return err
	}
	v := struct {
		Next     string          `json:"next_page_token"`
		PageSize int             `json:"page_size"`
		Total    int             `json:"total"`
		Numbers  []number.Number `json:"numbers"`
	}{"", f.Limit, total, orEmpty(page)}
	if next != "" {
		if digits, err = strconv.ParseUint(next[1:], 10, 64); err != nil {
			return err
		}
		v.Next = q.token(digits)
	}
	writeJSON(w, http.StatusOK, v)
	return nil
}

// numberFilter reads whose numbers are meant. more are the parameters beside those.
func numberFilter(r *http.Request, more ...string) (q *query, f inventory.Filter) {
	q = newQuery(r.URL.Query(), append([]string{"carrier_code", "account_id"}, more...)...)
	if text := q.Get("carrier_code"); text != "" {
		f.Carrier = parseCode(text, "carrier_code", &q.faults)
	}
	f.Account = q.Get("account_id")
	return q, f
}

// plus gives a phone number of a path or a query its plus: it may have been left out,
// and where it was not escaped it arrives as a space.
func plus(s string) string {
	if s = strings.TrimSpace(s); s != "" && '0' <= s[0] && s[0] <= '9' {
		return "+" + s
	}
	return s
}

func (a *api) number(w http.ResponseWriter, r *http.Request) error {
	e164 := plus(r.PathValue("phone_number"))
	n, err := a.Inventory.Get(r.Context(), e164, inventory.Filter{})
	if err == nil && n == nil {
		err = noNumber(e164)
	}
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, n)
	return nil
}

func noNumber(e164 string) error {
	if f := phoneFaults(e164); len(f) > 0 {
		return &hook.Error{Kind: hook.NotFound, Detail: "there is no such phone number: " + f[0].Message}
	}
	return &hook.Error{Kind: hook.NotFound, Subject: fmt.Sprintf("phone number %.40q", e164), Detail: "is not there"}
}

// given is a member of a body that may be left out, be null, or have a value.
type given[T any] struct {
	there, null bool
	value       T
}

// UnmarshalJSON implements json.Unmarshaler. It is as strict as [readJSON].
func (g *given[T]) UnmarshalJSON(b []byte) error {
	*g = given[T]{there: true, null: string(b) == "null"}
	if g.null {
		return nil
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	return dec.Decode(&g.value)
}

// NumberSettings are what can be set of numbers. What is left out stays, and null clears
// it.
type NumberSettings struct {
	CNAM     given[string]         `json:"cnam"`
	Address  given[number.Address] `json:"emergency_address"`
	Assigned given[bool]           `json:"assigned"`
}

// change returns what is to be changed. Faults are noted with where in the body they are.
func (s *NumberSettings) change(prefix string, f *hook.Faults) (c number.Change) {
	if s.CNAM.there {
		c.CNAM = &s.CNAM.value
		if !s.CNAM.null && strings.TrimSpace(s.CNAM.value) == "" {
			f.Add(prefix+"cnam", "is empty; null clears it")
		}
	}
	if s.Address.there {
		c.Address = &s.Address.value
		if !s.Address.null && s.Address.value.Normal() == (number.Address{}) {
			// It would clear the address of whoever made a mistake.
			f.Add(prefix+"emergency_address", "is empty; null clears it")
		}
	}
	if s.Assigned.there {
		c.Assigned = &s.Assigned.value
		if s.Assigned.null {
			f.Add(prefix+"assigned", "is null, and must be true or false")
		}
	}
	if c == (number.Change{}) {
		f.Add(strings.TrimSuffix(prefix, "/"), "has none of cnam, emergency_address and assigned")
	}
	c = c.Normal()
	*f = append(*f, c.Check().In(prefix)...)
	return c
}

// Changed says what came of a change of numbers.
type Changed struct {
	Numbers int `json:"numbers"`
	Changed int `json:"changed"`
	Events  int `json:"events"`
}

func (a *api) setNumber(w http.ResponseWriter, r *http.Request) error {
	var body NumberSettings
	if err := readJSON(w, r, &body); err != nil {
		return err
	}
	var faults hook.Faults
	change := body.change("/", &faults)
	if err := faults.Err("body"); err != nil {
		return err
	}
	e164 := plus(r.PathValue("phone_number"))
	done, err := a.Inventory.Set(actor(r), []string{e164}, inventory.Filter{}, change)
	if e, ok := errors.AsType[*inventory.Error](err); ok && e.Kind == inventory.Refused && e.Refused[0].Why == inventory.Unknown {
		err = noNumber(e164)
	}
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, Changed(done))
	return nil
}

// NumberSelection says which numbers are to be changed, and how: a list of them, or what
// a filter selects.
type NumberSelection struct {
	Numbers given[[]string] `json:"phone_numbers"`
	Filter  *NumberFilter   `json:"filter"`
	Set     *NumberSettings `json:"set"`
}

// NumberFilter selects numbers. All is for those who mean all of them, so that nobody
// changes them who has only forgotten the rest.
type NumberFilter struct {
	Carrier *int32  `json:"carrier_code"`
	Account *string `json:"account_id"`
	All     bool    `json:"all"`
}

func (x *NumberFilter) filter(faults *hook.Faults) (f inventory.Filter) {
	if x.Carrier != nil {
		if f.Carrier = *x.Carrier; f.Carrier < 1 {
			faults.Add("/filter/carrier_code", "must be 1 to 2147483647")
		}
	}
	if x.Account != nil {
		if f.Account = *x.Account; f.Account == "" {
			faults.Add("/filter/account_id", "is empty")
		}
	}
	switch narrow := x.Carrier != nil || x.Account != nil; {
	case !narrow && !x.All:
		faults.Add("/filter", `selects nothing: name carrier_code or account_id, or say "all":true for all numbers that there are`)
	case narrow && x.All:
		faults.Add("/filter/all", "cannot be given beside carrier_code and account_id")
	}
	return f
}

func (a *api) setNumbers(w http.ResponseWriter, r *http.Request) error {
	var body NumberSelection
	if err := readJSON(w, r, &body); err != nil {
		return err
	}
	var faults hook.Faults
	var change number.Change
	var filter inventory.Filter
	if body.Set == nil {
		faults.Add("/set", "is missing")
	} else {
		change = body.Set.change("/set/", &faults)
	}
	list := body.Numbers.value
	switch {
	case (body.Filter != nil) == body.Numbers.there:
		faults.Add("", "exactly one of phone_numbers and filter is needed")
	case body.Filter != nil:
		filter = body.Filter.filter(&faults)
	case len(list) == 0:
		faults.Add("/phone_numbers", "is empty")
	case len(list) > inventory.MaxList:
		faults.Add("/phone_numbers", "has %d numbers; at most %d are allowed, and any number with a filter or a file", len(list), inventory.MaxList)
	}
	if err := faults.Err("body"); err != nil {
		return err
	}
	if body.Filter != nil {
		return a.setSelected(w, r, filter, change)
	}
	done, err := a.Inventory.Set(actor(r), list, inventory.Filter{}, change)
	if e, ok := errors.AsType[*inventory.Error](err); ok && e.Kind == inventory.Refused {
		err = refusedOf(list, e.Refused)
	}
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, Changed(done))
	return nil
}

// refusedOf says which numbers of a list were refused.
func refusedOf(list []string, refused []inventory.Refusal) error {
	at := placesOf(list)
	var f hook.Faults
	for _, x := range refused {
		message := x.Number + " " + x.Message
		if none := phoneFaults(x.Number); len(none) > 0 {
			message = none[0].Message
		}
		f.Add("/phone_numbers/"+strconv.Itoa(at[x.Number]), "%s", message)
	}
	return f.Err("body")
}

// phoneFaults returns why a text is not a phone number, if it is none.
func phoneFaults(s string) hook.Faults {
	n := number.Number{E164: s}
	return slices.DeleteFunc(n.Check(), func(f hook.Fault) bool { return f.Field != "phone_number" })
}

// setSelected changes what a filter selects, piece by piece. Who asks for it is told of
// each piece.
func (a *api) setSelected(w http.ResponseWriter, r *http.Request, f inventory.Filter, c number.Change) error {
	ctx, stop := context.WithCancel(r.Context())
	defer stop()
	s := newSteps(w, r)
	type step struct {
		Type string `json:"type"`
		Changed
	}
	p, err := a.Inventory.SetAll(ctx, actor(r), f, c, func(p inventory.Progress) {
		if s.wanted && !s.send(step{"progress", Changed(p.Result)}) {
			stop() // nobody is there to be told any more
		} else if a.stopped() != nil {
			stop() // before the next piece
		}
	})
	if err != nil && ctx.Err() != nil {
		err = cmp.Or(a.stopped(), err)
	}
	switch {
	case s.err != nil:
		a.gone(r, s.err)
	case err != nil && !s.begun:
		return err
	case err != nil:
		_, said := a.itemFault(r, err)
		s.send(struct {
			Type string `json:"type"`
			fault
			Changed
		}{"error", said, Changed(p.Result)})
	case s.wanted:
		s.send(step{"done", Changed(p.Result)})
	default:
		writeJSON(w, http.StatusOK, Changed(p.Result))
	}
	return nil
}
