package api

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/inventory"
	"github.com/switchhook/switchhook/internal/number"
)

// The calls in this file are those of the public API: paths, members and codes are what
// its clients know. An app is the carrier's whose codes it has, and acts for the customer
// whose account its token was obtained for.

// PeeringNumber is a number as the public API shows it, with what the customer says of
// it.
type PeeringNumber struct {
	Assigned     bool           `json:"assigned"`
	BillingRefID string         `json:"billing_ref_id"`
	Product      number.Product `json:"allocated_product"`
	Type         number.Type    `json:"number_type"`
	E164         string         `json:"phone_number"`
	ServiceInfo  string         `json:"service_info"`
	SIPTrunkName string         `json:"sip_trunk_name"`
	Status       bool           `json:"status"`
	Carrier      int32          `json:"carrier_code"`
	CNAM         string         `json:"cnam,omitempty"`
	Address      number.Address `json:"emergency_address,omitzero"`
}

// CarrierNumber is a number as its carrier sees it, with the customer.
type CarrierNumber struct {
	CustomerName string `json:"customer_account_name"`
	Customer     string `json:"customer_account_number"`
	PeeringNumber
}

func viewPeering(n *number.Number) PeeringNumber {
	return PeeringNumber{
		n.Assigned, n.BillingRefID, n.AllocatedProduct, n.NumberType, n.E164, n.ServiceInfo, n.SIPTrunkName, n.Status, n.Carrier, n.CNAM, n.Address,
	}
}

// peeringNumbers lists the numbers that the app's carriers peer for a customer.
func (a *api) peeringNumbers(w http.ResponseWriter, r *http.Request) error {
	return listPeering(a, w, r, inventory.Filter{Account: grant(r).Account}, viewPeering)
}

// carrierNumbers lists the numbers that the app's carriers peer for all their customers,
// or for the one that the token was obtained for.
func (a *api) carrierNumbers(w http.ResponseWriter, r *http.Request) error {
	g, f := grant(r), inventory.Filter{Account: parameters(r).Get("customer_account_number")}
	if g.Account != g.App.Account {
		if f.Account != "" && f.Account != g.Account {
			f.Number = nothing
		}
		f.Account = g.Account
	}
	return listPeering(a, w, r, f, func(n *number.Number) CarrierNumber {
		v := CarrierNumber{Customer: n.Account, PeeringNumber: viewPeering(n)}
		if customer := a.Directory.Account(n.Account); customer != nil {
			v.CustomerName = customer.Name
		}
		return v
	})
}

// nothing is no number, and selects none.
const nothing = "none"

// listPeering writes a page of what the filter selects of the app's carriers.
func listPeering[T any](a *api, w http.ResponseWriter, r *http.Request, f inventory.Filter, view func(*number.Number) T) error {
	q, now := parameters(r), time.Now()
	size, err := pageSize(q.Get("page_size"))
	if err != nil {
		return err
	}
	named, err := namedCarrier(q)
	if err != nil {
		return err
	}
	carriers := carriersOf(r)
	if named != nil {
		code, err := ownCarrier(r, named)
		if err != nil {
			return err
		}
		carriers = []int32{code}
	}
	after, err := a.position(r, now)
	if err != nil {
		return err
	}
	f.Limit, f.After = size, string(after)
	if e164 := plus(q.Get("phone_number")); e164 != "" && f.Number == "" {
		f.Number = e164
	}
	page, next, err := a.Inventory.ListOf(r.Context(), carriers, f)
	if err != nil {
		return err
	}
	total, err := a.Inventory.CountOf(r.Context(), carriers, f)
	if err != nil {
		return err
	}
	if total == 0 && named != nil {
		if err := a.mustExist(r, *named); err != nil {
			return err
		}
	}
	v := struct {
		Next     string `json:"next_page_token"`
		PageSize int    `json:"page_size"`
		Total    int    `json:"total_records"`
		Numbers  []T    `json:"numbers"`
	}{"", size, total, []T{}}
	for i := range page {
		v.Numbers = append(v.Numbers, view(&page[i]))
	}
	if next != "" {
		v.Next = a.nextPage(r, []byte(next), now)
	}
	writeJSON(w, http.StatusOK, v)
	return nil
}

