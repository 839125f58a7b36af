package enrol

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	natsgo "github.com/nats-io/nats.go"

	"github.com/auroramesh/auroramesh/shared/authority"
	"github.com/auroramesh/auroramesh/shared/fault"
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
// where the server does not run there.
func Apply(ctx context.Context, a *authority.Authority, hub, url string, now time.Time) (done Applied, err error) {
	if err := writeAccess(a, now); err != nil {
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
	return done, errors.Join(failed...)
}

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
