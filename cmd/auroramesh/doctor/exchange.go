package doctor

import (
	"context"
	"fmt"
	"slices"

	"github.com/auroramesh/auroramesh/shared/federation"
)

// exchange looks for why FEDERATION_EXCHANGE has no effect here. That a peer exchanges
// directly, or has a gate of its own, is for who set it so, and no fault.
func exchange(ctx context.Context, p *patient) []Finding {
	if !p.Settings.Enabled {
		return nil
	}
	m, err := p.store.Mesh(ctx, p.Settings.Identity(p.Version), p.Settings.Gate(), p.Now(), p.Settings.Thresholds().Degraded)
	if err != nil {
		return found("the sites and gates cannot be read: "+err.Error(), "Look at the database.")
	}
	for _, s := range m.Sites {
		if s.ID == m.Own.ID && s.Exchange != m.Own.Exchange && s.LastHeartbeatAt != nil && p.Now().Sub(*s.LastHeartbeatAt) < p.Settings.Thresholds().Down {
			return found(fmt.Sprintf("FEDERATION_EXCHANGE is %s by these settings, and the site tells its peers %s", m.Own.Exchange, s.Exchange),
				"Give every process of the site the same value, and start its functions anew: they read it as they start.")
		}
	}
	if m.Own.Exchange != federation.ExchangeHub {
		return nil
	}
	if m.Own.Tier == federation.Primary {
		return otherPrimaries(m)
	}
	return unserved(m)
}

// primaries lists the sites that say that they are one, but for the own one.
func primaries(m federation.Mesh) []string {
	var all []string
	for _, s := range m.Sites {
		if s.ID != m.Own.ID && s.Tier == federation.Primary {
			all = append(all, string(s.ID))
		}
	}
	return all
}

const onePrimary = "One site alone passes alerts on: leave FEDERATION_SITE_TIER=primary to that, give every other secondary, and start its functions anew."

// otherPrimaries finds why a primary passes nothing on that says that it does.
func otherPrimaries(m federation.Mesh) []Finding {
	others := primaries(m)
	if len(others) == 0 {
		return nil
	}
	return found("FEDERATION_EXCHANGE=hub has no effect: there are other primaries ("+list(others)+"), so none passes alerts on", onePrimary)
}

// unserved finds why the hub passes on nothing that a secondary shares which says hub.
// A primary that is away is told by leafnode, and so is a site that has heard no peer.
func unserved(m federation.Mesh) []Finding {
	const without = "FEDERATION_EXCHANGE=hub has no effect: "
	hub, ok := m.Hub()
	switch all := primaries(m); {
	case len(all) > 1:
		return found(without+"there are several primaries ("+list(all)+"), so none passes alerts on", onePrimary)
	case !ok && slices.ContainsFunc(m.Sites, func(s federation.Site) bool { return s.ID != m.Own.ID }):
		return found(without+"no peer says that it is a primary", "Set FEDERATION_SITE_TIER=primary at the hub of the mesh, and start its functions anew; or set FEDERATION_EXCHANGE=direct here.")
	case !ok || hub.Status == federation.Offline:
		return nil
	case hub.Exchange != federation.ExchangeHub:
		return found(fmt.Sprintf("%sthe primary %s (version %q) exchanges directly", without, hub.ID, hub.Version),
			fmt.Sprintf("At %s set FEDERATION_EXCHANGE=hub and start its functions anew; a version that does not know the setting is brought up to date before.", hub.ID))
	case m.Gates.Own(hub.ID):
		return found(fmt.Sprintf("%sthe primary %s has an outbound gate of its own here, so it may pass nothing on", without, hub.ID),
			fmt.Sprintf("Give it the default gate: auroramesh sharing gate %s --reset. Where it needs its own, set FEDERATION_EXCHANGE=direct here.", hub.ID))
	case !slices.Contains(hub.PassesFor, m.Own.ID):
		return found(fmt.Sprintf("%sthe primary %s does not pass on for this site yet", without, hub.ID),
			fmt.Sprintf("It does within two heartbeats of when it is told. Where it does not: auroramesh doctor there, and the log of peeradmit at %s.", hub.ID))
	}
	return nil
}
