package manage

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/switchhook/switchhook/internal/challenge"
	"github.com/switchhook/switchhook/internal/hook"
)

// Plan says what applying a manifest changes, or has changed.
type Plan struct {
	Steps []Step `json:"steps"`
	// Credentials are those of apps that were created. They are shown this once.
	Credentials []Credentials `json:"credentials,omitempty"`
}

// Step is what happens to one thing that a manifest names.
type Step struct {
	Action Action `json:"action"`
	Kind   string `json:"kind"` // account, user, user_group, app, installation or subscription
	Name   string `json:"name"`
	ID     string `json:"id,omitempty"`
	// Changes are the fields that change, in words.
	Changes []string `json:"changes,omitempty"`
	// Reason says why a step failed, or what the platform makes of it.
	Reason string `json:"reason,omitempty"`

	// done is what a failed step has done all the same.
	done Action
}

// Action is what a step does.
type Action string

// The actions of steps.
const (
	Create Action = "create"
	Update Action = "update"
	Keep   Action = "keep"
	Remove Action = "remove"
	// Fail: an endpoint did not answer its challenge. A new subscription is kept then,
	// with that endpoint pending. An existing one stays as it was, unless the endpoint
	// got nothing before and there is another one: then only the endpoint does.
	Fail Action = "fail"
)

// Credentials are what the programs of an app need to know.
type Credentials struct {
	App          string `json:"app"`
	AppID        string `json:"app_id"`
	ClientID     string `json:"client_id"`
	ClientSecret string `json:"client_secret"`
	SecretToken  string `json:"secret_token"`
}

// Changes counts the steps that change something.
func (p *Plan) Changes() (n int) {
	for _, s := range p.Steps {
		if s.Action == Create || s.Action == Update || s.Action == Remove {
			n++
		}
	}
	return n
}

// Failures counts the steps that failed.
func (p *Plan) Failures() (n int) {
	for _, s := range p.Steps {
		if s.Action == Fail {
			n++
		}
	}
	return n
}

// proof is a challenge that has to be, or was, answered.
type proof struct {
	url          string
	subscription *hook.Subscription
	app          *hook.App
}

// proven is what identifies a proof: what an endpoint proved under these settings
// holds for them and no others.
type proven struct {
	app, name, url string
	auth           hook.Auth
	secret         hook.Secret
}

func (p proof) key() proven {
	return proven{p.app.Account + "/" + p.app.Name, p.subscription.Name, p.url, p.subscription.Auth, p.app.SecretToken}
}

// planner compares a manifest with the platform.
type planner struct {
	m      *Manager
	now    time.Time
	proofs map[proven]challenge.Result
	drafts map[string]*draft // what was made up for new apps and subscriptions, by name

	plan     Plan
	change   hook.Change
	missing  []proof
	unproven []unproven
	faults   hook.Faults
	known    map[string]*hook.Account // as the manifest will have them
	seen     map[string]string        // what the manifest names, and where
}

// unproven is an endpoint that did not prove itself.
type unproven struct {
	in     hook.AppState
	result challenge.Result
}

// draft is what something new is given: the same each time the plan is made. A
// subscription takes no more of it than the id.
type draft struct {
	id, clientID              string
	clientSecret, secretToken hook.Secret
}

func (p *planner) step(a Action, kind, name, id string, changes []string) *Step {
	if a == Update && len(changes) == 0 {
		a = Keep
	}
	p.plan.Steps = append(p.plan.Steps, Step{Action: a, Kind: kind, Name: name, ID: id, Changes: changes})
	return &p.plan.Steps[len(p.plan.Steps)-1]
}

// once reports a thing that the manifest names twice.
func (p *planner) once(key, where string) {
	if first, ok := p.seen[key]; ok {
		p.faults.Add(where, "is the same as %s: name each once", first)
	}
	p.seen[key] = where
}

func (p *planner) manifest(mf *Manifest) {
	p.accounts(mf.Accounts, func(i int) string { return at("accounts/%d", i) })
	for i := range mf.Apps {
		p.app(&mf.Apps[i], at("apps/%d", i))
	}
}

