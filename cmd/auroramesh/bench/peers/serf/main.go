// Command serf is one agent of Serf, which the benchmark of detection starts three
// times and stands beside the mesh. It says in lines of JSON on its output where it
// listens, which members it holds for failed or back, and, when asked, what it has sent.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"

	"github.com/hashicorp/memberlist"
	"github.com/hashicorp/serf/serf"
)

// said is one line of the output.
type said struct {
	Addr   string `json:"addr,omitempty"`   // where the agent listens, once it does
	Failed string `json:"failed,omitempty"` // a member that has just failed
	Alive  string `json:"alive,omitempty"`  // a member that has come, or come back
	Sent   *int64 `json:"sent,omitempty"`   // bytes so far, without the headers of UDP, TCP and IP
}

func main() {
	if err := run(os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "serf:", err)
		os.Exit(1)
	}
}

// run runs the agent until in ends. A line of in is "silent" (nothing goes in or out any
// more), "heard" (that is over) or "sent" (what has been sent).
func run(args []string, in io.Reader, out io.Writer) error {
	flags := flag.NewFlagSet("serf", flag.ContinueOnError)
	name := flags.String("name", "", "of this agent")
	bind := flags.String("bind", "127.0.0.1:0", "where it listens")
	join := flags.String("join", "", "the address of another agent; empty for the first")
	profile := flags.String("profile", "lan", "lan or wan")
	if err := flags.Parse(args); err != nil {
		return err
	}
	host, text, err := net.SplitHostPort(*bind)
	if err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	line, err := listen(host, port)
	if err != nil {
		return err
	}
	events := make(chan serf.Event, 64)
	c := serf.DefaultConfig()
	switch *profile {
	case "lan":
		c.MemberlistConfig = memberlist.DefaultLANConfig()
	case "wan":
		c.MemberlistConfig = memberlist.DefaultWANConfig()
	default:
		return fmt.Errorf("profile: %q is not allowed: lan or wan", *profile)
	}
	c.NodeName, c.EventCh, c.LogOutput = *name, events, io.Discard
	m := c.MemberlistConfig
	m.Transport, m.BindAddr, m.BindPort, m.AdvertiseAddr, m.AdvertisePort, m.LogOutput = line, host, line.port(), host, line.port(), io.Discard
	agent, err := serf.Create(c)
	if err != nil {
		return fmt.Errorf("starting the agent: %w", err)
	}
	defer func() { _ = agent.Shutdown() }() // the process ends with it
	if *join != "" {
		if _, err := agent.Join([]string{*join}, true); err != nil {
			return fmt.Errorf("joining %s: %w", *join, err)
		}
	}
	asked, failed := make(chan string), make(chan error, 1)
	go func() {
		defer close(asked)
		lines := bufio.NewScanner(in)
		for lines.Scan() {
			asked <- lines.Text()
		}
		failed <- lines.Err()
	}()
	say := json.NewEncoder(out)
	if err := say.Encode(said{Addr: net.JoinHostPort(host, strconv.Itoa(line.port()))}); err != nil {
		return err
	}
	for {
		select {
		case e := <-events:
			members, ok := e.(serf.MemberEvent)
			if !ok {
				continue
			}
			for _, m := range members.Members {
				var err error
				switch members.EventType() {
				case serf.EventMemberFailed:
					err = say.Encode(said{Failed: m.Name})
				case serf.EventMemberJoin:
					err = say.Encode(said{Alive: m.Name})
				}
				if err != nil {
					return err
				}
			}
		case order, ok := <-asked:
			switch {
			case !ok:
				return <-failed
			case order == "silent":
				line.silent.Store(true)
			case order == "heard":
				line.silent.Store(false)
			case order == "sent":
				n := line.sent.Load()
				if err := say.Encode(said{Sent: &n}); err != nil {
					return err
				}
			default:
				return errors.New("an order is silent, heard or sent, not " + strconv.Quote(order))
			}
		}
	}
}
