package store

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/outbox"
)

// Change stores the change, made at now, all of it or nothing, and with it the mails
// that tell of it and what is to be remembered of it. Then the directory has it. What
// is published from then on meets the platform as changed.
//
// If other processes have changed the platform since the version that the change was
// worked out with, it fails with [hook.ErrStale], and the directory has what they changed.
func (db *DB) Change(c hook.Change, now time.Time, mails ...*outbox.Message) error {
	stored := int64(0)
	err := db.sql.change(func(t tx) error {
		for _, step := range []func(tx, *hook.Change, int64) error{db.putEntries, removeEntries, putRecords} {
			if err := step(t, &c, millis(now)); err != nil {
				return err
			}
		}
		return db.putMails(t, mails)
	}, touchedBy(&c), c.Version, func(version int64) {
		stored = version
		db.sql.learn(c, version)
	})
	switch {
	case err == nil:
		db.logUnsent(mails)
		if stored > db.directory.Version() { // it came on top of what others had changed
			return db.sql.catchUp(context.Background())
		}
	case errors.Is(err, hook.ErrStale):
		return firstError(db.sql.catchUp(context.Background()), err)
	}
	return err
}

// Refresh makes the directory, and what else [DB.Listen] tells of, be as other processes
// have made it by now.
func (db *DB) Refresh() {
	if err := db.sql.catchUp(context.Background()); err != nil {
		db.log.Warn("what another node has changed could not be read", "err", err)
	}
}

func (db *DB) putEntries(t tx, c *hook.Change, _ int64) error {
	for _, a := range c.Accounts {
		if err := putAccount(t, a); err != nil {
			return err
		}
	}
	for _, g := range c.Groups {
		if _, err := t.exec(`INSERT INTO user_groups (account_id, id) VALUES ($1, $2) ON CONFLICT DO NOTHING`, g.Account, g.ID); err != nil {
			return err
		}
	}
	for _, u := range c.Users {
		if _, err := t.exec(`
			INSERT INTO users (account_id, id, group_ids) VALUES ($1, $2, $3)
			ON CONFLICT (account_id, id) DO UPDATE SET group_ids = excluded.group_ids`, u.Account, u.ID, toJSON(u.Groups)); err != nil {
			return err
		}
	}
	for _, a := range c.Apps {
		if err := db.putApp(t, a); err != nil {
			return err
		}
	}
	for _, i := range c.Installations {
		if _, err := t.exec(`INSERT INTO installations (app_id, account_id, user_id) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`, i.App, i.Account, i.User); err != nil {
			return err
		}
	}
	for _, s := range c.Subscriptions {
		if err := db.putSubscription(t, s); err != nil {
			return err
		}
	}
	return nil
}

func removeEntries(t tx, c *hook.Change, now int64) error {
	type statement struct {
		query string
		args  []any
	}
	var all []statement
	add := func(query string, args ...any) { all = append(all, statement{query, args}) }
	for _, i := range c.RemoveInstallations {
		add(`DELETE FROM installations WHERE app_id = $1 AND account_id = $2 AND user_id = $3`, i.App, i.Account, i.User)
	}
	for _, k := range c.RemoveSubscriptions {
		add(`UPDATE subscriptions SET deleted = $1 WHERE key = $2`, now, int64(k))
	}
	for _, id := range c.RemoveApps {
		add(`UPDATE subscriptions SET deleted = $1 WHERE app_id = $2 AND deleted = 0`, now, id)
		add(`DELETE FROM apps WHERE id = $1`, id)
	}
	for _, u := range c.RemoveUsers {
		add(`DELETE FROM users WHERE account_id = $1 AND id = $2`, u.Account, u.ID)
	}
	for _, g := range c.RemoveGroups {
		add(`DELETE FROM user_groups WHERE account_id = $1 AND id = $2`, g.Account, g.ID)
	}
	for _, s := range all {
		if _, err := t.exec(s.query, s.args...); err != nil {
			return err
		}
	}
	return nil
}

func putAccount(t tx, a *hook.Account) error {
	_, err := t.exec(`
		INSERT INTO accounts (id, name, owner_email, master_id) VALUES ($1, $2, $3, $4)
		ON CONFLICT (id) DO UPDATE SET name = excluded.name, owner_email = excluded.owner_email, master_id = excluded.master_id`,
		a.ID, a.Name, a.OwnerEmail, a.Master)
	return err
}

