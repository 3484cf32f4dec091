package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/switchhook/switchhook/internal/hook"
)

// Change stores the change, made at now, all of it or nothing. Then the directory
// has it. What is
// published from then on meets the platform as changed.
func (db *DB) Change(c hook.Change, now time.Time) error {
	return db.sql.write(func(t tx) error {
		for _, a := range c.Accounts {
			if err := putAccount(t, a); err != nil {
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
		for _, i := range c.RemoveInstallations {
			if _, err := t.exec(`DELETE FROM installations WHERE app_id = $1 AND account_id = $2 AND user_id = $3`, i.App, i.Account, i.User); err != nil {
				return err
			}
		}
		for _, s := range c.Subscriptions {
			if err := db.putSubscription(t, s); err != nil {
				return err
			}
		}
		for _, k := range c.RemoveSubscriptions {
			if _, err := t.exec(`UPDATE subscriptions SET deleted = $1 WHERE key = $2`, millis(now), int64(k)); err != nil {
				return err
			}
		}
		for _, id := range c.RemoveApps {
			if _, err := t.exec(`UPDATE subscriptions SET deleted = $1 WHERE app_id = $2 AND deleted = 0`, millis(now), id); err != nil {
				return err
			}
			if _, err := t.exec(`DELETE FROM apps WHERE id = $1`, id); err != nil {
				return err
			}
		}
		return nil
	}, func() { db.directory.Apply(c) })
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
			secret_token, old_token, old_token_until, scopes, carrier_codes, disabled, created)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
		ON CONFLICT (id) DO UPDATE SET name = excluded.name,
			client_secret_hash = excluded.client_secret_hash, old_client_secret_hash = excluded.old_client_secret_hash,
			old_client_secret_until = excluded.old_client_secret_until,
			secret_token = excluded.secret_token, old_token = excluded.old_token, old_token_until = excluded.old_token_until,
			scopes = excluded.scopes, carrier_codes = excluded.carrier_codes, disabled = excluded.disabled`,
		a.ID, a.Account, a.Name, a.ClientID, a.ClientSecret[:], a.OldClientSecret.Hash[:], millis(a.OldClientSecret.Until),
		db.sealToken(a, a.SecretToken), db.sealToken(a, a.OldToken.Secret), millis(a.OldToken.Until),
		toJSON(a.Scopes), toJSON(a.CarrierCodes), a.Disabled, millis(a.Created))
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
		INSERT INTO subscriptions (key, id, app_id, name, events, url, scope, account_id, user_ids, group_ids, source, auth_mode, auth,
			max_in_flight, max_per_second, state, state_reason, state_since, generation, created, deleted)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, 0)
		ON CONFLICT (key) DO UPDATE SET name = excluded.name, events = excluded.events, url = excluded.url, scope = excluded.scope,
			account_id = excluded.account_id, user_ids = excluded.user_ids, group_ids = excluded.group_ids,
			auth_mode = excluded.auth_mode, auth = excluded.auth,
			max_in_flight = excluded.max_in_flight, max_per_second = excluded.max_per_second,
			state = excluded.state, state_reason = excluded.state_reason, state_since = excluded.state_since, generation = excluded.generation`,
		int64(s.Key), s.ID, s.App, s.Name, toJSON(s.Events), s.URL, string(s.Scope), s.Account, toJSON(s.Users), toJSON(s.Groups),
		string(s.Source), int(s.Auth.Mode), db.sealAuth(s), s.Limits.InFlight, s.Limits.PerSecond,
		int(s.State), s.StateReason, millis(s.StateSince), s.Generation, millis(s.Created))
	return err
}

// loadDirectory reads everything that is configured.
func (db *DB) loadDirectory(ctx context.Context) error {
	var c hook.Change
	err := db.sql.read(ctx, func(t tx) error {
		return firstError(
			t.query(`SELECT id, name, owner_email, master_id FROM accounts`, func(r row) error {
				c.Accounts = append(c.Accounts, &hook.Account{ID: r.text(0), Name: r.text(1), OwnerEmail: r.text(2), Master: r.text(3)})
				return nil
			}),
			t.query(`SELECT `+appColumns+` FROM apps`, func(r row) error {
				a, err := db.scanApp(r)
				c.Apps = append(c.Apps, a)
				return err
			}),
			t.query(`SELECT app_id, account_id, user_id FROM installations`, func(r row) error {
				c.Installations = append(c.Installations, hook.Installation{App: r.text(0), Account: r.text(1), User: r.text(2)})
				return nil
			}),
			t.query(`SELECT `+subscriptionColumns+` FROM subscriptions WHERE deleted = 0`, func(r row) error {
				s, err := db.scanSubscription(r)
				c.Subscriptions = append(c.Subscriptions, s)
				return err
			}),
		)
	})
	if err != nil {
		return err
	}
	db.directory.Apply(c)
	return nil
}

const appColumns = `id, account_id, name, client_id, client_secret_hash, old_client_secret_hash, old_client_secret_until,
	secret_token, old_token, old_token_until, scopes, carrier_codes, disabled, created`

func (db *DB) scanApp(r row) (*hook.App, error) {
	a := &hook.App{
		ID: r.text(0), Account: r.text(1), Name: r.text(2), ClientID: r.text(3), Disabled: r.int(12) != 0, Created: fromMillis(r.int(13)),
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

const subscriptionColumns = `key, id, app_id, name, events, url, scope, account_id, user_ids, group_ids, source, auth_mode, auth,
	max_in_flight, max_per_second, state, state_reason, state_since, generation, created`

func (db *DB) scanSubscription(r row) (*hook.Subscription, error) {
	s := &hook.Subscription{
		Key: hook.SubscriptionKey(r.int(0)), ID: r.text(1), App: r.text(2), Name: r.text(3), URL: r.text(5),
		Scope: hook.SubscriptionScope(r.text(6)), Account: r.text(7), Source: hook.Source(r.text(10)),
		Limits: hook.Limits{InFlight: int(r.int(13)), PerSecond: r.float(14)},
		State:  hook.SubscriptionState(r.int(15)), StateReason: r.text(16), StateSince: fromMillis(r.int(17)),
		Generation: r.int(18), Created: fromMillis(r.int(19)),
	}
	s.Auth = db.openAuth(hook.AuthMode(r.int(11)), r.blob(12), s.ID)
	return s, firstError(fromJSON(r.text(4), &s.Events), fromJSON(r.text(8), &s.Users), fromJSON(r.text(9), &s.Groups))
}

// DeletedSubscription returns a subscription that was deleted but that the log
// may still name, or nil.
func (db *DB) DeletedSubscription(ctx context.Context, k hook.SubscriptionKey) (s *hook.Subscription, err error) {
	err = db.sql.read(ctx, func(t tx) error {
		return t.query(`SELECT `+subscriptionColumns+` FROM subscriptions WHERE key = $1`, func(r row) (err error) {
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
