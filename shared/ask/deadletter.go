package ask

import "time"

// DeadLetter is a message that a function could not handle.
type DeadLetter struct {
	ID       uint64    `json:"id"`       // its sequence among the dead letters
	Function string    `json:"function"` // who gave it up
	Trigger  string    `json:"trigger"`  // which trigger of that function
	Reason   string    `json:"reason"`
	Code     string    `json:"code"`
	Source   string    `json:"source"`   // site/stream/consumer that it came from
	Subject  string    `json:"subject"`  // its subject there
	Sequence uint64    `json:"sequence"` // its sequence there
	At       time.Time `json:"at"`       // when it was given up
	Size     int       `json:"size"`     // of its payload, in bytes
}

// DeadLetterText is a dead letter with its payload as text. A byte that is no
// UTF-8 stands there as U+FFFD.
type DeadLetterText struct {
	DeadLetter
	Payload string `json:"payload"`
	// Truncated says that the payload is longer than what is here of it.
	Truncated bool `json:"truncated"`
}
