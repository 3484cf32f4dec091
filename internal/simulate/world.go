// Package simulate makes up carriers, their customers, the numbers that these use, and
// what they change of them.
//
// A [World] follows from a few figures, and each of its parts is a plain function of it
// and an index. So none of it has to be kept, however large it is, and the same world is
// the same wherever it is made. Nothing in it is anybody's: names and addresses are
// invented and look like it, and of the numbers the first [Fictional] are those that
// countries have set aside for films and books.
package simulate

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/number"
)

// World says how large a world is. Carriers, customers, numbers and steps are counted
// from 0. Customers have their numbers in runs of twenty in a row, one for each of their
// sites.
type World struct {
	// Seed tells worlds of the same size apart.
	Seed                         int
	Carriers, Customers, Numbers int
}

// CodesPerSeed is how many codes of carriers a seed has. They begin behind the seed times
// this.
const CodesPerSeed = 10_000

// What a world may have at most. Codes of carriers are of 32 bits.
const (
	maxSeed      = 200_000
	maxCarriers  = 1_000
	maxCustomers = 10_000
)

// Check returns what is wrong with the figures, as fields that are named like them.
func (w World) Check() hook.Faults {
	var f hook.Faults
	for _, x := range []struct {
		field      string
		is, atMost int
	}{{"seed", w.Seed, maxSeed}, {"carriers", w.Carriers, maxCarriers}, {"customers", w.Customers, maxCustomers}, {"numbers", w.Numbers, MaxNumbers()}} {
		if x.is < 1 || x.is > x.atMost {
			f.Add(x.field, "is %d; 1 to %d are allowed", x.is, x.atMost)
		}
	}
	return f
}

// What is drawn for, so that one draw does not follow from another.
const (
	forNumber = iota
	forRun
	forStep
	forCustomer
	forSite
	forOrder
)

// draw returns what decides about something. It is the same at each call.
func (w World) draw(what, i int) *rand.Rand {
	return rand.New(rand.NewPCG(uint64(w.Seed)<<8|uint64(what), uint64(i)*0x9e3779b97f4a7c15))
}

func pick[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }

// Carrier returns a carrier. Its code tells the world by the seed.
func (w World) Carrier(i int) number.Carrier {
	name := colours[i%len(colours)] + " " + networks[(w.Seed+i/len(colours))%len(networks)]
	return number.Carrier{Code: int32(CodesPerSeed*w.Seed + i + 1), Name: name}
}

// CarrierAccount returns the account that a carrier has on the platform.
func (w World) CarrierAccount(i int) hook.Account {
	return hook.Account{ID: fmt.Sprintf("sim%d-carrier-%d", w.Seed, i+1), Name: w.Carrier(i).Name}
}

// Customer returns the account of a customer.
func (w World) Customer(i int) hook.Account {
	r := w.draw(forCustomer, i)
	return hook.Account{ID: fmt.Sprintf("sim%d-customer-%d", w.Seed, i+1), Name: pick(r, words) + " " + pick(r, trades)}
}

// run is how many numbers in a row a customer has at a site.
const run = 20

// awayEvery: a customer has each tenth run from another carrier than the others.
const awayEvery = 10

func (w World) customerOf(n int) int { return n / run % w.Customers }

func (w World) carrierOf(n int) int {
	carrier := w.customerOf(n)
	if n/run/w.Customers%awayEvery == awayEvery-1 {
		carrier++
	}
	return carrier % w.Carriers
}

// following returns which number of the same customer comes behind another one.
func (w World) following(n int) int {
	if n++; n%run == 0 {
		n += run * (w.Customers - 1)
	}
	return n
}

// CustomersOf returns the customers that use numbers of a carrier.
func (w World) CustomersOf(carrier int) (all []int) {
	for i := range w.Customers {
		for site := range awayEvery {
			if n := run * (i + site*w.Customers); n < w.Numbers && w.carrierOf(n) == carrier {
				all = append(all, i)
				break
			}
		}
	}
	return all
}

