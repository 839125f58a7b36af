package meshmap

import (
	"cmp"
	"slices"

	"github.com/auroramesh/auroramesh/shared/federation"
)

// Part is a topology with most sites at most, for what cannot show more: the one that answers,
// then those whose link is worst, each by id. Links to others are left out with them.
func Part(t federation.Topology, most int) federation.Topology {
	if len(t.Sites) <= most {
		return t
	}
	worst := make(map[federation.SiteID]int, len(t.Links))
	for _, l := range t.Links {
		var e Edge
		e.Out, e.Back = Halves(l)
		worst[l.Peer(t.SiteID)] = badness(e.Status())
	}
	worst[t.SiteID] = badness(federation.Down) + 1
	t.Sites = slices.Clone(t.Sites)
	slices.SortFunc(t.Sites, func(a, b federation.Site) int {
		return cmp.Or(cmp.Compare(worst[b.ID], worst[a.ID]), cmp.Compare(a.ID, b.ID))
	})
	t.Sites = t.Sites[:most]
	shown := make(map[federation.SiteID]bool, most)
	for _, s := range t.Sites {
		shown[s.ID] = true
	}
	t.Links = slices.DeleteFunc(slices.Clone(t.Links), func(l federation.Link) bool { return !shown[l.Peer(t.SiteID)] })
	return t
}
