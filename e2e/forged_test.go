package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	natsgo "github.com/nats-io/nats.go"

	"github.com/auroramesh/auroramesh/cmd/auroramesh/demo"
	"github.com/auroramesh/auroramesh/shared/apiclient"
	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/identity"
	"github.com/auroramesh/auroramesh/shared/natstest"
	"github.com/auroramesh/auroramesh/shared/subject"
)

// trusted waits until a site has pinned a key for another, and gives what it has.
func trusted(t *testing.T, c *apiclient.Client, site federation.SiteID) (pinned federation.TrustedKey) {
	t.Helper()
	natstest.Eventually(t, "a key is pinned for "+string(site), func() bool {
		all, err := c.TrustedKeys(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(all.Keys, func(k federation.TrustedKey) bool { return k.Site == site })
		if i >= 0 {
			pinned = all.Keys[i]
		}
		return i >= 0
	})
	return pinned
}

// counts waits until a site has refused so many messages of a trigger for a reason.
func (m mesh) counts(t *testing.T, i int, function, trigger string, reason identity.Reason, n int) {
	t.Helper()
	line := fmt.Sprintf("aurora_function_messages_refused_total{function=%q,reason=%q,site=%q,trigger=%q} %d\n", function, reason, demo.SiteID(i), trigger, n)
	natstest.Within(t, 30*time.Second, "the metrics say "+line, func() bool { return strings.Contains(metrics(t, m.Sites[i].API), line) })
}

// The hub stands between two leaves: all that one says to the other goes by it.
func TestWhatAHubForgesIsRefusedAndWhatIsHonestPasses(t *testing.T) {
	t.Parallel()
	m := start(t, demo.Options{Sites: 3})
	const b, c = 1, 2
	hub := natstest.Bus(t, m.Sites[0].Server(), "site-a", "forger").Conn()
	forger := natstest.Key(t, "site-a")
	if k := trusted(t, m.api[c], "site-b"); k.Key != m.key(t, b).Key() || k.PinnedBy != federation.FirstSeen || k.Refused != nil {
		t.Errorf("site-c has pinned %+v for site-b", k)
	}

	// Where site-c pulls from site-b, the hub can answer.
	pulls, err := hub.SubscribeSync("$JS.site-b.API.CONSUMER.MSG.NEXT.ALERTS_site-b.site-c_critical")
	if err != nil {
		t.Fatal(err)
	}
	pull, err := pulls.NextMsg(30 * time.Second)
	if err != nil {
		t.Fatal(err)
	}
	honest, err := json.Marshal(federation.Share(alert("forged", federation.Critical).Alert("01-forged", time.Now()), m.Sites[b].ID()))
	if err != nil {
		t.Fatal(err)
	}
	say := func(msg *natsgo.Msg) {
		t.Helper()
		if err := hub.PublishMsg(msg); err != nil {
			t.Fatal(err)
		}
	}
	say(&natsgo.Msg{Subject: pull.Reply, Data: honest})
	say(function.Said(forger, "site-b", pull.Reply, honest))
	moved := function.Said(m.key(t, b), "site-b", subject.Health("site-b"), honest) // signed by the site, for another use
	moved.Subject = pull.Reply
	say(moved)
	for _, reason := range []identity.Reason{identity.Unsigned, identity.WrongKey, identity.BadSignature} {
		m.counts(t, c, "alertsink", "alerts", reason, 1)
	}

	gossip, err := json.Marshal(federation.Gossip{
		Version: 1, SiteID: "site-b", SiteName: "Forged", Tier: federation.Secondary, SentAt: time.Now().Add(time.Hour), IntervalSeconds: 1, Leaving: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	health := subject.Health("site-b")
	say(&natsgo.Msg{Subject: health, Data: gossip})
	say(function.Said(forger, "site-b", health, gossip))
	changed := function.Said(m.key(t, b), "site-b", health, []byte("what it said"))
	changed.Data = gossip
	say(changed)
	for _, i := range []int{0, c} {
		for _, reason := range []identity.Reason{identity.Unsigned, identity.WrongKey, identity.BadSignature} {
			m.counts(t, i, "healthsink", "gossip", reason, 1)
		}
	}

	m.raise(t, b, alert("honest", federation.Critical))
	m.arrives(t, c, "honest")
	m.arrives(t, 0, "honest")
	if got := m.titled(t, c, "forged"); len(got) != 0 {
		t.Errorf("the forgery is stored: %+v", got)
	}
	for _, s := range m.topology(t, c).Sites {
		if s.ID == "site-b" && (s.Name != "Site B" || s.Status != federation.Online) {
			t.Errorf("a forged gossip was taken: %+v", s)
		}
	}
	if k := trusted(t, m.api[c], "site-b"); k.Key != m.key(t, b).Key() || k.Refused == nil {
		t.Errorf("site-c shows %+v for site-b", k)
	}
	letters, err := m.api[c].DeadLetters(t.Context(), ask.Page{})
	if err != nil || letters.Total != 3 {
		t.Fatalf("site-c has %d dead letters, %v", letters.Total, err)
	}
	for _, l := range letters.Items {
		if l.Code != string(fault.Forbidden) || !strings.Contains(l.Reason, "in the name of site-b") {
			t.Errorf("a dead letter is %+v", l)
		}
		if _, err := m.api[c].RetryDeadLetter(t.Context(), function.LetterID{ID: l.ID}); !fault.Is(err, fault.Forbidden) {
			t.Errorf("a retry of %+v: %v", l, err)
		}
	}
}

// Whoever has the bus of a site, but not its key, cannot share in its name.
func TestAnAlertWithoutTheSitesSignatureIsRefusedAndTheLedgerOfItsOriginSaysSo(t *testing.T) {
	t.Parallel()
	m := start(t, demo.Options{})
	data, err := json.Marshal(federation.Share(alert("forged", federation.Critical).Alert("01-forged", time.Now()), m.Sites[1].ID()))
	if err != nil {
		t.Fatal(err)
	}
	intruder := natstest.Bus(t, m.Sites[1].Server(), "site-b", "intruder") // signs with a key of its own
	if _, err := intruder.Store(t.Context(), []function.Message{{Subject: subject.Alert(federation.Critical), ID: "forged", Payload: data}}); err != nil {
		t.Fatal(err)
	}
	m.raise(t, 1, alert("honest", federation.Critical))
	m.arrives(t, 0, "honest")
	natstest.Within(t, 30*time.Second, "the origin knows that one was refused", func() bool {
		out, _ := deliveries(t, m.api[1])
		return are(out.Refused, 1) && are(out.Stored, 1) && are(out.Acknowledged, 2)
	})
	if got := m.titled(t, 0, "forged"); len(got) != 0 {
		t.Errorf("it is stored: %+v", got)
	}
	if k := trusted(t, m.api[0], "site-b"); k.Refused == nil || k.Refused.Key != natstest.Key(t, "site-b").Key() || k.Refused.Reason != string(identity.WrongKey) {
		t.Errorf("site-a shows %+v", k)
	}
}

func TestAChangedKeyIsRefusedUntilAnAdministratorPinsIt(t *testing.T) {
	t.Parallel()
	m := start(t, demo.Options{})
	m.raise(t, 1, alert("before", federation.Critical))
	m.arrives(t, 0, "before")
	old := m.key(t, 1).Key()
	leave(t, m.Sites[1].Site)
	if err := os.Remove(filepath.Join(m.Sites[1].Settings.IdentityDir, identity.File)); err != nil {
		t.Fatal(err)
	}
	m.api[1] = client(t, "http://"+m.process(t, 1).Addr())
	changed := m.key(t, 1).Key()
	if changed == old {
		t.Fatal("the key is the old one")
	}
	m.raise(t, 1, alert("after", federation.Critical))
	var letters ask.List[ask.DeadLetter]
	natstest.Within(t, 30*time.Second, "the alert that is signed with the new key is refused", func() bool {
		var err error
		letters, err = m.api[0].DeadLetters(t.Context(), ask.Page{})
		return err == nil && letters.Total > 0
	})
	natstest.Within(t, 30*time.Second, "the new key is shown as refused", func() bool {
		k := trusted(t, m.api[0], "site-b")
		return k.Key == old && k.Refused != nil && k.Refused.Key == changed && k.Refused.Reason == string(identity.WrongKey)
	})
	if _, err := m.api[0].PinKey(t.Context(), "site-b", changed); err != nil {
		t.Fatal(err)
	}
	natstest.Within(t, 30*time.Second, "the site is online again", func() bool { return m.status(t, 0, "site-b") == federation.Online })
	if _, err := m.api[0].RetryDeadLetter(t.Context(), function.LetterID{ID: letters.Items[0].ID}); err != nil {
		t.Errorf("retrying what was refused: %v", err)
	}
	m.arrives(t, 0, "after")
	if k := trusted(t, m.api[0], "site-b"); k.Key != changed || k.PinnedBy != federation.Administrator || k.Refused != nil {
		t.Errorf("site-a shows %+v", k)
	}
	// The site itself has the old one pinned, and says so until that is put right.
	if k := trusted(t, m.api[1], "site-b"); !k.Local || k.Key != old {
		t.Errorf("site-b shows %+v for itself", k)
	}
}

// A peer that cannot prove who it is, and so is late, is told from one that is silent.
func TestALinkWhosePeerIsNotBelievedSaysSo(t *testing.T) {
	t.Parallel()
	m := start(t, demo.Options{})
	m.raise(t, 1, alert("known", federation.Critical))
	m.arrives(t, 0, "known")
	if _, err := m.api[0].PinKey(t.Context(), "site-b", natstest.Key(t, "site-x").Key()); err != nil {
		t.Fatal(err)
	}
	natstest.Within(t, 30*time.Second, "the link is not healthy because of what is refused", func() bool {
		for _, l := range m.topology(t, 0).Links {
			return l.Status != federation.Healthy && l.Cause == federation.AuthRefused
		}
		return false
	})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if was, err := m.api[0].UnpinKey(ctx, "site-b"); err != nil || was.Key != natstest.Key(t, "site-x").Key() {
		t.Errorf("unpinning: %+v, %v", was, err)
	}
	natstest.Within(t, 30*time.Second, "the key with which it is heard next is pinned", func() bool { return m.link(t, 0, "link-site-a-site-b") == federation.Healthy })
	if k := trusted(t, m.api[0], "site-b"); k.Key != m.key(t, 1).Key() || k.PinnedBy != federation.FirstSeen {
		t.Errorf("site-a has pinned %+v", k)
	}
}
