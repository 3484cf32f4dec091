package hook

import "time"

// Node is a process that delivers, as the others know it. Where there are several,
// instants are by the database's clock.
type Node struct {
	ID int64
	// Slot is the node's part of the ids that it gives.
	Slot int
	// Host and Version are where it runs and which version of the program.
	Host, Version string
	Started       time.Time
	// Seen is when it last said that it lives, and Until when others take over what
	// it has in hand unless it says so again: zero if they never do.
	Seen, Until time.Time
	// Deliveries are in its hand, for so many Lanes.
	Deliveries, Lanes int
}
