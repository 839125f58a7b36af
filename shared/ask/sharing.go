package ask

import (
	"time"

	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
)

// Asked of sharing, and of peeradmit where a gate has changed.
var (
	PreviewSharing = function.Endpoint[federation.NewAlert, SharingPreview]{Function: "sharing", Name: "preview", Doc: "which peers would get an alert, and why; nothing is stored"}
	SharingGates   = function.Endpoint[None, SharingOverview]{Function: "sharing", Name: "gates", Doc: "the gate of every peer in both directions"}
	SetGate        = function.Endpoint[GateChange, PeerGate]{Function: "sharing", Name: "set", Doc: "set the whole gate of a peer in one direction"}
	ResetGate      = function.Endpoint[GateOf, PeerGate]{Function: "sharing", Name: "reset", Doc: "give a peer the default gate again in one direction"}
	AdmitPeers     = function.Endpoint[None, None]{Function: "peeradmit", Name: "admit", Doc: "put the consumer of every peer right now"}
)

// SharingPreview is which peers would get an alert if it were raised, and why.
type SharingPreview struct {
	SiteID   federation.SiteID   `json:"site_id"`
	Severity federation.Severity `json:"severity"`
	// TLP is the label that the alert would have, the default filled in.
	TLP   federation.TLP `json:"tlp"`
	Gate  SharingGate    `json:"gate"`
	Peers []PeerDecision `json:"peers"`
}

// SharingGate is the sharing gate of a site for the peers that have none of their own.
type SharingGate struct {
	Federation  bool                `json:"federation"`
	MinSeverity federation.Severity `json:"min_severity"`
	TLPs        []federation.TLP    `json:"tlps"`
}

// PeerDecision is what the gate of one peer decides.
type PeerDecision struct {
	Peer federation.SiteID `json:"peer"`
	federation.Decision
	// StrippedIOCs is the types of IOC that the alert has and that would be taken off.
	StrippedIOCs []federation.IOCType `json:"stripped_iocs"`
}

// SharingOverview is every gate of a site.
type SharingOverview struct {
	SiteID  federation.SiteID `json:"site_id"`
	Default SharingGate       `json:"default"`
	Gates   []PeerGate        `json:"gates"`
}

// PeerGate is the gate of one peer in one direction as it holds: what is set, and
// of the rest what the default gate has.
type PeerGate struct {
	Peer      federation.SiteID    `json:"peer"`
	Direction federation.Direction `json:"direction"`
	// Known is false for a peer that has not been heard of yet.
	Known         bool                 `json:"known"`
	MinSeverity   federation.Severity  `json:"min_severity"`
	Sources       []string             `json:"sources"`
	ExceptSources []string             `json:"except_sources"`
	StripIOCs     []federation.IOCType `json:"strip_iocs"`
	// Set names the fields that are set for this peer.
	Set []string `json:"set"`
	// UpdatedAt is when that was done; nil where there is no gate but the default one.
	UpdatedAt *time.Time `json:"updated_at"`
}

// GateOf names the gate of a peer in one direction.
type GateOf struct {
	Peer      federation.SiteID    `json:"peer"`
	Direction federation.Direction `json:"direction"`
}

// Validate refuses an id that no site can have, and another direction than the two.
func (g GateOf) Validate() error {
	var wrong fault.Fields
	g.check(&wrong)
	return wrong.Err("the gate is not valid")
}

func (g GateOf) check(wrong *fault.Fields) {
	if !g.Peer.Valid() {
		wrong.Add("peer", string(g.Peer), federation.SiteIDForm)
	}
	if g.Direction != federation.Outbound && g.Direction != federation.Inbound {
		wrong.Add("direction", string(g.Direction), "outbound or inbound")
	}
}

// GateChange sets the gate of a peer in one direction.
type GateChange struct {
	GateOf
	Gate federation.GateSetting `json:"gate"`
}

// Validate refuses what [GateOf] and [federation.GateSetting] refuse.
func (c GateChange) Validate() error {
	var wrong fault.Fields
	c.check(&wrong)
	if err := c.Gate.Validate(); err != nil {
		wrong = append(wrong, fault.Of(err).Fields...)
	}
	return wrong.Err("the gate is not valid")
}
