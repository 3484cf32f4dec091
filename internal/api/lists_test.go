package api

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/manage"
	"github.com/switchhook/switchhook/internal/memnet"
)

// lister is an app with subscriptions as they were drawn, and its owner "carrier". It
// is installed on "partner".
type lister struct {
	*platform
	creds manage.Credentials
	subs  []*hook.Subscription
}

// drawLister gives an app subscriptions. Some were made at the same time, some serve
// several accounts, and people and groups may have the same ids.
func drawLister(t *rapid.T, p *platform, n int) *lister {
	id := fmt.Sprint("app-", n)
	l := &lister{platform: p, creds: manage.Credentials{AppID: id, ClientID: id, ClientSecret: "secret"}}
	c := hook.Change{
		Accounts:      []*hook.Account{{ID: "carrier"}, {ID: "partner"}, {ID: "gone"}},
		Apps:          []*hook.App{{ID: id, Name: id, Account: "carrier", ClientID: id, ClientSecret: hook.HashSecret("secret"), SecretToken: secretToken}},
		Installations: []hook.Installation{{App: id, Account: "partner"}},
	}
	for i := range rapid.IntRange(0, 8).Draw(t, "subscriptions") {
		var b [16]byte // in any order, and each once
		binary.BigEndian.PutUint32(b[:], rapid.Uint32().Draw(t, "id"))
		binary.BigEndian.PutUint32(b[4:], uint32(n<<8+i<<1))
		s := &hook.Subscription{
			ID: base64.RawURLEncoding.EncodeToString(b[:]), App: id, Events: []string{cnamEvent}, Endpoint: hook.Endpoint{URL: "http://x.test/", State: hook.Valid}, Source: hook.SourceOpenAPI,
			Scope:   rapid.SampledFrom([]hook.SubscriptionScope{hook.ScopeUser, hook.ScopeUser, hook.ScopeAccount, hook.ScopeMasterAccount}).Draw(t, "scope"),
			Created: time.UnixMilli(1768204800000).Add(time.Duration(rapid.SampledFrom([]int{0, 1, 2, 999_999, 1_000_000, 1_000_001}).Draw(t, "created"))),
		}
		s.Key, _ = hook.KeyOf(s.ID)
		for range rapid.IntRange(0, 3).Draw(t, "subscribers") {
			x := hook.Subscriber{Account: rapid.SampledFrom([]string{"", "carrier", "partner", "gone"}).Draw(t, "account")}
			if s.Scope == hook.ScopeUser {
				people := rapid.SliceOfN(rapid.SampledFrom([]string{"ada", "bob", "eve"}), 1, 3)
				if x.Users = people.Draw(t, "users"); rapid.Bool().Draw(t, "with groups") {
					x.Groups = people.Draw(t, "groups")
				}
			}
			s.Subscribers = hook.With(s.Subscribers, x)
		}
		l.subs, c.Subscriptions = append(l.subs, s), append(c.Subscriptions, s)
	}
	if err := p.db.Change(c, time.Now()); err != nil {
		t.Fatal(err)
	}
	return l
}

// rows returns what a query is to list for a token, in any order.
func (l *lister) rows(token string, q url.Values) (want []string) {
	authorized := []string{"carrier", "partner"}
	serves := func(account, asked string) bool {
		return asked == "" || account == asked || account == "" && slices.Contains(authorized, asked)
	}
	for _, s := range l.subs {
		if scope := q.Get("subscription_scope"); scope != "" && scope != string(s.Scope) {
			continue
		}
		add := func(account, user, id string) {
			if (token == "" || token == "carrier" || serves(account, token)) && serves(account, q.Get("account_id")) && (q.Get("user_id") == "" || q.Get("user_id") == user) {
				want = append(want, s.ID+" "+id)
			}
		}
		for _, x := range s.Subscribers {
			if s.Scope != hook.ScopeUser {
				add(x.Account, "", x.Account)
			}
			for _, u := range x.Users {
				add(x.Account, u, u)
			}
			for _, g := range x.Groups {
				add(x.Account, "", g)
			}
		}
		if len(s.Subscribers) == 0 && (token == "" || token == "carrier") && q.Get("account_id")+q.Get("user_id") == "" {
			want = append(want, s.ID+" ")
		}
	}
	return want
}

