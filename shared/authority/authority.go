package authority

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
)

// The files of an authority's directory.
const (
	CertFile     = "ca.crt"
	keyFile      = "ca.key"
	registerFile = "register.json"
	lockFile     = "lock"
)

// Authority is an open authority. Only one process at a time has it open.
type Authority struct {
	dir      string
	ca       *CA
	register register
	unlock   func() error
}

// register is what the authority has issued, to whom, and until when it holds.
type register struct {
	Version int                `json:"version"`
	Primary federation.SiteID  `json:"primary"`
	Hosts   []string           `json:"hosts"` // names and addresses of the primary's server
	Server  []Certificate      `json:"server"`
	Sites   map[string]Enrolee `json:"sites"`
	Relays  map[string]Enrolee `json:"relays,omitempty"`
}

const registerVersion = 1

// Enrolee is a site that may join, or might once.
type Enrolee struct {
	Hosts        []string      `json:"hosts,omitempty"`
	EnrolledAt   time.Time     `json:"enrolled_at"`
	RevokedAt    *time.Time    `json:"revoked_at,omitempty"`
	Certificates []Certificate `json:"certificates"` // the newest last
}

// Certificate is one that was issued.
type Certificate struct {
	Serial   string    `json:"serial"`
	IssuedAt time.Time `json:"issued_at"`
	NotAfter time.Time `json:"not_after"`
	// Until is when it holds no longer although it has not expired: it was rotated or revoked.
	Until *time.Time `json:"until,omitempty"`
}

// HoldsAt reports whether the certificate lets its site in.
func (c Certificate) HoldsAt(now time.Time) bool {
	return now.Before(c.NotAfter) && (c.Until == nil || now.Before(*c.Until))
}

// Create makes an authority, in a directory that has none, for a primary whose server
// is reached under the hosts. The authority is open then.
func Create(dir string, primary federation.SiteID, hosts []string, now time.Time) (*Authority, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the directory of the authority: %w", err)
	}
	a, err := lockDirectory(dir)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(dir, registerFile)); !errors.Is(err, fs.ErrNotExist) {
		return nil, errors.Join(fault.New(fault.Conflict, "--dir: %q is the directory of an authority already: choose another, or use that one", dir), a.Close())
	}
	if a.ca, err = newCA("auroramesh of "+string(primary), now); err != nil {
		return nil, errors.Join(err, a.Close())
	}
	own, err := a.ca.pair()
	if err == nil {
		err = errors.Join(Write(filepath.Join(dir, keyFile), own.Key, 0o600), Write(filepath.Join(dir, CertFile), own.Cert, 0o644))
	}
	a.register = register{Version: registerVersion, Primary: primary, Hosts: hosts, Sites: map[string]Enrolee{}}
	if err = errors.Join(err, a.save()); err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return a, nil
}

// Open opens the authority in a directory. It waits while another process has it open.
func Open(dir string) (*Authority, error) {
	if _, err := os.Stat(filepath.Join(dir, registerFile)); errors.Is(err, fs.ErrNotExist) {
		return nil, fault.New(fault.NotFound, "--dir: %q is no directory of an authority: `auroramesh site init` makes one", dir)
	}
	a, err := lockDirectory(dir)
	if err != nil {
		return nil, err
	}
	if err := a.load(); err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return a, nil
}

func lockDirectory(dir string) (*Authority, error) {
	unlock, err := lock(filepath.Join(dir, lockFile))
	if err != nil {
		return nil, fmt.Errorf("locking the directory of the authority: %w", err)
	}
	return &Authority{dir: dir, unlock: unlock}, nil
}

