package federation

import (
	"slices"
	"strings"
)

// TLP is who may see an alert: a label of the Traffic Light Protocol, version 2.0.
type TLP string

// The labels, the freest first.
const (
	TLPClear       TLP = "clear"
	TLPGreen       TLP = "green"
	TLPAmber       TLP = "amber"
	TLPAmberStrict TLP = "amber+strict"
	TLPRed         TLP = "red"
)

// DefaultTLP is the label of an alert that has none: all that was raised before
// there were labels, and whatever a sensor raises without one.
const DefaultTLP = TLPAmber

// TLPs lists every label, the freest first.
func TLPs() []TLP { return []TLP{TLPClear, TLPGreen, TLPAmber, TLPAmberStrict, TLPRed} }

// ShareableTLPs lists the labels that may leave a site, the freest first. It names
// what may and not what may not, so that a label of a later version stays at home.
func ShareableTLPs() []TLP { return []TLP{TLPClear, TLPGreen, TLPAmber} }

// TLPForm says in words what a label may be.
const TLPForm = "clear, green, amber, amber+strict or red"

// sharedTLPForm says in words which labels [TLP.Shareable] lets pass.
const sharedTLPForm = "clear, green or amber"

// Valid reports whether t is one of the labels.
func (t TLP) Valid() bool { return slices.Contains(TLPs(), t) }

// Shareable reports whether an alert with the label may leave its site. A word
// that is no label may not.
func (t TLP) Shareable() bool { return slices.Contains(ShareableTLPs(), t) }

// ParseTLP reads a label as people write it: in any case, with or without "TLP:"
// before it. What is no label stays as it is, so that whoever refuses it can show it.
func ParseTLP(s string) TLP {
	if t := TLP(strings.TrimPrefix(strings.ToLower(s), "tlp:")); t.Valid() {
		return t
	}
	return TLP(s)
}

// UnmarshalText implements encoding.TextUnmarshaler: what comes in from outside is
// read as [ParseTLP] does, so that one spelling alone is kept and compared.
func (t *TLP) UnmarshalText(text []byte) error {
	*t = ParseTLP(string(text))
	return nil
}

// Stricter reports whether t lets fewer people see an alert than u. Neither may
// be a word that is no label.
func (t TLP) Stricter(u TLP) bool { return slices.Index(TLPs(), t) > slices.Index(TLPs(), u) }

// OrDefault is t, or [DefaultTLP] where there is none.
func (t TLP) OrDefault() TLP {
	if t == "" {
		return DefaultTLP
	}
	return t
}