// Number returns a number as its carrier adds it, and as its customer wants it to be at
// first. Those of a run mostly have the same name and address.
func (w World) Number(i int) number.Number {
	site, r := w.draw(forRun, i/run), w.draw(forNumber, i)
	customer := w.customerOf(i)
	e164, in := w.phone(i)
	n := number.Number{
		E164: e164, Carrier: w.Carrier(w.carrierOf(i)).Code, Account: w.Customer(customer).ID,
		SIPTrunkName: pick(site, trunks), Status: r.IntN(20) > 0, AllocatedProduct: pick(site, products),
		BillingRefID: fmt.Sprintf("REF-%d-%07d", w.Seed, i+1), ServiceInfo: pick(site, infos), Assigned: r.IntN(4) > 0,
		CNAM: w.name(site, customer), Address: w.address(site, customer, in),
	}
	switch r.IntN(20) {
	case 0:
		n.CNAM = ""
	case 1:
		n.CNAM = w.name(r, customer)
	case 2:
		n.Address = number.Address{}
	}
	return n.Normal()
}

// name returns one of the caller names that a customer uses.
func (w World) name(r *rand.Rand, customer int) string {
	first, _, _ := strings.Cut(w.Customer(customer).Name, " ")
	return strings.ToUpper(first) + " " + pick(r, desks)
}

// sites is how many addresses a customer has in each region.
const sites = 6

// address returns one of the addresses that a customer has in a region.
func (w World) address(r *rand.Rand, customer int, in *region) number.Address {
	site := w.draw(forSite, (customer*regionsAtMost+in.index)*sites+r.IntN(sites))
	c := countries[in.country]
	a := number.Address{
		Country: in.country, State: in.state, City: pick(site, c.cities), ZIP: fill(site, c.zip),
		Line1: fmt.Sprintf(pick(site, c.streets), 1+site.IntN(400)),
	}
	if site.IntN(3) == 0 {
		a.Line2 = fmt.Sprintf(c.floor, 1+site.IntN(12))
	}
	return a
}

// fill draws digits for 9 and letters for A.
func fill(r *rand.Rand, shape string) string {
	return strings.Map(func(c rune) rune {
		switch c {
		case '9':
			return '0' + rune(r.IntN(10))
		case 'A':
			return 'A' + rune(r.IntN(26))
		}
		return c
	}, shape)
}

// Step is what a customer changes at a time, of one number or of several in the same way.
type Step struct {
	Customer int
	Numbers  []string // in E.164
	// Change sets or clears the caller name or the emergency address.
	Change number.Change
	// Again: it is the step before once more, so nothing is different.
	Again bool
}

// mostOfList is how many numbers a step may be for.
const mostOfList = 40

// Step returns what is the k-th to be changed. There is no end of them. Where they are
// made for one customer in this order, all of them leave the same.
func (w World) Step(k int) Step {
	r := w.draw(forStep, k)
	kind := r.IntN(100)
	if kind < 15 && k > 0 {
		s := w.Step(k - 1)
		s.Again = true
		return s
	}
	first := r.IntN(w.Numbers)
	customer := w.customerOf(first)
	e164, in := w.phone(first)
	s := Step{Customer: customer, Numbers: []string{e164}}
	if kind < 35 {
		s.Numbers = w.list(r, first, in)
	}
	toName, clears := r.IntN(2) == 0, r.IntN(8) == 0
	switch {
	case toName && clears:
		s.Change.CNAM = new("")
	case toName:
		s.Change.CNAM = new(w.name(r, customer))
	case clears:
		s.Change.Address = &number.Address{}
	default:
		s.Change.Address = new(w.address(r, customer, in))
	}
	return s
}

// list returns a number with some that follow it in the same country, as far as there
// are any near it.
func (w World) list(r *rand.Rand, first int, in *region) []string {
	want := 2 + r.IntN(mostOfList-1)
	var all []string
	for n, tried := first, 0; n < w.Numbers && tried < 10*mostOfList && len(all) < want; n, tried = w.following(n), tried+1 {
		if e164, other := w.phone(n); other.country == in.country {
			all = append(all, e164)
		}
	}
	slices.Sort(all)
	return all
}
