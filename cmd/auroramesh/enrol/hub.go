package enrol

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	natsgo "github.com/nats-io/nats.go"

	"github.com/auroramesh/auroramesh/infra/nats"
	"github.com/auroramesh/auroramesh/shared/authority"
	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/subject"
)

// Applied is what the server of a hub has made of a change.
type Applied struct {
	Server string   // its name
	Cut    []string // users whose certificates hold no longer and who were connected
}

// Hubs are the names of the servers that take the sites: the primary's, or the relays.
func Hubs(a *authority.Authority) []string {
	if relays := a.Relays(); len(relays) > 0 {
		return sorted(relays)
	}
	return []string{string(a.Primary())}
}

// Apply brings sites.conf of a hub up to date, has its server read it, and cuts the
// leafnodes whose certificates hold no longer: a server that reads its configuration
// again leaves those alone that are connected. Every other leafnode stays. url is where
// the server takes clients; empty: as its directory says. The fault is Unavailable
// where the server does not run there, or goes by another sites.conf.
func Apply(ctx context.Context, a *authority.Authority, hub, url string, now time.Time) (done Applied, err error) {
	if err := writeAccess(a, now); err != nil {
		return done, err
	}
	acc, err := accessOf(a, hub, now)
	if err != nil {
		return done, err
	}
	dir := filepath.Join(a.Dir(), hub)
	if url == "" {
		if url, err = setting(filepath.Join(dir, envFile), "NATS_URL"); err != nil {
			return done, err
		}
	}
	sign, err := natsgo.NkeyOptionFromSeed(filepath.Join(dir, systemKey))
	if err != nil {
		return done, fmt.Errorf("reading the key of the system account: %w", err)
	}
	nc, err := natsgo.Connect(url, sign, natsgo.RootCAs(filepath.Join(dir, authority.CertFile)), natsgo.Name("auroramesh site"), natsgo.NoReconnect())
	if err != nil {
		return done, fault.New(fault.Unavailable, "the NATS server of %s does not answer at %s: %v", hub, url, err)
	}
	defer nc.Close()
	done.Server = nc.ConnectedServerName()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := request(ctx, nc, "RELOAD", nil, nil); err != nil {
		return done, fmt.Errorf("the server %s does not take its configuration: %w", done.Server, err)
	}
	holding := map[string]bool{}
	for _, users := range a.Users(now) {
		for _, u := range users {
			holding[u] = true
		}
	}
	var connected struct {
		Conns []struct {
			CID  uint64 `json:"cid"`
			Kind string `json:"kind"`
			User string `json:"authorized_user"`
		} `json:"connections"`
	}
	if err := request(ctx, nc, "CONNZ", map[string]any{"auth": true, "limit": 100_000}, &connected); err != nil {
		return done, fmt.Errorf("asking the server %s who is connected: %w", done.Server, err)
	}
	var failed []error
	for _, c := range connected.Conns {
		if c.Kind != "Leafnode" || holding[c.User] {
			continue
		}
		if err := request(ctx, nc, "KICK", map[string]any{"cid": c.CID}, nil); err != nil {
			failed = append(failed, fmt.Errorf("cutting the leafnode of %s: %w", c.User, err))
			continue
		}
		done.Cut = append(done.Cut, c.User)
	}
	slices.Sort(done.Cut)
	return done, errors.Join(append(failed, goesBy(ctx, nc, acc, dir))...)
}

// goesBy finds a server that runs somewhere else, where sites.conf is not yet the one in dir.
func goesBy(ctx context.Context, nc *natsgo.Conn, acc nats.Access, dir string) error {
	var answer struct {
		Account struct {
			Mappings map[string][]struct {
				Subject string `json:"subject"`
			} `json:"mappings"`
		} `json:"account_detail"`
	}
	if err := request(ctx, nc, "ACCOUNTZ", map[string]any{"account": "AURORA"}, &answer); err != nil {
		return fmt.Errorf("asking the server %s whom it lets in: %w", nc.ConnectedServerName(), err)
	}
	if to := answer.Account.Mappings[subject.Access]; len(to) == 1 && to[0].Subject == acc.Mark() {
		return nil
	}
	at := "its directory"
	if site, err := os.ReadFile(filepath.Join(dir, nats.SiteFile)); err == nil {
		if m := caFile.FindSubmatch(site); m != nil {
			at = filepath.Dir(string(m[1]))
		}
	}
	file := filepath.Join(dir, nats.AccessFile)
	return fault.New(fault.Unavailable, "the NATS server %s does not go by %s: copy that to %s where it runs, then run `auroramesh site apply`",
		nc.ConnectedServerName(), file, filepath.Join(at, nats.AccessFile))
}

// caFile finds in site.conf where the directory lies at its server.
var caFile = regexp.MustCompile(`(?m)^AURORA_CA_FILE: *"([^"]*)"`)

// request asks the server that is connected to do something to itself.
func request(ctx context.Context, nc *natsgo.Conn, what string, question, answer any) error {
	body, err := json.Marshal(question)
	if err != nil {
		return err
	}
	if question == nil {
		body = nil
	}
	msg, err := nc.RequestWithContext(ctx, "$SYS.REQ.SERVER."+nc.ConnectedServerId()+"."+what, body)
	if err != nil {
		return err
	}
	var got struct {
		Data  json.RawMessage `json:"data"`
		Error *struct {
			Description string `json:"description"`
		} `json:"error"`
	}
	if err := json.Unmarshal(msg.Data, &got); err != nil {
		return fmt.Errorf("reading its answer: %w", err)
	}
	if got.Error != nil {
		return errors.New(got.Error.Description)
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(got.Data, answer)
}

// setting is one variable of a site.env.
func setting(path, name string) (string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("reading the settings of the server: %w", err)
	}
	for line := range strings.Lines(string(data)) {
		if value, ok := strings.CutPrefix(line, name+"="); ok {
			return strings.TrimSpace(value), nil
		}
	}
	return "", fault.New(fault.NotFound, "%s: there is no %s in %s", name, name, path)
}
