package doctor

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/auroramesh/auroramesh/functions"
	"github.com/auroramesh/auroramesh/shared/access"
	"github.com/auroramesh/auroramesh/shared/certificate"
	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/settings"
	"github.com/auroramesh/auroramesh/shared/store"
)

// database opens the store that the other checks read.
func database(ctx context.Context, p *patient) []Finding {
	const mend = "Start the database, or set DATABASE_URL to where it is; for SQLite the directory must be writable."
	if err := store.Exists(p.Settings.DatabaseURL); err != nil {
		return found(fault.Of(err).Message, mend)
	}
	st, err := p.OpenStore(ctx)
	if err != nil {
		return found("the database cannot be opened: "+settings.Redact(err.Error()), mend)
	}
	p.store = st
	if _, err := st.Migrations(ctx); err != nil {
		return found("the database does not answer: "+settings.Redact(err.Error()), mend)
	}
	return nil
}

func migrations(ctx context.Context, p *patient) []Finding {
	if err := p.store.Ready(ctx); err != nil {
		return found(fault.Of(err).Message, "Run auroramesh migrate, with the settings of this site.")
	}
	return nil
}

// told reports whether a part that functions need is wrong as seen from here too, which an
// earlier check has told.
func (p *patient) told(part string) bool {
	if part == "database" {
		return !p.well["database"] || !p.well["migrations"]
	}
	is, checked := p.well[part]
	return checked && !is
}

// running looks whether every function of the site answers, and is at work.
func running(ctx context.Context, p *patient) []Finding {
	entries, err := functions.Choose(p.Settings)
	if err != nil {
		return found(err.Error(), "Set what it names.")
	}
	var wrong []Finding
	silent := 0
	for _, e := range entries {
		ask, cancel := context.WithTimeout(ctx, 2*time.Second)
		h, err := function.Ask(ask, p.bus, p.bus.Site().ID, function.HealthEndpoint(e.Name), struct{}{})
		cancel()
		if err != nil {
			silent++
			wrong = append(wrong, Finding{"the function " + e.Name + " does not answer: " + fault.Of(err).Message, "Start it: auroramesh run " + e.Name + ". Where it runs, its log says what it waits for."})
			continue
		}
		for _, c := range h.Checks {
			if c.Error != "" && !p.told(c.Part) {
				wrong = append(wrong, Finding{fmt.Sprintf("the function %s runs, but lacks its %s: %s", e.Name, c.Part, c.Error), "Mend that part; the function goes on by itself then."})
			}
		}
		for _, t := range h.Triggers {
			if t.Trouble != "" && p.well["jetstream"] {
				wrong = append(wrong, Finding{fmt.Sprintf("the function %s runs, but its trigger %s does not: %s", e.Name, t.Name, t.Trouble), "Look at its log, and at the other findings here."})
			}
		}
	}
	if silent == len(entries) {
		return found(fmt.Sprintf("none of the %d functions of the site answers", silent), "Start them, after auroramesh migrate: auroramesh run, or the units or services of the deployment. Where they run, their logs say what they wait for.")
	}
	return wrong
}

// keys looks for what came in the name of a site and was not signed with its pinned key.
func keys(ctx context.Context, p *patient) []Finding {
	own := p.Settings.Identity(p.Version).ID
	all, err := p.store.TrustedKeys(ctx, own)
	if err != nil {
		return found("the pinned keys cannot be read: "+err.Error(), "Look at the database.")
	}
	var wrong []Finding
	for _, k := range all {
		if k.Refused == nil {
			continue
		}
		with := "without a signature"
		if k.Refused.Key != "" {
			with = "with the key " + k.Refused.Key
		}
		mend := fmt.Sprintf("Either %s has a new key, or somebody speaks in its name. Ask there what auroramesh identity prints, and pin that, whichever it is: auroramesh trust pin %s KEY.", k.Site, k.Site)
		if k.Local {
			mend = "Give the site its identity.nk back; or, where the new key is meant, here and at every peer: auroramesh trust pin " + string(k.Site) + " KEY."
		}
		wrong = append(wrong, Finding{fmt.Sprintf("at %s something came in the name of %s %s (%s), which is not as pinned", k.Refused.At.UTC().Format(time.DateTime+"Z"), k.Site, with, k.Refused.Reason), mend})
	}
	return wrong
}

// newestRecords is how many records of the audit log are checked: what fits in
// the time of a check, however long the log is.
const newestRecords = 10_000

// audit looks whether the newest records of the audit log are one chain that ends in its head.
func audit(ctx context.Context, p *patient) []Finding {
	const mend = "Somebody has written to the database past the program. auroramesh audit verify names the first record that is wrong in all of the log; compare it with a backup, and with the heads that the function access has logged."
	head, err := p.store.AuditHead(ctx)
	if err != nil {
		return found("the head of the audit log cannot be read: "+err.Error(), "Look at the database.")
	}
	var next *access.Record // the one after those of the page
	for before, left := int64(0), newestRecords; left > 0; {
		page, err := p.store.Audit(ctx, before, min(left, 1000))
		if err != nil {
			return found("the audit log cannot be read: "+err.Error(), "Look at the database.")
		}
		for _, r := range page {
			switch {
			case next == nil && r.Seq > head.Seq: // written since the head was read
				continue
			case next == nil && r.Head() != head:
				return found(fmt.Sprintf("the audit log ends in record %d, and its head is record %d", r.Seq, head.Seq), mend)
			case next != nil && next.Follows(r.Head()) != "":
				return broken(next, r.Head(), mend)
			}
			next = &r
		}
		if len(page) == 0 && next == nil && head.Seq > 0 {
			return found(fmt.Sprintf("the audit log is empty, and its head is record %d", head.Seq), mend)
		}
		if len(page) == 0 { // the beginning
			if next != nil && next.Follows(access.Head{}) != "" {
				return broken(next, access.Head{}, mend)
			}
			return nil
		}
		before, left = page[len(page)-1].Seq, left-len(page)
	}
	return nil
}

