package ask

import "github.com/auroramesh/auroramesh/shared/federation"

// SharingPreview is which peers would get an alert if it were raised, and why.
type SharingPreview struct {
	SiteID   federation.SiteID   `json:"site_id"`
	Severity federation.Severity `json:"severity"`
	// TLP is the label that the alert would have, the default filled in.
	TLP   federation.TLP `json:"tlp"`
	Gate  SharingGate    `json:"gate"`
	Peers []PeerDecision `json:"peers"`
}

// SharingGate is the sharing gate of a site.
type SharingGate struct {
	Federation  bool                `json:"federation"`
	MinSeverity federation.Severity `json:"min_severity"`
	TLPs        []federation.TLP    `json:"tlps"`
}

// PeerDecision is what the gate decides for one peer.
type PeerDecision struct {
	Peer federation.SiteID `json:"peer"`
	federation.Decision
}
