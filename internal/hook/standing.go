package hook

import "time"

// Standing is a delivery as it stands.
type Standing struct {
	Delivery
	// Event is what is delivered; in lists it lacks the body.
	Event *Event
	// Last is the latest log row, nil if there is none yet.
	Last *Attempt
	// Log holds all log rows, oldest first; lists lack it.
	Log []Attempt
}

// DeliveryFilter selects deliveries.
type DeliveryFilter struct {
	// Subscriptions, or all if nil.
	Subscriptions []SubscriptionKey
	// States, or all if nil.
	States []State
	// EventType, or all if empty.
	EventType string
	// From and To bound when the event was accepted. Zero times: no bound.
	From, To time.Time
	// Limit is how many are returned at most.
	Limit int
	// After continues where the page before ended.
	After *Cursor
}

// Cursor is the last delivery that a page looked at.
type Cursor struct {
	ID  DeliveryID
	Due int64 // Unix milliseconds, where the order is by that
}

// LogFilter selects rows of an app's webhook log.
type LogFilter struct {
	App string
	// From and To bound when the request was started. A zero To is no bound.
	From, To time.Time
	// EventType, or all if empty.
	EventType string
	// Failed selects what did, or what did not. nil: both.
	Failed *bool
	// Retry is the retry_num. nil: all.
	Retry *int
	// Before continues where the page before ended: rows with lower ids. 0: from the
	// latest.
	Before int64
	Limit  int
}

// LogRow is a row of the webhook log with what it was about.
type LogRow struct {
	Attempt
	// Event is what was sent. nil: it was a challenge, or the event is gone.
	Event *Event
	// SubscriptionID is the subscription's id, and App that of its app.
	SubscriptionID, App string
}

// LogQuery selects rows of the whole webhook log.
type LogQuery struct {
	// App, Subscription and EventType, or all if empty.
	App          string
	Subscription SubscriptionKey
	EventType    string
	// Failed selects the requests that failed.
	Failed bool
}
