// Package subject holds every subject, stream and consumer name of the mesh.
//
// These families cross between sites; gossip and shared alerts are part of the contract:
//
//	aurora.federation.health.<site_id>        gossip of a site
//	aurora.federation.echo.<site_id>          a round trip to a site, for latency
//	aurora.federation.reconcile.<origin>.<peer>.<step>
//	                                          a peer compares with an origin what it has of it
//	aurora.federation.ack.<stream>.<consumer>.<...>
//	                                          an an acknowledgement that says whose it is
//	aurora.alerts.federation.<severity>       shared alerts, captured by the origin's own stream
//	aurora.alerts.federation.<severity>.to.<site_id>
//	                                          the same, as one peer alone is to have them
//	aurora.alerts.federation.<severity>.via.<site_id>
//	                                          the same, for one peer that gets it by the hub
//	aurora.alerts.federation.<severity>.from.<origin>
//	                                          what the hub passes on of an origin
//
// Everything else belongs to one site and carries its id,
//
//	aurora.site.<site_id>.<function>.<endpoint>          ask a function
//	aurora.site.<site_id>.schedule.<function>.<trigger>  a schedule of the server
//	aurora.site.<site_id>.tick.<function>.<trigger>      what that schedule sends
//	aurora.site.<site_id>.event.<kind>                   what happened at the site
//	aurora.site.<site_id>.nudge.<function>               "there is work", without payload
//	aurora.site.<site_id>.nudge.<function>.<trigger>     the same, with the work
//	aurora.site.<site_id>.deadletter.<function>          what a function could not do
//	aurora.site.<site_id>.ack.<stream>.<consumer>.<...>  an acknowledgement within the site
//
// because an unscoped subject is answered by whoever is left: with the last local
// responder gone, a peer would answer with the wrong site's data.
//
// Another family, aurora.server.>, is what the site's own NATS server tells of its
// connections. Nobody answers it, and it does not cross.
package subject

import (
	"slices"
	"strings"

	"github.com/auroramesh/auroramesh/shared/federation"
)

const (
	// AllHealth matches the gossip of every site.
	AllHealth = "aurora.federation.health.*"
	// AllAlerts matches every shared alert.
	AllAlerts = "aurora.alerts.federation.>"
	// Connected is where the server tells of a connection that came.
	Connected = "aurora.server.connected"
	// Disconnected is where it tells of one that went.
	Disconnected = "aurora.server.disconnected"
	// Refused matches where it tells of one that it did not let in.
	Refused = "aurora.server.refused.*"
	// AllRefused matches where every site is told whose leafnode a hub or a relay did not let in.
	AllRefused = "aurora.federation.refused.*"
)

// Health is where a site publishes its gossip.
func Health(site federation.SiteID) string { return "aurora.federation.health." + string(site) }

// RefusedSite is where the hub tells every site that it did not let a site in.
func RefusedSite(site federation.SiteID) string { return "aurora.federation.refused." + string(site) }

// HealthSite is the site in a subject of [Health].
func HealthSite(subj string) federation.SiteID {
	return federation.SiteID(strings.TrimPrefix(subj, "aurora.federation.health."))
}

// Signed reports whether what is published under a subject is for the peers to read,
// so that it bears the signature of its site. Questions that sites ask each other
// are signed by what they are; an echo is not: it tells the time, and who stands in
// the way could hold it up all the same.
func Signed(subj string) bool {
	return strings.HasPrefix(subj, "aurora.federation.health.") || strings.HasPrefix(subj, "aurora.alerts.federation.")
}

// AlertFor is the one peer for whom a shared alert under this subject is; empty where it is for all.
func AlertFor(subj string) federation.SiteID {
	_, peer, _ := strings.Cut(strings.TrimPrefix(subj, "aurora.alerts.federation."), ".to.")
	return federation.SiteID(peer)
}

// Echo is where a site answers echoes.
func Echo(site federation.SiteID) string { return "aurora.federation.echo." + string(site) }

// Reconcile is where an origin answers a step of the reconciliation with a peer. The
// peer stands in the subject, so that a site can be allowed its own name only. With
// "*" as the peer it matches that step of all. The step "held" goes the other way: there the
// first site is the one that answers what it has, and the second the origin that asks.
func Reconcile(origin, peer federation.SiteID, step string) string {
	return "aurora.federation.reconcile." + string(origin) + "." + string(peer) + "." + step
}

