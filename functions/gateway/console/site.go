package console

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/meshmap"
)

type sitePage struct {
	Site         federation.Site
	Link, Origin string
	Functions    []functionLine
	Failed       string
	Waited       time.Duration
}

// functionLine is all replicas of a function at one site.
type functionLine struct {
	Name, Version              string
	Replicas, Requests, Errors int
	Mean                       string
	spent                      time.Duration
}

func (k *Console) showSite(w http.ResponseWriter, r *http.Request) {
	title := "Site"
	t, err := put(r.Context(), k, ask.Topology, ask.None{})
	if err != nil {
		k.fail(w, r, "site", title, err)
		return
	}
	i := slices.IndexFunc(t.Sites, func(s federation.Site) bool { return string(s.ID) == r.PathValue("id") })
	if i < 0 {
		k.fail(w, r, "site", title, fault.New(fault.NotFound, "no site %q is known here", r.PathValue("id")))
		return
	}
	s := t.Sites[i]
	p := sitePage{Site: s, Origin: ask.OriginLocal, Waited: statsLongest}
	if !s.Local {
		p.Origin = ask.OriginSitePrefix + string(s.ID)
		p.Link = federation.LinkID(t.SiteID, s.ID)
	}
	if p.Functions, err = k.functionsAt(r.Context(), s.ID); err != nil {
		p.Failed = k.said(r, err)
	}
	k.show(w, r, http.StatusOK, "site", k.view(r, "site", s.Name, p))
}

// How long the services of the mesh are listened to: statsQuiet after the last that
// answered, and statsLongest in all.
const (
	statsQuiet   = 250 * time.Millisecond
	statsLongest = 2 * time.Second
)

// functionsAt asks the services of the whole mesh, for they cannot be asked by site,
// and keeps those of one.
func (k *Console) functionsAt(ctx context.Context, site federation.SiteID) ([]functionLine, error) {
	nc := k.Bus.Conn()
	inbox, err := nc.SubscribeSync(nc.NewRespInbox())
	if err != nil {
		return nil, fmt.Errorf("listening to the services: %w", err)
	}
	defer func() { _ = inbox.Unsubscribe() }() // the connection ends it otherwise
	subj, err := micro.ControlSubject(micro.StatsVerb, "", "")
	if err != nil {
		return nil, fmt.Errorf("naming the services: %w", err)
	}
	if err := nc.PublishRequest(subj, inbox.Subject, nil); err != nil {
		return nil, fault.New(fault.Unavailable, "NATS cannot be reached")
	}
	ctx, cancel := context.WithTimeout(ctx, statsLongest)
	defer cancel()
	byName := map[string]*functionLine{}
	for wait := statsLongest; ; wait = statsQuiet {
		next, cancel := context.WithTimeout(ctx, wait)
		msg, err := inbox.NextMsgWithContext(next)
		cancel()
		if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, nats.ErrTimeout) {
			break
		}
		if err != nil {
			return nil, fault.New(fault.Unavailable, "the services of the mesh cannot be asked: %v", err)
		}
		add(byName, site, msg.Data)
	}
	lines := make([]functionLine, 0, len(byName))
	for _, l := range byName {
		l.Mean = "–"
		if l.Requests > 0 {
			ms := float64(l.spent.Microseconds()) / float64(l.Requests) / 1000
			l.Mean = meshmap.Milliseconds(&ms)
		}
		lines = append(lines, *l)
	}
	slices.SortFunc(lines, func(a, b functionLine) int { return cmp.Compare(a.Name, b.Name) })
	return lines, nil
}

// add counts what one instance of a service tells of itself.
func add(byName map[string]*functionLine, site federation.SiteID, data []byte) {
	var s micro.Stats
	if err := json.Unmarshal(data, &s); err != nil || s.Metadata["site"] != string(site) {
		return // another site's, or no service of the mesh
	}
	l := byName[s.Name]
	if l == nil {
		l = &functionLine{Name: s.Name, Version: s.Version}
		byName[s.Name] = l
	}
	l.Replicas++
	for _, e := range s.Endpoints {
		l.Requests += e.NumRequests
		l.Errors += e.NumErrors
		l.spent += e.ProcessingTime
	}
}
