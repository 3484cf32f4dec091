-- A subscription serves accounts and users, at one endpoint or two.

CREATE TABLE users (
	account_id TEXT NOT NULL REFERENCES accounts,
	id         TEXT NOT NULL,
	group_ids  TEXT NOT NULL, -- JSON
	PRIMARY KEY (account_id, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE user_groups (
	account_id TEXT NOT NULL REFERENCES accounts,
	id         TEXT NOT NULL,
	PRIMARY KEY (account_id, id)
) STRICT, WITHOUT ROWID;

ALTER TABLE apps ADD COLUMN state TEXT NOT NULL DEFAULT 'production';

ALTER TABLE subscriptions ADD COLUMN subscribers TEXT NOT NULL DEFAULT '[]'; -- JSON

UPDATE subscriptions SET subscribers = json_array(json_object(
	'account_id', account_id, 'user_ids', json(ifnull(nullif(user_ids, 'null'), '[]')), 'user_group_ids', json(ifnull(nullif(group_ids, 'null'), '[]'))));

CREATE TABLE endpoints (
	subscription INTEGER NOT NULL REFERENCES subscriptions ON DELETE CASCADE,
	app_state    TEXT    NOT NULL, -- in which it is served
	url          TEXT    NOT NULL,
	state        INTEGER NOT NULL,
	state_reason TEXT    NOT NULL,
	state_since  INTEGER NOT NULL,
	checked      INTEGER NOT NULL,
	failures     TEXT    NOT NULL, -- JSON
	PRIMARY KEY (subscription, app_state)
) STRICT, WITHOUT ROWID;

INSERT INTO endpoints SELECT key, 'production', url, state, state_reason, state_since, state_since, '[]' FROM subscriptions;

ALTER TABLE subscriptions DROP COLUMN account_id;
ALTER TABLE subscriptions DROP COLUMN user_ids;
ALTER TABLE subscriptions DROP COLUMN group_ids;
ALTER TABLE subscriptions DROP COLUMN url;
ALTER TABLE subscriptions DROP COLUMN state;
ALTER TABLE subscriptions DROP COLUMN state_reason;
ALTER TABLE subscriptions DROP COLUMN state_since;

-- How endpoints were asked to prove themselves, and what came of it.
CREATE TABLE validations (
	id           INTEGER PRIMARY KEY AUTOINCREMENT,
	subscription INTEGER NOT NULL,
	app_state    TEXT    NOT NULL,
	url          TEXT    NOT NULL,
	at           INTEGER NOT NULL,
	occasion     TEXT    NOT NULL,
	reason       TEXT    NOT NULL, -- why it failed; empty if it did not
	state        INTEGER NOT NULL  -- of the endpoint since
) STRICT;

CREATE INDEX validations_subscription ON validations (subscription, id);

-- Who did what, when, to what.
CREATE TABLE audit (
	id       INTEGER PRIMARY KEY AUTOINCREMENT,
	at       INTEGER NOT NULL,
	by_kind  TEXT    NOT NULL,
	by_id    TEXT    NOT NULL,
	by_name  TEXT    NOT NULL,
	action   TEXT    NOT NULL,
	kind     TEXT    NOT NULL,
	subject  TEXT    NOT NULL, -- its id
	name     TEXT    NOT NULL,
	changes  TEXT    NOT NULL  -- JSON
) STRICT;

CREATE INDEX audit_subject ON audit (subject, id);
