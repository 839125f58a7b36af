package gateway

import (
	"maps"
	"reflect"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/identity"
)

// iocShapes stands in the document for [federation.IOCInput], whose fields are
// not what a caller sends.
type iocShapes struct{}

// Schema implements huma.SchemaProvider.
func (iocShapes) Schema(huma.Registry) *huma.Schema {
	value := &huma.Schema{Type: huma.TypeString, MinLength: ptr(1), MaxLength: ptr(federation.MaxIOCValue)}
	typed := &huma.Schema{
		Type: huma.TypeObject, Required: []string{"type", "value"},
		Properties: map[string]*huma.Schema{
			"type":  {Type: huma.TypeString, Enum: words(federation.IOCTypes()), Description: "What the value is"},
			"value": {Type: huma.TypeString, MinLength: ptr(1), MaxLength: ptr(federation.MaxIOCValue), Description: "The indicator"},
		},
	}
	return &huma.Schema{OneOf: []*huma.Schema{
		{
			Title: "a list of strings", Description: "The type of each is inferred from its form.",
			Type: huma.TypeArray, MaxItems: ptr(federation.MaxIOCs), Items: value,
			Examples: []any{[]string{"203.0.113.7", "evil[.]example"}},
		},
		{
			Title: `a list of {"type","value"}`, Description: "Lists of strings and objects together are read too.",
			Type: huma.TypeArray, MinItems: ptr(1), MaxItems: ptr(federation.MaxIOCs), Items: typed,
			Examples: []any{[]map[string]string{{"type": "ip", "value": "203.0.113.7"}}},
		},
		{
			Title: "an object from type to a value or a list of values", Description: "Common names for a type, such as ipv4, sha256 or hostname, are read too.",
			Type: huma.TypeObject,
			AdditionalProperties: &huma.Schema{OneOf: []*huma.Schema{
				value, {Type: huma.TypeArray, Items: value},
			}},
			Examples: []any{map[string]any{"domain": []string{"evil.example"}, "ip": "203.0.113.7"}},
		},
	}}
}

// newRegistry is where huma keeps the schemas of this API.
func newRegistry() huma.Registry {
	r := huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer)
	r.RegisterTypeAlias(reflect.TypeFor[federation.IOCInput](), reflect.TypeFor[iocShapes]())
	return r
}

// property says what Go types cannot: what a field means and what it may hold.
type property func(*huma.Schema)

func says(text string, more ...property) property {
	return func(s *huma.Schema) {
		s.Description = text
		for _, p := range more {
			p(s)
		}
	}
}

func length(low, high int) property {
	return func(s *huma.Schema) {
		s.MaxLength = ptr(high)
		if low > 0 {
			s.MinLength = ptr(low)
		}
	}
}

func bounds(low, high float64) property {
	return func(s *huma.Schema) { s.Minimum, s.Maximum = &low, &high }
}

func atLeast(low float64) property { return func(s *huma.Schema) { s.Minimum = &low } }

func entries(most int, each ...property) property {
	return func(s *huma.Schema) {
		s.MaxItems = ptr(most)
		for _, p := range each {
			p(s.Items)
		}
	}
}

func among[T ~string](all []T) property {
	return func(s *huma.Schema) { s.Enum = words(all) }
}

func pattern(re string) property { return func(s *huma.Schema) { s.Pattern = re } }

func anyValue(s *huma.Schema) { s.Type, s.MaxLength = "", nil }

const (
	siteIDForm    = `^[a-z0-9][a-z0-9-]{0,62}$`
	keyForm       = `^U[A-Z2-7]{55}$`
	techniqueForm = `^T[0-9]{4}(\.[0-9]{3})?$`
)