// broken is the finding of a record that does not follow the one before it.
func broken(r *access.Record, before access.Head, mend string) []Finding {
	return found(fmt.Sprintf("the audit log is broken at record %d: %s", r.Seq, r.Follows(before)), mend)
}

// peerClocks looks at how far the clocks of the peers were from this site's, by the echoes.
func peerClocks(ctx context.Context, p *patient) []Finding {
	links, err := p.store.Links(ctx)
	if err != nil {
		return found("the links cannot be read: "+err.Error(), "Look at the database.")
	}
	var wrong []Finding
	for _, l := range links {
		latency := l.Probe.Latency()
		if latency == nil || latency.ClockOffsetMs == nil {
			continue
		}
		offset := time.Duration(*latency.ClockOffsetMs * float64(time.Millisecond))
		if offset.Abs() > maxSkew {
			wrong = append(wrong, Finding{fmt.Sprintf("the clock of %s is %s that of this site", l.Peer(p.Settings.Identity(p.Version).ID), apart(offset)), "Set the clocks of both sites by NTP."})
		}
	}
	return wrong
}

// certificates looks at the end of every certificate that a setting names, and of
// the one that the NATS server shows.
func certificates(_ context.Context, p *patient) []Finding {
	var wrong []Finding
	for _, e := range p.Settings.Effective() {
		if !strings.HasSuffix(e.Name, "_CERT_FILE") && e.Name != "CERTIFICATE_FILES" && e.Name != "NATS_CA" {
			continue
		}
		for path := range strings.SplitSeq(e.Value, ",") {
			if path = strings.TrimSpace(path); path != "" {
				wrong = append(wrong, certificateFile(e.Name, path, p.Now())...)
			}
		}
	}
	if p.bus != nil {
		if state, err := p.bus.Conn().TLSConnectionState(); err == nil && len(state.PeerCertificates) > 0 {
			wrong = append(wrong, expiry("the certificate of the NATS server", state.PeerCertificates[0].NotAfter, p.Now())...)
		}
	}
	return wrong
}

func certificateFile(setting, path string, now time.Time) []Finding {
	data, err := os.ReadFile(path)
	if err != nil {
		return found(fmt.Sprintf("the certificate of %s cannot be read: %v", setting, err), "Put it there, readable for the user of the functions.")
	}
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return found(fmt.Sprintf("%s in %s is no certificate: %v", setting, path, err), "Put a certificate in PEM there.")
		}
		return expiry(path, c.NotAfter, now)
	}
	return found(fmt.Sprintf("%s has no certificate in %s", setting, path), "Put a certificate in PEM there.")
}

func expiry(what string, end, now time.Time) []Finding {
	const mend = "Renew it, before its end; a certificate that auroramesh made is renewed by auroramesh site rotate."
	switch left := end.Sub(now); {
	case left <= 0:
		return found(fmt.Sprintf("%s has expired, on %s", what, end.UTC().Format(time.DateOnly)), mend)
	case left < certificate.Warn:
		return found(fmt.Sprintf("%s expires in %d days, on %s", what, int(left.Hours()/24), end.UTC().Format(time.DateOnly)), mend)
	}
	return nil
}

// ports looks for a port of this site that something else has taken.
func ports(ctx context.Context, p *patient) []Finding {
	var wrong []Finding
	for _, at := range []struct{ setting, listen string }{{"HTTP_LISTEN", p.Settings.HTTPListen}, {"METRICS_LISTEN", p.Settings.MetricsListen}} {
		if at.listen == "" {
			continue
		}
		l, err := net.Listen("tcp", at.listen)
		if err == nil {
			l.Close()
			continue // free, or no function listens there now
		}
		if !isOurs(ctx, at.listen) {
			wrong = append(wrong, Finding{fmt.Sprintf("%s: %s is taken by something that is not auroramesh (%v)", at.setting, at.listen, err),
				"Stop what listens there (ss -ltnp names it), or set " + at.setting + " to another port."})
		}
	}
	return wrong
}

// isOurs reports whether a process of auroramesh answers at an address.
func isOurs(ctx context.Context, listen string) bool {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return false
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	at := "://" + net.JoinHostPort(host, port) + "/metrics"
	return answersAsOurs(ctx, "http"+at) || answersAsOurs(ctx, "https"+at)
}

// answersAsOurs reports whether an answer has figures of auroramesh, or asks for a key.
func answersAsOurs(ctx context.Context, url string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return false
	}
	client := &http.Client{Timeout: 2 * time.Second}
	res, err := client.Do(req)
	if err != nil {
		var unknown x509.UnknownAuthorityError // of the gateway's certificate, or as good as
		return errors.As(err, &unknown)
	}
	defer res.Body.Close()
	said, err := io.ReadAll(io.LimitReader(res.Body, 4<<20))
	return err == nil && (res.StatusCode == http.StatusUnauthorized && res.Header.Get("WWW-Authenticate") != "" || strings.Contains(string(said), "aurora_"))
}
