package nats_test

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	natsgo "github.com/nats-io/nats.go"

	"github.com/auroramesh/auroramesh/infra/nats"
	"github.com/auroramesh/auroramesh/shared/authority"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/natstest"
	"github.com/auroramesh/auroramesh/shared/subject"
)

// raw is a leafnode without a server behind it: it sends what it is told to, whatever
// the hub has said that it may.
type raw struct {
	conn net.Conn
	in   *bufio.Reader
}

// intrude connects to the hub with a certificate, under a name that anyone may give.
func (r realm) intrude(t *testing.T, p pair, name string) raw {
	t.Helper()
	plain, err := net.Dial("tcp", r.address(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { plain.Close() })
	if err := plain.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	var info strings.Builder // before TLS, so not a byte more than the line may be read
	for b := make([]byte, 1); !strings.HasSuffix(info.String(), "\n"); {
		if _, err := plain.Read(b); err != nil {
			t.Fatal(err)
		}
		info.Write(b)
	}
	conn := tls.Client(plain, r.config(t, p))
	w := raw{conn, bufio.NewReader(conn)}
	connect, err := json.Marshal(map[string]any{"name": name, "tls_required": true, "headers": true, "jetstream": true, "domain": name, "user": name})
	if err != nil {
		t.Fatal(err)
	}
	w.say(t, "CONNECT "+string(connect), "PING")
	return w
}

func (w raw) say(t *testing.T, lines ...string) {
	t.Helper()
	if _, err := w.conn.Write([]byte(strings.Join(lines, "\r\n") + "\r\n")); err != nil {
		t.Fatal(err)
	}
}

// until reads what the hub says up to the first line that has one of the words. It is
// all of that, and the empty string where the hub closes the connection before.
func (w raw) until(words ...string) string {
	var heard strings.Builder
	for {
		line, err := w.in.ReadString('\n')
		heard.WriteString(line)
		for _, word := range words {
			if strings.Contains(line, word) {
				return heard.String()
			}
		}
		if err != nil {
			return ""
		}
	}
}

// joined waits until the hub has let the leafnode in.
func (w raw) joined(t *testing.T) raw {
	t.Helper()
	if w.until("PONG") == "" {
		t.Fatal("the hub did not let the leafnode in")
	}
	return w
}

// logs waits until the hub's log has a text: it is written behind the answer.
func (r realm) logs(t *testing.T, text string) {
	t.Helper()
	natstest.Within(t, 30*time.Second, "the log of the hub has "+text, func() bool { return r.log.has(text) })
}

func msg(subj, reply, text string) string {
	if reply != "" {
		subj += " " + reply
	}
	return fmt.Sprintf("LMSG %s %d\r\n%s", subj, len(text), text)
}

// Whatever a site says on the wire, it speaks as itself and takes what is its own. Each
// attempt ends its connection, and the hub's log says why.
func TestASiteCannotSayWhatIsNotItsBusiness(t *testing.T) {
	r, pairs := newRealm(t, "site-b", "site-c")
	s := alerts(t, r.hub.end, "site-b", "site-c")
	held := pull(t, r.hub.end, r.join(t, "site-b", pairs["site-b"]).end, "site-b")
	meta, err := held.Metadata()
	if err != nil {
		t.Fatal(err)
	}
	heard, err := r.hub.nc.SubscribeSync(">")
	if err != nil {
		t.Fatal(err)
	}
	answer(t, r.hub.end, subject.Function("site-a", "alertquery", "list"), "the alerts of site-a")
	if err := r.hub.nc.Flush(); err != nil {
		t.Fatal(err)
	}
	sequence := fmt.Sprintf(".1.%d.%d.0.0", meta.Sequence.Stream, meta.Sequence.Consumer)
	api := "$JS.site-a.API."
	for what, said := range map[string]string{
		"gossip of another site":                     subject.Health("site-b"),
		"gossip of the hub":                          subject.Health("site-a"),
		"a pull of another's alerts":                 subject.ConsumerNext("site-a", "ALERTS_site-a", "site-b"),
		"a pull of another's critical alerts":        subject.ConsumerNext("site-a", "ALERTS_site-a", "site-b_critical"),
		"a look at another's consumer":               subject.ConsumerInfo("site-a", "ALERTS_site-a", "site-b"),
		"an acknowledgement of another":              "aurora.federation.ack.ALERTS_site-a.site-b" + sequence,
		"an acknowledgement of the hub's own":        subject.Ack("site-a", "site-a", "$JS.ACK.TICKS_site-a.heartbeat_beat.1.1.1.0.0"),
		"a comparison as another":                    subject.Reconcile("site-a", "site-b", "digest"),
		"a question to a function":                   subject.Function("site-a", "alertquery", "list"),
		"a question to a function of another":        subject.Function("site-b", "alertintake", "raise"),
		"the topology of another":                    subject.Function("site-a", "topologyquery", "topology"),
		"a shared alert":                             subject.Alert(federation.Critical),
		"an event":                                   subject.Event("site-a", federation.AlertStored),
		"a tick":                                     subject.Tick("site-a", "heartbeat", "beat"),
		"a schedule":                                 subject.Schedule("site-a", "heartbeat", "beat"),
		"a nudge":                                    subject.Nudge("site-a", "alertrelay"),
		"a dead letter":                              subject.DeadLetter("site-a", "alertsink"),
		"what a server tells":                        subject.Disconnected,
		"that a hub has refused a peer":              subject.RefusedSite("site-b"),
		"a refusal of a peer":                        strings.TrimSuffix(subject.Refusals("site-a"), "*") + "site-b",
		"a new stream":                               api + "STREAM.CREATE.MINE",
		"the end of a stream":                        api + "STREAM.DELETE.ALERTS_site-a",
		"a purge":                                    api + "STREAM.PURGE.ALERTS_site-a",
		"a message of a stream":                      api + "STREAM.MSG.GET.ALERTS_site-a",
		"a message of a stream, direct":              api + "DIRECT.GET.ALERTS_site-a.1",
		"a new consumer":                             api + "CONSUMER.CREATE.ALERTS_site-a.mine",
		"a new durable consumer":                     api + "CONSUMER.DURABLE.CREATE.ALERTS_site-a.mine",
		"the end of a consumer":                      api + "CONSUMER.DELETE.ALERTS_site-a.site-b",
		"the list of consumers":                      api + "CONSUMER.LIST.ALERTS_site-a",
		"the account":                                api + "INFO",
		"the hub's own JetStream, without a domain":  "$JS.API.STREAM.DELETE.ALERTS_site-a",
		"a stream of the site behind the hub":        "$JS.site-b.API.STREAM.DELETE.ALERTS_site-b",
		"a pull at the site behind the hub, of a's":  subject.ConsumerNext("site-b", "ALERTS_site-b", "site-a"),
		"the system account":                         "$SYS.REQ.SERVER.PING",
		"something that nobody has thought of":       "anything.at.all",
		"something of the mesh that has no name yet": "aurora.federation.new",
	} {
		w := r.intrude(t, pairs["site-c"], "site-c").joined(t)
		w.say(t, msg(said, subject.Inbox("site-c")+".x", "forged"))
		// The hub names what it makes of the subject.
		named := strings.NewReplacer("$JS.site-a.API.", "$JS.API.", "aurora.federation.ack.ALERTS_site-a", "$JS.ACK.ALERTS_site-a", "aurora.site.site-a.ack.", "$JS.ACK.").Replace(said)
		if got := w.until("Permissions Violation for Publish to"); !strings.Contains(got, `"`+named+`"`) {
			t.Errorf("%s is not refused: %s", what, got)
		}
		r.logs(t, fmt.Sprintf("Publish Violation on %q", named))
	}
	// Nothing of it has come through: what was forged would stand before this.
	if err := r.hub.nc.Publish(subject.Health("site-a"), []byte("last")); err != nil {
		t.Fatal(err)
	}
	for {
		m, err := heard.NextMsg(30 * time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if string(m.Data) == "forged" {
			t.Errorf("%s came through", m.Subject)
		}
		if string(m.Data) == "last" {
			break
		}
	}
	if n := pending(t, s, "site-b"); n != 1 {
		t.Errorf("the hub waits for %d acknowledgements of site-b, want 1: it has acknowledged none", n)
	}
}

// The server lets what looks like an acknowledgement pass a leafnode, whatever that is
// permitted. On the shipped files it reaches no consumer, of the hub or of a leaf.
func TestASiteCannotAcknowledgeTheAlertsOfAnother(t *testing.T) {
	r, pairs := newRealm(t, "site-b", "site-c")
	b := r.join(t, "site-b", pairs["site-b"])
	streams := map[federation.SiteID]end{"site-a": r.hub.end, "site-b": b.end}
	forged, err := r.hub.nc.SubscribeSync(subject.ForgedAck)
	if err != nil {
		t.Fatal(err)
	}
	atB, err := b.nc.SubscribeSync(subject.AllHealth)
	if err != nil {
		t.Fatal(err)
	}
	for origin, at := range streams {
		peer := map[federation.SiteID]end{"site-a": b.end, "site-b": r.hub.end}[origin]
		s := alerts(t, at, peer.site)
		held := pull(t, at, peer, string(peer.site))
		w := r.intrude(t, pairs["site-c"], "site-c").joined(t)
		w.say(t, msg(held.Reply(), "", "+ACK"), msg(subject.Health("site-c"), "", "after it"), "PING")
		w.joined(t)
		natstest.Within(t, 30*time.Second, "what site-c said after it is at site-b", func() bool {
			m, err := atB.NextMsg(20 * time.Millisecond)
			if err != nil { // its interest may have been late
				w.say(t, msg(held.Reply(), "", "+ACK"), msg(subject.Health("site-c"), "", "after it"))
			}
			return err == nil && string(m.Data) == "after it"
		})
		if n := pending(t, s, string(peer.site)); n != 1 {
			t.Errorf("%s waits for %d acknowledgements of %s, want 1", origin, n, peer.site)
		}
		if err := confirm(peer, origin, held); err != nil {
			t.Errorf("%s cannot acknowledge its own: %v", peer.site, err)
		}
		if n := pending(t, s, string(peer.site)); n != 0 {
			t.Errorf("%s waits for %d acknowledgements of %s after it has acknowledged", origin, n, peer.site)
		}
	}
	if _, err := forged.NextMsg(30 * time.Second); err != nil {
		t.Errorf("nothing tells of what was forged: %v", err)
	}
}

// A site hears what is meant for it and for all, however widely it listens.
func TestASiteCannotHearWhatIsNotItsBusiness(t *testing.T) {
	r, pairs := newRealm(t, "site-b", "site-c")
	for _, s := range []string{
		subject.Echo("site-b"), subject.Inbox("site-b") + ".x", subject.Event("site-a", federation.AlertStored), subject.Alert(federation.High),
		subject.Function("site-a", "alertquery", "list"), subject.ConsumerNext("site-a", "ALERTS_site-a", "site-b"), "$JS.API.INFO",
	} {
		w := r.intrude(t, pairs["site-c"], "site-c").joined(t)
		w.say(t, "LS+ "+s)
		if got := w.until("Permissions Violation for Subscription to"); !strings.Contains(got, s) {
			t.Errorf("site-c may listen to %s: %s", s, got)
		}
		r.logs(t, fmt.Sprintf("Subscription Violation on %q", s))
	}

	w := r.intrude(t, pairs["site-c"], "site-c").joined(t)
	w.say(t, "LS+ >", "LS+ *.>", "LS+ aurora.>", "LS+ _INBOX.>", "LS+ $JS.>", "PING")
	w.joined(t)
	for _, s := range []string{
		subject.Alert(federation.Critical), subject.AlertTo(federation.High, "site-c"), subject.Event("site-a", federation.AlertStored), subject.Nudge("site-a", "alertrelay"),
		subject.DeadLetter("site-a", "alertsink"), subject.Function("site-a", "alertquery", "list"), subject.Function("site-c", "alertquery", "list"),
		subject.Echo("site-b"), subject.Reconcile("site-b", "site-a", "digest"), subject.Inbox("site-b") + ".x", subject.Inbox("site-a") + ".x", "_INBOX.x",
		"aurora.federation.ack.ALERTS_site-b.site-a.1.1.1.0.0", "$JS.site-b.API.CONSUMER.MSG.NEXT.ALERTS_site-b.site-a", "$SYS.REQ.SERVER.PING", "anything",
	} {
		if err := r.hub.nc.Publish(s, []byte("secret")); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range []string{subject.Health("site-b"), subject.Echo("site-c"), subject.Inbox("site-c") + ".last"} {
		if err := r.hub.nc.Publish(s, []byte("open")); err != nil {
			t.Fatal(err)
		}
	}
	got := w.until(subject.Inbox("site-c") + ".last")
	for _, s := range []string{subject.Health("site-b"), subject.Echo("site-c")} {
		if !strings.Contains(got, "LMSG "+s+" ") {
			t.Errorf("site-c does not hear %s", s)
		}
	}
	if strings.Contains(got, "secret") {
		t.Errorf("site-c hears what is not its business:\n%s", got)
	}
}

// An honest server in between keeps its site from the same, without a word on the wire.
func TestAServerOfItsOwnHelpsAHostileSiteNoFurther(t *testing.T) {
	r, pairs := newRealm(t, "site-b", "site-c")
	alerts(t, r.hub.end, "site-b", "site-c")
	answer(t, r.hub.end, subject.Function("site-a", "alertquery", "list"), "the alerts of site-a")
	heard, err := r.hub.nc.SubscribeSync(subject.AllHealth)
	if err != nil {
		t.Fatal(err)
	}
	text := nats.Leaf
	for _, list := range []string{"deny_exports", "deny_imports"} { // all that this side could do is left out
		begin := strings.Index(text, list)
		text = text[:begin] + text[begin+strings.Index(text[begin:], "\n      ]")+len("\n      ]"):]
	}
	c := r.start(t, nats.LeafFile, text, nats.Server{Site: "site-c", Hubs: []string{r.address(t)}}, pairs["site-c"], nil)
	natstest.Within(t, 30*time.Second, "site-c has joined", func() bool { return r.hub.server.NumLeafNodes() == 1 })
	pull(t, r.hub.end, c.end, "site-c") // its own it has, and so the way is open
	for _, asked := range []string{
		subject.ConsumerNext("site-a", "ALERTS_site-a", "site-b"), subject.Function("site-a", "alertquery", "list"),
		"$JS.site-a.API.STREAM.CREATE.MINE", "$JS.site-a.API.CONSUMER.CREATE.ALERTS_site-a.mine", "$JS.site-a.API.DIRECT.GET.ALERTS_site-a.1",
	} {
		if m, err := c.nc.Request(asked, []byte("{}"), 200*time.Millisecond); err == nil {
			t.Errorf("%s answers site-c: %s", asked, m.Data)
		}
	}
	for _, s := range []string{subject.Health("site-b"), subject.Health("site-c")} {
		if err := c.nc.Publish(s, nil); err != nil {
			t.Fatal(err)
		}
	}
	if m, err := heard.NextMsg(30 * time.Second); err != nil || m.Subject != subject.Health("site-c") {
		t.Errorf("site-a hears %v: %v", m, err)
	}
}

// Who a site is stands in its certificate and nowhere else.
func TestTheCertificateSaysWhoASiteIs(t *testing.T) {
	r, pairs := newRealm(t, "site-b", "site-c")
	refused, err := r.hub.nc.SubscribeSync(subject.Refused)
	if err != nil {
		t.Fatal(err)
	}
	t.Run("another's name on the own certificate changes nothing", func(t *testing.T) {
		w := r.intrude(t, pairs["site-c"], "site-b").joined(t)
		w.say(t, msg(subject.Health("site-b"), "", "forged"))
		if got := w.until("Permissions Violation for Publish to"); got == "" {
			t.Error("site-c speaks as site-b")
		}
	})
	t.Run("a server under another's name speaks as itself", func(t *testing.T) {
		heard, err := r.hub.nc.SubscribeSync(subject.AllHealth)
		if err != nil {
			t.Fatal(err)
		}
		n := r.join(t, "site-b", pairs["site-c"])
		natstest.Within(t, 30*time.Second, "its gossip arrives", func() bool {
			for _, s := range []string{subject.Health("site-b"), subject.Health("site-c")} {
				if err := n.nc.Publish(s, nil); err != nil {
					t.Fatal(err)
				}
			}
			m, err := heard.NextMsg(20 * time.Millisecond)
			if err == nil && m.Subject != subject.Health("site-c") {
				t.Fatalf("%s came", m.Subject)
			}
			return err == nil
		})
	})
	t.Run("a certificate that holds no longer is refused, and the hub's functions are told", func(t *testing.T) {
		later, err := r.Rotate("site-b", time.Now().Add(-2*time.Hour), day, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		r.admit(t)
		if w := r.intrude(t, pairs["site-b"], "site-b"); w.until("Authorization Violation") == "" {
			t.Error("the old certificate is let in")
		}
		told(t, refused, `"name":"site-b"`)
		r.logs(t, "authentication error")
		r.intrude(t, keep(t, later), "site-b").joined(t)
	})
	t.Run("a certificate of another authority is refused", func(t *testing.T) {
		other, err := authority.Create(t.TempDir(), "site-a", nil, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		foreign, err := other.Enrol("site-c", nil, time.Now(), day)
		if err := errors.Join(err, other.Close()); err != nil {
			t.Fatal(err)
		}
		if w := r.intrude(t, keep(t, foreign), "site-c"); w.until("PONG") != "" {
			t.Error("it is let in")
		}
		r.logs(t, "TLS leafnode handshake error")
	})
	t.Run("the certificate of the primary's server joins as nobody", func(t *testing.T) {
		own, err := r.ServerPair(time.Now(), day)
		if err != nil {
			t.Fatal(err)
		}
		if w := r.intrude(t, keep(t, own), "site-a"); w.until("PONG") != "" {
			t.Error("it is let in")
		}
	})
	t.Run("a client is not let in by the name of a site's user", func(t *testing.T) {
		for user := range r.users() {
			if nc, err := natsgo.Connect(r.hub.server.ClientURL(), natsgo.RootCAs(r.ca), natsgo.UserInfo(user, "")); err == nil {
				nc.Close()
				t.Errorf("%s is let in", user)
			}
		}
		if nc, err := natsgo.Connect(r.hub.server.ClientURL(), natsgo.RootCAs(r.ca)); err == nil {
			nc.Close()
			t.Error("nobody is let in")
		}
	})
}

func (r realm) users() map[string]bool {
	all := map[string]bool{}
	for _, users := range r.Users(time.Now()) {
		for _, u := range users {
			all[u] = true
		}
	}
	return all
}

// A site that is enrolled is let in after a reload, and those that are in stay in.
func TestAReloadThatLetsASiteInDropsNone(t *testing.T) {
	r, pairs := newRealm(t, "site-b")
	b := r.join(t, "site-b", pairs["site-b"])
	gone, err := r.hub.nc.SubscribeSync(subject.Disconnected)
	if err != nil {
		t.Fatal(err)
	}
	id := func() uint64 {
		z, err := r.hub.server.Leafz(&server.LeafzOptions{})
		if err != nil || len(z.Leafs) == 0 {
			t.Fatalf("%d leafnodes: %v", len(z.Leafs), err)
		}
		return z.Leafs[0].ID
	}
	before := id()
	issued, err := r.Enrol("site-c", nil, time.Now(), day)
	if err != nil {
		t.Fatal(err)
	}
	r.admit(t)
	if after := id(); after != before {
		t.Errorf("the leafnode of site-b was connection %d and is %d", before, after)
	}
	c := r.join(t, "site-c", keep(t, issued))
	s := alerts(t, b.end, "site-c")
	if err := confirm(c.end, "site-b", pull(t, b.end, c.end, "site-c")); err != nil { // without a further word to site-b
		t.Error(err)
	}
	if n := pending(t, s, "site-c"); n != 0 {
		t.Errorf("site-b waits for %d acknowledgements", n)
	}
	if m, err := gone.NextMsg(time.Nanosecond); err == nil {
		t.Errorf("somebody went: %s", m.Data)
	}
}

// admit has the hub let in who is enrolled now.
func (r realm) admit(t *testing.T) {
	t.Helper()
	write(t, r.hub.dir+"/"+nats.AccessFile, nats.Access{Own: "site-a", Nkeys: r.hub.nkeys, Peers: r.peers()}.Conf())
	if err := r.hub.server.Reload(); err != nil {
		t.Fatal(err)
	}
}