func (db *DB) putApp(t tx, a *hook.App) error {
	var taken error
	err := t.query(`SELECT id FROM apps WHERE account_id = $1 AND name = $2 AND id <> $3`, func(r row) error {
		taken = &hook.Error{Kind: hook.Conflict, Subject: fmt.Sprintf("app %q", a.Name),
			Detail: fmt.Sprintf("exists in account %s already, with id %s", a.Account, r.text(0))}
		return nil
	}, a.Account, a.Name, a.ID)
	if err != nil || taken != nil {
		return firstError(err, taken)
	}
	_, err = t.exec(`
		INSERT INTO apps (id, account_id, name, client_id, client_secret_hash, old_client_secret_hash, old_client_secret_until,
			secret_token, old_token, old_token_until, scopes, carrier_codes, state, disabled, created)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
		ON CONFLICT (id) DO UPDATE SET name = excluded.name,
			client_secret_hash = excluded.client_secret_hash, old_client_secret_hash = excluded.old_client_secret_hash,
			old_client_secret_until = excluded.old_client_secret_until,
			secret_token = excluded.secret_token, old_token = excluded.old_token, old_token_until = excluded.old_token_until,
			scopes = excluded.scopes, carrier_codes = excluded.carrier_codes, state = excluded.state, disabled = excluded.disabled`,
		a.ID, a.Account, a.Name, a.ClientID, a.ClientSecret[:], a.OldClientSecret.Hash[:], millis(a.OldClientSecret.Until),
		db.sealToken(a, a.SecretToken), db.sealToken(a, a.OldToken.Secret), millis(a.OldToken.Until),
		toJSON(a.Scopes), toJSON(a.CarrierCodes), string(cmp.Or(a.State, hook.Production)), a.Disabled, millis(a.Created))
	return err
}

func (db *DB) sealToken(a *hook.App, token hook.Secret) []byte {
	return db.key.Seal([]byte(token.Reveal()), "app/"+a.ID+"/secret_token")
}

// openToken reads a sealed secret token. One that cannot be read is empty, so that
// nothing is signed with it; it does not keep the platform from starting.
func (db *DB) openToken(a *hook.App, sealed []byte) hook.Secret {
	token, err := db.key.Open(sealed, "app/"+a.ID+"/secret_token")
	if err != nil {
		db.log.Error("the secret token of an app cannot be read; give it a new one", "app", a.ID, "err", err)
	}
	return hook.Secret(token)
}

// auth is how authentication settings are stored, once sealed.
type auth struct {
	Username     string `json:"username,omitempty"`
	Password     string `json:"password,omitempty"`
	ClientID     string `json:"client_id,omitempty"`
	ClientSecret string `json:"client_secret,omitempty"`
	TokenURL     string `json:"token_url,omitempty"`
	Scope        string `json:"scope,omitempty"`
	State        string `json:"state,omitempty"`
	InBody       bool   `json:"in_body,omitempty"`
	Header       string `json:"header,omitempty"`
	Value        string `json:"value,omitempty"`
}

func (db *DB) sealAuth(s *hook.Subscription) []byte {
	a := s.Auth
	return db.key.Seal([]byte(toJSON(auth{
		a.Username, a.Password.Reveal(), a.ClientID, a.ClientSecret.Reveal(), a.TokenURL, a.Scope, a.State, a.InBody, a.Header, a.Value.Reveal(),
	})), authPlace(s.ID))
}

func authPlace(id string) string { return "subscription/" + id + "/auth" }

// openAuth reads sealed settings. What cannot be read makes the subscription's
// attempts fail with that reason; it does not keep the platform from starting.
func (db *DB) openAuth(mode hook.AuthMode, sealed []byte, id string) hook.Auth {
	var a auth
	plain, err := db.key.Open(sealed, authPlace(id))
	if err == nil {
		err = json.Unmarshal(plain, &a)
	}
	if err != nil {
		db.log.Error("the authentication settings of a subscription cannot be read; set them again", "subscription", id, "err", err)
		return hook.Auth{Mode: mode, Unreadable: true}
	}
	return hook.Auth{
		Mode: mode, Username: a.Username, Password: hook.Secret(a.Password),
		ClientID: a.ClientID, ClientSecret: hook.Secret(a.ClientSecret), TokenURL: a.TokenURL, Scope: a.Scope, State: a.State, InBody: a.InBody,
		Header: a.Header, Value: hook.Secret(a.Value),
	}
}