// accounts plans accounts; where says at which place of the input each of them is.
func (p *planner) accounts(all []Account, where func(i int) string) {
	for i, a := range all {
		p.account(a, where(i))
	}
	masters := map[string]bool{} // of accounts that are not among them
	for _, a := range p.known {
		if _, named := p.seen["account "+a.ID]; !named {
			masters[a.Master] = true
		}
	}
	for i, a := range all {
		p.master(a, masters, where(i))
	}
}

func (p *planner) account(a Account, where string) {
	next := &hook.Account{ID: a.ID, Name: a.Name, OwnerEmail: a.OwnerEmail, Master: a.Master}
	p.faults = append(p.faults, next.Check().In(where)...)
	p.once("account "+a.ID, where+"id")
	now := p.known[a.ID]
	p.known[a.ID] = next
	defer p.people(a, where)
	if now == nil {
		p.step(Create, "account", a.ID, a.ID, nil)
		p.change.Accounts = append(p.change.Accounts, next)
		return
	}
	var d diff
	d.text("name", now.Name, next.Name)
	d.text("owner_email", now.OwnerEmail, next.OwnerEmail)
	d.text("master_account_id", now.Master, next.Master)
	if p.step(Update, "account", a.ID, a.ID, d).Action == Update {
		p.change.Accounts = append(p.change.Accounts, next)
	}
}

// people plans the users and groups of an account.
func (p *planner) people(a Account, where string) {
	groups := p.m.Directory.Groups(a.ID)
	for i, id := range a.Groups {
		field := fmt.Sprintf("%suser_groups/%d", where, i)
		p.once("group "+a.ID+"/"+id, field)
		p.group(a.ID, id, groups, field)
	}
	if a.Groups != nil {
		gone := slices.DeleteFunc(groups, func(id string) bool { return slices.Contains(a.Groups, id) })
		p.removeGroups(a.ID, gone)
		if a.Users == nil {
			p.ungroup(a.ID, gone)
		}
		groups = a.Groups
	}
	known := p.users(a.ID)
	for i, u := range a.Users {
		p.user(a.ID, u, known[u.ID], groups, where+at("users/%d", i)[1:])
		delete(known, u.ID)
	}
	if a.Users != nil {
		p.removeUsers(a.ID, slices.Sorted(maps.Keys(known)))
	}
}

// group plans a group of users, whose id is the field.
func (p *planner) group(account, id string, groups []string, field string) {
	g := hook.Group{Account: account, ID: id}
	for _, f := range g.Check() {
		p.faults.Add(field, "%s", f.Message)
	}
	if slices.Contains(groups, id) {
		p.step(Keep, "user_group", account+"/"+id, id, nil)
		return
	}
	p.step(Create, "user_group", account+"/"+id, id, nil)
	p.change.Groups = append(p.change.Groups, g)
}

func (p *planner) removeGroups(account string, ids []string) {
	for _, id := range ids {
		p.step(Remove, "user_group", account+"/"+id, id, nil)
		p.change.RemoveGroups = append(p.change.RemoveGroups, hook.Group{Account: account, ID: id})
	}
}

// ungroup takes groups that are removed off the users that are in them: what concerns
// these must not concern a group of the same name that is made later.
func (p *planner) ungroup(account string, groups []string) {
	for _, u := range p.m.Directory.Users(account) {
		left := slices.DeleteFunc(slices.Clone(u.Groups), func(g string) bool { return slices.Contains(groups, g) })
		var d diff
		d.list("groups", u.Groups, left)
		if len(d) > 0 {
			p.step(Update, "user", account+"/"+u.ID, u.ID, d)
			p.change.Users = append(p.change.Users, &hook.User{Account: account, ID: u.ID, Groups: left})
		}
	}
}

// users returns the users that an account has now, by id.
func (p *planner) users(account string) map[string]*hook.User {
	known := map[string]*hook.User{}
	for _, u := range p.m.Directory.Users(account) {
		known[u.ID] = u
	}
	return known
}

func (p *planner) removeUsers(account string, ids []string) {
	for _, id := range ids {
		p.step(Remove, "user", account+"/"+id, id, nil)
		p.change.RemoveUsers = append(p.change.RemoveUsers, hook.User{Account: account, ID: id})
	}
}

