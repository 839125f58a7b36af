package access

import "slices"

// Mode is whether a site asks who a request comes from.
type Mode string

// The modes.
const (
	// None takes every request; the site then listens on loopback only.
	None Mode = "none"
	// Required takes requests with a key, a token or a session.
	Required Mode = "required"
	// Insecure takes every request at any address, for a site that something else guards.
	Insecure Mode = "insecure"
)

// Valid reports whether m is one of the modes.
func (m Mode) Valid() bool { return slices.Contains([]Mode{None, Required, Insecure}, m) }