// Pages of whatever size hold each row once, in one order, and together what was asked
// for: for the app's own account everything, for another one what concerns it.
func TestListPages(t *testing.T) {
	p := newPlatform(t, options{idle: true, net: &memnet.Net{}})
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		n++
		l := drawLister(t, p, n)
		account := rapid.SampledFrom([]string{"", "carrier", "partner"}).Draw(t, "token")
		c := p.program(l.creds, account)
		for range 4 {
			q := url.Values{}
			for _, values := range [][]string{
				{"account_id", "", "carrier", "partner", "gone", "nobody"}, {"user_id", "", "ada", "zoe"}, {"subscription_scope", "", "user", "account", "master_account"},
			} {
				// What is left out may as well be empty, which "" stands for.
				if v := rapid.SampledFrom(values).Draw(t, values[0]); v != values[0] {
					q.Set(values[0], v)
				}
			}
			want := l.rows(account, q)
			all := namesOf(c.list(q.Encode() + "&page_size=300"))
			if !slices.Equal(slices.Sorted(slices.Values(all)), slices.Sorted(slices.Values(want))) {
				t.Fatalf("%v lists %q, want %q", q, all, want)
			}
			size := rapid.IntRange(1, 1+len(all)).Draw(t, "page_size")
			var paged []string
			for next := ""; ; {
				page := c.list(q.Encode() + fmt.Sprintf("&page_size=%d&next_page_token=%s", size, next))
				paged = append(paged, namesOf(page)...)
				if next = page.Next; next == "" {
					break
				} else if len(page.Rows) != size {
					t.Fatalf("a page of %d rows, and not the last", len(page.Rows))
				}
			}
			if !slices.Equal(paged, all) {
				t.Fatalf("%v in pages of %d lists %q, want %q", q, size, paged, all)
			}
		}
	})
}

// namesOf names the rows of a page.
func namesOf(p subscriptionPage) (names []string) {
	for _, r := range p.Rows {
		names = append(names, r.ID+" "+r.Subscriber)
	}
	return names
}

// While somebody reads page by page, others subscribe, leave and delete. What is there
// all the time is listed, and nothing twice.
func TestListPagesWhileTheyChange(t *testing.T) {
	p := newPlatform(t, options{idle: true, net: &memnet.Net{}})
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		n++
		l := drawLister(t, p, n)
		c := p.program(l.creds, "")
		steady := c.list("page_size=300").Rows
		has := func(s *hook.Subscription, id string) func(r SubscriberRow) bool {
			return func(r SubscriberRow) bool { return r.ID == s.ID && (id == "" || r.Subscriber == id) }
		}
		seen := map[string]int{}
		for next := ""; ; {
			page := c.list("page_size=2&next_page_token=" + next)
			for _, r := range page.Rows {
				seen[r.ID+r.Subscriber]++
			}
			if next = page.Next; next == "" {
				break
			}
			if len(l.subs) == 0 {
				continue
			}
			i := rapid.IntRange(0, len(l.subs)-1).Draw(t, "which")
			s := *l.subs[i]
			change := hook.Change{Subscriptions: []*hook.Subscription{&s}}
			switch rapid.IntRange(0, 3).Draw(t, "change") {
			case 0: // somebody new, who has a name that nobody has
				x := hook.Subscriber{Account: fmt.Sprint("new", len(seen))}
				if s.Scope == hook.ScopeUser {
					x.Users = []string{"new"}
				}
				if len(s.Subscribers) == 0 {
					steady = slices.DeleteFunc(steady, has(&s, ""))
				}
				s.Subscribers = hook.With(s.Subscribers, x)
			case 1: // an account leaves
				if len(s.Subscribers) > 0 {
					s.Subscribers = hook.Without(s.Subscribers, s.Subscribers[0].Account, nil)
					steady = slices.DeleteFunc(steady, has(&s, "")) // some of these stay
				}
			case 2:
				s.Name = "another name"
			case 3:
				change = hook.Change{RemoveSubscriptions: []hook.SubscriptionKey{s.Key}}
				steady = slices.DeleteFunc(steady, has(&s, ""))
				l.subs = slices.Delete(slices.Clone(l.subs), i, i+1)
			}
			if err := p.db.Change(change, time.Now()); err != nil {
				t.Fatal(err)
			}
			if len(change.Subscriptions) > 0 {
				l.subs[i] = &s
			}
		}
		once := map[string]int{}
		for _, r := range steady {
			once[r.ID+r.Subscriber]++ // the same id may be in several accounts, as a user and as a group
		}
		for name, n := range once {
			if seen[name] != n {
				t.Fatalf("%s was listed %d times, want %d", name, seen[name], n)
			}
		}
	})
}

