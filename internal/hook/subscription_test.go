package hook

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// Whoever subscribes is subscribed, whoever leaves is not, and nobody else notices.
// What was there before is not changed, for others may be reading it.
func TestSubscribersComeAndGo(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type person struct{ account, kind, id string }
		model := map[person]bool{}
		var all []Subscriber
		for range rapid.IntRange(0, 12).Draw(t, "steps") {
			before, was := all, fmt.Sprint(all)
			account := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "account")
			people := rapid.SliceOfN(rapid.SampledFrom([]string{"ann", "bob", "eve"}), 0, 3)
			users := people.Draw(t, "users")
			if rapid.Bool().Draw(t, "come") {
				x := Subscriber{Account: account, Users: users, Groups: people.Draw(t, "groups")}
				if len(x.Users)+len(x.Groups) == 0 {
					x.Users = []string{"ann"}
				}
				for _, u := range x.Users {
					model[person{account, "user", u}] = true
				}
				for _, g := range x.Groups {
					model[person{account, "group", g}] = true
				}
				all = With(all, x)
			} else {
				for p := range model {
					if p.account == account && (len(users) == 0 || p.kind == "user" && slices.Contains(users, p.id)) {
						delete(model, p)
					}
				}
				all = Without(all, account, users)
			}
			if fmt.Sprint(before) != was {
				t.Fatalf("what was %s became %v", was, before)
			}

			got := 0
			for i, x := range all {
				if i > 0 && all[i-1].Account >= x.Account || len(x.Users)+len(x.Groups) == 0 || !slices.IsSorted(x.Users) || !slices.IsSorted(x.Groups) {
					t.Fatalf("out of order: %v", all)
				}
				for _, u := range x.Users {
					if got++; !model[person{x.Account, "user", u}] {
						t.Fatalf("user %s of %s in %v", u, x.Account, all)
					}
				}
				for _, g := range x.Groups {
					if got++; !model[person{x.Account, "group", g}] {
						t.Fatalf("group %s of %s in %v", g, x.Account, all)
					}
				}
			}
			if got != len(model) {
				t.Fatalf("%v has %d people, want %v", all, got, model)
			}
		}
	})
}
