package oidc

import (
	"net/netip"
	"net/url"
	"strings"
)

// ValidURL reports whether an address of an issuer is one that nobody on the way
// can answer in its place: https, or http on this machine.
func ValidURL(address string) bool {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" {
		return false
	}
	ip, err := netip.ParseAddr(u.Hostname())
	loopback := strings.EqualFold(u.Hostname(), "localhost") || err == nil && ip.IsLoopback()
	return u.Scheme == "https" || u.Scheme == "http" && loopback
}
