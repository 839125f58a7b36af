package main

import (
	"fmt"

	"github.com/auroramesh/auroramesh/shared/identity"
	"github.com/auroramesh/auroramesh/shared/settings"
)

type identityCmd struct {
	Dir string `type:"path" placeholder:"DIR" help:"The directory of the key. Default: FEDERATION_IDENTITY_DIR."`
}

// Help is the long help.
func (*identityCmd) Help() string {
	return `The key is what the site signs with; its public part is what the peers pin: see
"auroramesh trust --help". Functions make it by themselves; where they may not
write, or the peers are to have the public key before the sites meet, make it here.

Examples:
  auroramesh identity
  auroramesh identity --dir sites/site-a`
}

// Run makes the key of a site, unless there is one, and shows the public part.
func (c *identityCmd) Run(io *stdio) error {
	if c.Dir == "" {
		s, err := settings.Load(environ())
		if err != nil {
			return err
		}
		c.Dir = s.IdentityDir
	}
	i, err := identity.Open(c.Dir)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(io.out, i.Key())
	return err
}
