package main

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/auroramesh/auroramesh/cmd/auroramesh/demo"
	"github.com/auroramesh/auroramesh/cmd/auroramesh/doctor"
	"github.com/auroramesh/auroramesh/cmd/auroramesh/site"
	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/settings"
	"github.com/auroramesh/auroramesh/shared/store"
)

type doctorCmd struct {
	JSON bool   `help:"Print JSON."`
	Demo bool   `help:"Examine a site of the demo that runs on this machine, and not the one of the environment."`
	Site string `placeholder:"SITE" help:"Which site of the demo. Default: site-a."`
}

// Help is what `auroramesh doctor --help` says below the summary.
func (doctorCmd) Help() string {
	return `Give it the settings of the site, on a machine of the site; --demo takes those of a
site of the demo. It changes nothing.
The exit code is 0 where nothing is wrong. Checks: ` + strings.Join(doctor.Names(), ", ") + "."
}

func (c doctorCmd) Run(ctx context.Context, io *stdio) error {
	env, err := c.environ()
	if err != nil {
		return err
	}
	s, err := settings.Load(env)
	if err != nil {
		return err
	}
	opts, err := site.NATSOptions(s)
	if err != nil {
		return err
	}
	report := doctor.Examine(ctx, doctor.Config{
		Settings: s, Version: version, NATS: opts, Now: time.Now,
		OpenStore: func(ctx context.Context) (*store.Store, error) { return site.OpenStore(ctx, s) },
	})
	wrong := 0
	for _, r := range report.Checks {
		if r.Status == doctor.Wrong {
			wrong++
		}
	}
	if c.JSON {
		if err := writeJSON(io.out, report); err != nil {
			return err
		}
	} else if err := printReport(io, report); err != nil {
		return err
	}
	if wrong > 0 {
		return fault.New(fault.Unavailable, "something is wrong in %d of %d checks", wrong, len(report.Checks))
	}
	return nil
}

// environ is the settings of the site to be examined.
func (c doctorCmd) environ() (map[string]string, error) {
	var wrong fault.Fields
	if !c.Demo {
		if c.Site != "" {
			wrong.Add("site", c.Site, "none without --demo: the environment says which site it is")
		}
		return environ(), wrong.Err("nothing can be examined")
	}
	d, err := readDemo()
	if err != nil {
		return nil, err
	}
	site := cmp.Or(c.Site, string(demo.SiteID(0)))
	env, runs := d.Sites[site]
	if !runs {
		wrong.Add("site", site, "one of the demo: "+strings.Join(slices.Sorted(maps.Keys(d.Sites)), ", "))
	}
	return env, wrong.Err("nothing can be examined")
}

func printReport(io *stdio, report doctor.Report) error {
	t := newTable(io.out, "CHECK", "STATUS", "WHAT IS WRONG, AND HOW TO MEND IT")
	for _, r := range report.Checks {
		switch {
		case r.Status == doctor.Skipped:
			t.row(r.Check, r.Status, "there is nothing to see before "+r.Because+" is well")
		case len(r.Findings) == 0:
			t.row(r.Check, r.Status, "")
		}
		for i, f := range r.Findings {
			name, status := r.Check, r.Status
			if i > 0 {
				name, status = "", ""
			}
			t.row(name, status, f.Wrong)
			t.row("", "", "  "+f.Mend)
		}
	}
	return t.write(io.out)
}