// stillNamed says of the users and groups that are removed which subscription names
// them all the same. It keeps doing so: whom an event concerns, its producer says.
func (p *planner) stillNamed() {
	if len(p.change.RemoveUsers)+len(p.change.RemoveGroups) == 0 {
		return
	}
	names := map[string]string{} // kind and id to subscription
	for _, now := range p.m.Directory.Subscriptions("") {
		s := p.planned(now)
		for _, x := range s.Subscribers {
			for _, u := range x.Users {
				names["user "+x.Account+"/"+u] = s.ID
			}
			for _, g := range x.Groups {
				names["user_group "+x.Account+"/"+g] = s.ID
			}
		}
	}
	for i := range p.plan.Steps {
		st := &p.plan.Steps[i]
		if st.Action != Remove {
			continue
		}
		id, ok := names[st.Kind+" "+st.Name]
		if !ok { // where no account is said, it is anybody's
			id, ok = names[st.Kind+" /"+st.ID]
		}
		if ok {
			st.Reason = "subscription " + id + " still names it"
		}
	}
}

// planned returns a subscription as it will be.
func (p *planner) planned(now *hook.Subscription) *hook.Subscription {
	if i := p.changed(now.Key); i >= 0 {
		return p.change.Subscriptions[i]
	}
	return now
}

// changed returns which of the planned changes is that of a subscription, or -1.
func (p *planner) changed(k hook.SubscriptionKey) int {
	return slices.IndexFunc(p.change.Subscriptions, func(s *hook.Subscription) bool { return s.Key == k })
}

func (p *planner) user(account string, u User, now *hook.User, groups []string, where string) {
	next := &hook.User{Account: account, ID: u.ID, Groups: sorted(u.Groups)}
	p.faults = append(p.faults, next.Check().In(where)...)
	p.once("user "+account+"/"+u.ID, where+"id")
	for _, g := range next.Groups {
		if !slices.Contains(groups, g) {
			p.faults.Add(where+"groups", "account %q has no group %q: list it in user_groups", account, g)
		}
	}
	if now == nil {
		p.step(Create, "user", account+"/"+u.ID, u.ID, nil)
		p.change.Users = append(p.change.Users, next)
		return
	}
	var d diff
	d.list("groups", now.Groups, next.Groups)
	if p.step(Update, "user", account+"/"+u.ID, u.ID, d).Action == Update {
		p.change.Users = append(p.change.Users, next)
	}
}

// master checks that masters exist and have none themselves: there is one level.
// Both ends are looked at where the manifest names the master only.
func (p *planner) master(a Account, masters map[string]bool, where string) {
	if a.Master == "" || a.Master == a.ID { // which is a fault already
		return
	}
	switch m := p.known[a.Master]; {
	case m == nil:
		p.faults.Add(where+"master_account_id", "account %q does not exist", a.Master)
	case m.Master != "":
		p.faults.Add(where+"master_account_id", "account %q is a sub-account itself", a.Master)
	case masters[a.ID]:
		p.faults.Add(where+"master_account_id", "account %q has sub-accounts, so it cannot be one", a.ID)
	}
}

func (p *planner) findApp(account, name string) *hook.App {
	for _, a := range p.m.Directory.Apps() {
		if a.Account == account && a.Name == name {
			return a
		}
	}
	return nil
}

