package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/auroramesh/auroramesh/shared/federation"
)

func TestTheLedgerSaysWhatWasComparedAndWhen(t *testing.T) {
	noon := time.Date(2026, 2, 1, 12, 0, 0, 0, time.UTC)
	var out bytes.Buffer
	err := deliveriesTable(&out, federation.Deliveries{GeneratedAt: noon, Deliveries: []federation.Delivery{
		{Peer: "site-b", Direction: federation.Outbound, Reconciliation: &federation.Reconciliation{At: noon.Add(-12 * time.Second), Compared: 9, Lost: 3, Duplicated: 1}},
		{Peer: "site-b", Direction: federation.Inbound},
	}})
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(out.String(), "\n")
	if !strings.Contains(lines[0], "COMPARED") || !strings.Contains(lines[1], "9 alerts: lost 3 dup 1, 12s ago") || strings.Contains(lines[2], "lost") {
		t.Errorf("got\n%s", out.String())
	}
}

func TestTheLedgerSaysWhichWayAlertsGoAndUpToWhenThatIsProved(t *testing.T) {
	var out bytes.Buffer
	err := deliveriesTable(&out, federation.Deliveries{Deliveries: []federation.Delivery{
		{Peer: "site-b", Direction: federation.Outbound},
		{Peer: "site-c", Direction: federation.Outbound, PassedBy: "site-a", ProvedUntil: new(time.Date(2026, 2, 1, 12, 0, 0, 0, time.UTC))},
	}})
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(out.String(), "\n")
	if !strings.Contains(lines[1], "direct") || !strings.Contains(lines[2], "by site-a") || !strings.Contains(lines[2], "2026-02-01 12:00:00Z") {
		t.Errorf("got\n%s", out.String())
	}
}

func TestColumnsInWhichNothingStandsAreLeftOut(t *testing.T) {
	none, some := 0, 3
	for want, all := range map[string][]federation.Delivery{
		"PEER DIRECTION SHARED STORED PENDING OLDEST PENDING COMPARED": {{Peer: "site-b", Refused: &none, Redelivered: &none}, {Peer: "site-c"}},
		"PEER DIRECTION WAY SHARED STORED REFUSED PENDING OLDEST PENDING REDELIVERED COMPARED NOTE": {
			{Peer: "site-b", Refused: &some}, {Peer: "site-c", PassedBy: "site-a", Redelivered: &some}, {Peer: "site-d", Detail: "its consumer is gone"},
		},
	} {
		var out bytes.Buffer
		if err := deliveriesTable(&out, federation.Deliveries{Deliveries: all}); err != nil {
			t.Fatal(err)
		}
		head, rest, _ := strings.Cut(out.String(), "\n")
		if got := strings.Join(strings.Fields(head), " "); got != want {
			t.Errorf("got  %s\nwant %s\n%s", got, want, rest)
		}
	}
}

func TestTheBacklogIsUnderTheTable(t *testing.T) {
	at := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	b := federation.Backlog{Messages: 12, Bytes: 3 << 19, MaxMessages: 1_000_000, MaxBytes: 2 << 30}
	for want, all := range map[string]federation.Deliveries{
		"\nBacklog: 12 of 1000000 alerts, 1.5 of 2048 MiB; none dropped\n": {Backlog: b},
		"\nBacklog: 12 of 1000000 alerts, 1.5 of 2048 MiB; dropped so far: 1 high, 30 info, last 2026-01-31 12:00:00Z\n": {Backlog: federation.Backlog{
			Messages: b.Messages, Bytes: b.Bytes, MaxMessages: b.MaxMessages, MaxBytes: b.MaxBytes,
			Dropped: map[federation.Severity]int{federation.Info: 30, federation.High: 1}, DroppedAt: &at,
		}},
	} {
		var out strings.Builder
		if err := deliveriesTable(&out, all); err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(out.String(), want) {
			t.Errorf("the table ends otherwise than %q: %q", want, out.String())
		}
	}
}
