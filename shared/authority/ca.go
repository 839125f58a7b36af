// Package authority is who says which sites belong to a mesh. It is a directory at the
// primary site: the key and certificate of a certificate authority, and a register of
// the certificates that it has issued, to the primary for its server and to each
// enrolled site for its leafnode. A certificate names its user, and the register says
// which users still hold; see infra/nats for what a user may do.
package authority

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"time"

	"github.com/auroramesh/auroramesh/shared/federation"
)

// How long certificates hold. That of the authority is in every site's directory, and
// to replace it is to enrol every site anew.
const (
	caValid = 10 * 365 * 24 * time.Hour
	// backdate lets a site whose clock is a little slow take a certificate at once.
	backdate = 5 * time.Minute
)

// User is the user of one certificate of a site. It stands in the certificate as its
// URI; a certificate has no other name that a server takes for a user.
func User(site federation.SiteID, serial string) string {
	return "spiffe://auroramesh/site/" + string(site) + "/" + serial
}

// RelayUser is the name in the certificate of a relay, by which another knows it.
const RelayUser = "spiffe://auroramesh/relay"

// CA signs certificates.
type CA struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// Pair is a certificate with its key, both in PEM.
type Pair struct {
	Cert, Key []byte
	Serial    string
	NotAfter  time.Time
}

// newCA makes an authority of a name.
func newCA(name string, now time.Time) (*CA, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making the key of the authority: %w", err)
	}
	number, _, err := serial()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: number, Subject: pkix.Name{CommonName: name, Organization: []string{"auroramesh"}},
		NotBefore: now.Add(-backdate), NotAfter: now.Add(caValid),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("making the certificate of the authority: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("reading the certificate of the authority: %w", err)
	}
	return &CA{cert, key}, nil
}

// pair is the authority's own certificate and key.
func (c *CA) pair() (Pair, error) {
	key, err := x509.MarshalPKCS8PrivateKey(c.key)
	if err != nil {
		return Pair{}, fmt.Errorf("encoding the key of the authority: %w", err)
	}
	return Pair{Cert: encode("CERTIFICATE", c.cert.Raw), Key: encode("PRIVATE KEY", key), NotAfter: c.cert.NotAfter}, nil
}

// parseCA reads what [CA.pair] wrote.
func parseCA(cert, key []byte) (*CA, error) {
	block, _ := pem.Decode(cert)
	if block == nil {
		return nil, errors.New("the certificate of the authority is not PEM")
	}
	parsed, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("reading the certificate of the authority: %w", err)
	}
	block, _ = pem.Decode(key)
	if block == nil {
		return nil, errors.New("the key of the authority is not PEM")
	}
	private, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("reading the key of the authority: %w", err)
	}
	ec, ok := private.(*ecdsa.PrivateKey)
	if !ok || !ec.PublicKey.Equal(parsed.PublicKey) {
		return nil, errors.New("the key of the authority does not belong to its certificate")
	}
	return &CA{parsed, ec}, nil
}

// leafnode issues the certificate of a site: with it the site joins the primary as its
// user, and its NATS server shows it to the functions of the site.
func (c *CA) leafnode(site federation.SiteID, hosts []string, now time.Time, valid time.Duration) (Pair, error) {
	return c.issue(string(site), hosts, now, valid, func(serial string) string { return User(site, serial) })
}

// server issues the certificate of a primary's server. It has no user: nobody joins with it.
func (c *CA) server(site federation.SiteID, hosts []string, now time.Time, valid time.Duration) (Pair, error) {
	return c.issue(string(site), hosts, now, valid, nil)
}

// relay issues the certificate of a relay. With it no leafnode joins, but another relay takes it in.
func (c *CA) relay(name string, hosts []string, now time.Time, valid time.Duration) (Pair, error) {
	return c.issue(name, hosts, now, valid, func(string) string { return RelayUser })
}

// issue signs a certificate, with the user that it has by its serial number.
func (c *CA) issue(name string, hosts []string, now time.Time, valid time.Duration, user func(serial string) string) (Pair, error) {
	number, text, err := serial()
	if err != nil {
		return Pair{}, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, fmt.Errorf("making a key for %s: %w", name, err)
	}
	end := now.Add(valid)
	if end.After(c.cert.NotAfter) {
		end = c.cert.NotAfter
	}
	template := &x509.Certificate{
		SerialNumber: number, Subject: pkix.Name{CommonName: name, Organization: []string{"auroramesh"}},
		NotBefore: now.Add(-backdate), NotAfter: end,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if user != nil {
		uri, err := url.Parse(user(text))
		if err != nil {
			return Pair{}, fmt.Errorf("naming the user of %s: %w", name, err)
		}
		template.URIs = []*url.URL{uri}
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageClientAuth)
	}
	for _, h := range append([]string{"localhost", "127.0.0.1", "::1"}, hosts...) {
		if ip := net.ParseIP(h); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, h)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, c.cert, &key.PublicKey, c.key)
	if err != nil {
		return Pair{}, fmt.Errorf("signing the certificate of %s: %w", name, err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return Pair{}, fmt.Errorf("encoding the key of %s: %w", name, err)
	}
	return Pair{Cert: encode("CERTIFICATE", der), Key: encode("PRIVATE KEY", private), Serial: text, NotAfter: end.UTC().Truncate(time.Second)}, nil
}

// serial is a random number that no other certificate has, with its text.
func serial() (*big.Int, string, error) {
	b := make([]byte, 16)
	if _, err := rand.Read(b); err != nil {
		return nil, "", fmt.Errorf("making a serial number: %w", err)
	}
	b[0] &= 0x7f // positive, as the standard wants it
	b[0] |= 0x40 // and always of one length
	return new(big.Int).SetBytes(b), hex.EncodeToString(b), nil
}

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}
