package meshmap

import (
	"slices"

	"github.com/auroramesh/auroramesh/shared/federation"
)

// Matrix is the latency from every site to every other.
type Matrix struct {
	Sites []federation.SiteID
	// Rows[i][j] is what site i measured of its link to site j.
	Rows [][]Cell
}

// Cell is one direction of a link; Link is empty between a site and itself.
type Cell struct {
	Half
	From, To federation.SiteID
	Link     string
}

// NewMatrix joins what the sites say of their links. A site that has said nothing has
// a row of what its gossip told the first of the topologies, which is the own one.
func NewMatrix(own federation.Topology, peers ...federation.Topology) Matrix {
	type way struct{ from, to federation.SiteID }
	halves := map[way]Half{}
	for _, l := range own.Links {
		peer := l.Peer(own.SiteID)
		halves[way{own.SiteID, peer}], halves[way{peer, own.SiteID}] = Halves(l)
	}
	for _, t := range peers {
		for _, l := range t.Links {
			halves[way{t.SiteID, l.Peer(t.SiteID)}] = Half{l.Status, l.Cause, l.Latency}
		}
	}
	m := Matrix{}
	for _, s := range own.Sites {
		m.Sites = append(m.Sites, s.ID)
	}
	slices.Sort(m.Sites)
	for _, from := range m.Sites {
		row := make([]Cell, len(m.Sites))
		for i, to := range m.Sites {
			row[i] = Cell{From: from, To: to, Half: Half{Status: Unknown}}
			if from == to {
				continue
			}
			row[i].Link = federation.LinkID(from, to)
			if h, known := halves[way{from, to}]; known {
				row[i].Half = h
			}
		}
		m.Rows = append(m.Rows, row)
	}
	return m
}
