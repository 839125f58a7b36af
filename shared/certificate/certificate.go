// Package certificate knows when the certificates of a site expire. It reads their
// files each time that it is asked, so that one that was renewed is seen at once.
package certificate

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Warn is how long before its end a certificate is warned of.
const Warn = 30 * 24 * time.Hour

// Files are the paths of certificates in PEM.
type Files []string

// Split is the files in lists that are separated by commas, each once.
func Split(lists ...string) Files {
	var files Files
	for path := range strings.SplitSeq(strings.Join(lists, ","), ",") {
		if path = strings.TrimSpace(path); path != "" && !slices.Contains(files, path) {
			files = append(files, path)
		}
	}
	return files
}

// Expiry is when the first of the certificates in a file expires.
func Expiry(path string) (time.Time, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return time.Time{}, fmt.Errorf("reading a certificate: %w", err)
	}
	return First(data)
}

// First is when the first of the certificates in PEM expires.
func First(data []byte) (first time.Time, err error) {
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return time.Time{}, fmt.Errorf("reading a certificate: %w", err)
		}
		if first.IsZero() || cert.NotAfter.Before(first) {
			first = cert.NotAfter
		}
	}
	if first.IsZero() {
		return first, errors.New("there is no certificate in PEM in it")
	}
	return first, nil
}

// Warnings says of each file what is wrong with it at a moment: it has expired, will
// within [Warn], or cannot be read.
func (f Files) Warnings(now time.Time) []string {
	var all []string
	for _, path := range f {
		end, err := Expiry(path)
		switch left := end.Sub(now); {
		case err != nil:
			all = append(all, fmt.Sprintf("%s cannot be read: %v", path, err))
		case left <= 0:
			all = append(all, fmt.Sprintf("%s expired at %s", path, end.UTC().Format(time.RFC3339)))
		case left < Warn:
			all = append(all, fmt.Sprintf("%s expires in %d days, at %s", path, int(left.Hours()/24), end.UTC().Format(time.RFC3339)))
		}
	}
	return all
}

var expiry = prometheus.NewDesc("aurora_certificate_expiry_timestamp_seconds",
	"When the first certificate in a file expires, in seconds since 1970; 0 where the file cannot be read.", []string{"file"}, nil)

// Describe implements [prometheus.Collector].
func (f Files) Describe(ch chan<- *prometheus.Desc) { ch <- expiry }

// Collect implements [prometheus.Collector].
func (f Files) Collect(ch chan<- prometheus.Metric) {
	for _, path := range f {
		at := 0.0
		if end, err := Expiry(path); err == nil {
			at = float64(end.Unix())
		}
		ch <- prometheus.MustNewConstMetric(expiry, prometheus.GaugeValue, at, path)
	}
}