// A page token holds over a restart: pages go on where they ended.
func TestListPagesOverARestart(t *testing.T) {
	o := options{idle: true, net: &memnet.Net{}, file: filepath.Join(t.TempDir(), "test.db")}
	p := newPlatform(t, o)
	creds := manage.Credentials{AppID: "app", ClientID: "client", ClientSecret: "secret"}
	now := time.Now().Truncate(time.Millisecond)
	c := hook.Change{
		Accounts: []*hook.Account{{ID: "carrier"}},
		Apps:     []*hook.App{{ID: "app", Account: "carrier", ClientID: "client", ClientSecret: hook.HashSecret("secret"), SecretToken: secretToken}},
	}
	// Within a millisecond, which is all that the store can tell apart, in an order that
	// is not that of their ids.
	for i := range 9 {
		id := fmt.Sprintf("%cAAAAAAAAAAAAAAAAAAAAA", "zZ0_9aCb-"[i])
		if id[0] == '-' {
			id = "B" + id[1:]
		}
		key, err := hook.KeyOf(id)
		must(t, err)
		c.Subscriptions = append(c.Subscriptions, &hook.Subscription{
			ID: id, Key: key, App: "app", Events: []string{cnamEvent}, Endpoint: hook.Endpoint{URL: "http://x.test/", State: hook.Valid}, Source: hook.SourceOpenAPI,
			Scope: hook.ScopeAccount, Subscribers: []hook.Subscriber{{Account: "carrier"}}, Created: now.Add(time.Duration(i) * 100 * time.Microsecond),
		})
	}
	must(t, p.db.Change(c, now))
	all := namesOf(p.program(creds, "").list(""))
	var paged []string
	for next := ""; ; {
		page := p.program(creds, "").list("page_size=2&next_page_token=" + next)
		paged = append(paged, namesOf(page)...)
		if next = page.Next; next == "" {
			break
		}
		must(t, p.close())
		p = newPlatform(t, o)
	}
	if len(all) != 9 || !slices.Equal(paged, all) {
		t.Errorf("in pages: %q, want %q", paged, all)
	}
}

