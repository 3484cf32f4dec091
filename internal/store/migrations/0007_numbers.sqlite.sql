-- The numbers that carriers peer. Which apps are a carrier's, apps.carrier_codes says.

CREATE TABLE carriers (
	code INTEGER PRIMARY KEY,
	name TEXT NOT NULL
) STRICT;

-- That carrier and customer exist is for number_counts to say, which has a row for each pair of
-- them: looking both up for each number is a sixth of what storing it costs.
CREATE TABLE numbers (
	e164              INTEGER PRIMARY KEY, -- its digits; none begins with 0
	carrier           INTEGER NOT NULL,
	account_id        TEXT    NOT NULL, -- the customer's
	sip_trunk_name    TEXT    NOT NULL,
	status            INTEGER NOT NULL,
	allocated_product TEXT    NOT NULL,
	number_type       TEXT    NOT NULL,
	billing_ref_id    TEXT    NOT NULL,
	service_info      TEXT    NOT NULL,
	assigned          INTEGER NOT NULL,
	cnam              TEXT    NOT NULL, -- empty: none
	-- The emergency address; without address_line1 there is none.
	country           TEXT    NOT NULL,
	address_line1     TEXT    NOT NULL,
	address_line2     TEXT    NOT NULL,
	city              TEXT    NOT NULL,
	zip               TEXT    NOT NULL,
	state_code        TEXT    NOT NULL,
	-- The event_ts of the latest event about it: the next one's is later.
	changed           INTEGER NOT NULL
) STRICT;

-- How many numbers of a carrier a customer has. Counting them would take a while.
CREATE TABLE number_counts (
	carrier    INTEGER NOT NULL REFERENCES carriers,
	account_id TEXT    NOT NULL REFERENCES accounts,
	numbers    INTEGER NOT NULL,
	PRIMARY KEY (carrier, account_id)
) STRICT, WITHOUT ROWID;

-- Both end in the key, so that pages are in the order of the numbers.
CREATE INDEX numbers_carrier ON numbers (carrier);
CREATE INDEX numbers_account ON numbers (account_id);
