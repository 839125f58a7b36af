package gateway

import (
	"maps"
	"strconv"

	"github.com/auroramesh/auroramesh/shared/access"
	"github.com/auroramesh/auroramesh/shared/ask"
)

// accessDocs is [fieldDocs] for what is about keys and the audit log.
func accessDocs() map[string]map[string]property {
	scopes := says("What it may do; admin includes all", entries(len(access.Scopes()), among(access.Scopes())))
	name := says("What it is for, or whose it is", length(1, access.MaxName))
	key := map[string]property{
		"id": says("The id of the key, which stands in its secret too"), "name": name, "scopes": scopes,
		"created_by": says("Who made it"), "created_at": says("When it was made"), "expires_at": says("When it ends; null where it does not"),
		"revoked_at": says("When it was revoked; null where it is not"), "last_used_at": says("When it was last used, to the minute; null where it never was"),
	}
	made := map[string]property{"secret": says("What the holder sends. It is shown this once")}
	maps.Copy(made, key)
	return map[string]map[string]property{
		"AuditPage": {"items": says("The records of this page, newest first"), "head": says("The last record of the whole log. Noted elsewhere, it shows later that the log still begins with all of this")},
		"Head":      {"seq": says("The place of the record in the log"), "hash": says("The hash of that record")},
		"Record": {
			"seq": says("The place of the record in the log, from 1"), "id": says("The id of the record"), "at": says("When it was done"),
			"kind": says("How who did it is known", among(access.Kinds())), "who": says("The id of the key, the subject of the token, or the user of the command"), "name": says("The name of the key, or of who the token is for"),
			"from": says("The address that it came from, or the host of the command"), "action": says("The route, or the command"), "target": says("What it was done to"),
			"result": says("The HTTP status of the answer"), "request_id": says("The id under which the log of the site has the request"),
			"prev": says("The hash of the record before it"), "hash": says("SHA-256 of this record as JSON, with hash empty"),
		},
		"Verification": {"records": says("How many are sound, from the first on"), "head": says("The last of these"), "broken": says("The first thing that is wrong; only where there is such a thing")},
		"Break":        {"seq": says("The place in the log"), "id": says("The id of the record there"), "reason": says("Why the chain does not hold there")},
		"Key":          key, "MadeKey": made,
		"NewKey":  {"name": name, "scopes": scopes, "expires_at": says("When it ends; without it, it does not")},
		"ListKey": listDocs("The keys of this page, newest first"),
		"Principal": {
			"kind": says("How it is known", among(access.Kinds())), "id": says("The id of the key, or the subject of the token"),
			"name": says("The name of the key, or of who the token is for"), "scopes": scopes,
		},
	}
}

// listDocs is what the document says of a list.
func listDocs(items string) map[string]property {
	return map[string]property{
		"items": says(items), "total": says("How many there are in all, or, with more, how many were counted"),
		"more": says("True where there are more than total; of alerts at most " + strconv.Itoa(ask.MaxCounted) + " are counted. The last page says how many there are"),
		"skip": says("How many come before this page"), "limit": says("How many this page may have"),
		"looked_to": says("Of alerts with several filters, how far was looked, where the page is not full and there are more alerts: ask again with it as after, and skip less by total"),
	}
}