func (p *planner) app(a *App, where string) {
	p.once("app "+a.Account+"/"+a.Name, where+"name")
	if p.known[a.Account] == nil && a.Account != "" {
		p.faults.Add(where+"account_id", "account %q does not exist", a.Account)
	}
	now := p.findApp(a.Account, a.Name)
	next := &hook.App{Name: a.Name, Account: a.Account}
	if now != nil {
		*next = *now
	}
	next.Scopes, next.CarrierCodes, next.Disabled = sorted(a.Scopes), sorted(a.CarrierCodes), a.Disabled
	next.State = cmp.Or(hook.AppState(a.State), hook.Production)
	if a.SecretToken != "" && hook.Secret(a.SecretToken) != next.SecretToken {
		// Said outright, a token takes the place of all before it at once.
		next.SecretToken, next.OldToken = hook.Secret(a.SecretToken), hook.OldToken{}
	}
	if now == nil {
		p.newApp(next)
	} else {
		var d diff
		d.list("scopes", now.Scopes, next.Scopes)
		d.list("carrier_codes", texts(now.CarrierCodes), texts(next.CarrierCodes))
		d.secret("secret_token", now.SecretToken, next.SecretToken)
		d.value("state", cmp.Or(now.State, hook.Production), next.State)
		d.value("disabled", now.Disabled, next.Disabled)
		if p.step(Update, "app", next.Name, next.ID, d).Action == Update {
			p.change.Apps = append(p.change.Apps, next)
		}
	}
	step := len(p.plan.Steps) - 1
	p.faults = append(p.faults, next.Check().In(where)...)
	for i, in := range a.Installations {
		p.installation(next, in, where+at("installations/%d", i)[1:])
	}
	if a.Installations != nil && now != nil {
		p.uninstall(next, a.Installations)
	}
	for i := range a.Subscriptions {
		s := &a.Subscriptions[i]
		p.subscription(next, s, p.findSubscription(next.ID, s.Name), where+at("subscriptions/%d", i)[1:])
	}
	if now != nil {
		p.callOff(now, next, step)
	}
	if n, limit := p.count(next); n > limit {
		p.faults.Add(where+"subscriptions", "would be %d for this app; at most %d are allowed", n, limit)
	}
}

// callOff cancels what is outstanding of an app's subscriptions if the app is disabled,
// and of those that are served no more because the app's state, or their endpoints, are
// changed. The step is the app's.
func (p *planner) callOff(now, next *hook.App, step int) {
	for _, was := range p.m.Directory.Subscriptions(next.ID) {
		s := p.planned(was)
		e := s.Serving(next)
		lost := was.Serving(now).Active() && !e.Active()
		if s.Generation > was.Generation || !lost && (!next.Disabled || now.Disabled) {
			continue
		}
		raised := *s
		raised.Generation++
		if i := p.changed(s.Key); i >= 0 {
			p.change.Subscriptions[i] = &raised
		} else {
			p.change.Subscriptions = append(p.change.Subscriptions, &raised)
		}
		if st := &p.plan.Steps[step]; lost && st.Action == Update && st.Reason == "" {
			st.Reason = fmt.Sprintf("subscription %s gets nothing from now on: its %s endpoint is %s", s.ID, cmp.Or(next.State, hook.Production), e.State)
		}
	}
}

// draft returns what a new thing is given.
func (p *planner) draft(name string) *draft {
	d := p.drafts[name]
	if d == nil {
		d = &draft{hook.NewID(), hook.NewID(), hook.Secret(hook.NewSecret()), hook.Secret(hook.NewSecret())}
		p.drafts[name] = d
	}
	return d
}

func (p *planner) newApp(a *hook.App) {
	d := p.draft("app " + a.Account + "/" + a.Name)
	a.ID, a.ClientID, a.ClientSecret, a.Created = d.id, d.clientID, hook.HashSecret(d.clientSecret), p.now
	if a.SecretToken == "" {
		a.SecretToken = d.secretToken
	}
	p.step(Create, "app", a.Name, a.ID, nil)
	p.change.Apps = append(p.change.Apps, a)
	p.plan.Credentials = append(p.plan.Credentials, Credentials{a.Name, a.ID, a.ClientID, d.clientSecret.Reveal(), a.SecretToken.Reveal()})
}

// uninstall removes the installations of an app that are not listed.
func (p *planner) uninstall(a *hook.App, listed []Installation) {
	for _, h := range p.m.Directory.Installations(a.ID) {
		if !slices.Contains(listed, Installation{h.Account, h.User}) {
			p.removeInstallation(a, h)
		}
	}
}

func (p *planner) removeInstallation(a *hook.App, h hook.Installation) {
	p.step(Remove, "installation", installationName(a, h.Account, h.User), "", nil)
	p.change.RemoveInstallations = append(p.change.RemoveInstallations, h)
}

func installationName(a *hook.App, account, user string) string {
	name := fmt.Sprintf("%s on account %s", a.Name, account)
	if user != "" {
		name += ", user " + user
	}
	return name
}

