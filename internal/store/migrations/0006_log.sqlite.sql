-- Where a request went, and with what authentication: what the log must tell of it
-- beside what it took from the event.
CREATE TABLE targets (
	target    INTEGER PRIMARY KEY,
	url       TEXT    NOT NULL,
	auth_mode INTEGER NOT NULL,
	header    TEXT    NOT NULL,
	UNIQUE (url, auth_mode, header)
) STRICT;

ALTER TABLE attempts ADD COLUMN type_id INTEGER NOT NULL DEFAULT 0;
ALTER TABLE attempts ADD COLUMN target  INTEGER NOT NULL DEFAULT 0;
-- The part of the webhook log that a request is in: twice its retry_num, and one more
-- if it failed. NULL: it was no request.
ALTER TABLE attempts ADD COLUMN part INTEGER;

INSERT INTO event_names (name) VALUES ('endpoint.url_validation') ON CONFLICT DO NOTHING;

UPDATE attempts SET type_id = ifnull((SELECT type_id FROM events WHERE id = event_id), 0) WHERE kind = 0;
UPDATE attempts SET type_id = (SELECT id FROM event_names WHERE name = 'endpoint.url_validation') WHERE kind = 3;
UPDATE attempts SET part = 2 * retry + (CASE kind WHEN 3 THEN state <> 1 ELSE outcome NOT BETWEEN 200 AND 299 END) WHERE kind IN (0, 3);

-- Each page of the log, whatever it selects, is the latest rows of a few prefixes of
-- this index, which holds all that it takes to find them. The row's id is its end.
CREATE INDEX attempts_log ON attempts (subscription, type_id, part) WHERE part IS NOT NULL;

DROP INDEX attempts_challenges;

-- The same as before, said so that an insert does not have to make a list of states
-- each time.
DROP INDEX attempts_undelivered;
CREATE INDEX attempts_undelivered ON attempts (subscription, event_id) WHERE state > 1;