// A token that was obtained for one account sees and changes what is of that account,
// whatever else the app has; one for the app's own account does so with everything.
func TestTokensOfAccounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMarket(t, options{idle: true})
		own, partner := m.program("sync", ""), m.program("sync", "partner")
		shown := func(c *program, query string) string { return strings.Join(namesOf(c.list(query)), ", ") }

		// What the operator made for all accounts is for this one as well.
		if got, want := shown(partner, ""), consoleID+" , "+usersID+" pat"; got != want {
			t.Errorf("the partner's token lists %s, want %s", got, want)
		}
		if got, want := shown(own, "account_id=partner"), shown(partner, ""); got != want {
			t.Errorf("the own token lists %s of the partner, want %s", got, want)
		}
		if got := shown(partner, "account_id=carrier"); got != consoleID+" " {
			t.Errorf("the partner's token lists %s of the carrier", got)
		}
		if got := shown(own, "account_id=elsewhere") + shown(own, "account_id=customer"); got != "" {
			t.Errorf("of accounts that have not installed it, %s is listed", got)
		}

		// It makes subscriptions for its account, also if it does not say so.
		id := partner.creates(OwnSubscription{Events: []string{orderEvent}, URL: "http://good.test/hook", Scope: "user", Users: []string{"pat"}})
		if n := m.publish(order("partner", "pat")).Deliveries; n != 2 {
			t.Errorf("an event of the partner has %d deliveries", n)
		}
		partner.want(204, "DELETE", subscriptions+"?event_subscription_id="+usersID, "") // its account, and no other
		if n := m.publish(order("partner", "pat")).Deliveries; n != 1 {
			t.Errorf("an event of the partner has %d deliveries", n)
		}
		if n := m.publish(order("carrier", "ada")).Deliveries; n != 1 {
			t.Errorf("an event of the carrier has %d deliveries", n)
		}
		partner.want(204, "PATCH", subscriptions+"/"+ownID, `{"account_id":"partner"}`)
		if got, want := shown(own, "subscription_scope=account"), strings.Join([]string{consoleID + " ", ownID + " carrier", ownID + " partner"}, ", "); got != want {
			t.Errorf("listed is %s, want %s", got, want)
		}
		partner.want(400, "DELETE", subscriptions+"/"+ownID, "") // the carrier would lose it
		partner.want(404, "DELETE", subscriptions+"/"+usersID, "")
		partner.want(204, "DELETE", subscriptions+"/"+id, "")

		// The own token changes what is of any account.
		own.want(204, "DELETE", subscriptions+"?event_subscription_id="+ownID+"&account_id=partner", "")
		own.want(204, "DELETE", subscriptions+"?event_subscription_id="+ownID, "")
		if got := shown(own, "subscription_scope=account"); got != consoleID+" , "+ownID+" " {
			t.Errorf("what nobody is subscribed to is listed as %s", got)
		}
		own.want(204, "DELETE", subscriptions+"/"+ownID, "")
	})
}

// Parameters that are empty are as if they were not there.
func TestEmptyParameters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMarket(t, options{idle: true})
		c := m.program("sync", "")
		for _, query := range []string{"user_id=", "account_id=&user_id=&subscription_scope=&page_size=&next_page_token=", "user_id=&user_id="} {
			if got, want := namesOf(c.list(query)), namesOf(c.list("")); !slices.Equal(got, want) {
				t.Errorf("%s lists %q, want %q", query, got, want)
			}
		}
		if got := namesOf(c.list("user_id=&user_id=ada")); !slices.Equal(got, []string{usersID + " ada"}) {
			t.Errorf("the one that is not empty counts: %q", got)
		}
		for _, query := range []string{"type=&event=&retry_num=&from=&to=&page_size=&next_page_token="} {
			if got := c.logs(query); got.PageSize != 30 {
				t.Errorf("%s: %+v", query, got)
			}
		}
		// An entry that is empty is no reason to take everybody off.
		c.want(204, "DELETE", subscriptions+"?event_subscription_id="+usersID+"&account_id=&user_ids=&user_ids=bob", "")
		if got := namesOf(c.list("user_id=ada")); !slices.Equal(got, []string{usersID + " ada"}) {
			t.Errorf("left is %q", got)
		}
		c.want(204, "DELETE", subscriptions+"?event_subscription_id="+usersID+"&user_ids[]=ada&user_ids[]=", "")
		if got := namesOf(c.list("account_id=carrier&subscription_scope=user")); !slices.Equal(got, []string{usersID + " night"}) {
			t.Errorf("left is %q", got)
		}
		c.want(204, "DELETE", subscriptions+"?event_subscription_id="+usersID+"&user_ids=", "")
		if got := namesOf(c.list("account_id=carrier&subscription_scope=user")); len(got) != 0 {
			t.Errorf("left is %q", got)
		}
	})
}
