package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/auroramesh/auroramesh/cmd/auroramesh/site"
	"github.com/auroramesh/auroramesh/functions"
	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/settings"
	"github.com/auroramesh/auroramesh/shared/store"
)

type runCmd struct {
	Functions []string `arg:"" optional:"" name:"function" help:"What to run in this process. Default: every function."`
	Migrate   bool     `help:"Bring the database up to date first."`
}

// Help is what `auroramesh run --help` says below the summary.
func (runCmd) Help() string {
	return `Any number of processes may run any of the functions, as many replicas as you
like: they share the work. The site is told by the environment; see
` + "`auroramesh config list`" + `. Functions: ` + strings.Join(functions.Names(), ", ") + `.`
}

func (c runCmd) Run(ctx context.Context, io *stdio) error {
	s, err := settings.Load(environ())
	if err != nil {
		return err
	}
	log := newLog(s, io)
	for _, slip := range settings.Unknown(environ()) {
		log.Warn("a variable is no setting, so nobody reads it", "variable", slip.Name, "meant", cmp.Or(slip.Meant, "unknown"))
	}
	if c.Migrate {
		if _, err := migrate(ctx, s); err != nil {
			return err
		}
	}
	start, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	running, err := site.Start(start, site.Config{Settings: s, Version: version, Functions: c.Functions, Log: log})
	if err != nil {
		return err
	}
	if err := running.Ready(start); err != nil {
		// It goes on trying; whoever watches /health sees the same.
		log.Warn("the process runs, but is not at work yet", "error", err)
	} else {
		log.Info("at work", "site", s.SiteID, "functions", cmp.Or(strings.Join(c.Functions, " "), "all"), "api", running.Addr(), "version", version)
	}
	<-ctx.Done()
	log.Info("stopping: what is in flight is finished first")
	if err := running.Stop(context.Background()); err != nil {
		return errors.Join(errors.New("the process did not stop cleanly"), err)
	}
	log.Info("stopped")
	return nil
}

type migrateCmd struct {
	Status bool `help:"Only show which migrations there are and which are applied."`
}

func (c migrateCmd) Run(ctx context.Context, io *stdio) error {
	s, err := settings.Load(environ())
	if err != nil {
		return err
	}
	if c.Status {
		return migrationStatus(ctx, s, io)
	}
	applied, err := migrate(ctx, s)
	for _, name := range applied {
		fmt.Fprintln(io.out, "applied", name)
	}
	if err == nil && len(applied) == 0 {
		fmt.Fprintln(io.out, "The database is up to date.")
	}
	return err
}

func migrate(ctx context.Context, s settings.Settings) (applied []string, err error) {
	st, err := site.OpenStore(ctx, s)
	if err != nil {
		return nil, err
	}
	applied, err = st.Migrate(ctx)
	return applied, errors.Join(err, st.Close())
}

func migrationStatus(ctx context.Context, s settings.Settings, io *stdio) (err error) {
	if err := store.Exists(s.DatabaseURL); err != nil {
		return err
	}
	st, err := site.OpenStore(ctx, s)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	all, err := st.Migrations(ctx)
	if err != nil {
		return err
	}
	t := newTable(io.out, "MIGRATION", "APPLIED")
	for _, m := range all {
		at := "no"
		if m.AppliedAt != nil {
			at = m.AppliedAt.UTC().Format(time.RFC3339)
		}
		t.row(m.Name, at)
	}
	return t.write(io.out)
}

type configCmd struct {
	Check    configCheckCmd    `cmd:"" help:"Check the settings of this environment and print them."`
	List     configListCmd     `cmd:"" help:"List every setting, its default and what is allowed."`
	Markdown configMarkdownCmd `cmd:"" hidden:"" help:"Print the table of docs/configuration.md."`
}

type configCheckCmd struct {
	JSON bool `help:"Print JSON."`
}

func (c configCheckCmd) Run(io *stdio) error {
	all, err := settings.Explain(environ())
	if err != nil {
		return err
	}
	for _, slip := range settings.Unknown(environ()) {
		fmt.Fprintln(io.err, "warning: "+slip.String())
	}
	if c.JSON {
		return writeJSON(io.out, all)
	}
	t := newTable(io.out, "VARIABLE", "VALUE", "FROM")
	for _, e := range all {
		t.row(e.Name, e.Value, e.From)
	}
	return t.write(io.out)
}

type configListCmd struct{}

func (configListCmd) Run(io *stdio) error {
	t := newTable(io.out, "VARIABLE", "TYPE", "DEFAULT", "EXAMPLE", "ALLOWED")
	for _, v := range settings.Variables() {
		t.row(v.Name, v.Type, v.Default, v.Example, v.Allowed)
	}
	return t.write(io.out)
}

type configMarkdownCmd struct{}

func (configMarkdownCmd) Run(io *stdio) error {
	_, err := fmt.Fprint(io.out, settings.Markdown())
	return err
}

// environ is the process's environment, as variable to value.
func environ() map[string]string {
	env := map[string]string{}
	for _, pair := range os.Environ() {
		name, value, _ := strings.Cut(pair, "=")
		env[name] = value
	}
	return env
}

func newLog(s settings.Settings, io *stdio) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(s.LogLevel)); err != nil {
		panic(err) // settings.Load has checked it
	}
	o := &slog.HandlerOptions{Level: level}
	if s.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(io.err, o))
	}
	return slog.New(slog.NewTextHandler(io.err, o))
}

// checkPort refuses a port that is none.
func checkPort(option string, port int) error {
	var wrong fault.Fields
	if port < 1 || port > 65_535-2*16 {
		wrong.Add(option, strconv.Itoa(port), "a whole number from 1 to 65503")
	}
	return wrong.Err("the demo cannot start")
}
