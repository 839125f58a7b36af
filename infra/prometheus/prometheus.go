// Package prometheus holds the scrape configuration and the alert rules that people
// deploy, so that the tests run on the very files.
package prometheus

import _ "embed"

// Rules are the alert rules.
//
//go:embed rules.yaml
var Rules string
