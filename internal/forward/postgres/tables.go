package postgres

import "strings"

// Tables says which tables events are written to.
type Tables struct {
	// Schema has the tables. Empty: the first in the search path.
	Schema string
	// Events is the table of all events, Numbers that of phone numbers with the caller
	// name and the emergency address that each has now. Empty: there is none.
	Events, Numbers string
}

// Create returns the statements that make the tables. Who makes them by other means
// may add to them what can be left out when a row is inserted: indexes, partitions,
// and columns with defaults.
func (t Tables) Create() string {
	var all []string
	if t.Events != "" {
		all = append(all, t.fill(createEvents))
	}
	if t.Numbers != "" {
		all = append(all, t.fill(createNumbers))
	}
	return strings.Join(all, "\n")
}

const createEvents = `CREATE TABLE IF NOT EXISTS {events} (
	key        text PRIMARY KEY,     -- the same for every repeat of an event
	id         bigint NOT NULL,      -- its number in the gateway's inbox
	source     text NOT NULL,        -- where it came in
	event      text,                 -- the event type
	event_ts   timestamptz,          -- when it occurred
	received   timestamptz NOT NULL, -- when the gateway had it
	request_id text,                 -- the same on every attempt of the sender; not signed
	headers    json NOT NULL,        -- names in lower case
	body       json,                 -- to the byte as it was signed
	body_raw   bytea                 -- instead of body, if that is no JSON or deeper than a thousand levels
);
`

const createNumbers = `CREATE TABLE IF NOT EXISTS {numbers} (
	phone_number       text PRIMARY KEY, -- as in E.164, with its plus
	carrier_code       integer NOT NULL,
	account_id         text NOT NULL,    -- the customer's account
	event_ts           timestamptz NOT NULL, -- of the latest event about the number
	event_id           bigint NOT NULL,      -- its number in the gateway's inbox
	cnam               text,             -- NULL if it has none, or none is known
	cnam_ts            timestamptz,      -- event_ts of the event that said so; NULL if there was none
	cnam_event_id      bigint,
	address_line1      text,             -- NULL if it has no address, or none is known
	address_line2      text,
	address_city       text,
	address_state_code text,
	address_zip        text,
	address_country    text,
	address_ts         timestamptz,
	address_event_id   bigint
);
`

const insertEvents = `
	INSERT INTO {events} (key, id, source, event, event_ts, received, request_id, headers, body, body_raw)
	SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
	ON CONFLICT DO NOTHING`

func newEventColumns() columns {
	return newColumns(textArray, int8Array, textArray, textArray, timestamptzArray, timestamptzArray, textArray, jsonArray, jsonArray, byteaArray)
}

const insertNumbers = `
	INSERT INTO {numbers} AS n ({columns})
	SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)
	ON CONFLICT (phone_number) DO UPDATE SET {set}
	WHERE {later}`

func newNumberColumns() columns {
	return newColumns(textArray, int4Array, textArray, timestamptzArray, int8Array, textArray, timestamptzArray, int8Array,
		textArray, textArray, textArray, textArray, textArray, textArray, timestamptzArray, int8Array)
}

// values are the columns that change together, each with the two that say by which
// event.
var values = []struct {
	columns []string
	ts, id  string
}{
	{[]string{"carrier_code", "account_id"}, "event_ts", "event_id"},
	{[]string{"cnam"}, "cnam_ts", "cnam_event_id"},
	{[]string{"address_line1", "address_line2", "address_city", "address_state_code", "address_zip", "address_country"}, "address_ts", "address_event_id"},
}

// insertNumbers returns the statement that writes rows of phone numbers. A value is
// replaced by one of a later event, by event_ts. Of two of the same millisecond the one
// counts that arrived last. So neither the order in which events are applied nor how
// often they are makes a difference.
func (t Tables) insertNumbers() string {
	names, set, later := []string{"phone_number"}, []string{}, []string{}
	for _, v := range values {
		isLater := strings.NewReplacer("{ts}", v.ts, "{id}", v.id).Replace(
			"(excluded.{ts} IS NOT NULL AND (n.{ts} IS NULL OR (excluded.{ts}, excluded.{id}) > (n.{ts}, n.{id})))")
		later = append(later, isLater)
		for _, c := range append(v.columns, v.ts, v.id) {
			names = append(names, c)
			set = append(set, c+" = CASE WHEN "+isLater+" THEN excluded."+c+" ELSE n."+c+" END")
		}
	}
	return strings.NewReplacer("{numbers}", t.name(t.Numbers), "{columns}", strings.Join(names, ", "),
		"{set}", strings.Join(set, ", "), "{later}", strings.Join(later, " OR ")).Replace(insertNumbers)
}

// name returns the name of a table as it stands in a statement.
func (t Tables) name(table string) string {
	name := quote(table)
	if t.Schema != "" {
		name = quote(t.Schema) + "." + name
	}
	return name
}

// quote returns a name as an identifier, whatever is in it.
func quote(name string) string {
	return `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
}

func (t Tables) fill(query string) string {
	return strings.NewReplacer("{events}", t.name(t.Events), "{numbers}", t.name(t.Numbers)).Replace(query)
}
