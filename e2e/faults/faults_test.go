//go:build linux

package faults_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/linkproxy"
	"github.com/auroramesh/auroramesh/shared/natstest"
)

// rate is how many alerts a second are raised at each site.
const rate = 20

// pace is how much time a schedule has for each of its faults.
const pace = 10 * time.Second

// settling is how long a mesh that is sound may take to be right and at rest.
const settling = 3 * time.Minute

// wish is what somebody wants of a run.
type wish struct {
	seed          uint64
	length        time.Duration
	only, without []string
}

func wishes(t *testing.T) wish {
	t.Helper()
	w := wish{seed: uint64(time.Now().Unix()), length: 5 * time.Minute}
	var err error
	if v := os.Getenv("AURORAMESH_FAULTS_SEED"); v != "" {
		if w.seed, err = strconv.ParseUint(v, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	if v := os.Getenv("AURORAMESH_FAULTS_FOR"); v != "" {
		if w.length, err = time.ParseDuration(v); err != nil {
			t.Fatal(err)
		}
	}
	for name, list := range map[string]*[]string{"AURORAMESH_FAULTS_ONLY": &w.only, "AURORAMESH_FAULTS_WITHOUT": &w.without} {
		if v := os.Getenv(name); v != "" {
			*list = strings.Split(v, ",")
		}
		for _, f := range *list {
			if !slices.ContainsFunc(catalogue, func(c fault) bool { return c.name == f }) {
				t.Fatalf("%s: there is no fault %q", name, f)
			}
		}
	}
	return w
}

// kinds are the faults that are wished for and possible here. What is wished for and impossible is told.
func (m *mesh) kinds(w wish) []kind {
	m.t.Helper()
	var wishedFor []fault
	for _, f := range catalogue {
		if !slices.Contains(w.without, f.name) && (len(w.only) == 0 || slices.Contains(w.only, f.name)) {
			wishedFor = append(wishedFor, f)
		}
	}
	kinds := kindsOf(wishedFor, m.sites)
	for _, f := range wishedFor {
		if !slices.ContainsFunc(kinds, func(k kind) bool { return k.name == f.name }) {
			m.t.Logf("SKIPPED, NO %s: it is not possible at any site here", f.name)
		}
	}
	return kinds
}

// suffer lets the planned faults happen, each at its time.
func (m *mesh) suffer(all []planned) {
	m.t.Helper()
	begun := time.Now()
	var wg sync.WaitGroup
	for _, p := range all {
		wg.Go(func() {
			n, tell := m.site(p.site), func(what string) {
				m.t.Logf("%6.1f s  %s %s at %s", time.Since(begun).Seconds(), what, p.kind, p.site)
			}
			if pause(m.t.Context(), time.Until(begun.Add(p.at))) != nil {
				return
			}
			tell("begin")
			end, err := named(p.kind).begin(m.t.Context(), m, n, rand.New(rand.NewPCG(p.draw, 3)))
			if err != nil {
				m.t.Errorf("%s at %s could not begin: %v", p.kind, p.site, err)
			}
			if end == nil {
				return
			}
			if pause(m.t.Context(), time.Until(begun.Add(p.at+p.lasts))) != nil {
				m.t.Errorf("%s at %s was broken off", p.kind, p.site)
			}
			if err := end(); err != nil {
				m.t.Errorf("%s at %s could not end: %v", p.kind, p.site, err)
			}
			tell("end  ")
		})
	}
	wg.Wait()
}

// raising raises alerts at every site until the function that it gives is called.
func (m *mesh) raising(rate int) (enough func()) {
	ctx, stop := context.WithCancel(m.t.Context())
	var wg sync.WaitGroup
	for _, n := range m.sites {
		wg.Go(func() { m.load.steadily(ctx, n, rate) })
	}
	return func() { stop(); wg.Wait() }
}

func TestEveryAcceptedAlertIsAtEveryAdmittedPeerOnce(t *testing.T) {
	t.Parallel() // each mesh mostly waits
	p, w := wanted(t), wishes(t)
	m := up(t, options{programs: p, postgres: true, seed: w.seed})
	all := m.draw(w)
	enough := m.raising(rate)
	m.suffer(all)
	enough()
	m.verify(w, len(all))
}

// The same where the hub passes the alerts on between the leaves. The mesh is at work
// as it becomes so, site by site, and as it becomes what it was.
func TestEveryAcceptedAlertIsThereOnceWhereTheHubPassesItOn(t *testing.T) {
	t.Parallel()
	p, w := wanted(t), wishes(t)
	m := up(t, options{programs: p, postgres: true, seed: w.seed, compare: 5})
	all := m.draw(w)
	enough := m.raising(rate)
	m.switchTo(federation.ExchangeHub)
	m.suffer(all)
	enough()
	m.passes(true)
	m.verify(w, len(all))

	enough = m.raising(rate)
	m.switchTo(federation.ExchangeDirect)
	enough()
	m.verify(w, len(all))
}

// draw is the schedule that a seed makes of the faults that are wished for.
func (m *mesh) draw(w wish) []planned {
	m.t.Helper()
	m.t.Logf("seed %d: AURORAMESH_FAULTS_SEED=%d repeats the schedule", w.seed, w.seed)
	all, err := schedule(w.seed, m.kinds(w), int(w.length/pace), w.length)
	m.fatal(err)
	for _, f := range all {
		m.t.Log(f)
	}
	return all
}

// verify wants that all is right once the mesh is at rest after so many faults.
func (m *mesh) verify(w wish, faults int) {
	m.t.Helper()
	v := m.settle(settling, settling)
	answered, refused := m.load.sum()
	m.t.Logf("seed %d: %d faults in %v; %d raisings were answered, %d refused", w.seed, faults, w.length, answered, refused)
	if !v.Right {
		m.t.Errorf("the promise was broken; AURORAMESH_FAULTS_SEED=%d repeats the schedule", w.seed)
	}
}

// switchTo changes how the sites exchange alerts, one after the other, while they are at
// work, and waits until the leaves do as they were told.
func (m *mesh) switchTo(way federation.Exchange) {
	m.t.Helper()
	for _, n := range m.sites {
		m.fatal(n.switchTo(way))
		m.fatal(pause(m.t.Context(), time.Second)) // so that for a while they differ
	}
	m.passes(way == federation.ExchangeHub)
}

// passes waits until the leaves get from each other by the hub what they raise, or from
// each other themselves.
func (m *mesh) passes(byHub bool) {
	m.t.Helper()
	natstest.Within(m.t, time.Minute, fmt.Sprintf("the hub passes alerts on: %t", byHub), func() bool {
		for _, n := range m.sites {
			ledger, err := n.api.Deliveries(m.t.Context())
			if err != nil {
				return false
			}
			for _, d := range ledger.Deliveries {
				if leaves := n.line != nil && m.site(string(d.Peer)).line != nil; (d.PassedBy != "") != (leaves && byHub) {
					return false
				}
			}
		}
		return true
	})
}

func TestWhatACutHeldBackIsThereSoonAfterIt(t *testing.T) {
	t.Parallel()
	const count, cut = 5000, 15 * time.Second
	m := up(t, options{programs: wanted(t), seed: 1})
	from := m.site("site-b")
	begun := time.Now()
	from.line.Set(linkproxy.Cut)
	m.load.burst(t.Context(), from, count, func(site string) federation.NewAlert {
		a := m.load.next(site)
		a.Severity, a.TLP = federation.High, federation.TLPAmber
		return a
	})
	if answered, refused := m.load.sum(); answered != count {
		t.Fatalf("%d of %d alerts were taken while the line was cut, %d refused", answered, count, refused)
	}
	raised := time.Since(begun)
	m.fatal(pause(t.Context(), time.Until(begun.Add(cut))))
	from.line.Set(linkproxy.Pass)
	healed := time.Now()
	missing := []string{"site-a", "site-c"}
	natstest.Within(t, time.Minute, "every alert is at both peers", func() bool {
		missing = slices.DeleteFunc(missing, func(to string) bool {
			page, err := m.site(to).api.Alerts(t.Context(), ask.AlertFilter{Page: ask.Page{Limit: 1}, Source: federation.FederatedSource + from.id})
			if err != nil || page.Total < count {
				return false
			}
			t.Logf("from %s to %s: the last alert was stored %.2f s after the line was whole again (the aim is 3 s)", from.id, to, time.Since(healed).Seconds())
			return true
		})
		return len(missing) == 0
	})
	t.Logf("%d alerts were raised in %.1f s of a cut of %.1f s", count, raised.Seconds(), healed.Sub(begun).Seconds())
	if v := m.settle(settling, settling); !v.Right {
		t.Error("the promise was broken")
	}
}
