// Package trust says whether what came in a site's name is of that site. It keeps,
// in the database, one public key for each: the first with which the site was heard,
// or the one that an administrator pinned. Whatever else comes in the site's name is
// refused, and noted, so that a key that has changed is a thing to be looked at and
// not one that just works.
package trust

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/identity"
	"github.com/auroramesh/auroramesh/shared/store"
)

const (
	// fresh is how long a key that was read is good for: within it an unpinned key
	// is gone at every replica. A key that does not fit is always read anew.
	fresh = time.Second
	// quiet is how long the same refusal of one site is not written again: whoever
	// sends what is refused must not be able to keep the database busy.
	quiet = 5 * time.Second
	// patience is how long one verification may wait for the database.
	patience = 5 * time.Second
)

// Keyring is the keys of a site's peers. It is safe for use by many goroutines.
type Keyring struct {
	own   federation.SiteID
	store *store.Store
	log   *slog.Logger
	now   func() time.Time
	// verifier spares a signature that many messages share; whose a key is, is asked for each.
	verifier identity.Verifier

	mu     sync.Mutex
	pinned map[federation.SiteID]pin
	noted  map[federation.SiteID]note
}

type pin struct {
	key  string
	read time.Time
}

type note struct {
	reason identity.Reason
	key    string
	at     time.Time
}

// New is the keyring of a site.
func New(own federation.SiteID, st *store.Store, log *slog.Logger, now func() time.Time) *Keyring {
	return &Keyring{own: own, store: st, log: log, now: now, pinned: map[federation.SiteID]pin{}, noted: map[federation.SiteID]note{}}
}

// Own notes the site's own key, and says so in the log where the site has spoken with
// another before: its peers have that one pinned and refuse this one.
func (k *Keyring) Own(ctx context.Context, key string) error {
	pinned, err := k.store.PinFirstSeen(ctx, map[federation.SiteID]string{k.own: key}, k.now())
	if was := pinned[k.own]; err == nil && was != key {
		k.log.Error("this site has spoken with another key before, so its peers will refuse what it says: give it back its identity, or pin the new key here and at every peer",
			"key", key, "pinned", was)
	}
	return err
}

// Verify is nil where a statement is signed with the key that is pinned for the site
// whose statement it is. introduces lets a site for which none is pinned become known
// by this one; without it such a site is Unavailable until it is. Else the error is
// an [identity.Refusal].
func (k *Keyring) Verify(ctx context.Context, key string, proof identity.Proof, s identity.Statement, introduces bool) error {
	c := identity.Claim{Key: key, Proof: proof, Statement: s}
	if site := federation.SiteID(s.Site); k.cached(site) == key { // as nearly always: no key is to be looked up
		return k.proved(ctx, site, c)
	}
	return k.VerifyAll(ctx, []identity.Claim{c}, introduces)[0]
}

// VerifyAll is [Keyring.Verify] for what came together: the error of each. The keys that
// are to be read are one question, and the sites that become known one transaction.
func (k *Keyring) VerifyAll(ctx context.Context, all []identity.Claim, introduces bool) []error {
	errs := make([]error, len(all))
	heard := map[federation.SiteID]string{} // the key of each site that is to be looked up
	for i, c := range all {
		site := federation.SiteID(c.Statement.Site)
		if errs[i] = k.proved(ctx, site, c); errs[i] == nil && k.cached(site) != c.Key && heard[site] == "" {
			heard[site] = c.Key
		}
	}
	pinned, err := k.pinnedFor(ctx, heard, introduces)
	for i, c := range all {
		site := federation.SiteID(c.Statement.Site)
		if errs[i] != nil || heard[site] == "" {
			continue
		}
		switch key := pinned[site]; {
		case err != nil:
			errs[i] = err
		case key == "":
			errs[i] = fault.New(fault.Unavailable, "no key is pinned for %s yet: its first gossip does that", site)
		case key != c.Key:
			errs[i] = k.refuse(ctx, site, identity.WrongKey, c.Key)
		}
	}
	return errs
}

// proved is nil where a claim is signed by its key, whosever that is.
func (k *Keyring) proved(ctx context.Context, site federation.SiteID, c identity.Claim) error {
	if !site.Valid() {
		var wrong fault.Fields
		wrong.Add("site", string(site), federation.SiteIDForm)
		return wrong.Err("what came is in the name of no site")
	}
	if c.Key == "" || len(c.Proof.Signature) == 0 {
		return k.refuse(ctx, site, identity.Unsigned, "")
	}
	if k.verifier.Verify(c.Key, c.Statement, c.Proof) != nil {
		return k.refuse(ctx, site, identity.BadSignature, "")
	}
	return nil
}

// pinnedFor is the keys that are pinned for sites: where none was, that with which the site is
// heard, if that introduces it.
func (k *Keyring) pinnedFor(ctx context.Context, heard map[federation.SiteID]string, introduces bool) (map[federation.SiteID]string, error) {
	if len(heard) == 0 {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	pinned, err := k.store.TrustedKeysOf(ctx, slices.Collect(maps.Keys(heard)))
	if err != nil {
		return nil, err
	}
	unknown := maps.Clone(heard)
	maps.DeleteFunc(unknown, func(site federation.SiteID, _ string) bool { return pinned[site] != "" })
	if introduces && len(unknown) > 0 {
		first, err := k.store.PinFirstSeen(ctx, unknown, k.now())
		if err != nil {
			return nil, err
		}
		for site, key := range first {
			k.log.Info("the key of a site is pinned, as the first with which it was heard", "peer", site, "key", key)
		}
		maps.Copy(pinned, first)
	}
	k.remember(pinned)
	return pinned, nil
}

// cached is the key of a site, empty where it was not read just now.
func (k *Keyring) cached(site federation.SiteID) string {
	k.mu.Lock()
	defer k.mu.Unlock()
	if p := k.pinned[site]; time.Since(p.read) < fresh {
		return p.key
	}
	return ""
}

func (k *Keyring) remember(pinned map[federation.SiteID]string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for site, key := range pinned {
		k.pinned[site] = pin{key, time.Now()}
	}
}

// refuse is the error for what is not taken, which it notes where a key is pinned for
// the site: who is not known can be invented without end.
func (k *Keyring) refuse(ctx context.Context, site federation.SiteID, reason identity.Reason, key string) error {
	refusal := &identity.Refusal{Reason: reason, Site: string(site), Key: key}
	if !k.due(site, reason, key) {
		return refusal
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if _, err := k.store.TrustedKey(ctx, site); fault.Is(err, fault.NotFound) {
		return refusal
	}
	err := k.store.NoteKeyRefused(ctx, k.own, site, federation.KeyRefusal{Reason: string(reason), Key: key, At: k.now()})
	if err != nil {
		return errors.Join(refusal, err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.noted[site] = note{reason, key, time.Now()}
	return refusal
}

// due reports whether a refusal is to be written.
func (k *Keyring) due(site federation.SiteID, reason identity.Reason, key string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	last := k.noted[site]
	return last.reason != reason || last.key != key || time.Since(last.at) >= quiet
}
