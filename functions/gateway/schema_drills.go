package gateway

import (
	"time"

	"github.com/auroramesh/auroramesh/shared/drillreport"
	"github.com/auroramesh/auroramesh/shared/federation"
)

// drillDocs is [fieldDocs] for what is about drills.
func drillDocs() map[string]map[string]property {
	site := func(text string) property { return says(text, pattern(siteIDForm)) }
	return map[string]map[string]property{
		"DrillList": {"items": says("The reports, the newest first")},
		"Report": {
			"run": says("The name of the drill, which stands in the title of each of its alerts", pattern(drillreport.RunForm)), "link": says("The link whose line was broken", length(1, 200)),
			"running": says("Whether the sites ran before the drill, and keep its alerts"), "raised": says("How many alerts all sites together accepted"),
			"raised_meanwhile": says("How many of them while the fault lasted"), "fault": says("What befell the line: cut or blackhole", length(1, 200)), "rate": says("Alerts a second at each site"),
			"fault_at": says("When the fault began"), "healed_at": says("When it ended"), "timeout_seconds": says("How long after the fault every alert was waited for, in seconds"),
			"converged": says("Whether all had arrived by then"), "waiting": says("Whether something was still on its way at the end"),
			"converged_seconds": says("How long after the healing the last that was missing had arrived, in seconds; null where none was missing or some still are"),
			"directions":        says("What became of the alerts of each site at each other", entries(drillreport.MaxSites*(drillreport.MaxSites-1))),
			"detections":        says("When each site told that its link was not healthy", entries(drillreport.MaxSites)),
		},
		"Direction": {
			"from": site("The site that accepted the alerts"), "to": site("The site that should have them"), "accepted": says("How many it accepted"), "during_fault": says("How many of them while the fault lasted"),
			"stored": says("How many are at the other site"), "lost": says("How many are not in both queues"), "lost_ids": says("Some of these", entries(drillreport.MaxLostIDs)),
			"duplicated": says("How many rows there are too many"), "foreign": says("How many rows came over the link that are not of the drill"),
			"caught_up_seconds": says("How long after the healing the last that was accepted before it was stored, in seconds; null where none was missing or some still are"),
		},
		"Detection": {
			"site": site("The site"), "seconds": says("How long after the beginning of the fault it told, in seconds; null where it did not while that lasted"),
			"status": says("The status that it told", length(0, 200)), "cause": says("The cause that it told", length(0, 200)),
		},
	}
}

func exampleDrill() drillreport.Report {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	return drillreport.Report{
		Run: "1k3fxx", Link: "link-site-a-site-b", Running: true, Meanwhile: 300, Raised: 340, Fault: "cut", Rate: 10, FaultAt: at, HealedAt: at.Add(15 * time.Second), TimeoutSeconds: 60,
		Converged: true, ConvergedSeconds: ptr(0.9),
		Directions: []drillreport.Direction{
			{From: "site-a", To: "site-b", Accepted: 170, DuringFault: 150, Stored: 170, CaughtUpSeconds: ptr(0.9)},
			{From: "site-b", To: "site-a", Accepted: 170, DuringFault: 150, Stored: 170, CaughtUpSeconds: ptr(0.7)},
		},
		Detections: []drillreport.Detection{{Site: "site-a", Seconds: ptr(0.05), Status: federation.Down, Cause: federation.TransportDisconnected}},
	}
}