func (p *planner) installation(a *hook.App, in Installation, where string) {
	if p.known[in.Account] == nil {
		p.faults.Add(where+"account_id", "account %q does not exist", in.Account)
	}
	if in.User != "" {
		for _, f := range (&hook.User{ID: in.User}).Check() {
			p.faults.Add(where+"user_id", "%s", f.Message)
		}
	}
	h := hook.Installation{App: a.ID, Account: in.Account, User: in.User}
	name := installationName(a, in.Account, in.User)
	p.once("installation "+a.ID+"/"+in.Account+"/"+in.User, where+"account_id")
	if slices.Contains(p.m.Directory.Installations(a.ID), h) {
		p.step(Keep, "installation", name, "", nil)
		return
	}
	p.step(Create, "installation", name, "", nil)
	p.change.Installations = append(p.change.Installations, h)
}

func (p *planner) findSubscription(app, name string) *hook.Subscription {
	for _, s := range p.m.Directory.Subscriptions(app) {
		if s.Name == name && s.Source == hook.SourceDefault {
			return s
		}
	}
	return nil
}

// subscription plans a subscription of an app, which is now, or new if that is nil.
func (p *planner) subscription(a *hook.App, s *Subscription, now *hook.Subscription, where string) {
	p.once("subscription "+a.ID+"/"+s.Name, where+"event_subscription_name")
	next, faults := s.subscription(a.ID, p.m.Policy)
	faults = append(faults, p.m.entitled(next, now, a)...)
	if s.Account != "" && p.known[s.Account] == nil {
		faults.Add("account_id", "account %q does not exist", s.Account)
	}
	if p.faults = append(p.faults, faults.In(where)...); len(faults) > 0 {
		return
	}
	name := a.Name + "/" + s.Name
	if now == nil {
		next.ID = p.draft("subscription " + a.ID + "/" + s.Name).id
		next.Key, _ = hook.KeyOf(next.ID)
		next.Created, next.StateSince = p.now, p.now
		if next.Development.URL != "" {
			next.Development.StateSince = p.now
		}
		st := p.step(Create, "subscription", name, next.ID, nil)
		if failed, why := p.prove(next, nil, a, s.Disabled, st); len(failed) > 0 {
			st.Action, st.done, st.Reason = Fail, Create, "created as pending, for "+why
			if len(failed) < len(endpoints(next)) {
				st.Reason = "created with an endpoint pending, for " + why
			}
		}
		p.change.Subscriptions = append(p.change.Subscriptions, next)
		return
	}
	next.ID, next.Key, next.Created, next.Generation = now.ID, now.Key, now.Created, now.Generation
	for _, in := range hook.AppStates() {
		switch url := next.At(in).URL; {
		case url == "":
			*next.At(in) = hook.Endpoint{}
		case now.At(in).URL == "":
			next.At(in).StateSince = p.now
		default:
			*next.At(in) = *now.At(in)
			next.At(in).URL = url
		}
	}
	d := p.fields(next, now)
	if s.Disabled && !allDisabled(now) {
		d = append(d, "disabled")
	}
	for _, in := range hook.AppStates() {
		if !s.Disabled && stays(next, now, in) && !now.At(in).Active() {
			d = append(d, enabled(in, now))
		}
	}
	st := p.step(Update, "subscription", name, now.ID, d)
	if st.Action != Update {
		return
	}
	if failed, why := p.prove(next, now, a, s.Disabled, st); len(failed) > 0 {
		st.Action = Fail
		if next = p.failed(next, now, failed, why, st); next == nil {
			return
		}
	}
	p.change.Subscriptions = append(p.change.Subscriptions, next)
}

// failed returns what is made of the change of a subscription some of whose endpoints did
// not prove themselves, or nil if nothing is.
func (p *planner) failed(next, now *hook.Subscription, failed []hook.AppState, why string, st *Step) *hook.Subscription {
	if !holdUp(next, now, failed) {
		var rest []string
		for _, c := range st.Changes {
			if !slices.ContainsFunc(failed, func(in hook.AppState) bool { return c == enabled(in, now) }) {
				rest = append(rest, c)
			}
		}
		if len(rest) > 0 {
			st.done, st.Changes = Update, rest
			st.Reason = "done, but an endpoint is left as it was, for " + why
			return next
		}
	}
	st.Reason = "left as it was, for " + why
	for i := range p.change.Validations { // also those that succeeded have changed nothing
		if v := &p.change.Validations[i]; v.Subscription == now.Key {
			v.State = now.At(v.In).State
		}
	}
	return p.latestReasons(now, next)
}