// alertFields are the fields that an alert has both as it is raised and as it is kept.
func alertFields() map[string]property {
	return map[string]property{
		"title":            says("What happened, in one line", length(1, federation.MaxTitle)),
		"description":      says("What happened, at length", length(0, federation.MaxDescription)),
		"severity":         says("How bad it is", among(federation.Severities())),
		"tlp":              says("Who may see it (Traffic Light Protocol 2.0). amber+strict and red never leave the site; without it an alert is amber. Read in any case, with or without TLP: before it", among(federation.TLPs())),
		"source":           says("Which sensor or rule raised it; \"federation:<site>\" marks an alert from a peer and cannot be raised", length(1, federation.MaxSource)),
		"asset_type":       says("What kind of thing is affected, e.g. server", length(0, federation.MaxAssetType)),
		"affected_assets":  says("The hosts, accounts or services that are affected", entries(federation.MaxAssets, length(1, federation.MaxAsset))),
		"iocs":             says("The indicators of compromise. They are stored in one canonical form: refanged, sorted, without doubles. One that cannot be read is left out, and named in warnings"),
		"mitre_techniques": says("ATT&CK technique ids", entries(federation.MaxTechniques, pattern(techniqueForm))),
		"raw_log":          says("The log line behind the alert. Any JSON value is taken and kept as text", length(0, federation.MaxRawLog)),
		"observed_at":      says("When the sensor saw it"),
	}
}

