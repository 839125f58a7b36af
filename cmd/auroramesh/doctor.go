package main

import (
	"context"
	"strings"
	"time"

	"github.com/auroramesh/auroramesh/cmd/auroramesh/doctor"
	"github.com/auroramesh/auroramesh/cmd/auroramesh/site"
	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/settings"
	"github.com/auroramesh/auroramesh/shared/store"
)

type doctorCmd struct {
	JSON bool `help:"Print JSON."`
}

// Help is what `auroramesh doctor --help` says below the summary.
func (doctorCmd) Help() string {
	return `Give it the settings of the site, on a machine of the site. It changes nothing.
The exit code is 0 where nothing is wrong. Checks: ` + strings.Join(doctor.Names(), ", ") + "."
}

func (c doctorCmd) Run(ctx context.Context, io *stdio) error {
	s, err := settings.Load(environ())
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