// load reads the files, once nobody else can change them.
func (a *Authority) load() error {
	files := map[string][]byte{}
	for _, name := range []string{registerFile, CertFile, keyFile} {
		data, err := os.ReadFile(filepath.Join(a.dir, name))
		if err != nil {
			return fmt.Errorf("opening the authority: %w", err)
		}
		files[name] = data
	}
	dec := json.NewDecoder(bytes.NewReader(files[registerFile]))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&a.register); err != nil {
		return fault.New(fault.Malformed, "%s cannot be read: %v", filepath.Join(a.dir, registerFile), err)
	}
	if a.register.Version != registerVersion {
		return fault.New(fault.Unsupported, "%s has the version %d, and this program knows %d", filepath.Join(a.dir, registerFile), a.register.Version, registerVersion)
	}
	var err error
	if a.ca, err = parseCA(files[CertFile], files[keyFile]); err != nil {
		return fault.New(fault.Malformed, "%s: %v", a.dir, err)
	}
	return nil
}

// save writes the register: all of it or nothing.
func (a *Authority) save() error {
	data, err := json.MarshalIndent(a.register, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding the register: %w", err)
	}
	return Write(filepath.Join(a.dir, registerFile), append(data, '\n'), 0o600)
}

// Close lets the next process have the authority.
func (a *Authority) Close() error { return a.unlock() }

// Dir is the directory of the authority.
func (a *Authority) Dir() string { return a.dir }

// Primary is the site at which the authority is.
func (a *Authority) Primary() federation.SiteID { return a.register.Primary }

// Hosts are the names and addresses under which the primary's server is reached.
func (a *Authority) Hosts() []string { return a.register.Hosts }

// Cert is the authority's certificate.
func (a *Authority) Cert() ([]byte, error) {
	pair, err := a.ca.pair()
	return pair.Cert, err
}

// NotAfter is when the authority's certificate expires.
func (a *Authority) NotAfter() time.Time { return a.ca.cert.NotAfter }

// Enrolled are the sites by their ids, revoked ones among them.
func (a *Authority) Enrolled() map[string]Enrolee { return a.register.Sites }

// ServerCertificates are those of the primary's server, the newest last.
func (a *Authority) ServerCertificates() []Certificate { return a.register.Server }

// ServerPair issues a certificate for the primary's server.
func (a *Authority) ServerPair(now time.Time, valid time.Duration) (Pair, error) {
	pair, err := a.ca.server(a.register.Primary, a.register.Hosts, now, valid)
	if err != nil {
		return Pair{}, err
	}
	a.register.Server = append(a.register.Server, Certificate{Serial: pair.Serial, IssuedAt: now.UTC(), NotAfter: pair.NotAfter})
	return pair, a.save()
}

// Enrol issues the first certificate of a site, or the first after it was revoked.
// hosts are names and addresses under which its own functions reach its server.
func (a *Authority) Enrol(site federation.SiteID, hosts []string, now time.Time, valid time.Duration) (Pair, error) {
	var wrong fault.Fields
	if !site.Valid() {
		wrong.Add("site_id", string(site), federation.SiteIDForm)
	}
	if _, relay := a.register.Relays[string(site)]; relay {
		wrong.Add("site_id", string(site), "a name that no relay has")
	}
	if site == a.register.Primary && len(a.register.Relays) == 0 {
		wrong.Add("site_id", string(site), "a site that is not the primary, unless there are relays")
	}
	for _, h := range hosts {
		if a.isHubs(site, h) { // with it the site could stand in for the hub
			wrong.Add("host", h, "a name or address that is not the primary's or a relay's")
		}
	}
	if err := wrong.Err("the site cannot be enrolled"); err != nil {
		return Pair{}, err
	}
	was, known := a.register.Sites[string(site)]
	if known && was.RevokedAt == nil {
		return Pair{}, fault.New(fault.Conflict, "%s is enrolled already: `auroramesh site rotate %s` makes it a new certificate", site, site)
	}
	was.Hosts, was.EnrolledAt, was.RevokedAt = hosts, now.UTC(), nil
	return a.issue(site, was, now, valid)
}

// isHubs reports whether a host is one of a hub, and not of the site itself.
func (a *Authority) isHubs(site federation.SiteID, host string) bool {
	same := func(other string) bool { return strings.EqualFold(other, host) }
	for _, r := range a.register.Relays {
		if slices.ContainsFunc(r.Hosts, same) {
			return true
		}
	}
	return site != a.register.Primary && slices.ContainsFunc(a.register.Hosts, same)
}

