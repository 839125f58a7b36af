package access

import (
	"context"
	"slices"
)

// Kind is how a principal is known.
type Kind string

// The kinds.
const (
	// KindLocal is whoever asks a site that has no sign-in.
	KindLocal Kind = "local"
	// KindKey is the holder of an API key.
	KindKey Kind = "key"
	// KindSession is a person who has signed in to the console, with an API key or at the OIDC issuer.
	KindSession Kind = "session"
	// KindToken is the subject of an access token of the OIDC issuer.
	KindToken Kind = "token"
	// KindCommand is a person who ran a command on the database itself.
	KindCommand Kind = "command"
)

// Kinds lists every kind.
func Kinds() []Kind { return []Kind{KindLocal, KindKey, KindSession, KindToken, KindCommand} }

// Principal is who a request comes from, and what it may do.
type Principal struct {
	Kind Kind `json:"kind"`
	// ID is that of the key, or the subject of the token, also of those that a session was opened with.
	ID     string  `json:"id"`
	Name   string  `json:"name"`
	Scopes []Scope `json:"scopes"`
}

// Local is the principal of every request to a site that has no sign-in.
func Local() Principal {
	return Principal{Kind: KindLocal, ID: "local", Name: "anyone who reaches this site", Scopes: Scopes()}
}

// May reports whether p has the scope, or [Admin], which includes it.
func (p Principal) May(s Scope) bool {
	return slices.Contains(p.Scopes, s) || slices.Contains(p.Scopes, Admin)
}

type principalKey struct{}

// WithPrincipal is ctx with the principal whose request it serves.
func WithPrincipal(ctx context.Context, p Principal) context.Context {
	return context.WithValue(ctx, principalKey{}, p)
}

// PrincipalOf is the principal whose request ctx serves. ok is false where nobody
// has signed in; p then has no scope.
func PrincipalOf(ctx context.Context) (p Principal, ok bool) {
	p, ok = ctx.Value(principalKey{}).(Principal)
	return p, ok
}
