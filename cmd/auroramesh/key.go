package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"regexp"
	"strconv"
	"time"

	"github.com/auroramesh/auroramesh/shared/access"
	"github.com/auroramesh/auroramesh/shared/apiclient"
	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/settings"
	"github.com/auroramesh/auroramesh/shared/store"
)

type keyCmd struct {
	Create keyCreateCmd `cmd:"" help:"Make an API key and show it, this once."`
	List   keyListCmd   `cmd:"" help:"List the API keys of a site, newest first."`
	Revoke keyRevokeCmd `cmd:"" help:"End an API key for good."`
}

// Help is the long help.
func (*keyCmd) Help() string { return keyHelp }

const keyHelp = `A key is what a program or a person shows to the API of a site that runs with
HTTP_AUTH=required. Scopes: ` + access.ScopeForm + `; admin includes all.

The commands open the database of the site's settings (DATABASE_URL), as
"auroramesh migrate" does: so the first key can be made. With --api-base they ask
the API of a site instead, which takes a key with the scope admin.

Examples:
  auroramesh key create --name suricata --scope alerts:write
  auroramesh key create --name r.haas --scope alerts:read --scope sites:read --expires 90d
  auroramesh key list
  auroramesh key revoke 7k2m4q6w3x5y7`

// keepFlags say where the keys and the audit log are: in the database of the
// settings, or behind an API.
type keepFlags struct {
	APIBase string `name:"api-base" placeholder:"URL" help:"Ask the API of a site, in place of the database of the settings."`
	APIKey  string `name:"api-key" env:"AURORAMESH_API_KEY" placeholder:"KEY" help:"The key for the API; it takes the scope admin (${env})."`
}

func (f keepFlags) client() (*apiclient.Client, error) {
	return siteFlags(f).client()
}

// inStore calls do with the database of the settings.
func inStore(ctx context.Context, do func(*store.Store) error) (err error) {
	s, err := settings.Load(environ())
	if err != nil {
		return err
	}
	if err := store.Exists(s.DatabaseURL); err != nil {
		return err
	}
	st, err := store.Open(ctx, s.DatabaseURL)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	if err := st.Ready(ctx); err != nil {
		return err
	}
	return do(st)
}

// operator is the principal of a command that works on the database itself.
func operator() access.Principal {
	name := "unknown"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return access.Principal{Kind: access.KindCommand, ID: name + "@" + host, Name: name, Scopes: access.Scopes()}
}

// lifetime is how long a key lasts, such as 90d. Zero: for ever.
type lifetime time.Duration

var (
	lifetimeForm = regexp.MustCompile(`^([1-9][0-9]{0,4})([hdw])$`)
	hoursOf      = map[string]time.Duration{"h": 1, "d": 24, "w": 7 * 24}
)

// UnmarshalText implements [encoding.TextUnmarshaler].
func (l *lifetime) UnmarshalText(text []byte) error {
	m := lifetimeForm.FindStringSubmatch(string(text))
	if m == nil {
		return fmt.Errorf("%q is not allowed: a number from 1 to 99999 and h, d or w, such as 90d", text)
	}
	n, err := strconv.Atoi(m[1])
	*l = lifetime(time.Duration(n) * hoursOf[m[2]] * time.Hour)
	return err
}

type keyCreateCmd struct {
	keepFlags
	jsonFlag
	Name    string         `required:"" help:"What the key is for, or whose it is."`
	Scope   []access.Scope `required:"" help:"What it may do; several by repeating the flag."`
	Expires lifetime       `placeholder:"TIME" help:"How long it lasts, such as 12h, 90d or 52w. Default: until it is revoked."`
}

// Help is the long help.
func (*keyCreateCmd) Help() string { return keyHelp }

// Run makes a key.
func (c *keyCreateCmd) Run(ctx context.Context, io *stdio) error {
	n := access.NewKey{Name: c.Name, Scopes: c.Scope}
	now := time.Now()
	if c.Expires > 0 {
		at := now.Add(time.Duration(c.Expires)).UTC().Truncate(time.Second)
		n.ExpiresAt = &at
	}
	if err := n.Validate(); err != nil {
		return err
	}
	made, err := c.create(ctx, n, now)
	if err != nil {
		return err
	}
	if c.JSON {
		return writeJSON(io.out, made)
	}
	var s sheet
	s.field("ID", made.ID)
	s.field("Name", made.Name)
	s.field("Scopes", access.Join(made.Scopes))
	s.field("Expires", stamp(made.ExpiresAt))
	s.field("Key", made.Secret)
	if err := s.write(io.out); err != nil {
		return err
	}
	_, err = fmt.Fprintln(io.err, "Keep the key now: the site has a hash of it, and cannot show it again.")
	return err
}

