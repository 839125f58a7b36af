// Package trust is the function that looks after the keys of the peers: it shows
// which are pinned and what was refused in whose name, and pins and unpins them. The
// refusing itself is done by the runtime, before a message comes to its function.
package trust

import (
	"context"
	"log/slog"
	"time"

	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/store"
)

// New is the function for one site.
func New(st *store.Store, bus *function.Bus, log *slog.Logger, now func() time.Time) function.Function {
	k := keeper{st, bus, log, now}
	return function.Function{
		Name:        "trust",
		Description: "Shows, pins and unpins the keys with which the peers sign what they say.",
		Triggers: []function.Trigger{
			function.Reply(ask.TrustedKeys, k.list),
			function.Reply(ask.PinKey, k.pin),
			function.Reply(ask.UnpinKey, k.unpin),
		},
		Checks: []function.Check{{Part: "database", Run: st.Ready}},
	}
}

type keeper struct {
	store *store.Store
	bus   *function.Bus
	log   *slog.Logger
	now   func() time.Time
}

func (k keeper) list(ctx context.Context, _ ask.None) (ask.TrustOverview, error) {
	own := k.bus.Site().ID
	keys, err := k.store.TrustedKeys(ctx, own)
	return ask.TrustOverview{SiteID: own, Keys: keys}, err
}

func (k keeper) pin(ctx context.Context, c ask.KeyOf) (federation.TrustedKey, error) {
	pinned, err := k.store.PinKey(ctx, k.bus.Site().ID, c.Site, c.Key, k.now())
	if err == nil {
		k.log.WarnContext(ctx, "the key of a site was pinned by an administrator", "peer", c.Site, "key", c.Key)
	}
	return pinned, err
}

func (k keeper) unpin(ctx context.Context, of ask.TrustOf) (federation.TrustedKey, error) {
	was, err := k.store.UnpinKey(ctx, k.bus.Site().ID, of.Site)
	if err == nil {
		k.log.WarnContext(ctx, "the key of a site was unpinned by an administrator", "peer", of.Site, "key", was.Key)
	}
	return was, err
}
