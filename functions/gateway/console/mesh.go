package console

import (
	"context"
	"fmt"
	"html/template"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/auroramesh/auroramesh/shared/access"
	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/meshmap"
)

type mapPage struct {
	Own, Summary string
	SVG          template.HTML
	// Upright is the same for a narrow screen, where there is such a picture.
	Upright      template.HTML
	Dense, Alone bool
	// Links are those to be seen at once, Others what is healthy where there are many.
	Links, Others []linkLine
	Matrix        meshmap.Matrix
	// Left is how many sites are not shown, of so many that no browser would show them.
	Left int
}

// linkLine is a link as a row of a table.
type linkLine struct {
	ID             string
	Peer           federation.SiteID
	Status         federation.LinkStatus
	Why, Out, Back string
	Age            string
}

func (k *Console) showMap(w http.ResponseWriter, r *http.Request) {
	if p, _ := access.PrincipalOf(r.Context()); !p.May(access.SitesRead) { // "/" is where everybody begins
		if p.May(access.AlertsRead) {
			http.Redirect(w, r, "/alerts", http.StatusSeeOther)
			return
		}
		k.Forbidden(w, r, access.SitesRead)
		return
	}
	t, err := put(r.Context(), k, ask.Topology, ask.None{})
	if err != nil {
		k.fail(w, r, "map", "The mesh", err)
		return
	}
	k.show(w, r, http.StatusOK, "map", k.view(r, "map", "The mesh", mapOf(t)))
}

// manyLinks is with how many links the healthy ones are folded away.
const manyLinks = 20

func mapOf(whole federation.Topology) mapPage {
	t := meshmap.Part(whole, mapSites)
	m := meshmap.New(t)
	p := mapPage{Own: string(t.SiteID), Summary: summary(whole), Left: len(whole.Sites) - len(t.Sites), Dense: m.Dense, Alone: len(t.Sites) < 2,
		SVG: template.HTML(m.SVG()), //nolint:gosec // meshmap escapes every text that it writes
	}
	if upright, ok := meshmap.Upright(t); ok {
		p.Upright = template.HTML(upright.SVG()) //nolint:gosec // as above
	}
	for _, e := range slices.Backward(m.Edges) { // the worst first
		if len(m.Edges) > manyLinks && e.Status() == federation.Healthy {
			p.Others = append(p.Others, lineOf(e, t))
		} else {
			p.Links = append(p.Links, lineOf(e, t))
		}
	}
	return p
}

func lineOf(e meshmap.Edge, t federation.Topology) linkLine {
	l := linkLine{ID: e.ID, Peer: e.To, Status: e.Status(), Why: meshmap.Why(e.Cause()), Out: e.Out.Figures(), Back: e.Back.Figures(), Age: "–"}
	for _, link := range t.Links {
		if link.ID == e.ID && link.HeartbeatAgeSeconds != nil {
			l.Age = seconds(*link.HeartbeatAgeSeconds)
		}
	}
	return l
}

// seconds is a time as people read it.
func seconds(s float64) string {
	d := time.Duration(s * float64(time.Second))
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%.0f s", s)
	case d < time.Hour:
		return fmt.Sprintf("%d min %d s", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%d days", int(d.Hours())/24)
}

// summary says in one sentence how the mesh is.
func summary(t federation.Topology) string {
	bad := map[federation.LinkStatus]int{}
	for _, l := range t.Links {
		bad[l.Status]++
	}
	n := len(t.Sites)
	s := fmt.Sprintf("%d sites, %d links", n, len(t.Links))
	switch {
	case n == 1:
		s = "1 site"
	case len(t.Links) == 1:
		s = fmt.Sprintf("%d sites, 1 link", n)
	}
	var wrong []string
	for _, status := range []federation.LinkStatus{federation.Down, federation.LinkDegraded} {
		if c := bad[status]; c > 0 {
			wrong = append(wrong, fmt.Sprintf("%d %s", c, status))
		}
	}
	switch {
	case len(wrong) > 0:
		s += ": " + strings.Join(wrong, ", ") + "."
	case len(t.Links) == 1:
		s += ", healthy."
	case len(t.Links) > 1:
		s += ", all healthy."
	default:
		s += "."
	}
	return s
}

// What the matrix asks of the peers.
const (
	peersAtOnce = 16
	peerTimeout = 1500 * time.Millisecond
)

func (k *Console) showMatrix(w http.ResponseWriter, r *http.Request) {
	t, err := put(r.Context(), k, ask.Topology, ask.None{})
	if err != nil {
		k.fail(w, r, "matrix", "The mesh", err)
		return
	}
	p := mapPage{Own: string(t.SiteID), Summary: summary(t), Left: max(len(t.Sites)-matrixSites, 0)}
	t = meshmap.Part(t, matrixSites)
	p.Matrix = meshmap.NewMatrix(t, k.peersSay(r.Context(), t)...)
	k.show(w, r, http.StatusOK, "matrix", k.view(r, "matrix", "The mesh", p))
}

// peersSay is the mesh as each peer that answers in time sees it.
func (k *Console) peersSay(ctx context.Context, t federation.Topology) []federation.Topology {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	var (
		mu    sync.Mutex
		said  []federation.Topology
		all   sync.WaitGroup
		slots = make(chan struct{}, peersAtOnce)
	)
	for _, s := range t.Sites {
		if s.Local || s.Status == federation.Offline {
			continue
		}
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			ctx, cancel := context.WithTimeout(ctx, peerTimeout)
			defer cancel()
			peer, err := function.Ask(ctx, k.Bus, s.ID, ask.Topology, ask.None{})
			if err != nil || peer.SiteID != s.ID { // what it gossiped stands in its row
				return
			}
			mu.Lock()
			defer mu.Unlock()
			said = append(said, peer)
		})
	}
	all.Wait()
	return said
}
