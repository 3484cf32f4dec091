-- Requests whose signature was right. There is no index on anything random, as
-- request ids are: each row of a commit would then change a page of its own, which
-- makes the whole three times as slow.
CREATE TABLE events (
	id         INTEGER PRIMARY KEY AUTOINCREMENT, -- in the order of arrival; never given twice
	source     TEXT NOT NULL,
	received   INTEGER NOT NULL,
	name       TEXT NOT NULL,    -- the event type; empty if the body is no event
	event_ts   INTEGER NOT NULL, -- 0 if the body does not say
	request_id TEXT NOT NULL,
	conflict   INTEGER NOT NULL, -- the request id came before with another body
	body_hash  BLOB NOT NULL,
	replay     BLOB NOT NULL,    -- hash of all that was signed
	headers    TEXT NOT NULL,    -- a line for each
	body       BLOB NOT NULL
) STRICT;

-- Equal bodies have equal times, so this finds duplicates, and what is new is added
-- at its end.
CREATE INDEX events_same ON events (event_ts, body_hash);
CREATE INDEX events_received ON events (received);

-- How far each forwarder has come.
CREATE TABLE forwarders (
	name     TEXT PRIMARY KEY,
	position INTEGER NOT NULL, -- it is done with all events up to this one
	tries    INTEGER NOT NULL, -- of the next event, if it failed
	since    INTEGER NOT NULL, -- when that failed first; 0: it did not
	reason   TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- What a forwarder has given up. Retention spares these events.
CREATE TABLE dead (
	forwarder TEXT NOT NULL,
	event     INTEGER NOT NULL,
	at        INTEGER NOT NULL,
	tries     INTEGER NOT NULL,
	reason    TEXT NOT NULL,
	PRIMARY KEY (forwarder, event)
) STRICT, WITHOUT ROWID;

CREATE INDEX dead_event ON dead (event);

-- What a forwarder is to forward again, beside what is new.
CREATE TABLE replays (
	id        INTEGER PRIMARY KEY AUTOINCREMENT,
	forwarder TEXT NOT NULL,
	created   INTEGER NOT NULL,
	dead      INTEGER NOT NULL, -- only its dead letters, which end by it
	position  INTEGER NOT NULL,
	last      INTEGER NOT NULL, -- the last event that it is about
	from_ms   INTEGER NOT NULL,
	to_ms     INTEGER NOT NULL, -- 0: no bound
	source    TEXT NOT NULL,    -- empty: all
	name      TEXT NOT NULL,    -- event type, or the beginning of some with * after it; empty: all
	tries     INTEGER NOT NULL,
	since     INTEGER NOT NULL,
	reason    TEXT NOT NULL
) STRICT;

-- Requests that were not accepted, and that another secret may turn out to be right for.
CREATE TABLE quarantine (
	id       INTEGER PRIMARY KEY AUTOINCREMENT,
	source   TEXT NOT NULL,
	received INTEGER NOT NULL,
	remote   TEXT NOT NULL,
	reason   TEXT NOT NULL,
	denied   INTEGER NOT NULL, -- the authentication beside the signature was wrong
	hash     BLOB NOT NULL,    -- of request id and body: the sender tries again
	headers  TEXT NOT NULL,
	body     BLOB NOT NULL,
	UNIQUE (source, hash)
) STRICT;

-- When things were done last.
CREATE TABLE marks (
	name TEXT PRIMARY KEY,
	at   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
