package ask

import (
	"regexp"
	"strconv"
	"time"

	"github.com/auroramesh/auroramesh/shared/access"
	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/function"
)

// Asked of access. A secret is never sent: its hash is.
var (
	CheckKey          = function.Endpoint[KeyProof, Known]{Function: "access", Name: "checkkey", Doc: "whose API key this is the hash of, and what it may do"}
	CreateKey         = function.Endpoint[KeyRequest, access.MadeKey]{Function: "access", Name: "createkey", Doc: "make an API key; its secret is in this answer and nowhere else"}
	ListKeys          = function.Endpoint[Page, List[access.Key]]{Function: "access", Name: "listkeys", Doc: "a page of the API keys, newest first"}
	RevokeKey         = function.Endpoint[KeyID, access.Key]{Function: "access", Name: "revokekey", Doc: "end an API key and its sessions for good"}
	OpenSession       = function.Endpoint[KeyProof, Session]{Function: "access", Name: "opensession", Doc: "open a session for the holder of an API key"}
	OpenIssuerSession = function.Endpoint[IssuerSession, Session]{Function: "access", Name: "openissuersession", Doc: "open a session for somebody who has signed in at the OIDC issuer"}
	CheckSession      = function.Endpoint[SessionProof, Known]{Function: "access", Name: "checksession", Doc: "whose session this is the hash of, and what it may do"}
	AppendAudit       = function.Endpoint[AuditEntries, access.Head]{Function: "access", Name: "appendaudit", Doc: "write entries of the audit log"}
	ListAudit         = function.Endpoint[AuditFilter, AuditPage]{Function: "access", Name: "listaudit", Doc: "a page of the audit log, newest first"}
	VerifyAudit       = function.Endpoint[AuditCheck, access.Verification]{Function: "access", Name: "verifyaudit", Doc: "check the whole audit log, and say where it is broken first"}
	CloseSession      = function.Endpoint[SessionProof, None]{Function: "access", Name: "closesession", Doc: "end a session"}
)

var hashForm = regexp.MustCompile(`^[0-9a-f]{64}$`)

// KeyProof is what the holder of a key shows.
type KeyProof struct {
	ID   string `json:"id"`
	Hash string `json:"hash"`
}

// Validate refuses what is no proof.
func (k KeyProof) Validate() error { return checkHash(k.Hash) }

// SessionProof is what the holder of a session shows.
type SessionProof struct {
	Hash string `json:"hash"`
}

// Validate refuses what is no proof.
func (s SessionProof) Validate() error { return checkHash(s.Hash) }

func checkHash(hash string) error {
	if !hashForm.MatchString(hash) {
		return fault.New(fault.Unauthorized, "this is no key")
	}
	return nil
}

// IssuerSession is who has signed in at the OIDC issuer, as the gateway has found out.
type IssuerSession struct {
	Principal access.Principal `json:"principal"`
}

// Validate refuses who has no id.
func (s IssuerSession) Validate() error {
	if s.Principal.ID == "" {
		return fault.New(fault.Unauthorized, "nobody has signed in")
	}
	return nil
}

// Known is a principal that is known, and until when at most.
type Known struct {
	Principal access.Principal `json:"principal"`
	// Until is nil where what it is known by does not expire.
	Until *time.Time `json:"until,omitempty"`
}

// Session is a session as it is answered once, to who opened it.
type Session struct {
	Secret    string           `json:"secret"`
	Until     time.Time        `json:"until"`
	Principal access.Principal `json:"principal"`
}

// KeyRequest is a key that is to be made, and by whom.
type KeyRequest struct {
	access.NewKey
	By string `json:"by"`
}

// KeyID names one key.
type KeyID struct {
	ID string `json:"id"`
}

// Validate refuses an id that no key can have.
func (k KeyID) Validate() error {
	if k.ID == "" || !validText(k.ID, access.MaxName) {
		return fault.New(fault.NotFound, "there is no key with this id")
	}
	return nil
}

// AuditEntries are entries of the audit log, in their order.
type AuditEntries struct {
	Entries []access.Entry `json:"entries"`
}

// AuditFilter chooses a page of the audit log.
type AuditFilter struct {
	// Before is the sequence that all come before; 0: the newest.
	Before int64 `json:"before"`
	Limit  int   `json:"limit"`
}

// Validate refuses a page outside the bounds.
func (f AuditFilter) Validate() error {
	var wrong fault.Fields
	if f.Before < 0 {
		wrong.Add("before", strconv.FormatInt(f.Before, 10), "a sequence from 1 on, or 0 for the newest")
	}
	if f.Limit < 0 || f.Limit > MaxLimit {
		wrong.Add("limit", itoa(f.Limit), "a whole number from 1 to "+itoa(MaxLimit))
	}
	return wrong.Err("the page is not valid")
}

// AuditPage is a page of the audit log.
type AuditPage struct {
	Items []access.Record `json:"items"`
	// Head is the last record of the whole log.
	Head access.Head `json:"head"`
}

// AuditCheck is what the audit log is checked for beside itself.
type AuditCheck struct {
	// Noted is a head that was noted earlier; nil: none.
	Noted *access.Head `json:"noted,omitempty"`
}