func (db *DB) putSubscription(t tx, s *hook.Subscription) error {
	_, err := t.exec(`
		INSERT INTO subscriptions (key, id, app_id, name, events, scope, subscribers, source, auth_mode, auth,
			max_in_flight, max_per_second, generation, created, deleted)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, 0)
		ON CONFLICT (key) DO UPDATE SET name = excluded.name, events = excluded.events, scope = excluded.scope, subscribers = excluded.subscribers,
			auth_mode = excluded.auth_mode, auth = excluded.auth,
			max_in_flight = excluded.max_in_flight, max_per_second = excluded.max_per_second, generation = excluded.generation`,
		int64(s.Key), s.ID, s.App, s.Name, toJSON(s.Events), string(s.Scope), toJSON(s.Subscribers),
		string(s.Source), int(s.Auth.Mode), db.sealAuth(s), s.Limits.InFlight, s.Limits.PerSecond, s.Generation, millis(s.Created))
	for _, in := range hook.AppStates() {
		err = firstError(err, putEndpoint(t, s.Key, in, s.At(in)))
	}
	return err
}

func putEndpoint(t tx, k hook.SubscriptionKey, in hook.AppState, e *hook.Endpoint) error {
	if e.URL == "" {
		_, err := t.exec(`DELETE FROM endpoints WHERE subscription = $1 AND app_state = $2`, int64(k), string(in))
		return err
	}
	_, err := t.exec(`
		INSERT INTO endpoints (subscription, app_state, url, state, state_reason, state_since, checked, failures)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
		ON CONFLICT (subscription, app_state) DO UPDATE SET url = excluded.url, state = excluded.state, state_reason = excluded.state_reason,
			state_since = excluded.state_since, checked = excluded.checked, failures = excluded.failures`,
		int64(k), string(in), e.URL, int(e.State), e.StateReason, millis(e.StateSince), millis(e.Checked), toJSON(e.Failures))
	return err
}

// loadDirectory reads everything that is configured.
func (db *DB) loadDirectory(ctx context.Context) error {
	var c hook.Change
	var version int64
	err := db.sql.read(ctx, func(t tx) (err error) {
		if version, err = db.sql.version(t); err != nil {
			return err
		}
		c, err = db.readDirectory(t)
		return err
	})
	if err != nil {
		return err
	}
	db.directory.Load(c, version)
	return nil
}

// readDirectory returns everything that is configured.
func (db *DB) readDirectory(t tx) (c hook.Change, err error) {
	err = firstError(
		t.query(selectAccounts, func(r row) error { c.Accounts = append(c.Accounts, scanAccount(r)); return nil }),
		t.query(selectGroups, func(r row) error { c.Groups = append(c.Groups, scanGroup(r)); return nil }),
		t.query(selectUsers, func(r row) error {
			u, err := scanUser(r)
			c.Users = append(c.Users, u)
			return err
		}),
		t.query(`SELECT `+appColumns+` FROM apps`, func(r row) error {
			a, err := db.scanApp(r)
			c.Apps = append(c.Apps, a)
			return err
		}),
		t.query(selectInstallations, func(r row) error { c.Installations = append(c.Installations, scanInstallation(r)); return nil }),
		t.query(selectSubscriptions+`WHERE deleted = 0`, func(r row) error {
			s, err := db.scanSubscription(r)
			c.Subscriptions = append(c.Subscriptions, s)
			return err
		}),
	)
	return c, err
}

const (
	selectAccounts      = `SELECT id, name, owner_email, master_id FROM accounts `
	selectGroups        = `SELECT account_id, id FROM user_groups `
	selectUsers         = `SELECT account_id, id, group_ids FROM users `
	selectInstallations = `SELECT app_id, account_id, user_id FROM installations `
)

func scanAccount(r row) *hook.Account {
	return &hook.Account{ID: r.text(0), Name: r.text(1), OwnerEmail: r.text(2), Master: r.text(3)}
}

func scanGroup(r row) hook.Group { return hook.Group{Account: r.text(0), ID: r.text(1)} }

func scanUser(r row) (*hook.User, error) {
	u := &hook.User{Account: r.text(0), ID: r.text(1)}
	return u, fromJSON(r.text(2), &u.Groups)
}

