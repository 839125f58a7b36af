// Package certfile serves TLS with a certificate and its key from two files, and
// takes new ones as soon as they are there: a certificate is renewed without a
// restart and without a connection that fails.
package certfile

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
)

// Files are a certificate and its key.
type Files struct {
	cert, key string
	log       *slog.Logger
	mu        sync.Mutex
	loaded    *tls.Certificate
	seen      [2]os.FileInfo // the files as they were when they were last read
}

// Open reads both files, which must fit.
func Open(cert, key string, log *slog.Logger) (*Files, error) {
	f := &Files{cert: cert, key: key, log: log}
	seen, err := f.look()
	if err != nil {
		return nil, fmt.Errorf("reading the certificate: %w", err)
	}
	f.seen = seen
	return f, f.load()
}

// Config is a configuration of a server with the certificate.
func (f *Files) Config() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: f.certificate}
}

// certificate is the certificate for one handshake. Where a file has changed both
// are read anew; where they do not fit, as in the middle of a renewal, the one before stays.
func (f *Files) certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	seen, err := f.look()
	if err == nil && same(seen[0], f.seen[0]) && same(seen[1], f.seen[1]) {
		return f.loaded, nil
	}
	if err == nil {
		f.seen = seen
		err = f.load()
	}
	if err != nil {
		f.log.Warn("the certificate cannot be renewed; the one before is used", "cert_file", f.cert, "key_file", f.key, "error", err)
	} else {
		f.log.Info("the certificate is renewed", "cert_file", f.cert, "not_after", f.loaded.Leaf.NotAfter)
	}
	return f.loaded, nil
}

func (f *Files) look() (seen [2]os.FileInfo, err error) {
	for i, name := range []string{f.cert, f.key} {
		if seen[i], err = os.Stat(name); err != nil {
			return seen, err
		}
	}
	return seen, nil
}

func (f *Files) load() error {
	pair, err := tls.LoadX509KeyPair(f.cert, f.key)
	if err != nil {
		return fmt.Errorf("reading the certificate %s with the key %s: %w", f.cert, f.key, err)
	}
	f.loaded = &pair
	return nil
}

func same(a, b os.FileInfo) bool {
	return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size()
}
