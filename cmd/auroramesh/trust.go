package main

import (
	"context"
	"fmt"
	"io"

	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/federation"
)

type trustCmd struct {
	List  trustListCmd  `cmd:"" default:"withargs" help:"List the keys that are pinned, and what was refused in whose name (the default)."`
	Pin   trustPinCmd   `cmd:"" help:"Pin the key of a site, in place of whichever is pinned."`
	Unpin trustUnpinCmd `cmd:"" help:"Let go of the key of a site: the next with which it is heard is pinned."`
}

// Help is the long help.
func (*trustCmd) Help() string {
	return `A site signs what its peers read, and each peer has its key pinned: the first
with which the site was heard, or the one that was pinned here. Anything else that
comes in its name is refused.

` + trustExamples
}

const trustExamples = `Examples:
  auroramesh trust
  auroramesh trust pin site-b UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4
  auroramesh trust unpin site-b`

type trustListCmd struct {
	siteFlags
	jsonFlag
}

// Help is the long help.
func (*trustListCmd) Help() string {
	return `The site with a * is the one that answers: its key is what the others pin.

` + trustExamples
}

// Run lists the keys.
func (c *trustListCmd) Run(ctx context.Context, io *stdio) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	all, err := client.TrustedKeys(ctx)
	if err != nil {
		return err
	}
	if c.JSON {
		return writeJSON(io.out, all)
	}
	if len(all.Keys) == 0 {
		_, err := fmt.Fprintln(io.out, "No key is pinned.")
		return err
	}
	return keysTable(io.out, all.Keys)
}

func keysTable(w io.Writer, keys []federation.TrustedKey) error {
	t := newTable(w, "SITE", "KEY", "PINNED BY", "PINNED AT", "LAST REFUSED", "WHY", "REFUSED KEY")
	for _, k := range keys {
		name := plain(string(k.Site))
		if k.Local {
			name += " *"
		}
		at, why, key := "-", "-", "-"
		if r := k.Refused; r != nil {
			at, why = stamp(&r.At), short(r.Reason, 20)
			if r.Key != "" {
				key = short(r.Key, 60)
			}
		}
		t.row(name, short(k.Key, 60), short(string(k.PinnedBy), 20), stamp(&k.PinnedAt), at, why, key)
	}
	return t.write(w)
}

type trustPinCmd struct {
	siteFlags
	jsonFlag
	Site string `arg:"" help:"Id of the site. It need not be known yet."`
	Key  string `arg:"" help:"Its public key, as it shows it as its own."`
}

// Help is the long help.
func (*trustPinCmd) Help() string {
	return `Ask somebody at the other site for its key: "auroramesh trust" there shows it. The
key that was refused here is shown for comparison, and may be anybody's.

Example:
  auroramesh trust pin site-b UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4`
}

// Run pins a key.
func (c *trustPinCmd) Run(ctx context.Context, io *stdio) error {
	of := ask.KeyOf{TrustOf: ask.TrustOf{Site: federation.SiteID(c.Site)}, KeySetting: ask.KeySetting{Key: c.Key}}
	if err := of.Validate(); err != nil {
		return err
	}
	client, err := c.client()
	if err != nil {
		return err
	}
	pinned, err := client.PinKey(ctx, of.Site, of.Key)
	if err != nil {
		return err
	}
	if c.JSON {
		return writeJSON(io.out, pinned)
	}
	return keysTable(io.out, []federation.TrustedKey{pinned})
}

type trustUnpinCmd struct {
	siteFlags
	jsonFlag
	Site string `arg:"" help:"Id of the site."`
}

// Help is the long help.
func (*trustUnpinCmd) Help() string {
	return `Whoever is heard next in the name of the site is believed from then on. Where you
know the new key, pin it instead.

Example:
  auroramesh trust unpin site-b`
}

// Run unpins a key.
func (c *trustUnpinCmd) Run(ctx context.Context, io *stdio) error {
	of := ask.TrustOf{Site: federation.SiteID(c.Site)}
	if err := of.Validate(); err != nil {
		return err
	}
	client, err := c.client()
	if err != nil {
		return err
	}
	was, err := client.UnpinKey(ctx, of.Site)
	if err != nil {
		return err
	}
	if c.JSON {
		return writeJSON(io.out, was)
	}
	_, err = fmt.Fprintf(io.out, "%s was pinned for %s, and no longer is.\n", plain(was.Key), plain(string(was.Site)))
	return err
}