func (c *keyCreateCmd) create(ctx context.Context, n access.NewKey, now time.Time) (made access.MadeKey, err error) {
	if c.APIBase != "" {
		client, err := c.client()
		if err != nil {
			return made, err
		}
		return client.CreateKey(ctx, n)
	}
	err = inStore(ctx, func(st *store.Store) error {
		by := operator()
		if made, err = access.Make(n, string(by.Kind)+" "+by.ID, now); err != nil {
			return err
		}
		note, err := commanded("key create", made.ID, now)
		if err != nil {
			return err
		}
		return st.CreateKey(ctx, made.Key, access.Hash(made.Secret), note)
	})
	return made, err
}

type keyListCmd struct {
	keepFlags
	jsonFlag
	Limit int `default:"50" help:"How many keys to list: 1 to 200 (default ${default})."`
	Skip  int `default:"0" help:"How many keys to pass over (default ${default})."`
}

// Help is the long help.
func (*keyListCmd) Help() string { return keyHelp }

// Run lists keys.
func (c *keyListCmd) Run(ctx context.Context, io *stdio) error {
	if err := written("limit", c.Limit, ask.MaxLimit); err != nil {
		return err
	}
	page := ask.Page{Skip: c.Skip, Limit: c.Limit}
	if err := page.Validate(); err != nil {
		return err
	}
	list, err := c.list(ctx, page)
	if err != nil {
		return err
	}
	if c.JSON {
		return writeJSON(io.out, list)
	}
	t := newTable(io.out, "ID", "STATE", "NAME", "SCOPES", "CREATED", "EXPIRES", "LAST USED", "BY")
	for _, k := range list.Items {
		t.row(k.ID, keyState(k, time.Now()), plain(k.Name), access.Join(k.Scopes), stamp(&k.CreatedAt), stamp(k.ExpiresAt), stamp(k.LastUsedAt), plain(k.CreatedBy))
	}
	if err := t.write(io.out); err != nil {
		return err
	}
	return writePosition(io.out, list)
}

func (c *keyListCmd) list(ctx context.Context, p ask.Page) (list ask.List[access.Key], err error) {
	if c.APIBase != "" {
		client, err := c.client()
		if err != nil {
			return list, err
		}
		return client.Keys(ctx, p)
	}
	err = inStore(ctx, func(st *store.Store) error {
		keys, total, err := st.Keys(ctx, p.Skip, p.Limit)
		list = ask.List[access.Key]{Items: keys, Total: total, Skip: p.Skip, Limit: p.Limit}
		return err
	})
	return list, err
}

func keyState(k access.Key, now time.Time) string {
	switch {
	case k.RevokedAt != nil:
		return "revoked"
	case k.Good(now) != nil:
		return "expired"
	}
	return "good"
}

type keyRevokeCmd struct {
	keepFlags
	ID string `arg:"" name:"id" help:"Id of the key: in amk_ID_… the part after amk_."`
}

// Help is the long help.
func (*keyRevokeCmd) Help() string { return keyHelp }

// Run revokes a key.
func (c *keyRevokeCmd) Run(ctx context.Context, io *stdio) error {
	if _, isSecret := access.IDOf(c.ID); isSecret {
		return fault.New(fault.Invalid, "this is the key itself: name its id, the part after amk_, and do not let the key stand in a history of commands")
	}
	k, err := c.revoke(ctx)
	if err != nil {
		return err
	}
	return c.tell(io.out, k)
}

func (c *keyRevokeCmd) revoke(ctx context.Context) (k access.Key, err error) {
	if c.APIBase != "" {
		client, err := c.client()
		if err != nil {
			return k, err
		}
		return client.RevokeKey(ctx, c.ID)
	}
	err = inStore(ctx, func(st *store.Store) error {
		note, err := commanded("key revoke", c.ID, time.Now())
		if err != nil {
			return err
		}
		k, err = st.RevokeKey(ctx, c.ID, time.Now(), note)
		return err
	})
	return k, err
}

func (*keyRevokeCmd) tell(out io.Writer, k access.Key) error {
	_, err := fmt.Fprintf(out, "The key %s (%s) is revoked since %s. Every gateway refuses it within 5 s.\n", k.ID, plain(k.Name), stamp(k.RevokedAt))
	return err
}