// fields returns which fields of a subscription change.
func (p *planner) fields(next, now *hook.Subscription) (d diff) {
	d.list("events", now.Events, next.Events)
	d.text("event_webhook_url", now.URL, next.URL)
	d.text("development_webhook_url", now.Development.URL, next.Development.URL)
	d.text("subscription_scope", string(now.Scope), string(next.Scope))
	d.text("account_id", strings.Join(accounts(now.Subscribers), " "), strings.Join(accounts(next.Subscribers), " "))
	d.list("user_ids", people(now.Subscribers, usersOf), people(next.Subscribers, usersOf))
	d.list("user_group_ids", people(now.Subscribers, groupsOf), people(next.Subscribers, groupsOf))
	if now.Auth != next.Auth {
		d = append(d, "custom_header")
	}
	d.value("max_in_flight", now.Limits.InFlight, next.Limits.InFlight)
	d.value("max_per_second", now.Limits.PerSecond, next.Limits.PerSecond)
	return d
}

// stays reports whether a subscription has an endpoint before and after, with whatever
// URL.
func stays(next, now *hook.Subscription, in hook.AppState) bool {
	return now.At(in).URL != "" && next.At(in).URL != ""
}

// enabled says that an endpoint is to become valid.
func enabled(in hook.AppState, now *hook.Subscription) string {
	text := fmt.Sprintf("%s -> valid", now.At(in).State)
	if in == hook.Development {
		return "development endpoint: " + text
	}
	return text
}

// holdUp reports whether endpoints that failed keep the rest of a change from being made.
// Those do not that got nothing before either, as long as there is another one: an
// endpoint that nobody keeps up any more must not stop all changes.
func holdUp(next, now *hook.Subscription, failed []hook.AppState) bool {
	for _, in := range failed {
		if now.At(in).URL != next.At(in).URL || now.At(in).Active() {
			return true
		}
	}
	return len(failed) == len(endpoints(next))
}

// endpoints returns which endpoints a subscription has.
func endpoints(s *hook.Subscription) (all []hook.AppState) {
	for _, in := range hook.AppStates() {
		if s.At(in).URL != "" {
			all = append(all, in)
		}
	}
	return all
}

// latestReasons returns a subscription as it is now, but for the reasons why its
// endpoints are pending: the latest are of more use than the first. It returns nil if
// none is.
func (p *planner) latestReasons(now, failed *hook.Subscription) *hook.Subscription {
	next, changed := *now, false
	for _, in := range hook.AppStates() {
		if e := next.At(in); e.URL != "" && e.State == hook.Pending && failed.At(in).State == hook.Pending && e.URL == failed.At(in).URL {
			e.StateReason, changed = failed.At(in).StateReason, true
		}
	}
	if !changed {
		return nil
	}
	return &next
}

// prove sets the states of the endpoints of a subscription that is created, or changed
// from what it is now, and asks for challenges where that takes some. It returns those
// that failed theirs, and why.
func (p *planner) prove(next, now *hook.Subscription, a *hook.App, off bool, st *Step) (failed []hook.AppState, why string) {
	if off {
		p.switchOff(next, now)
		return nil, ""
	}
	var proven, faults []string
	all := endpoints(next)
	for _, in := range all {
		if now != nil && now.At(in).URL == next.At(in).URL && now.Auth == next.Auth && now.At(in).Active() {
			continue
		}
		q := proof{next.At(in).URL, next, a}
		r, ok := p.proofs[q.key()]
		if !ok {
			p.missing = append(p.missing, q)
			st.Reason = "the endpoint has to answer a challenge first"
			continue
		}
		which := "the endpoint"
		if len(all) > 1 {
			which = "the " + string(in) + " endpoint"
		}
		if p.judge(in, next, now, &r); r.OK {
			proven = append(proven, fmt.Sprintf("%s answered its challenge in %v", which, r.Timing.Done.Round(time.Millisecond)))
			st.Reason = strings.Join(proven, "; ")
		} else {
			failed = append(failed, in)
			faults = append(faults, fmt.Sprintf("%s did not answer its challenge: %s", which, r.Reason))
		}
	}
	return failed, strings.Join(faults, "; ")
}

