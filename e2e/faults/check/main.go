// Command check tells whether the sites of a mesh kept their promise: every alert
// that a site has accepted is at every peer that may have it, exactly once, and
// none where the gate forbids it. It reads the databases themselves and uses no
// code of the mesh, so what it finds does not depend on what it judges. Let the
// sites come to rest first: what is still on its way counts as lost.
//
//	go run ./e2e/faults/check --site site-a=postgres://… --site site-b=sqlite:data/site-b.db
//
// It ends with 0 where all is right, 1 where something is wrong, 2 where it could not look.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// options are the flags.
type options struct {
	sites    []source
	answered string
	gate     gate
	json     bool
}

// source is a site and where its database is.
type source struct{ site, dsn string }

func parse(args []string, errs io.Writer) (options, error) {
	var o options
	f := flag.NewFlagSet("check", flag.ContinueOnError)
	f.SetOutput(errs)
	f.Func("site", "a site as NAME=DSN, e.g. site-a=sqlite:data/site-a.db; once for each site", func(v string) error {
		name, dsn, ok := strings.Cut(v, "=")
		if !ok || name == "" || dsn == "" {
			return errors.New("want NAME=DSN")
		}
		o.sites = append(o.sites, source{name, dsn})
		return nil
	})
	f.StringVar(&o.answered, "answered", "", "a file with a line \"SITE ID\" for each alert that a site has answered for")
	severities := f.String("severities", "critical,high", "the severities that may leave a site")
	tlps := f.String("tlps", "clear,green,amber", "the labels that may leave a site")
	f.BoolVar(&o.json, "json", false, "print the report as JSON")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if len(o.sites) < 2 || f.NArg() > 0 {
		return o, errors.New("name at least two sites with --site, and nothing else")
	}
	o.gate = gate{strings.Split(*severities, ","), strings.Split(*tlps, ",")}
	return o, nil
}

func run(args []string, out, errs io.Writer) (code int) {
	o, err := parse(args, errs)
	if err != nil {
		fmt.Fprintln(errs, "check:", err)
		return 2
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	queues, err := readAll(ctx, o)
	if err != nil {
		fmt.Fprintln(errs, "check:", err)
		return 2
	}
	r := compare(o.gate, queues)
	if o.json {
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		err = e.Encode(r)
	} else {
		err = r.write(out)
	}
	switch {
	case err != nil:
		fmt.Fprintln(errs, "check:", err)
		return 2
	case !r.Right:
		return 1
	}
	return 0
}

// most is how many ids the text shows of a list; the JSON has them all.
const most = 10

func (r report) write(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "FROM\tTO\tACCEPTED\tADMITTED\tPRESENT\tLOST\tDUPLICATED\tFORBIDDEN\tCHANGED\tUNKNOWN")
	for _, p := range r.Pairs {
		fmt.Fprintf(t, "%s\t%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\n", p.From, p.To, p.Accepted, p.Admitted, p.Present,
			len(p.Lost), len(p.Duplicated), len(p.Forbidden), len(p.Changed), len(p.Unknown))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	list := func(what string, ids []string) {
		if n := len(ids); n > most {
			ids = append(ids[:most:most], fmt.Sprintf("and %d more", n-most))
		}
		if len(ids) > 0 {
			fmt.Fprintf(w, "%s: %s\n", what, strings.Join(ids, " "))
		}
	}
	for _, o := range r.Sites {
		list("forgotten at "+o.Site, o.Forgotten)
		list("doubled at "+o.Site, o.Doubled)
		list("echoed to "+o.Site, o.Echoed)
	}
	for _, p := range r.Pairs {
		way := " from " + p.From + " to " + p.To
		list("lost"+way, p.Lost)
		list("duplicated"+way, p.Duplicated)
		list("forbidden"+way, p.Forbidden)
		list("changed"+way, p.Changed)
		list("unknown"+way, p.Unknown)
	}
	verdict := "Right: every accepted alert is at every admitted peer exactly once, and none where the gate forbids it."
	if !r.Right {
		verdict = "WRONG."
	}
	_, err := fmt.Fprintln(w, verdict)
	return err
}