// Rotate issues a new certificate of a site. The ones before hold for the grace.
func (a *Authority) Rotate(site federation.SiteID, now time.Time, valid, grace time.Duration) (Pair, error) {
	e, err := a.enrolled(site)
	if err != nil {
		return Pair{}, err
	}
	e.Certificates = ending(e.Certificates, now.Add(grace))
	return a.issue(site, e, now, valid)
}

// Revoke takes every certificate of a site back.
func (a *Authority) Revoke(site federation.SiteID, now time.Time) error {
	e, err := a.enrolled(site)
	if err != nil {
		return err
	}
	at := now.UTC()
	e.RevokedAt, e.Certificates = &at, ending(e.Certificates, at)
	a.register.Sites[string(site)] = e
	return a.save()
}

func (a *Authority) enrolled(site federation.SiteID) (Enrolee, error) {
	e, known := a.register.Sites[string(site)]
	switch {
	case !known:
		return e, fault.New(fault.NotFound, "site_id: %q is not enrolled; `auroramesh site list` shows who is", string(site))
	case e.RevokedAt != nil:
		return e, fault.New(fault.Conflict, "%s was revoked at %s: `auroramesh site enrol %s` lets it in again", site, e.RevokedAt.Format(time.RFC3339), site)
	}
	return e, nil
}

// ending is certificates that end then, where they do not end sooner.
func ending(certs []Certificate, then time.Time) []Certificate {
	ended := slices.Clone(certs)
	for i, c := range ended {
		if c.Until == nil || then.Before(*c.Until) {
			at := then.UTC()
			ended[i].Until = &at
		}
	}
	return ended
}

func (a *Authority) issue(site federation.SiteID, e Enrolee, now time.Time, valid time.Duration) (Pair, error) {
	pair, err := a.ca.leafnode(site, e.Hosts, now, valid)
	if err != nil {
		return Pair{}, err
	}
	e.Certificates = append(e.Certificates, Certificate{Serial: pair.Serial, IssuedAt: now.UTC(), NotAfter: pair.NotAfter})
	a.register.Sites[string(site)] = e
	return pair, a.save()
}

// RelayPair issues a certificate of a relay, whose server is reached under the hosts.
func (a *Authority) RelayPair(name string, hosts []string, now time.Time, valid time.Duration) (Pair, error) {
	var wrong fault.Fields
	_, site := a.register.Sites[name]
	if !federation.SiteID(name).Valid() || site || name == string(a.register.Primary) {
		wrong.Add("name", name, federation.SiteIDForm+", and not the id of a site")
	}
	if err := wrong.Err("the relay cannot be made"); err != nil {
		return Pair{}, err
	}
	pair, err := a.ca.relay(name, hosts, now, valid)
	if err != nil {
		return Pair{}, err
	}
	r := a.register.Relays[name]
	if r.EnrolledAt.IsZero() {
		r.EnrolledAt = now.UTC()
	}
	r.Hosts, r.Certificates = hosts, append(r.Certificates, Certificate{Serial: pair.Serial, IssuedAt: now.UTC(), NotAfter: pair.NotAfter})
	if a.register.Relays == nil {
		a.register.Relays = map[string]Enrolee{}
	}
	a.register.Relays[name] = r
	return pair, a.save()
}

// Relays are the relays by their names.
func (a *Authority) Relays() map[string]Enrolee { return a.register.Relays }

// Users are, by site, the users of the certificates that hold.
func (a *Authority) Users(now time.Time) map[federation.SiteID][]string {
	users := map[federation.SiteID][]string{}
	for id, e := range a.register.Sites {
		for _, c := range e.Certificates {
			if c.HoldsAt(now) {
				site := federation.SiteID(id)
				users[site] = append(users[site], User(site, c.Serial))
			}
		}
	}
	return users
}

// Write writes a file: whoever reads it meanwhile finds the old content or the new.
func Write(path string, data []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-")
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("writing %s: %w", path, err), os.Remove(f.Name()))
	}
	return nil
}
