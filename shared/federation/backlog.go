package federation

import "time"

// BacklogBound is how much the alert stream of a site may hold. Zero is no bound.
type BacklogBound struct {
	Messages int
	Bytes    int64
	Age      time.Duration
}

// Excess is what a backlog has over its bound, 0 where it is within.
type Excess struct {
	Messages int
	Bytes    int64
}

// Excess is what a backlog of this size has over the bound.
func (b BacklogBound) Excess(messages int, bytes int64) Excess {
	var e Excess
	if b.Messages > 0 {
		e.Messages = max(messages-b.Messages, 0)
	}
	if b.Bytes > 0 {
		e.Bytes = max(bytes-b.Bytes, 0)
	}
	return e
}

// None reports whether there is nothing over the bound.
func (e Excess) None() bool { return e.Messages <= 0 && e.Bytes <= 0 }

// Backlog is what the alert stream of a site holds for its peers, and what went
// unsent because the bound was reached.
type Backlog struct {
	Messages    int   `json:"messages"` // those that every peer has acknowledged among them
	Bytes       int64 `json:"bytes"`
	MaxMessages int   `json:"max_messages"`
	MaxBytes    int64 `json:"max_bytes"`
	// Dropped counts by severity, since the site was set up, what was let go of
	// although a peer had not acknowledged everything before it.
	Dropped map[Severity]int `json:"dropped"`
	// DroppedAt is when that last happened; nil: never.
	DroppedAt *time.Time `json:"dropped_at"`
}

// BacklogDrop is one time that alerts had to go.
type BacklogDrop struct {
	Severity Severity `json:"severity"`
	Dropped  int      `json:"dropped"`
	// Total counts all of this severity that ever went.
	Total int `json:"total"`
}
