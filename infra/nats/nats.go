// Package nats holds the configuration files of the sites' NATS servers, so that
// the demo and the tests run on the very files that people deploy.
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
