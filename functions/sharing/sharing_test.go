package sharing_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/auroramesh/auroramesh/functions/sharing"
	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/natstest"
	"github.com/auroramesh/auroramesh/shared/store"
	"github.com/auroramesh/auroramesh/shared/store/storetest"
)

const own federation.SiteID = "site-a"

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// site is a running sharing function of a site that knows site-b.
type site struct {
	bus      *function.Bus
	admitted atomic.Int32 // how often peeradmit was asked
	fails    atomic.Bool
}

func start(t *testing.T, gate federation.Gate) *site {
	t.Helper()
	return startWith(t, gate, storetest.Open(t))
}

func startWith(t *testing.T, gate federation.Gate, st *store.Store) *site {
	t.Helper()
	storetest.Knows(t, st, own, "site-b", noon)
	server := natstest.Start(t, own)
	s := &site{bus: natstest.Bus(t, server, own, "asker")}
	run(t, natstest.Bus(t, server, own, "sharing"), func(b *function.Bus) function.Function {
		return sharing.New(gate, st, b, func() time.Time { return noon })
	})
	run(t, natstest.Bus(t, server, own, "peeradmit"), func(*function.Bus) function.Function {
		return function.Function{Name: "peeradmit", Triggers: []function.Trigger{function.Reply(ask.AdmitPeers, func(context.Context, ask.None) (ask.None, error) {
			if s.fails.Load() {
				return ask.None{}, errors.New("out of luck")
			}
			s.admitted.Add(1)
			return ask.None{}, nil
		})}}
	})
	return s
}

func run(t *testing.T, bus *function.Bus, of func(*function.Bus) function.Function) {
	t.Helper()
	natstest.Run(t, bus, of(bus))
}

func put[Req, Res any](t *testing.T, s *site, e function.Endpoint[Req, Res], req Req) (Res, error) {
	t.Helper()
	return function.Ask(t.Context(), s.bus, own, e, req)
}

func shown(peer federation.SiteID, d federation.Direction, known bool, least federation.Severity) ask.PeerGate {
	return ask.PeerGate{Peer: peer, Direction: d, Known: known, MinSeverity: least, Sources: []string{}, ExceptSources: []string{}, StripIOCs: []federation.IOCType{}, Set: []string{}}
}

func TestGatesAreShownAsTheyHold(t *testing.T) {
	s := start(t, federation.Gate{MinSeverity: federation.High})
	change := ask.GateChange{GateOf: ask.GateOf{Peer: "site-c", Direction: federation.Outbound}, Gate: federation.GateSetting{
		ExceptSources: []string{"ids", "edr", "ids"}, StripIOCs: []federation.IOCType{"url", "ip"},
	}}
	want := shown("site-c", federation.Outbound, false, federation.High)
	want.ExceptSources, want.StripIOCs, want.Set, want.UpdatedAt = []string{"edr", "ids"}, []federation.IOCType{"ip", "url"}, []string{"except_sources", "strip_iocs"}, &noon
	got, err := put(t, s, ask.SetGate, change)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("set: %v (-want +got):\n%s", err, diff)
	}
	if n := s.admitted.Load(); n != 1 {
		t.Errorf("peeradmit was asked %d times", n)
	}
	all, err := put(t, s, ask.SharingGates, ask.None{})
	if diff := cmp.Diff([]ask.PeerGate{
		shown("site-b", federation.Outbound, true, federation.High), shown("site-b", federation.Inbound, true, federation.Info),
		want, shown("site-c", federation.Inbound, false, federation.Info),
	}, all.Gates); err != nil || diff != "" {
		t.Errorf("all: %v (-want +got):\n%s", err, diff)
	}
	got, err = put(t, s, ask.ResetGate, change.GateOf)
	if diff := cmp.Diff(shown("site-c", federation.Outbound, false, federation.High), got); err != nil || diff != "" {
		t.Errorf("reset: %v (-want +got):\n%s", err, diff)
	}
}

func TestAChangeThatTheConsumersDoNotFollowIsNoSuccess(t *testing.T) {
	s := start(t, federation.Gate{MinSeverity: federation.High})
	s.fails.Store(true)
	of := ask.GateOf{Peer: "site-b", Direction: federation.Outbound}
	if _, err := put(t, s, ask.SetGate, ask.GateChange{GateOf: of}); !fault.Is(err, fault.Unavailable) {
		t.Errorf("set: %v", err)
	}
	if _, err := put(t, s, ask.ResetGate, of); !fault.Is(err, fault.Unavailable) {
		t.Errorf("reset: %v", err)
	}
	of.Direction = federation.Inbound // with which peeradmit has nothing to do
	if _, err := put(t, s, ask.SetGate, ask.GateChange{GateOf: of}); err != nil {
		t.Errorf("inbound: %v", err)
	}
}

func TestWithFederationOffGatesAreSetAllTheSame(t *testing.T) {
	s := start(t, federation.Gate{MinSeverity: federation.High, Closed: true})
	if _, err := put(t, s, ask.SetGate, ask.GateChange{GateOf: ask.GateOf{Peer: "site-b", Direction: federation.Outbound}}); err != nil || s.admitted.Load() != 0 {
		t.Errorf("%v, peeradmit was asked %d times", err, s.admitted.Load())
	}
}

func TestASiteHasNoGateToItself(t *testing.T) {
	s := start(t, federation.Gate{MinSeverity: federation.High})
	of := ask.GateOf{Peer: own, Direction: federation.Inbound}
	_, setErr := put(t, s, ask.SetGate, ask.GateChange{GateOf: of})
	_, resetErr := put(t, s, ask.ResetGate, of)
	for _, err := range []error{setErr, resetErr} {
		if !fault.Is(err, fault.Invalid) || fault.Of(err).Fields[0].Name != "peer" {
			t.Errorf("%v", err)
		}
	}
}

func TestTheGatesOfACrowdAreAllShown(t *testing.T) {
	const crowd = 3000 // of which the gates are over a megabyte
	st := storetest.Open(t)
	storetest.KnowsMany(t, st, own, crowd, noon)
	s := startWith(t, federation.Gate{MinSeverity: federation.High}, st)
	all, err := put(t, s, ask.SharingGates, ask.None{})
	if err != nil || len(all.Gates) != 2*(crowd+1) {
		t.Errorf("%d gates, %v", len(all.Gates), err)
	}
	preview, err := put(t, s, ask.PreviewSharing, federation.NewAlert{Title: "A", Severity: federation.High, Source: "edr"})
	if err != nil || len(preview.Peers) != crowd+1 {
		t.Errorf("%d peers in the preview, %v", len(preview.Peers), err)
	}
}
