-- What is configured.

CREATE TABLE settings (
	name  TEXT PRIMARY KEY,
	value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- A running process. A lease on a due row holds while its node's does.
CREATE TABLE nodes (
	id          INTEGER PRIMARY KEY AUTOINCREMENT, -- never given twice
	slot        INTEGER NOT NULL UNIQUE,           -- the node's part of event ids
	lease_until INTEGER NOT NULL
) STRICT;

CREATE TABLE accounts (
	id          TEXT PRIMARY KEY,
	name        TEXT NOT NULL,
	owner_email TEXT NOT NULL,
	master_id   TEXT NOT NULL
) STRICT;

CREATE TABLE apps (
	id                 TEXT PRIMARY KEY,
	account_id         TEXT NOT NULL REFERENCES accounts,
	name               TEXT NOT NULL,
	client_id          TEXT NOT NULL UNIQUE,
	client_secret_hash BLOB NOT NULL,
	secret_token       BLOB NOT NULL, -- sealed
	scopes             TEXT NOT NULL, -- JSON
	carrier_codes      TEXT NOT NULL, -- JSON
	disabled           INTEGER NOT NULL,
	created            INTEGER NOT NULL,
	UNIQUE (account_id, name)
) STRICT;

CREATE TABLE installations (
	app_id     TEXT NOT NULL REFERENCES apps ON DELETE CASCADE,
	account_id TEXT NOT NULL REFERENCES accounts,
	user_id    TEXT NOT NULL,
	PRIMARY KEY (app_id, account_id, user_id)
) STRICT, WITHOUT ROWID;

-- A deleted subscription stays as long as the log may name it.
CREATE TABLE subscriptions (
	key            INTEGER PRIMARY KEY,
	id             TEXT NOT NULL UNIQUE,
	app_id         TEXT NOT NULL,
	name           TEXT NOT NULL,
	events         TEXT NOT NULL, -- JSON
	url            TEXT NOT NULL,
	scope          TEXT NOT NULL,
	account_id     TEXT NOT NULL,
	user_ids       TEXT NOT NULL, -- JSON
	group_ids      TEXT NOT NULL, -- JSON
	source         TEXT NOT NULL,
	auth_mode      INTEGER NOT NULL,
	auth           BLOB NOT NULL, -- sealed JSON
	max_in_flight  INTEGER NOT NULL,
	max_per_second REAL NOT NULL,
	state          INTEGER NOT NULL,
	state_reason   TEXT NOT NULL,
	state_since    INTEGER NOT NULL,
	generation     INTEGER NOT NULL,
	created        INTEGER NOT NULL,
	deleted        INTEGER NOT NULL
) STRICT;

CREATE INDEX subscriptions_app ON subscriptions (app_id);

CREATE TABLE operator_keys (
	id      TEXT PRIMARY KEY,
	name    TEXT NOT NULL,
	hash    BLOB NOT NULL UNIQUE,
	scopes  TEXT NOT NULL, -- JSON
	created INTEGER NOT NULL,
	revoked INTEGER NOT NULL
) STRICT;

CREATE TABLE catalog_documents (
	product        TEXT PRIMARY KEY,
	source         BLOB NOT NULL,
	imported       INTEGER NOT NULL,
	first_imported INTEGER NOT NULL -- the order in which products claim event names
) STRICT;

CREATE TABLE check_modes (
	event_type TEXT PRIMARY KEY,
	mode       TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- What happens. These rows are written for every event, so they are lean.

-- The names of event types, which events refer to by number.
CREATE TABLE event_names (
	id   INTEGER PRIMARY KEY,
	name TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE events (
	id         INTEGER PRIMARY KEY,
	account_id TEXT NOT NULL,
	type_id    INTEGER NOT NULL,
	event_ts   INTEGER NOT NULL,
	carrier    INTEGER NOT NULL,
	routing    TEXT,             -- JSON, where the event names users or groups
	owed       BLOB NOT NULL,    -- the subscriptions, 8 bytes each
	body       BLOB NOT NULL
) STRICT;

CREATE TABLE idempotency_keys (
	account_id TEXT NOT NULL,
	key        TEXT NOT NULL,
	event_id   INTEGER NOT NULL,
	body_hash  BLOB NOT NULL,
	PRIMARY KEY (account_id, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX idempotency_keys_event ON idempotency_keys (event_id);

-- Outstanding deliveries and nothing else. The key is the order in which a
-- subscription's are loaded: first attempts (due_at 0) as published, then
-- retries by when they are due.
CREATE TABLE due (
	subscription INTEGER NOT NULL,
	due_at       INTEGER NOT NULL,
	event_id     INTEGER NOT NULL,
	tries        INTEGER NOT NULL,
	generation   INTEGER NOT NULL,
	size         INTEGER NOT NULL, -- of the body
	node         INTEGER NOT NULL, -- whose hand it is in, 0 for nobody's
	PRIMARY KEY (subscription, due_at, event_id)
) STRICT, WITHOUT ROWID;

-- The webhook log, in the order in which attempts finished.
CREATE TABLE attempts (
	id              INTEGER PRIMARY KEY,
	event_id        INTEGER NOT NULL,
	subscription    INTEGER NOT NULL,
	kind            INTEGER NOT NULL,
	retry           INTEGER NOT NULL,
	outcome         INTEGER NOT NULL,
	state           INTEGER NOT NULL,
	due_at          INTEGER NOT NULL,
	next_due        INTEGER NOT NULL,
	started         INTEGER NOT NULL, -- microseconds, as are the phases after it
	dns             INTEGER NOT NULL,
	connected       INTEGER NOT NULL,
	tls             INTEGER NOT NULL,
	first_byte      INTEGER NOT NULL,
	done            INTEGER NOT NULL,
	span            INTEGER NOT NULL,
	response_header TEXT NOT NULL,
	response_body   BLOB NOT NULL,
	truncated       INTEGER NOT NULL,
	detail          TEXT NOT NULL
) STRICT;

CREATE INDEX attempts_delivery ON attempts (event_id, subscription);

-- What can be sent again: few rows, unless something is badly wrong.
CREATE INDEX attempts_undelivered ON attempts (subscription, event_id) WHERE state IN (2, 3, 4);
