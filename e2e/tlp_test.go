package e2e_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/auroramesh/auroramesh/cmd/auroramesh/demo"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/natstest"
	"github.com/auroramesh/auroramesh/shared/subject"
)

func labelled(title string, l federation.TLP) federation.NewAlert {
	n := alert(title, federation.Critical)
	n.TLP = l
	return n
}

func TestRedAndAmberStrictNeverLeaveTheirSite(t *testing.T) {
	t.Parallel()
	m := start(t, demo.Options{})
	natstest.Eventually(t, "the sites see each other", func() bool { return m.link(t, 1, "link-site-a-site-b") == federation.Healthy })

	preview, err := m.api[1].PreviewSharing(t.Context(), labelled("one in red", federation.TLPRed))
	if err != nil || len(preview.Peers) != 1 || preview.Peers[0].Peer != "site-a" || preview.Peers[0].Admitted || preview.Peers[0].Rule != federation.RuleTLP ||
		!preview.Gate.Federation || preview.Gate.MinSeverity != federation.High {
		t.Errorf("the preview of red is %+v, %v", preview, err)
	}
	preview, err = m.api[1].PreviewSharing(t.Context(), alert("the marker", federation.Critical))
	if err != nil || len(preview.Peers) != 1 || !preview.Peers[0].Admitted || preview.TLP != federation.TLPAmber {
		t.Errorf("the preview of the marker is %+v, %v", preview, err)
	}
	if n := m.total(t, 1, ""); n != 0 {
		t.Errorf("the previews stored %d alerts", n)
	}

	kept := map[string]federation.TLP{"one in red": federation.TLPRed, "one in strict amber": federation.TLPAmberStrict}
	for title, l := range kept {
		m.published(t, 1, m.raise(t, 1, labelled(title, l)))
	}
	m.raise(t, 1, alert("the marker", federation.Critical))
	if got := m.arrives(t, 0, "the marker")[0].TLP; got != federation.TLPAmber {
		t.Errorf("the marker is %q at the peer", got)
	}
	wire := m.wire(t, 1)
	if len(wire) != 1 || !strings.Contains(wire[0], "the marker") {
		t.Errorf("the stream of the peers holds %q", wire)
	}
	for title, l := range kept {
		if got := m.titled(t, 1, title); len(got) != 1 || got[0].TLP != l {
			t.Errorf("%q is at home as %+v", title, got)
		}
		if got := m.titled(t, 0, title); len(got) != 0 {
			t.Errorf("%q is at the peer", title)
		}
		for _, payload := range wire {
			if strings.Contains(payload, title) {
				t.Errorf("%q is in the stream of the peers", title)
			}
		}
	}
	text := metrics(t, m.Sites[1].API)
	for _, line := range []string{
		`aurora_sharing_decisions_total{decision="kept",peer="site-a",rule="tlp",site="site-b"} 2`,
		`aurora_sharing_decisions_total{decision="admitted",peer="site-a",rule="admitted",site="site-b"} 1`,
	} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("the metrics do not say %s but %s", line, lines(text, "sharing_decisions"))
		}
	}
}

// wire is every payload in the stream that the peers of site i pull from, out of which
// nothing has been taken.
func (m mesh) wire(t *testing.T, i int) []string {
	t.Helper()
	payloads, gone := m.remaining(t, i)
	if gone > 0 {
		t.Fatalf("%d messages are gone from the stream of site %d", gone, i)
	}
	return payloads
}

// remaining is every payload that the stream of site i still holds, and how many it does not.
func (m mesh) remaining(t *testing.T, i int) (payloads []string, gone int) {
	t.Helper()
	site := m.Sites[i].ID().ID
	s, err := m.reader(t, i).JetStream().Stream(t.Context(), subject.AlertStream(site))
	if err != nil {
		t.Fatal(err)
	}
	for state, seq := s.CachedInfo().State, uint64(1); seq <= state.LastSeq; seq++ {
		switch msg, err := s.GetMsg(t.Context(), seq); {
		case errors.Is(err, jetstream.ErrMsgNotFound):
			gone++
		case err != nil:
			t.Fatal(err)
		default:
			payloads = append(payloads, string(msg.Data))
		}
	}
	return payloads, gone
}

func TestTheStreamsOfAPeerCannotBeRead(t *testing.T) {
	t.Parallel()
	m := start(t, demo.Options{})
	m.published(t, 1, m.raise(t, 1, labelled("for nobody else", federation.TLPRed)))
	read := func(i int, request string) error {
		nc := natstest.Bus(t, m.Sites[i].Server(), m.Sites[i].ID().ID, "reader").Conn()
		_, err := nc.Request(request, []byte(`{"last_by_subj":"aurora.site.site-b.event.>"}`), 5*time.Second)
		return err
	}
	for _, request := range []string{"STREAM.MSG.GET.EVENTS_site-b", "STREAM.INFO.EVENTS_site-b", "STREAM.DELETE.ALERTS_site-b", "CONSUMER.CREATE.EVENTS_site-b", "DIRECT.GET.EVENTS_site-b"} {
		if err := read(0, "$JS.site-b.API."+request); !errors.Is(err, nats.ErrNoResponders) {
			t.Errorf("%s is answered across the leafnode: %v", request, err)
		}
	}
	if err := read(1, "$JS.site-b.API.STREAM.MSG.GET.EVENTS_site-b"); err != nil {
		t.Errorf("at home the stream cannot be read: %v", err)
	}
	// The other way round, too.
	if err := read(1, "$JS.site-a.API.STREAM.INFO.EVENTS_site-a"); !errors.Is(err, nats.ErrNoResponders) {
		t.Errorf("a leaf reads the hub's streams: %v", err)
	}
}
