package main

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/auroramesh/auroramesh/shared/access"
	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/store"
)

type auditCmd struct {
	List   auditListCmd   `cmd:"" default:"withargs" help:"Read the audit log, newest first (the default)."`
	Verify auditVerifyCmd `cmd:"" help:"Check that nothing in the audit log was changed, taken out or added."`
}

// Help is the long help.
func (*auditCmd) Help() string { return auditHelp }

const auditHelp = `The audit log has who changed what at a site, from where and with what result:
through the API, and by the commands that work on the database.

Each record carries the hash of the one before it. Who may write to the database
could still make the whole chain anew: note the head that "verify" prints
elsewhere, and give it to a later check with --noted.

Examples:
  auroramesh audit
  auroramesh audit --limit 200 --json
  auroramesh audit verify
  auroramesh audit verify --noted 812:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
  auroramesh audit --api-base https://soc-a.example`

type auditListCmd struct {
	keepFlags
	jsonFlag
	Limit  int   `default:"50" help:"How many records to list: 1 to 200 (default ${default})."`
	Before int64 `placeholder:"SEQ" help:"Only records before this one."`
}

// Help is the long help.
func (*auditListCmd) Help() string { return auditHelp }

// Run lists records.
func (c *auditListCmd) Run(ctx context.Context, io *stdio) error {
	if err := written("limit", c.Limit, ask.MaxLimit); err != nil {
		return err
	}
	f := ask.AuditFilter{Before: c.Before, Limit: c.Limit}
	if err := f.Validate(); err != nil {
		return err
	}
	page, err := c.page(ctx, f)
	if err != nil {
		return err
	}
	if c.JSON {
		return writeJSON(io.out, page)
	}
	t := newTable(io.out, "SEQ", "AT", "WHO", "NAME", "FROM", "RESULT", "ACTION", "TARGET")
	for _, r := range page.Items {
		t.row(strconv.FormatInt(r.Seq, 10), stamp(&r.At), short(string(r.Kind)+" "+r.Who, 40), short(r.Name, 24), short(r.From, 40), strconv.Itoa(r.Result), short(r.Action, 48), short(r.Target, 80))
	}
	if err := t.write(io.out); err != nil {
		return err
	}
	_, err = fmt.Fprintf(io.out, "\n%d of %d records\n", len(page.Items), page.Head.Seq)
	return err
}

func (c *auditListCmd) page(ctx context.Context, f ask.AuditFilter) (page ask.AuditPage, err error) {
	if c.APIBase != "" {
		client, err := c.client()
		if err != nil {
			return page, err
		}
		return client.Audit(ctx, f)
	}
	err = inStore(ctx, func(st *store.Store) error {
		if page.Head, err = st.AuditHead(ctx); err != nil {
			return err
		}
		page.Items, err = st.Audit(ctx, f.Before, f.Limit)
		return err
	})
	return page, err
}

// headText is a head of the audit log as it is printed: SEQ:HASH.
type headText access.Head

var headForm = regexp.MustCompile(`^([1-9][0-9]{0,17}):([0-9a-f]{64})$`)

// UnmarshalText implements [encoding.TextUnmarshaler].
func (h *headText) UnmarshalText(text []byte) error {
	m := headForm.FindStringSubmatch(string(text))
	if m == nil {
		return fmt.Errorf("%q is not allowed: a head as verify prints it, SEQ:HASH", text)
	}
	seq, err := strconv.ParseInt(m[1], 10, 64)
	*h = headText{Seq: seq, Hash: m[2]}
	return err
}

type auditVerifyCmd struct {
	jsonFlag
	Noted headText `placeholder:"SEQ:HASH" help:"A head that an earlier check printed: the log must still begin with all of it."`
}

// Help is the long help.
func (*auditVerifyCmd) Help() string { return auditHelp }

// Run checks the audit log. It works on the database alone, for a site that is not
// trusted is not the one to ask.
func (c *auditVerifyCmd) Run(ctx context.Context, io *stdio) error {
	var noted *access.Head
	if c.Noted.Seq > 0 {
		noted = (*access.Head)(&c.Noted)
	}
	var v access.Verification
	err := inStore(ctx, func(st *store.Store) (err error) {
		v, err = st.VerifyAudit(ctx, noted)
		return err
	})
	if err != nil {
		return err
	}
	if c.JSON {
		if err := writeJSON(io.out, v); err != nil {
			return err
		}
	}
	if v.Broken != nil {
		return fault.New(fault.Conflict, "the audit log is broken at record %d: %s; %d records before it are sound", v.Broken.Seq, v.Broken.Reason, v.Records)
	}
	if !c.JSON {
		fmt.Fprintf(io.out, "The audit log is sound. Records: %d\n", v.Records)
		if v.Records > 0 {
			fmt.Fprintf(io.out, "Head: %d:%s\n", v.Head.Seq, v.Head.Hash)
		}
	}
	return nil
}

// commanded is the record of a command on the database.
func commanded(action, target string, at time.Time) (access.Entry, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return access.Entry{}, fmt.Errorf("making an id: %w", err)
	}
	by := operator()
	return access.Entry{ID: id.String(), At: at, Kind: by.Kind, Who: by.ID, Name: by.Name, From: "the database", Action: action, Target: target, Result: 200}, nil
}
