package ask

import (
	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/identity"
)

// Asked of trust.
var (
	TrustedKeys = function.Endpoint[None, TrustOverview]{Function: "trust", Name: "list", Doc: "the keys that are pinned, and what was refused in whose name"}
	PinKey      = function.Endpoint[KeyOf, federation.TrustedKey]{Function: "trust", Name: "pin", Doc: "pin the key of a site, in place of the one that is"}
	UnpinKey    = function.Endpoint[TrustOf, federation.TrustedKey]{Function: "trust", Name: "unpin", Doc: "let go of the key of a site: the next with which it is heard is pinned"}
)

// TrustOverview is every key that a site has pinned.
type TrustOverview struct {
	SiteID federation.SiteID       `json:"site_id"`
	Keys   []federation.TrustedKey `json:"keys"`
}

// TrustOf names a site whose key is meant.
type TrustOf struct {
	Site federation.SiteID `json:"site_id"`
}

// Validate refuses an id that no site can have.
func (t TrustOf) Validate() error {
	var wrong fault.Fields
	t.check(&wrong)
	return wrong.Err("the site is not valid")
}

func (t TrustOf) check(wrong *fault.Fields) {
	if !t.Site.Valid() {
		wrong.Add("site", string(t.Site), federation.SiteIDForm)
	}
}

// KeySetting is the key that a site is to be believed by.
type KeySetting struct {
	Key string `json:"key"`
}

// Validate refuses what is no public key.
func (k KeySetting) Validate() error {
	var wrong fault.Fields
	k.check(&wrong)
	return wrong.Err("the key is not valid")
}

func (k KeySetting) check(wrong *fault.Fields) {
	switch {
	case len(k.Key) > 1 && k.Key[0] == 'S': // whoever sends the secret by mistake must not find it in an answer or a log
		wrong.Add("key", "", identity.KeyForm+"; this is a seed, which is the site's secret")
	case !identity.ValidKey(k.Key):
		wrong.Add("key", k.Key, identity.KeyForm)
	}
}

// KeyOf is a key for a site.
type KeyOf struct {
	TrustOf
	KeySetting
}

// Validate refuses a site or a key that is none.
func (k KeyOf) Validate() error {
	var wrong fault.Fields
	k.TrustOf.check(&wrong)
	k.KeySetting.check(&wrong)
	return wrong.Err("the key is not valid")
}