// ReconcilePeer is the peer in a subject of [Reconcile].
func ReconcilePeer(subj string) federation.SiteID {
	parts := strings.Split(subj, ".")
	return federation.SiteID(parts[max(len(parts)-2, 0)])
}

// Alert is where a site publishes its shared alerts of one severity.
func Alert(s federation.Severity) string { return "aurora.alerts.federation." + string(s) }

// AlertTo is where a site publishes the copies that it makes for one peer alone.
func AlertTo(s federation.Severity, peer federation.SiteID) string {
	return Alert(s) + ".to." + string(peer)
}

// AlertVia is where a site publishes what the hub is to pass on to one peer alone. With
// "*" as the peer it matches that of all.
func AlertVia(s federation.Severity, peer federation.SiteID) string {
	return Alert(s) + ".via." + string(peer)
}

// AlertFrom is where the hub publishes what it passes on of an origin to all alike. With
// "*" as the origin it matches that of all.
func AlertFrom(s federation.Severity, origin federation.SiteID) string {
	return Alert(s) + ".from." + string(origin)
}

// Passed reports whether what an origin said under signed may come under subj where the
// hub has passed it on to a site.
func Passed(subj, signed string, origin, to federation.SiteID) bool {
	for _, s := range federation.Severities() {
		switch signed {
		case Alert(s):
			return subj == AlertFrom(s, origin) || subj == AlertTo(s, to)
		case AlertVia(s, to):
			return subj == AlertTo(s, to)
		}
	}
	return false
}

// PassedOn says of what an origin said under a subject how severe it is, and for which one
// peer its hub is to pass it on; empty for all. ok is false where it is not for a hub to pass on.
func PassedOn(signed string) (s federation.Severity, peer federation.SiteID, ok bool) {
	for _, s := range federation.Severities() {
		if signed == Alert(s) {
			return s, "", true
		}
		if peer, via := strings.CutPrefix(signed, Alert(s)+".via."); via {
			return s, federation.SiteID(peer), true
		}
	}
	return "", "", false
}

// AnySite matches every site in a subject.
const AnySite federation.SiteID = "*"

// AlertsOf matches every shared alert of one severity, those for one peer alone among them.
func AlertsOf(s federation.Severity) []string { return []string{Alert(s), Alert(s) + ".>"} }

// Matches reports whether a subject is among those that a filter names, in which "*" stands for
// any one token and ">" for all that follow.
func Matches(filter, subj string) bool {
	want, have := strings.Split(filter, "."), strings.Split(subj, ".")
	for i, w := range want {
		if w == ">" {
			return len(have) > i
		}
		if i >= len(have) || w != "*" && w != have[i] {
			return false
		}
	}
	return len(want) == len(have)
}

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

// HandOver is where a trigger of a function is given work that is in the database too, so
// that it need not look for it.
func HandOver(site federation.SiteID, function, trigger string) string {
	return Nudge(site, function) + "." + trigger
}

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

// AlertConsumer is the durable consumer of a peer at an origin's alert stream for
// all alerts but the critical ones; see [AlertConsumers].
func AlertConsumer(peer federation.SiteID) string { return string(peer) }

// Lane is one of the durable consumers of a peer at an origin's alert stream.
type Lane struct {
	Consumer   string
	Severities []federation.Severity
}

// AlertConsumers are the lanes of a peer: the critical alerts have one of their
// own, so that they never wait behind the others. No site id has the underscore.
func AlertConsumers(peer federation.SiteID) []Lane {
	urgent := func(s federation.Severity) bool { return s == federation.Critical }
	return []Lane{
		{AlertConsumer(peer) + "_critical", []federation.Severity{federation.Critical}},
		{AlertConsumer(peer), slices.DeleteFunc(federation.Severities(), urgent)},
	}
}

// AlertConsumerInfo is where the JetStream of an origin is asked about the consumer of a peer.
func AlertConsumerInfo(origin, peer federation.SiteID) string {
	return ConsumerInfo(origin, AlertStream(origin), AlertConsumer(peer))
}

// ConsumerInfo is where the JetStream of a site is asked about a consumer.
func ConsumerInfo(site federation.SiteID, stream, consumer string) string {
	return "$JS." + Domain(site) + ".API.CONSUMER.INFO." + stream + "." + consumer
}

