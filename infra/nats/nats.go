// Package nats holds the configuration files of the sites' NATS servers, so that
// the demo and the tests run on the very files that people deploy.
//
// dev-hub.conf and dev-leaf.conf are each one file. nats-server.conf and
// nats-leaf.conf include two that belong to one site: site.conf ([Server.Conf]) says
// who it is, sites.conf ([Access.Conf]) who may connect to it and to do what.
package nats

import _ "embed"

// DevHub is the server of the primary site in development.
//
//go:embed dev-hub.conf
var DevHub string

// DevLeaf is the server of a secondary site in development.
//
//go:embed dev-leaf.conf
var DevLeaf string

// Hub is the server of the primary site, with TLS and one user for each certificate of a site.
//
//go:embed nats-server.conf
var Hub string

// Leaf is the server of a secondary site, a leafnode of [Hub].
//
//go:embed nats-leaf.conf
var Leaf string

// Relay is a hub that is no site, one of several in a cluster.
//
//go:embed nats-relay.conf
var Relay string

// gateway is what site.conf of a relay has where the relay is of a region, for a file
// that is included knows no name of the one that includes it.
//
//go:embed gateway.conf
var gateway string

// The names of the files in a site's directory.
const (
	HubFile    = "nats-server.conf"
	LeafFile   = "nats-leaf.conf"
	RelayFile  = "nats-relay.conf"
	SiteFile   = "site.conf"
	AccessFile = "sites.conf"
)
