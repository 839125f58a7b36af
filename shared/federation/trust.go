package federation

import "time"

// PinnedBy says how the key of a site came to be believed.
type PinnedBy string

// The ways in which a key is pinned.
const (
	FirstSeen     PinnedBy = "first_seen"    // it was the first with which the site spoke
	Administrator PinnedBy = "administrator" // a person said so
)

// TrustedKey is the public key that is pinned for a site: what comes in that site's
// name and is not signed with it is refused.
type TrustedKey struct {
	Site     SiteID    `json:"site_id"`
	Local    bool      `json:"local"`
	Key      string    `json:"key"`
	PinnedBy PinnedBy  `json:"pinned_by"`
	PinnedAt time.Time `json:"pinned_at"`
	// Refused is what last came in the site's name and was not taken; nil where nothing
	// has since the key was pinned.
	Refused *KeyRefusal `json:"refused,omitempty"`
}

// KeyRefusal is what came in a site's name and was not proved to be of it.
type KeyRefusal struct {
	Reason string `json:"reason"`
	// Key is the one with which it was rightly signed; empty where with none.
	Key string    `json:"key,omitempty"`
	At  time.Time `json:"at"`
}
