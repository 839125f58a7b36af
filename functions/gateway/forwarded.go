package gateway

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// arrival is how a request set out: from which address, and whether over TLS.
type arrival struct {
	from   string
	secure bool
}

// arrivalOf is how a request set out, as its connection has it, or where that is one of a
// trusted proxy, as the proxy says. Each proxy adds at the right of X-Forwarded-For
// whom it had the request from; whatever stands to the left of the first that is not
// trusted may be made up. Of nobody else are these headers believed.
func arrivalOf(r *http.Request, proxies []netip.Prefix) arrival {
	a := arrival{from: r.RemoteAddr, secure: r.TLS != nil}
	at, ok := addressOf(r.RemoteAddr)
	if !ok {
		return a
	}
	a.from = at.String()
	trusted := func(ip netip.Addr) bool {
		return slices.ContainsFunc(proxies, func(p netip.Prefix) bool { return p.Contains(ip) })
	}
	if !trusted(at) {
		return a
	}
	proto, _, _ := strings.Cut(r.Header.Get("X-Forwarded-Proto"), ",")
	a.secure = a.secure || strings.EqualFold(strings.TrimSpace(proto), "https")
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, hop := range slices.Backward(hops) {
		ip, ok := addressOf(strings.TrimSpace(hop))
		if !ok {
			break
		}
		a.from = ip.String()
		if !trusted(ip) {
			break
		}
	}
	return a
}

// addressOf is the address in "ADDRESS" or "ADDRESS:PORT".
func addressOf(s string) (netip.Addr, bool) {
	ip, err := netip.ParseAddr(strings.Trim(s, "[]"))
	if err != nil {
		at, err := netip.ParseAddrPort(s)
		if err != nil {
			return ip, false
		}
		ip = at.Addr()
	}
	return ip.Unmap().WithZone(""), true // a zone is any text
}

// arrived is the arrival of the request, which [gateway.observe] has found out.
func arrived(r *http.Request) arrival {
	if x, ok := r.Context().Value(exchangeKey{}).(*exchange); ok {
		return x.arrival
	}
	return arrivalOf(r, nil)
}
