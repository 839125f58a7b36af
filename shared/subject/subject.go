// Package subject holds every subject, stream and consumer name of the mesh.
//
// Three families cross between sites and are part of the contract:
//
//	aurora.federation.health.<site_id>        gossip of a site
//	aurora.federation.echo.<site_id>          a round trip to a site, for latency
//	aurora.alerts.federation.<severity>       shared alerts, captured by the origin's own stream
//
// Everything else belongs to one site and carries its id,
//
//	aurora.site.<site_id>.<function>.<endpoint>          ask a function
//	aurora.site.<site_id>.schedule.<function>.<trigger>  a schedule of the server
//	aurora.site.<site_id>.tick.<function>.<trigger>      what that schedule sends
//	aurora.site.<site_id>.event.<kind>                   what happened at the site
//	aurora.site.<site_id>.nudge.<function>               "there is work", without payload
//	aurora.site.<site_id>.deadletter.<function>          what a function could not do
//
// because an unscoped subject is answered by whoever is left: with the last local
// responder gone, a peer would answer with the wrong site's data.
package subject

import "github.com/auroramesh/auroramesh/shared/federation"

const (
	// AllHealth matches the gossip of every site.
	AllHealth = "aurora.federation.health.*"
	// AllAlerts matches every shared alert.
	AllAlerts = "aurora.alerts.federation.>"
)

// Health is where a site publishes its gossip.
func Health(site federation.SiteID) string { return "aurora.federation.health." + string(site) }

// Echo is where a site answers echoes.
func Echo(site federation.SiteID) string { return "aurora.federation.echo." + string(site) }

// Alert is where a site publishes its shared alerts of one severity.
func Alert(s federation.Severity) string { return "aurora.alerts.federation." + string(s) }

// Function is where an endpoint of a function is asked.
func Function(site federation.SiteID, function, endpoint string) string {
	return local(site) + function + "." + endpoint
}

// Schedule holds the schedule of a trigger.
func Schedule(site federation.SiteID, function, trigger string) string {
	return local(site) + "schedule." + function + "." + trigger
}

// Tick is what the schedule of a trigger sends.
func Tick(site federation.SiteID, function, trigger string) string {
	return local(site) + "tick." + function + "." + trigger
}

// Ticks matches every schedule and every tick of a site.
func Ticks(site federation.SiteID) []string {
	return []string{local(site) + "schedule.>", local(site) + "tick.>"}
}

// Event is where a site publishes what happened, by kind.
func Event(site federation.SiteID, kind federation.EventKind) string {
	return local(site) + "event." + string(kind)
}

// Events matches every event of a site.
func Events(site federation.SiteID) string { return local(site) + "event.>" }

// Nudge tells a function that there is work in the database. It carries nothing
// and may be lost: the function also looks by itself.
func Nudge(site federation.SiteID, function string) string { return local(site) + "nudge." + function }

// DeadLetter is where a function's failed messages go.
func DeadLetter(site federation.SiteID, function string) string {
	return local(site) + "deadletter." + function
}

// DeadLetters matches every dead letter of a site.
func DeadLetters(site federation.SiteID) string { return local(site) + "deadletter.>" }

func local(site federation.SiteID) string { return "aurora.site." + string(site) + "." }

// AlertStream is the stream in which an origin keeps its shared alerts. Its name
// carries the site: an acknowledgement names stream and consumer but no domain,
// so two origins with one stream name would take each other's acknowledgements.
func AlertStream(origin federation.SiteID) string { return "ALERTS_" + string(origin) }

// AlertConsumer is the durable consumer of a peer at an origin's alert stream.
func AlertConsumer(peer federation.SiteID) string { return string(peer) }

// AlertConsumerInfo is where the JetStream of an origin is asked about the consumer of a peer.
func AlertConsumerInfo(origin, peer federation.SiteID) string {
	return "$JS." + Domain(origin) + ".API.CONSUMER.INFO." + AlertStream(origin) + "." + AlertConsumer(peer)
}

// EventStream keeps the events of a site.
func EventStream(site federation.SiteID) string { return "EVENTS_" + string(site) }

// TickStream keeps the schedules of a site and what they send.
func TickStream(site federation.SiteID) string { return "TICKS_" + string(site) }

// DeadLetterStream keeps the dead letters of a site.
func DeadLetterStream(site federation.SiteID) string { return "DEADLETTERS_" + string(site) }

// TickConsumer is the durable consumer that a function's replicas share for one trigger.
func TickConsumer(function, trigger string) string { return function + "_" + trigger }

// Inbox is the prefix of the inboxes of a site's connections, so that its peers
// can be allowed to answer it and nobody else.
func Inbox(site federation.SiteID) string { return "_INBOX_" + string(site) }

// Domain is the JetStream domain of a site.
func Domain(site federation.SiteID) string { return string(site) }
