// Command auroramesh is the federation mesh in one static binary: a whole demo
// of two sites, the functions of a site, and the tools that people use on it.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/auroramesh/auroramesh/shared/fault"
)

// version is set by the linker at a release.
var version = "0.1.0"

func main() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

// cli is every command. Each command is a struct of its flags with a method Run.
type cli struct {
	Demo     demoCmd     `cmd:"" help:"Run whole sites in this process, with everything they need."`
	Run      runCmd      `cmd:"" help:"Run the functions of a site against an outside NATS and database."`
	Migrate  migrateCmd  `cmd:"" help:"Bring the database of a site up to date."`
	Identity identityCmd `cmd:"" help:"Show the public key of a site, and make the key where there is none."`
	Config   configCmd   `cmd:"" help:"Show the settings of a site."`
	Doctor   doctorCmd   `cmd:"" help:"Examine a site from the inside: what is wrong, and how to mend it."`
	Probe    probeCmd    `cmd:"" help:"Ask a process whether it lives: exit code 0 where its answer is good."`
	Audit    auditCmd    `cmd:"" help:"Read and check the log of who changed what at a site."`
	Key      keyCmd      `cmd:"" help:"Make, list and revoke the API keys of a site."`

	Version kong.VersionFlag `help:"Print the version and exit."`

	Site       siteCmd       `cmd:"" help:"Make and look after the directories from which sites run: enrol, rotate, revoke."`
	Simulate   simulateCmd   `cmd:"" help:"Raise the alerts of an attack at a site."`
	Ingest     ingestCmd     `cmd:"" help:"Raise what sensors write: Suricata, Wazuh, OCSF, or the API's own JSON."`
	Sites      sitesCmd      `cmd:"" help:"List the sites that a site knows."`
	Topology   topologyCmd   `cmd:"" help:"Show the mesh as a site sees it."`
	History    historyCmd    `cmd:"" help:"Show what became of a link, and how available it was."`
	Alerts     alertsCmd     `cmd:"" help:"List, follow, show and triage the alerts of a site."`
	Sharing    sharingCmd    `cmd:"" help:"Show what would leave a site."`
	Trust      trustCmd      `cmd:"" help:"Show, pin and unpin the keys by which a site believes its peers."`
	Deliveries deliveriesCmd `cmd:"" help:"Show what each peer of a site has stored, and what waits for it."`
	Line       lineCmd       `cmd:"" help:"Break and heal a line of the demo, or of auroramesh proxy."`
	Proxy      proxyCmd      `cmd:"" help:"Stand in the line between two running sites, so that it can be broken."`
	Drill      drillCmd      `cmd:"" help:"Prove the promise: break the line between two sites, heal it, and compare their queues."`
	Bench      benchCmd      `cmd:"" help:"Measure the mesh beside its limits, in the same run."`

	BenchPart benchPartCmd `cmd:"" hidden:"" help:"A part of a benchmark."`

	DeadLetters deadLettersCmd `cmd:"" name:"deadletters" help:"List, show, retry and drop the messages that a site could not handle."`
}

// stdio is where a command reads and writes, so that a test can stand in for the terminal.
type stdio struct {
	in       io.Reader
	out, err io.Writer
}

// run is the whole program: arguments in, exit code out.
func run(args []string, in io.Reader, out, errs io.Writer) (code int) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	type exit int
	defer func() {
		if e := recover(); e != nil {
			c, ok := e.(exit)
			if !ok {
				panic(e)
			}
			code = int(c)
		}
	}()
	parser, err := kong.New(&cli{},
		kong.Name("auroramesh"),
		kong.Description("Joins the security operations centres of an organisation: every site sees its peers, and an alert that matters at one is in the queue of all."),
		kong.UsageOnError(),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.Writers(out, errs),
		kong.Vars{"version": version},
		kong.Exit(func(c int) { panic(exit(c)) }),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(&stdio{in, out, errs}),
	)
	if err != nil {
		panic(err) // a mistake in the struct tags: every test of the command would see it
	}
	command, err := parser.Parse(args)
	if err != nil {
		fmt.Fprintf(errs, "auroramesh: %v\n", err)
		return 2
	}
	if err := command.Run(); err != nil {
		if errors.Is(err, context.Canceled) && ctx.Err() != nil {
			return 130
		}
		fmt.Fprintf(errs, "auroramesh: %v\n", err)
		return fault.Of(err).Code.ExitCode()
	}
	return 0
}