// ConsumerNext is where the JetStream of a site is pulled from a consumer.
func ConsumerNext(site federation.SiteID, stream, consumer string) string {
	return "$JS." + Domain(site) + ".API.CONSUMER.MSG.NEXT." + stream + "." + consumer
}

// ConsumerPeer is the peer whose lane at an alert stream has this name.
func ConsumerPeer(consumer string) federation.SiteID {
	peer, _, _ := strings.Cut(consumer, "_")
	return federation.SiteID(peer)
}

// rawAck is how the server names the acknowledgements to all its consumers. It lets
// them pass its leafnodes whatever those are permitted, so a deployed server takes none
// under this name: see infra/nats.
const rawAck = "$JS.ACK."

// RawAcks matches every acknowledgement as the server names it.
const RawAcks = rawAck + ">"

// ForgedAck matches what becomes of an acknowledgement under the server's own name. Nobody
// listens but who looks for it.
const ForgedAck = "aurora.server.forged-ack.>"

// Access is a name that no message has. What a server maps it to says by which sites.conf it goes.
const Access = "aurora.server.access"

// AckProbe is where a server that wants acknowledgements under the site's names answers.
func AckProbe(site federation.SiteID) string { return local(site) + "ack" }

// OwnAcks matches the acknowledgements of a site's functions to the site's own
// consumers, with what its server makes of them.
func OwnAcks(site federation.SiteID) (from, to string) {
	return local(site) + "ack.*.*.*.*.*.*.*", rawAck + "$1.$2.$3.$4.$5.$6.$7"
}

// PeerAcks matches those of the peers to the alert stream of an origin, with what the
// origin's server makes of them.
func PeerAcks(origin federation.SiteID) (from, to string) {
	return peerAck + AlertStream(origin) + ".*.*.*.*.*.*", rawAck + AlertStream(origin) + ".$1.$2.$3.$4.$5.$6"
}

// PeerAcksOf matches those of one consumer. "*" stands for any stream.
func PeerAcksOf(stream, consumer string) string { return peerAck + stream + "." + consumer + ".>" }

const peerAck = "aurora.federation.ack."

// Ack is where a function of a site acknowledges what a consumer at origin has sent it
// with this reply, at a server that wants the site's names.
func Ack(site, origin federation.SiteID, reply string) string {
	rest, raw := strings.CutPrefix(reply, rawAck)
	switch {
	case !raw:
		return reply
	case site == origin:
		return local(site) + "ack." + rest
	}
	return peerAck + rest
}

// Refusals matches what the server of an origin says when a peer ends the delivery
// of a shared alert without having stored it.
func Refusals(origin federation.SiteID) string {
	return "$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED." + AlertStream(origin) + ".*"
}

// RefusalStream keeps these until they are in the database of the origin.
func RefusalStream(origin federation.SiteID) string { return "REFUSALS_" + string(origin) }

// RefusalConsumer is the durable consumer that the replicas of ledger share there.
const RefusalConsumer = "ledger_refusals"

// EventStream keeps the events of a site.
func EventStream(site federation.SiteID) string { return "EVENTS_" + string(site) }

// CapturedBy is the stream of a site in which a shared alert or an event under a subject
// is kept; empty for all else.
func CapturedBy(site federation.SiteID, subj string) string {
	switch {
	case Matches(AllAlerts, subj):
		return AlertStream(site)
	case Matches(Events(site), subj):
		return EventStream(site)
	}
	return ""
}

// TickStream keeps the schedules of a site and what they send.
func TickStream(site federation.SiteID) string { return "TICKS_" + string(site) }

// DeadLetterStream keeps the dead letters of a site.
func DeadLetterStream(site federation.SiteID) string { return "DEADLETTERS_" + string(site) }

// TickConsumer is the durable consumer that a function's replicas share for one trigger.
func TickConsumer(function, trigger string) string { return function + "_" + trigger }

// Inbox is the prefix of the inboxes of a site's connections, so that its peers
// can be allowed to answer it and nobody else.
func Inbox(site federation.SiteID) string { return "_INBOX." + string(site) }

// Domain is the JetStream domain of a site.
func Domain(site federation.SiteID) string { return string(site) }