// carriersOf returns the codes that the app of a request is bound to. No carrier has one
// below 1, and for the inventory 0 means all of them.
func carriersOf(r *http.Request) []int32 {
	return slices.DeleteFunc(slices.Clone(grant(r).App.CarrierCodes), func(code int32) bool { return code < 1 })
}

// mustExist refuses a code that no carrier has.
func (a *api) mustExist(r *http.Request, code int32) error {
	all, err := a.Inventory.Carriers(r.Context())
	if err == nil && !slices.ContainsFunc(all, func(c inventory.Carrier) bool { return c.Code == code }) {
		err = &hook.Error{Kind: hook.CarrierUnknown}
	}
	return err
}

// namedCarrier reads the code that a query has, if it has one.
func namedCarrier(q url.Values) (*int32, error) {
	text := q.Get("carrier_code")
	if text == "" {
		return nil, nil
	}
	code, err := strconv.ParseInt(text, 10, 32)
	if err != nil {
		return nil, &hook.Error{Kind: hook.BadParameter, Detail: "carrier_code must be a whole number of 32 bits"}
	}
	return new(int32(code)), nil
}

// ownCarrier returns the carrier that a call is for: the one that is named, or the only
// one that the app has. Whether it exists is for the inventory to say.
func ownCarrier(r *http.Request, named *int32) (int32, error) {
	own := carriersOf(r)
	switch {
	case named == nil && len(own) == 1:
		return own[0], nil
	case named != nil && slices.Contains(own, *named):
		return *named, nil
	}
	return 0, &hook.Error{Kind: hook.CarrierUnknown}
}

// PeeringRequest is what a carrier says of numbers.
type PeeringRequest struct {
	Carrier *int32          `json:"carrier_code"`
	Product *number.Product `json:"allocated_product"`
	Numbers []PeeringItem   `json:"phone_numbers"`
}

// PeeringItem is what a carrier says of one number. What is left out is nil.
type PeeringItem struct {
	E164         string       `json:"phone_number"`
	SIPTrunkName *string      `json:"sip_trunk_name"`
	Status       *bool        `json:"status"`
	Type         *number.Type `json:"number_type"`
	BillingRefID *string      `json:"billing_ref_id"`
	ServiceInfo  *string      `json:"service_info"`
}

// readPeering reads a request and the carrier that it is for.
func readPeering(w http.ResponseWriter, r *http.Request) (body PeeringRequest, carrier int32, err error) {
	if err := readParameters(w, r, &body); err != nil {
		return body, 0, err
	}
	if err := namedNumbers(len(body.Numbers)); err != nil {
		return body, 0, err
	}
	carrier, err = ownCarrier(r, body.Carrier)
	return body, carrier, err
}

func namedNumbers(n int) error {
	switch {
	case n == 0:
		return &hook.Error{Kind: hook.NumbersMissing}
	case n > inventory.MaxNumbers:
		return &hook.Error{Kind: hook.NumbersTooMany}
	}
	return nil
}

// change returns what a carrier wants of a number.
func (x *PeeringItem) change(p *number.Product) number.Change {
	return number.Change{
		SIPTrunkName: x.SIPTrunkName, Status: x.Status, AllocatedProduct: p, NumberType: x.Type, BillingRefID: x.BillingRefID, ServiceInfo: x.ServiceInfo,
	}
}

// noTrunk reports whether a name of a trunk is none.
func noTrunk(name string) bool { return strings.TrimSpace(name) == "" }

// addNumbers adds numbers that a carrier peers for a customer.
func (a *api) addNumbers(w http.ResponseWriter, r *http.Request) error {
	body, carrier, err := readPeering(w, r)
	if err != nil {
		return err
	}
	named := make([]string, len(body.Numbers))
	numbers, found := make([]number.Number, len(named)), make([]hook.Faults, len(named))
	for i := range body.Numbers {
		x := &body.Numbers[i]
		if x.SIPTrunkName == nil || noTrunk(*x.SIPTrunkName) {
			found[i].Add("sip_trunk_name", "is missing")
		}
		if x.Status == nil {
			found[i].Add("status", "is missing")
		}
		named[i] = x.E164
		numbers[i], _ = number.Apply(number.Number{E164: x.E164, Account: grant(r).Account}, x.change(body.Product))
	}
	if _, err := a.Inventory.Add(actor(r), carrier, numbers, found...); err != nil {
		return peeringError(err, named)
	}
	w.WriteHeader(http.StatusCreated)
	return nil
}