// fieldDocs is what the document says of every field, by schema.
func fieldDocs() map[string]map[string]property {
	linkStatuses := among([]federation.LinkStatus{federation.Healthy, federation.LinkDegraded, federation.Down})
	siteID := says("The id of the site", pattern(siteIDForm))
	page := listDocs
	key := says("The public key of the site, an nkey", pattern(keyForm))
	newAlert := alertFields()
	newAlert["raw_log"] = says("The log line behind the alert: text of at most 131072 characters, or any JSON value, which is kept as its compact text", anyValue)
	alert := alertFields()
	for name, p := range map[string]property{
		"id":         says("The id of the alert at this site"),
		"status":     says("Where the alert stands in triage at this site", among(federation.AlertStatuses())),
		"version":    says("The version of the origin's alert: 1 as it was raised. The same number is the same content at every site", atLeast(1)),
		"retraction": says("Set where the origin has taken the alert back"),
		"dedup_hash": says("SHA-256 of title, source and IOCs as they were raised; a second alert with the same is not stored"),
		"created_at": says("When it was stored at this site"),
		"updated_at": says("When it was last changed at this site"),
		"origin":     says("Where it was raised; only on an alert from a peer"),
	} {
		alert[name] = p
	}
	patch := alertFields()
	for _, raisedOnly := range []string{"source", "raw_log", "observed_at"} {
		delete(patch, raisedOnly)
	}
	patch["status"] = says("Where the alert stands in triage", among(federation.AlertStatuses()))
	patch["retraction"] = says("Why the alert is taken back. That is for good: afterwards only its status can change", length(1, federation.MaxRetraction))
	raised := map[string]property{"warnings": says("What could not be read and is not on the alert, and a label that was not taken; only where there is such a thing")}
	for name, p := range alert {
		raised[name] = p
	}
	letter := map[string]property{
		"id": says("The id of the dead letter at this site", atLeast(1)), "function": says("The function that gave the message up"), "trigger": says("The trigger of that function"),
		"reason": says("Why it was given up"), "code": says("The kind of that error", among(fault.Codes())),
		"source": says("Where the message came from: site/stream/consumer"), "subject": says("The subject of the message there"), "sequence": says("The sequence of the message there"),
		"at": says("When it was given up"), "size": says("The bytes of its payload"),
	}
	letterText := map[string]property{"payload": says("The payload as text, or the beginning of it"), "truncated": says("Whether the payload goes on")}
	maps.Copy(letterText, letter)
	gateSetting := map[string]property{
		"min_severity":   says("The lowest severity that passes", among(federation.Severities())),
		"sources":        says("The only sources that pass; every source does where there is none", entries(federation.MaxGateSources, length(1, federation.MaxSource))),
		"except_sources": says("The sources that do not pass", entries(federation.MaxGateSources, length(1, federation.MaxSource))),
		"strip_iocs":     says("The types of IOC that are taken off the iocs of an alert as it passes; what stands in its texts stays", entries(len(federation.IOCTypes()), among(federation.IOCTypes()))),
	}
	peerGate := map[string]property{
		"peer": says("The id of the peer", pattern(siteIDForm)), "direction": says("outbound: what leaves for the peer; inbound: what is taken from it"),
		"known": says("Whether the peer has been heard of"), "set": says("Which of these fields are set for this peer; the rest is the default"),
		"updated_at": says("When the gate was set; null where it is the default"),
	}
	maps.Copy(peerGate, gateSetting)
	return map[string]map[string]property{
		"DeadLetter": letter, "DeadLetterText": letterText, "ListDeadLetter": page("The dead letters of this page, newest first"),
		"NewAlert": newAlert, "Alert": alert, "RaisedAlert": raised,
		"SharingPreview": {
			"site_id": says("The site that answers", pattern(siteIDForm)), "severity": says("How bad the alert is", among(federation.Severities())),
			"tlp": says("The label that the alert would have", among(federation.TLPs())), "gate": says("The gate for the peers that have none of their own"), "peers": says("Every known peer, by id"),
		},
		"SharingOverview": {"site_id": siteID, "default": says("The gate for the peers that have none of their own"), "gates": says("Both gates of every peer that is known or has one set, by peer")},
		"PeerGate":        peerGate, "GateSetting": gateSetting,
		"TrustOverview": {"site_id": says("The site that answers", pattern(siteIDForm)), "keys": says("One key for each site, by site")},
		"TrustedKey": {
			"site_id": siteID, "local": says("Whether this is the site that answers"), "key": key,
			"pinned_by": says("first_seen: the first key with which the site was heard; administrator: a person pinned it", among([]federation.PinnedBy{federation.FirstSeen, federation.Administrator})),
			"pinned_at": says("When it was pinned"), "refused": says("What was last refused in the name of the site; only where something was since the key was pinned"),
		},
		"KeyRefusal": {
			"reason": says("unsigned: it bore no signature; bad_signature: it is not what was signed; wrong_key: it is rightly signed, with another key; misdirected: it is for another site", among(identity.Reasons())),
			"key":    says("The key with which it was rightly signed; only where the reason is wrong_key", pattern(keyForm)), "at": says("When it came; of many alike only some are noted"),
		},
		"KeySetting": {"key": key},
		"SharingGate": {
			"federation": says("Whether anything leaves at all"), "min_severity": says("The lowest severity that leaves", among(federation.Severities())),
			"tlps": says("The labels that may leave", entries(len(federation.TLPs()), among(federation.TLPs()))),
		},
		"PeerDecision": {
			"peer": says("The id of the peer", pattern(siteIDForm)), "admitted": says("Whether the peer would get the alert"),
			"rule": says("The rule that decided", among(federation.SharingRules())), "reason": says("That rule in a sentence, with the value and the limit"),
			"stripped_iocs": says("The types of IOC that the alert has and that would be taken off for this peer", entries(len(federation.IOCTypes()), among(federation.IOCTypes()))),
		},
		"AlertPatch": patch,
		"Retraction": {"at": says("When it was taken back, by the origin's clock"), "reason": says("Why, in the origin's words")},
		"IOC": {
			"type":  says("What the value is", among(federation.IOCTypes())),
			"value": says("The indicator, in canonical form", length(1, federation.MaxIOCValue)),
		},
		"Origin": {
			"site_id": siteID, "site_name": says("The name of the site"), "alert_id": says("The id of the alert at its origin"),
			"raised_at": says("When it was stored at its origin, by the origin's clock"), "received_at": says("When it was stored here, by this site's clock"),
			"status": says("Where the alert stands in triage at its origin", among(federation.AlertStatuses())), "updated_at": says("When its origin last changed it, by the origin's clock"),
		},
		"Agents": {
			"total":  says("How many endpoint agents the site has", bounds(0, federation.MaxAgents)),
			"online": says("How many of them are online; not more than total", bounds(0, federation.MaxAgents)),
		},
		"Site": {
			"id": siteID, "name": says("The name of the site"), "tier": says("Its place in the mesh", among([]federation.Tier{federation.Primary, federation.Secondary})),
			"status": says("How alive it is, judged by its last heartbeat", among([]federation.SiteStatus{federation.Online, federation.SiteDegraded, federation.Offline})),
			"reason": says("Why it is offline; only where it said so itself", among([]federation.SiteReason{federation.Leaving})),
			"local":  says("Whether this is the site that answers"), "agents_total": says("How many endpoint agents it has"), "agents_online": says("How many of them are online"),
			"version": says("The version of its software"), "exchange": says("How it says that it exchanges alerts: direct, or by the hub where that passes on; a newer site may know other words"), "last_heartbeat_at": says("When its newest heartbeat arrived, by the clock of the site that answers; null where none has"),
			"first_seen_at": says("When its first heartbeat arrived"),
		},
		"Link": {
			"id": says("link-<site_a>-<site_b>"), "site_a": says("The end that sorts first", pattern(siteIDForm)), "site_b": says("The other end", pattern(siteIDForm)),
			"status":            says("How good the link is, judged by its newest heartbeat and its echoes", linkStatuses),
			"last_heartbeat_at": says("When the newest heartbeat came over it; null where none has"), "heartbeat_age_seconds": says("The age of that heartbeat; it is no latency"),
			"cause": says("Why the link is not healthy; only where it is not", among(federation.Causes())), "latency": says("What this site's echoes to the peer say; only once one was sent"),
			"peer_view": says("The link as the peer last gossiped that it sees it: a failure of one direction shows as two views that differ"),
		},
		"History": {
			"link_id": says("The link"), "from": says("The start of the time; later than asked for where the link was not known yet, or changed too often to list it all"), "to": says("Its end: now"),
			"transitions": says("The changes of status and of its cause, the newest first; where from is to, the cause alone is another"), "availability": says("The share of the time that the link was not down, 0 to 1"),
			"healthy_seconds": says("For how long it was healthy"), "degraded_seconds": says("For how long it was degraded"), "down_seconds": says("For how long it was down"),
		},
		"LinkView": {
			"peer": says("The site at the other end, seen from the one whose view it is", pattern(siteIDForm)), "status": says("How good the link is in this view", linkStatuses),
			"cause": says("Why it is not healthy; only where it is not. A newer peer may know other words than this site"), "latency": says("What this view's echoes say"),
			"at":      says("When that site last said that it sees the link so, by its clock. Its figures are as it last told them: it tells them anew where the median is another by a quarter, 5 ms and the jitter, or the loss by 5 of 100 echoes"),
			"relayed": says("Whether what that site raises reaches the other end by the hub; only where it does"),
		},
		"Latency": {
			"last_ms": says("The round trip of the newest echo in milliseconds; null where it was lost"), "median_ms": says("The median round trip; null where every echo was lost"),
			"p99_ms": says("The round trip that 99 of 100 echoes do not exceed"), "jitter_ms": says("The mean difference between one round trip and the next"),
			"clock_offset_ms": says("How far the peer's clock is ahead, give or take half a round trip"), "loss": says("The share of the echoes that were lost, 0 to 1"),
			"echoes":        says("How many echoes the figures are over, at most " + strconv.Itoa(federation.EchoWindow) + "; those since the peer could be reached again, where it could not"),
			"every_seconds": says("How far apart they are in seconds; absent where one goes each second"), "measured_at": says("When the newest of them was sent"),
		},
		"Topology":   {"site_id": says("The site that answers", pattern(siteIDForm)), "generated_at": says("When the answer was made"), "sites": says("Every site that is known, this one included"), "links": says("Every link of this site")},
		"Deliveries": {"site_id": says("The site that answers", pattern(siteIDForm)), "generated_at": says("When the answer was made"), "deliveries": says("Two for each peer: outbound and inbound"), "backlog": says("What the stream of this site holds for all peers together")},
		"Backlog": {
			"messages": says("How many alerts the stream holds, those that every peer has acknowledged among them"), "bytes": says("How large the stream is"),
			"max_messages": says("The bound in alerts; over it what every peer has goes, then the oldest of the lowest severity"), "max_bytes": says("The bound in bytes"),
			"dropped": says("How many alerts of each severity had to go, in all, before every peer had acknowledged them"), "dropped_at": says("When that last happened; null where it never did"),
		},
		"BacklogDrop": {"severity": says("The severity of the alerts", among(federation.Severities())), "dropped": says("How many went"), "total": says("How many of this severity ever went")},
		"Delivery": {
			"peer": says("The other site", pattern(siteIDForm)), "direction": says("Which way the alerts go, seen from the site that answers", among([]federation.Direction{federation.Outbound, federation.Inbound})),
			"passed_by":         says("The hub that passes the alerts on; absent where the receiver pulls from the origin itself. Where it is set the figures count alerts, by the last comparison of the two: of the time that one looked at, which is from and until of the reconciliation, and what was raised since", pattern(siteIDForm)),
			"proved_until":      says("Up to when, by the origin's clock, the receiver has proved by a comparison what it has: what was raised before and is not pending is stored or refused. Only where a hub passes the alerts on"),
			"reachable":         says("Whether the JetStream of the origin answered; of the hub, for inbound alerts that it passes on"),
			"detail":            says("Why figures are missing; only where some are"),
			"shared":            says("How many alerts the origin's stream holds now that its gate admits; null for inbound, for a peer's stream cannot be read from here"),
			"acknowledged":      says("How many of these the peer has acknowledged, which it does after its commit, or once it has refused one; null for inbound"),
			"refused":           says("How many of those the peer refused: by its inbound gate, or into its dead letters. One that it stored later counts until the next comparison; null for inbound"),
			"stored":            says("Outbound: acknowledged less refused. Inbound: how many alerts of the peer are in this site's queue"),
			"pending":           says("How many alerts are not acknowledged: not yet sent, or under way; where a hub passes them on, not proved yet by a comparison. Null where the origin is not reachable, and for inbound alerts that a hub passes on"),
			"oldest_pending_at": says("When the oldest of them came into the stream, by the origin's clock; where a hub passes them on, since when every comparison has found something missing, or with nothing missing when the first was raised since the last one. Null where there is none, and for inbound"), "oldest_pending_seconds": says("How long ago that was"),
			"redelivered":    says("How many of the pending alerts have been sent more than once; no total, which is aurora_function_messages_redelivered_total at the receiver"),
			"reconciliation": says("What came of it when the two sites last compared; null where they have not yet"),
		},
		"Reconciliation": {
			"at": says("When it ended, by the clock of the site that answers"), "from": says("The alerts raised from then on were compared, by the origin's clock"), "until": says("The alerts raised from then on were not"),
			"compared": says("How many alerts the receiving site should have"), "lost": says("How many of these it had not in their newest version, and were neither pending nor refused"),
			"resent": says("How many of the lost were sent again; the rest was shortly before"), "pending": says("How many were on their way"), "duplicated": says("How many rows it had beyond the first of one alert"),
			"refused": says("How many it has refused for good"), "extra": says("How many it has that the origin would not share today; no fault"),
		},
		"DeliveryWatch": {
			"peer": says("The other site", pattern(siteIDForm)), "consumer": says("The durable consumer in the alert stream"),
			"ack_floor": says("The place in the stream up to which the peer has acknowledged everything"), "deliveries": says("How many alerts were sent since the consumer was begun, repeats among them"),
			"waiting": says("How many alerts were never sent"), "under_way": says("How many were sent and are not acknowledged"),
			"moves": says("How many looks in a row saw it move"), "moved_at": says("When it was last seen to move, or had nothing to do"),
			"stalled_at": says("Since when it is known to stand still; null where it does not"), "repairs": says("How often it has been begun anew since"), "repaired_at": says("When that was last done"),
		},
		"AlertDeliveries": {
			"alert_id": says("The id of the alert at this site"), "severity": says("How bad it is", among(federation.Severities())),
			"origin_site": says("Where it was raised", pattern(siteIDForm)), "deliveries": says("One for each peer; none where the alert came from a peer"),
		},
		"AlertDelivery": {
			"peer":   says("The other site", pattern(siteIDForm)),
			"state":  says("kept: the gate of this site does not let it leave; queued: in the outbox or the stream, and the peer has not acknowledged everything up to it, or where a hub passes it on has not proved that it has it; stored: the peer has; refused: the peer refused it, by its inbound gate or into its dead letters; unknown: nothing proves any of these any more", among(federation.DeliveryStates())),
			"detail": says("Why, in words"),
		},
		"ListAlert": page("The alerts of this page, newest first"), "ListSite": page("The sites of this page"),
		"Event": {
			"kind": says("What happened", among(federation.EventKinds())), "at": says("When it happened"), "alert": says("The alert; only in events of alerts"),
			"transition": says("The change; only in events of links and sites"), "site_id": says("The site; only in site-seen"),
			"dropped": says("What went; only in backlog-dropped"), "delivery": says("The delivery, as it was begun anew; only in delivery-repaired"),
		},
		"Transition": {
			"id": says("The link or site that changed"), "from": says("Its status before"), "to": says("Its status after"), "at": says("When it changed"),
			"heartbeat_age_seconds": says("The age of its newest heartbeat at that moment"), "cause": says("Why the link is not healthy any more; of a site, that it said goodbye", among(federation.Causes())),
		},
		"Health": {
			"status": says("The worst that its parts come to", among(healthStatuses)), "site_id": siteID, "version": says("The version of the software"),
			"generated_at": says("When the answer was made"), "parts": says("Each part, in a fixed order"),
		},
		"Part": {
			"part": says("A part of the site"), "status": says("How it is", among(healthStatuses)), "detail": says("What is wrong, or what it is connected to"),
		},
		"Live":    {"status": says("Always ok: the process serves")},
		"Problem": {"code": says("The kind of problem for programs", among(fault.Codes())), "errors": says("Each thing that is wrong with the request, by field")},
		"Field":   {"field": says("Which field or parameter"), "value": says("What was sent, shortened to 100 characters"), "allowed": says("What would have been taken")},
	}
}

// describe completes the schemas that huma derived from Go types.
func describe(r huma.Registry) {
	docs := fieldDocs()
	maps.Copy(docs, accessDocs())
	maps.Copy(docs, drillDocs())
	for name, schema := range r.Map() {
		for field, s := range schema.Properties {
			if p, ok := docs[name][field]; ok {
				p(s)
			}
		}
		schema.PrecomputeMessages()
	}
}

// resolve is the schema behind s where s only refers to one.
func resolve(r huma.Registry, s *huma.Schema) *huma.Schema {
	if s.Ref != "" {
		return r.SchemaFromRef(s.Ref)
	}
	return s
}

func refName(s *huma.Schema) string { return s.Ref[strings.LastIndex(s.Ref, "/")+1:] }

func words[T ~string](all []T) []any {
	enum := make([]any, len(all))
	for i, w := range all {
		enum[i] = string(w)
	}
	return enum
}

func ptr[T any](v T) *T { return &v }