// switchOff sets the states of the endpoints of a subscription that is to get nothing.
func (p *planner) switchOff(next, now *hook.Subscription) {
	const reason = "disabled by the operator"
	if now == nil || !allDisabled(now) {
		*next = *disabled(next, reason, p.now)
		return
	}
	for _, in := range endpoints(next) {
		*next.At(in) = next.At(in).Set(hook.Disabled, reason, p.now) // one that is new
	}
}

// judge sets the state of an endpoint that was challenged.
func (p *planner) judge(in hook.AppState, next, now *hook.Subscription, r *challenge.Result) {
	e := next.At(in)
	v := hook.Validation{Subscription: next.Key, In: in, URL: e.URL, At: p.now, Occasion: hook.OnChange, Reason: r.Reason}
	if !r.OK {
		p.unproven = append(p.unproven, unproven{in, *r})
	}
	switch {
	case r.OK:
		*e = e.Set(hook.Valid, "", p.now)
		e.Checked, e.StateSince = p.now, p.now
	case now == nil:
		*e = e.Set(hook.Pending, r.Reason, p.now)
	case e.State == hook.Pending:
		e.StateReason = r.Reason
	}
	if v.State = e.State; now != nil && !r.OK {
		v.State = now.At(in).State
	}
	p.change.Validations = append(p.change.Validations, v)
}

// count returns how many subscriptions the app will have, and how many it may.
func (p *planner) count(a *hook.App) (n, limit int) {
	keys := map[hook.SubscriptionKey]bool{}
	for _, s := range p.m.Directory.Subscriptions(a.ID) {
		keys[s.Key] = true
	}
	now := len(keys) // more than the limit, if that was lowered since
	for _, s := range p.change.Subscriptions {
		if s.App == a.ID {
			keys[s.Key] = true
		}
	}
	return len(keys), max(p.m.maxSubscriptions(), now)
}

// entitled checks that the event types exist and that the app may have them. One
// that the subscription lists already may have gone from the catalog since.
func (m *Manager) entitled(s, now *hook.Subscription, a *hook.App) (f hook.Faults) {
	for _, name := range s.Events {
		t, ok := m.Catalog.Lookup(name)
		switch {
		case !ok && now != nil && slices.Contains(now.Events, name):
		case !ok:
			f.Add("events", "App event not exists: %s", name)
		case !a.Entitled(&t.EventType):
			f.Add("events", "The event is not allowed for the app: %s; the app needs one of the scopes %s", name, strings.Join(t.Scopes, ", "))
		}
	}
	return f
}

// diff collects the changes of fields, in words.
type diff []string

func (d *diff) text(field, now, next string) {
	if now != next {
		*d = append(*d, fmt.Sprintf("%s: %q -> %q", field, now, next))
	}
}

func (d *diff) value(field string, now, next any) {
	if now != next {
		*d = append(*d, fmt.Sprintf("%s: %v -> %v", field, now, next))
	}
}

func (d *diff) secret(field string, now, next hook.Secret) {
	if now != next {
		*d = append(*d, field)
	}
}

// list compares sorted lists.
func (d *diff) list(field string, now, next []string) {
	var words []string
	for _, x := range next {
		if !slices.Contains(now, x) {
			words = append(words, "+"+x)
		}
	}
	for _, x := range now {
		if !slices.Contains(next, x) {
			words = append(words, "-"+x)
		}
	}
	if len(words) > 0 {
		*d = append(*d, field+": "+strings.Join(words, " "))
	}
}

// accounts and people name what subscribers are, for a diff.
func accounts(all []hook.Subscriber) (names []string) {
	for _, x := range all {
		if x.Account != "" {
			names = append(names, x.Account)
		}
	}
	return names
}

func people(all []hook.Subscriber, of func(hook.Subscriber) []string) (ids []string) {
	for _, x := range all {
		ids = append(ids, of(x)...)
	}
	return sorted(ids)
}

func usersOf(x hook.Subscriber) []string  { return x.Users }
func groupsOf(x hook.Subscriber) []string { return x.Groups }

func texts(codes []int32) []string {
	out := make([]string, len(codes))
	for i, c := range codes {
		out[i] = fmt.Sprint(c)
	}
	return out
}

func sorted[T cmp.Ordered](s []T) []T { return slices.Compact(slices.Sorted(slices.Values(s))) }