// updateNumbers changes what a carrier says of a customer's numbers.
func (a *api) updateNumbers(w http.ResponseWriter, r *http.Request) error {
	body, carrier, err := readPeering(w, r)
	if err != nil {
		return err
	}
	named, updates := make([]string, len(body.Numbers)), make([]inventory.Update, len(body.Numbers))
	for i := range body.Numbers {
		x := &body.Numbers[i]
		named[i] = x.E164
		updates[i] = inventory.Update{E164: x.E164, Change: x.change(body.Product)}
		if x.SIPTrunkName != nil && noTrunk(*x.SIPTrunkName) {
			updates[i].Faults.Add("sip_trunk_name", "is empty")
		}
	}
	_, err = a.Inventory.Update(actor(r), carrier, grant(r).Account, updates)
	return noContent(w, peeringError(err, named))
}

// removeNumbers removes a customer's numbers.
func (a *api) removeNumbers(w http.ResponseWriter, r *http.Request) error {
	q := parameters(r)
	named := split(slices.Concat(q["phone_numbers"], q["phone_numbers[]"]))
	for i := range named {
		named[i] = plus(named[i])
	}
	if err := namedNumbers(len(named)); err != nil {
		return err
	}
	code, err := namedCarrier(q)
	if err != nil {
		return err
	}
	carrier, err := ownCarrier(r, code)
	if err != nil {
		return err
	}
	if _, err := a.Inventory.Remove(actor(r), carrier, grant(r).Account, named); err != nil {
		return peeringError(err, named)
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

// NumberFault says why something cannot be done to a number, in the public API's words
// where it has some.
type NumberFault struct {
	Number string `json:"phoneNumber"`
	Reason string `json:"reason"`
}

// numbersError is a [hook.Error] that names numbers.
type numbersError struct {
	error
	numbers []NumberFault
}

// Unwrap is for errors.As.
func (e *numbersError) Unwrap() error { return e.error }

// peeringError turns what the inventory refuses into what the public API says. named are
// the numbers of the request, in its order.
func peeringError(err error, named []string) error {
	e, ok := errors.AsType[*inventory.Error](err)
	if !ok {
		return err
	}
	switch e.Kind {
	case inventory.NoCarrier:
		return &hook.Error{Kind: hook.CarrierUnknown}
	case inventory.Empty:
		return &hook.Error{Kind: hook.NumbersMissing}
	case inventory.TooMany:
		return &hook.Error{Kind: hook.NumbersTooMany}
	}
	place := placesOf(named)
	slices.SortStableFunc(e.Refused, func(a, b inventory.Refusal) int { return place[a.Number] - place[b.Number] })
	said := make([]NumberFault, len(e.Refused))
	for i := range e.Refused {
		said[i] = NumberFault{shownNumber(e.Refused[i].Number), reasonOf(&e.Refused[i])}
	}
	var text strings.Builder
	_ = newEncoder(&text).Encode(said)
	return &numbersError{&hook.Error{Kind: hook.NumbersRefused, Detail: strings.TrimSpace(text.String())}, said}
}

// placesOf returns where in a list each text is first, white space around it aside.
func placesOf(list []string) map[string]int {
	at := make(map[string]int, len(list))
	for i, s := range slices.Backward(list) {
		at[strings.TrimSpace(s)] = i
	}
	return at
}

func reasonOf(x *inventory.Refusal) string {
	none := phoneFaults(x.Number)
	switch {
	case x.Why == inventory.BadNumber && slices.Contains(none, hook.Fault{Field: x.Field, Message: x.Message}), x.Why == inventory.Unknown && len(none) > 0:
		return "Invalid number"
	case x.Why == inventory.BadTrunk:
		return "Invalid Sip Trunk"
	case x.Why == inventory.Unknown:
		return "Phone number does not exist"
	case x.Why == inventory.Taken:
		return "Phone number already exists"
	}
	return hook.Faults{{Field: x.Field, Message: x.Message}}.Error()
}

// maxShown is how much of what stands in place of a phone number is shown.
const maxShown = 64

func shownNumber(s string) string {
	s = hook.Printable(strings.ToValidUTF8(s, "\uFFFD"))
	if utf8.RuneCountInString(s) > maxShown {
		s = string([]rune(s)[:maxShown]) + "…"
	}
	return s
}
