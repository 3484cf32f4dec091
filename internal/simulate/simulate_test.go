package simulate_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/switchhook/switchhook/internal/number"
	"github.com/switchhook/switchhook/internal/simulate"
)

var update = flag.Bool("update", false, "rewrite the golden file")

var small = simulate.World{Seed: 1, Carriers: 3, Customers: 7, Numbers: 900}

// A world is the same wherever and whenever it is made. If this differs without anybody
// having wanted it, those who compare runs by their seed compare two things.
func TestGolden(t *testing.T) {
	var b bytes.Buffer
	for i := range small.Carriers {
		fmt.Fprintf(&b, "%+v %+v\n", small.Carrier(i), small.CustomersOf(i))
	}
	for i := range small.Customers {
		fmt.Fprintf(&b, "%+v\n", small.Customer(i))
	}
	w := number.NewWriter(&b)
	for i := range 30 {
		n := small.Number(i)
		must(t, w.Write(&n))
	}
	must(t, w.Flush())
	for k := range 60 {
		s := small.Step(k)
		what, err := json.Marshal(map[string]any{"cnam": s.Change.CNAM, "emergency_address": s.Change.Address})
		must(t, err)
		fmt.Fprintf(&b, "%d %v %v %s\n", s.Customer, s.Again, s.Numbers, what)
	}
	const file = "testdata/world.golden"
	if *update {
		must(t, os.WriteFile(file, b.Bytes(), 0o644))
	}
	want, err := os.ReadFile(file)
	must(t, err)
	if !bytes.Equal(b.Bytes(), want) {
		t.Errorf("the world of seed 1 is another one; -update rewrites %s. It is\n%s", file, b.String())
	}
}

// Every number is one that can be imported, and there once. The numbers set aside for
// fiction come first.
func TestNumbers(t *testing.T) {
	w := simulate.World{Seed: 7, Carriers: 5, Customers: 200, Numbers: simulate.MaxNumbers()}
	seen := map[string]bool{}
	countries := map[string]int{}
	try := func(i int) {
		n := w.Number(i)
		if seen[n.E164] {
			t.Fatalf("number %d, %s, is there twice", i, n.E164)
		}
		seen[n.E164] = true
		if f := n.Check(); len(f) > 0 || n != n.Normal() {
			t.Errorf("number %d, %+v: %v", i, n, f)
		}
		if i < simulate.Fictional() {
			countries[n.Address.Country]++
		}
	}
	for i := 0; i < simulate.Fictional()+20_000; i += 20 { // the first and the last of a run
		try(i)
		try(i + 19)
	}
	for i := range 20 {
		try(w.Numbers - 1 - i)
	}
	for _, c := range []string{"US", "CA", "GB", "AU", "DE", "FR"} {
		if countries[c] < 100 {
			t.Errorf("numbers with addresses by country: %v", countries)
		}
	}
}

// A customer changes its own numbers only, all of a step in the same way, and each sort
// of step comes up.
func TestSteps(t *testing.T) {
	w := simulate.World{Seed: 3, Carriers: 5, Customers: 200, Numbers: 100_000}
	owner := map[string]string{}
	for i := range w.Numbers {
		n := w.Number(i)
		owner[n.E164] = n.Account
	}
	sorts := map[string]int{}
	var before simulate.Step
	for k := range 2000 {
		s := w.Step(k)
		account := w.Customer(s.Customer).ID
		for _, n := range s.Numbers {
			if owner[n] != account {
				t.Fatalf("step %d changes %s of %q for %s", k, n, owner[n], account)
			}
		}
		if !slices.IsSorted(s.Numbers) || len(slices.Compact(slices.Clone(s.Numbers))) != len(s.Numbers) {
			t.Errorf("step %d: %v", k, s.Numbers)
		}
		if f := s.Change.Check(); len(f) > 0 || (s.Change.CNAM == nil) == (s.Change.Address == nil) {
			t.Errorf("step %d: %+v: %v", k, s.Change, f)
		}
		if s.Again && fmt.Sprint(s.Numbers, show(s.Change)) != fmt.Sprint(before.Numbers, show(before.Change)) {
			t.Errorf("step %d is not %d again: %+v", k, k-1, s)
		}
		before = s
		switch {
		case s.Again:
			sorts["again"]++
		case len(s.Numbers) > 1:
			sorts["list"]++
		default:
			sorts["single"]++
		}
		if c := s.Change; c.CNAM != nil && *c.CNAM == "" || c.Address != nil && *c.Address == (number.Address{}) {
			sorts["clear"]++
		}
	}
	for _, name := range []string{"again", "list", "single", "clear"} {
		if sorts[name] < 100 {
			t.Errorf("sorts of 2000 steps: %v", sorts)
		}
	}
}

func show(c number.Change) string {
	text, _ := json.Marshal(c)
	return string(text)
}

// A carrier's customers are those that use its numbers.
func TestCustomersOf(t *testing.T) {
	for _, w := range []simulate.World{small, {Seed: 1, Carriers: 4, Customers: 9, Numbers: 2000}, {Seed: 2, Carriers: 1, Customers: 50, Numbers: 30}} {
		use := map[string]bool{}
		for i := range w.Numbers {
			n := w.Number(i)
			use[fmt.Sprint(n.Carrier, n.Account)] = true
		}
		got := map[string]bool{}
		for c := range w.Carriers {
			for _, i := range w.CustomersOf(c) {
				got[fmt.Sprint(w.Carrier(c).Code, w.Customer(i).ID)] = true
			}
		}
		if fmt.Sprint(use) != fmt.Sprint(got) {
			t.Errorf("%+v: used are %v, named are %v", w, use, got)
		}
	}
}

// Worlds of the same size differ by their seed, and a larger one begins with a smaller one
// as far as its phone numbers go.
func TestSeeds(t *testing.T) {
	a, b := small, small
	b.Seed = 2
	if a.Number(0) == b.Number(0) || a.Carrier(0) == b.Carrier(0) || a.Customer(0) == b.Customer(0) {
		t.Errorf("seeds 1 and 2: %+v, %+v", a.Number(0), b.Number(0))
	}
	b = small
	b.Numbers *= 10
	for i := range small.Numbers {
		if small.Number(i) != b.Number(i) {
			t.Fatalf("number %d of a larger world is %+v, not %+v", i, b.Number(i), small.Number(i))
		}
	}
}

// A world that cannot be is refused with all that is wrong with it.
func TestCheck(t *testing.T) {
	if f := small.Check(); len(f) > 0 {
		t.Error(f)
	}
	f := simulate.World{Carriers: 1001, Customers: -1, Numbers: simulate.MaxNumbers() + 1}.Check()
	if len(f) != 4 {
		t.Error(f)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