func scanInstallation(r row) hook.Installation {
	return hook.Installation{App: r.text(0), Account: r.text(1), User: r.text(2)}
}

const appColumns = `id, account_id, name, client_id, client_secret_hash, old_client_secret_hash, old_client_secret_until,
	secret_token, old_token, old_token_until, scopes, carrier_codes, disabled, created, state`

func (db *DB) scanApp(r row) (*hook.App, error) {
	a := &hook.App{
		ID: r.text(0), Account: r.text(1), Name: r.text(2), ClientID: r.text(3), Disabled: r.int(12) != 0, Created: fromMillis(r.int(13)), State: hook.AppState(r.text(14)),
		OldClientSecret: hook.OldClientSecret{Until: fromMillis(r.int(6))},
	}
	copy(a.ClientSecret[:], r.blob(4))
	copy(a.OldClientSecret.Hash[:], r.blob(5))
	a.SecretToken = db.openToken(a, r.blob(7))
	if until := fromMillis(r.int(9)); !until.IsZero() {
		a.OldToken = hook.OldToken{Secret: db.openToken(a, r.blob(8)), Until: until}
	}
	return a, firstError(fromJSON(r.text(10), &a.Scopes), fromJSON(r.text(11), &a.CarrierCodes))
}

const selectSubscriptions = `
	SELECT key, id, app_id, name, events, scope, subscribers, source, auth_mode, auth, max_in_flight, max_per_second, generation, created,
		p.url, p.state, p.state_reason, p.state_since, p.checked, p.failures,
		coalesce(d.url, ''), coalesce(d.state, 0), coalesce(d.state_reason, ''), coalesce(d.state_since, 0), coalesce(d.checked, 0), coalesce(d.failures, 'null'), deleted
	FROM subscriptions
	JOIN endpoints p ON p.subscription = key AND p.app_state = 'production'
	LEFT JOIN endpoints d ON d.subscription = key AND d.app_state = 'development' `

func (db *DB) scanSubscription(r row) (*hook.Subscription, error) {
	s := &hook.Subscription{
		Key: hook.SubscriptionKey(r.int(0)), ID: r.text(1), App: r.text(2), Name: r.text(3),
		Scope: hook.SubscriptionScope(r.text(5)), Source: hook.Source(r.text(7)),
		Limits:     hook.Limits{InFlight: int(r.int(10)), PerSecond: r.float(11)},
		Generation: r.int(12), Created: fromMillis(r.int(13)), Deleted: fromMillis(r.int(26)),
	}
	s.Auth = db.openAuth(hook.AuthMode(r.int(8)), r.blob(9), s.ID)
	var subscribers []hook.Subscriber
	err := fromJSON(r.text(6), &subscribers)
	for _, x := range subscribers {
		s.Subscribers = hook.With(s.Subscribers, x) // in order, which earlier versions did not keep
	}
	return s, firstError(err, fromJSON(r.text(4), &s.Events), scanEndpoint(r, 14, &s.Endpoint), scanEndpoint(r, 20, &s.Development))
}

// scanEndpoint reads an endpoint from the columns that begin there.
func scanEndpoint(r row, i int, e *hook.Endpoint) error {
	*e = hook.Endpoint{
		URL: r.text(i), State: hook.SubscriptionState(r.int(i + 1)), StateReason: r.text(i + 2),
		StateSince: fromMillis(r.int(i + 3)), Checked: fromMillis(r.int(i + 4)),
	}
	return fromJSON(r.text(i+5), &e.Failures)
}

// DeletedSubscription returns a subscription that was deleted but that the log
// may still name, or nil.
func (db *DB) DeletedSubscription(ctx context.Context, k hook.SubscriptionKey) (s *hook.Subscription, err error) {
	err = db.sql.read(ctx, func(t tx) error {
		return t.query(selectSubscriptions+`WHERE key = $1`, func(r row) (err error) {
			s, err = db.scanSubscription(r)
			return err
		}, int64(k))
	})
	return s, err
}

func toJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // only strings, numbers and slices of them come here
	}
	return string(b)
}

func fromJSON(text string, v any) error {
	if err := json.Unmarshal([]byte(text), v); err != nil {
		return fmt.Errorf("store: column holds %q: %w", text, err)
	}
	return nil
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
