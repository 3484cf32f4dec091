-- The whole schema as it was when PostgreSQL became the second database. The comments
-- on what tables and columns mean are in the steps for SQLite. Here differ

-- types: integers have the size that they need, and truth values are small integers, so that
-- the statements are the same; what comes from endpoints is BYTEA, for PostgreSQL takes
-- no text that is not UTF-8;
-- order: text is compared by its bytes;
-- events and attempts: they are divided by time, which is in their ids, so that what is
-- old can be dropped as a whole. The divisions are made when they are needed.

CREATE TABLE settings (
	name  TEXT COLLATE "C" PRIMARY KEY,
	value BYTEA NOT NULL
);

-- One row about all of it.
CREATE TABLE platform (
	one     BOOLEAN PRIMARY KEY DEFAULT TRUE CHECK (one),
	version BIGINT NOT NULL, -- of what is configured: each change is one more
	owner   BIGINT NOT NULL  -- which of those that have delivered from it does now
);

INSERT INTO platform (version, owner) VALUES (1, 0);

-- Those who write. A transaction notes its number here before it commits, so that after
-- a lost connection it can be found out whether it did.
CREATE TABLE writers (
	id       BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	sequence BIGINT NOT NULL,
	touched  TIMESTAMPTZ NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE nodes (
	id          BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	slot        INTEGER NOT NULL UNIQUE,
	lease_until BIGINT NOT NULL
);

CREATE TABLE accounts (
	id          TEXT COLLATE "C" PRIMARY KEY,
	name        TEXT NOT NULL,
	owner_email TEXT NOT NULL,
	master_id   TEXT NOT NULL
);

CREATE TABLE users (
	account_id TEXT COLLATE "C" NOT NULL REFERENCES accounts,
	id         TEXT COLLATE "C" NOT NULL,
	group_ids  TEXT NOT NULL, -- JSON
	PRIMARY KEY (account_id, id)
);

CREATE TABLE user_groups (
	account_id TEXT COLLATE "C" NOT NULL REFERENCES accounts,
	id         TEXT COLLATE "C" NOT NULL,
	PRIMARY KEY (account_id, id)
);

CREATE TABLE apps (
	id                      TEXT COLLATE "C" PRIMARY KEY,
	account_id              TEXT COLLATE "C" NOT NULL REFERENCES accounts,
	name                    TEXT COLLATE "C" NOT NULL,
	client_id               TEXT COLLATE "C" NOT NULL UNIQUE,
	client_secret_hash      BYTEA NOT NULL,
	old_client_secret_hash  BYTEA NOT NULL,
	old_client_secret_until BIGINT NOT NULL,
	secret_token            BYTEA NOT NULL, -- sealed
	old_token               BYTEA NOT NULL, -- sealed
	old_token_until         BIGINT NOT NULL,
	scopes                  TEXT NOT NULL, -- JSON
	carrier_codes           TEXT NOT NULL, -- JSON
	state                   TEXT NOT NULL,
	disabled                SMALLINT NOT NULL,
	created                 BIGINT NOT NULL,
	UNIQUE (account_id, name)
);

CREATE TABLE installations (
	app_id     TEXT COLLATE "C" NOT NULL REFERENCES apps ON DELETE CASCADE,
	account_id TEXT COLLATE "C" NOT NULL REFERENCES accounts,
	user_id    TEXT COLLATE "C" NOT NULL,
	PRIMARY KEY (app_id, account_id, user_id)
);

CREATE TABLE subscriptions (
	key            BIGINT PRIMARY KEY,
	id             TEXT COLLATE "C" NOT NULL UNIQUE,
	app_id         TEXT COLLATE "C" NOT NULL,
	name           TEXT NOT NULL,
	events         TEXT NOT NULL, -- JSON
	scope          TEXT NOT NULL,
	subscribers    TEXT NOT NULL, -- JSON
	source         TEXT NOT NULL,
	auth_mode      INTEGER NOT NULL,
	auth           BYTEA NOT NULL, -- sealed JSON
	max_in_flight  BIGINT NOT NULL,
	max_per_second DOUBLE PRECISION NOT NULL,
	generation     BIGINT NOT NULL,
	created        BIGINT NOT NULL,
	deleted        BIGINT NOT NULL
);

CREATE INDEX subscriptions_app ON subscriptions (app_id);

CREATE TABLE endpoints (
	subscription BIGINT NOT NULL REFERENCES subscriptions ON DELETE CASCADE,
	app_state    TEXT COLLATE "C" NOT NULL,
	url          TEXT NOT NULL,
	state        INTEGER NOT NULL,
	state_reason TEXT NOT NULL,
	state_since  BIGINT NOT NULL,
	checked      BIGINT NOT NULL,
	failures     TEXT NOT NULL, -- JSON
	PRIMARY KEY (subscription, app_state)
);

CREATE TABLE validations (
	id           BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	subscription BIGINT NOT NULL,
	app_state    TEXT NOT NULL,
	url          TEXT NOT NULL,
	at           BIGINT NOT NULL,
	occasion     TEXT NOT NULL,
	reason       TEXT NOT NULL,
	state        INTEGER NOT NULL
);

CREATE INDEX validations_subscription ON validations (subscription, id);

CREATE TABLE audit (
	id       BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	at       BIGINT NOT NULL,
	by_kind  TEXT NOT NULL,
	by_id    TEXT COLLATE "C" NOT NULL,
	by_name  TEXT NOT NULL,
	action   TEXT NOT NULL,
	kind     TEXT COLLATE "C" NOT NULL,
	subject  TEXT COLLATE "C" NOT NULL,
	name     TEXT NOT NULL,
	changes  TEXT NOT NULL -- JSON
);

CREATE INDEX audit_subject ON audit (subject, id);

CREATE TABLE operator_keys (
	id      TEXT COLLATE "C" PRIMARY KEY,
	name    TEXT NOT NULL,
	hash    BYTEA NOT NULL UNIQUE,
	scopes  TEXT NOT NULL, -- JSON
	created BIGINT NOT NULL,
	revoked BIGINT NOT NULL
);

CREATE TABLE catalog_documents (
	product        TEXT COLLATE "C" PRIMARY KEY,
	source         BYTEA NOT NULL,
	imported       BIGINT NOT NULL,
	first_imported BIGINT NOT NULL
);

CREATE TABLE check_modes (
	event_type TEXT COLLATE "C" PRIMARY KEY,
	mode       TEXT NOT NULL
);

CREATE TABLE outbox (
	id            BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	recipient     TEXT NOT NULL,
	subject       TEXT NOT NULL,
	body_text     TEXT NOT NULL,
	body_html     TEXT NOT NULL,
	created       BIGINT NOT NULL,
	state         TEXT NOT NULL CHECK (state IN ('pending', 'sent', 'failed')),
	tries         INTEGER NOT NULL,
	due           BIGINT NOT NULL,
	claimed_until BIGINT NOT NULL,
	ended         BIGINT NOT NULL,
	reason        TEXT NOT NULL
);

CREATE INDEX outbox_due ON outbox (due) WHERE state = 'pending';

CREATE TABLE carriers (
	code INTEGER PRIMARY KEY,
	name TEXT NOT NULL
);

CREATE TABLE numbers (
	e164              BIGINT PRIMARY KEY,
	carrier           INTEGER NOT NULL,
	account_id        TEXT COLLATE "C" NOT NULL,
	sip_trunk_name    TEXT NOT NULL,
	status            SMALLINT NOT NULL,
	allocated_product TEXT NOT NULL,
	number_type       TEXT NOT NULL,
	billing_ref_id    TEXT NOT NULL,
	service_info      TEXT NOT NULL,
	assigned          SMALLINT NOT NULL,
	cnam              TEXT NOT NULL,
	country           TEXT NOT NULL,
	address_line1     TEXT NOT NULL,
	address_line2     TEXT NOT NULL,
	city              TEXT NOT NULL,
	zip               TEXT NOT NULL,
	state_code        TEXT NOT NULL,
	changed           BIGINT NOT NULL
);

CREATE INDEX numbers_carrier ON numbers (carrier, e164);
CREATE INDEX numbers_account ON numbers (account_id, e164);

CREATE TABLE number_counts (
	carrier    INTEGER NOT NULL REFERENCES carriers,
	account_id TEXT COLLATE "C" NOT NULL REFERENCES accounts,
	numbers    BIGINT NOT NULL,
	PRIMARY KEY (carrier, account_id)
);

CREATE TABLE event_names (
	id   BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	name TEXT COLLATE "C" NOT NULL UNIQUE
);

INSERT INTO event_names (name) VALUES ('endpoint.url_validation');

CREATE TABLE events (
	id         BIGINT NOT NULL PRIMARY KEY,
	type_id    BIGINT NOT NULL,
	event_ts   BIGINT NOT NULL,
	carrier    INTEGER NOT NULL,
	account_id TEXT NOT NULL,
	routing    TEXT, -- JSON
	owed       BYTEA NOT NULL,
	body       BYTEA NOT NULL
) PARTITION BY RANGE (id);

CREATE TABLE idempotency_keys (
	account_id TEXT COLLATE "C" NOT NULL,
	key        TEXT COLLATE "C" NOT NULL,
	event_id   BIGINT NOT NULL,
	body_hash  BYTEA NOT NULL,
	PRIMARY KEY (account_id, key)
);

CREATE INDEX idempotency_keys_event ON idempotency_keys (event_id);

-- Its rows come and go; what has gone is to make room soon, however many stay.
CREATE TABLE due (
	subscription BIGINT NOT NULL,
	due_at       BIGINT NOT NULL,
	event_id     BIGINT NOT NULL,
	generation   BIGINT NOT NULL,
	node         BIGINT NOT NULL,
	tries        INTEGER NOT NULL,
	size         INTEGER NOT NULL,
	PRIMARY KEY (subscription, due_at, event_id)
) WITH (autovacuum_vacuum_threshold = 20000, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);

CREATE TABLE targets (
	target    BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	url       TEXT COLLATE "C" NOT NULL,
	auth_mode INTEGER NOT NULL,
	header    TEXT COLLATE "C" NOT NULL,
	UNIQUE (url, auth_mode, header)
);

-- The widest columns come first, so that nothing is lost between them.
CREATE TABLE attempts (
	id              BIGINT NOT NULL PRIMARY KEY,
	event_id        BIGINT NOT NULL,
	subscription    BIGINT NOT NULL,
	due_at          BIGINT NOT NULL,
	next_due        BIGINT NOT NULL,
	started         BIGINT NOT NULL, -- microseconds, as are the phases after it
	span            BIGINT NOT NULL,
	type_id         BIGINT NOT NULL,
	target          BIGINT NOT NULL,
	dns             INTEGER NOT NULL,
	connected       INTEGER NOT NULL,
	tls             INTEGER NOT NULL,
	first_byte      INTEGER NOT NULL,
	done            INTEGER NOT NULL,
	kind            SMALLINT NOT NULL,
	retry           SMALLINT NOT NULL,
	outcome         SMALLINT NOT NULL,
	state           SMALLINT NOT NULL,
	part            SMALLINT,
	truncated       SMALLINT NOT NULL,
	response_header BYTEA NOT NULL,
	response_body   BYTEA NOT NULL,
	detail          BYTEA NOT NULL
) PARTITION BY RANGE (id);

CREATE INDEX attempts_delivery ON attempts (event_id, subscription, id);
CREATE INDEX attempts_undelivered ON attempts (subscription, event_id) WHERE state > 1;
CREATE INDEX attempts_log ON attempts (subscription, type_id, part, id) WHERE part IS NOT NULL;
