-- Several nodes. A node's row goes when it has left or others have taken over what it had.
-- Instants in it are the database's own: the nodes' clocks need not agree.

ALTER TABLE nodes
	ADD COLUMN process TEXT NOT NULL DEFAULT '', -- in the names of its connections
	ADD COLUMN host    TEXT NOT NULL DEFAULT '',
	ADD COLUMN version TEXT NOT NULL DEFAULT '',
	ADD COLUMN started BIGINT NOT NULL DEFAULT 0,
	ADD COLUMN seen    BIGINT NOT NULL DEFAULT 0,
	ADD COLUMN held    BIGINT NOT NULL DEFAULT 0, -- deliveries in hand
	ADD COLUMN lanes   BIGINT NOT NULL DEFAULT 0,
	ADD COLUMN decided BIGINT NOT NULL DEFAULT 0, -- it will store no event at or below this id
	SET (fillfactor = 20);

ALTER TABLE platform
	DROP COLUMN owner,
	ADD COLUMN last_node BIGINT NOT NULL DEFAULT 0, -- the id of the node that joined last
	ADD COLUMN horizon   BIGINT NOT NULL DEFAULT 0; -- no log row at or below it is yet to come

UPDATE platform SET last_node = (SELECT last_value FROM nodes_id_seq);

-- What each change was about, so that a node need not read everything again.
CREATE TABLE changes (
	version BIGINT PRIMARY KEY,
	touched TEXT NOT NULL -- JSON
);

-- Who holds an endpoint's round: the one that follows the check at that time.
CREATE TABLE round_claims (
	subscription BIGINT NOT NULL REFERENCES subscriptions ON DELETE CASCADE,
	app_state    TEXT COLLATE "C" NOT NULL,
	checked      BIGINT NOT NULL,
	node         BIGINT NOT NULL,
	until        BIGINT NOT NULL,
	PRIMARY KEY (subscription, app_state)
);

ALTER TABLE outbox ADD COLUMN claimed_by BIGINT NOT NULL DEFAULT 0; -- node
