package gateway

import (
	"bytes"
	"context"
	"maps"
	"net/http"
	"time"

	"github.com/auroramesh/auroramesh/shared/access"
	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/function"
)

// maxAuditBatch bounds how many entries are written at a time.
const maxAuditBatch = 200

// audited has next's answer written to the audit log before the client gets it: so
// no change is confirmed that the log does not have. Where the log cannot be
// written, the client is told that, and not that all is well. A request that failed
// is told why it did, whether or not the log has it: there is nothing to confirm.
func (g *gateway) audited(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		before := w.Header().Clone()
		held := &heldAnswer{header: w.Header()}
		defer func() {
			if p := recover(); p != nil { // what it did before is not known: it may have changed something
				if err := g.note(r, http.StatusInternalServerError, ""); err != nil {
					g.log.ErrorContext(r.Context(), "a request that failed is not in the audit log", "error", err)
				}
				panic(p)
			}
		}()
		next.ServeHTTP(held, r)
		status := held.statusOrOK()
		if err := g.note(r, status, w.Header().Get("Location")); err != nil {
			g.log.ErrorContext(r.Context(), "a request is not in the audit log", "route", r.Pattern, "status", status, "error", err)
			if status < http.StatusBadRequest {
				clear(w.Header())
				maps.Copy(w.Header(), before)
				writeProblem(w, r, unconfirmed(status, err))
				return
			}
		}
		w.WriteHeader(status)
		_, _ = w.Write(held.body.Bytes()) // the client may be gone
	})
}

// unconfirmed is told in place of an answer whose record the audit log does not take.
func unconfirmed(status int, err error) *fault.Error {
	done := ""
	if status < http.StatusMultipleChoices {
		done = "this was done, but "
	}
	return fault.New(fault.Unavailable, "%sthe audit log of the site cannot be written: %s", done, fault.Of(err).Message)
}

// heldAnswer keeps an answer back.
type heldAnswer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (h *heldAnswer) Header() http.Header { return h.header }

func (h *heldAnswer) WriteHeader(status int) {
	if h.status == 0 && status >= 200 {
		h.status = status
	}
}

func (h *heldAnswer) Write(b []byte) (int, error) { return h.body.Write(b) }

func (h *heldAnswer) statusOrOK() int {
	if h.status == 0 {
		return http.StatusOK
	}
	return h.status
}

// note writes to the audit log what a request came to. What nobody sent who is
// known is not in it, or anyone could fill it: it is counted and logged.
func (g *gateway) note(r *http.Request, result int, made string) error {
	x, ok := r.Context().Value(exchangeKey{}).(*exchange)
	if !ok || x.principal.ID == "" || x.noted {
		return nil
	}
	e := g.entry(r, x.principal)
	e.Result = result
	if made != "" && result == http.StatusCreated {
		e.Target = made
	}
	until := time.Now().Add(recordTimeout)
	if x.asksUntil.After(until) {
		until = x.asksUntil
	}
	ctx, cancel := context.WithDeadline(context.WithoutCancel(r.Context()), until) // also where the client is gone
	defer cancel()
	_, err := g.audit.put(ctx, e)
	return err
}

// entry is the record of a request of a principal, but for what it came to.
func (g *gateway) entry(r *http.Request, p access.Principal) access.Entry {
	return access.Entry{
		ID: newRequestID(), At: g.now(), Kind: p.Kind, Who: p.ID, Name: p.Name, From: arrived(r).from,
		Action: r.Pattern, Target: r.URL.EscapedPath(), RequestID: function.RequestID(r.Context()),
	}
}

// writeAudit writes entries that came together; what is written twice is there once, so
// it tries twice, in [AskTimeout] altogether.
func (g *gateway) writeAudit(ctx context.Context, entries []access.Entry) ([]struct{}, error) {
	try := func() error {
		ctx, cancel := context.WithTimeout(ctx, AskTimeout/2)
		defer cancel()
		_, err := put(ctx, g, ask.AppendAudit, ask.AuditEntries{Entries: entries})
		return err
	}
	err := try()
	if err != nil && !fault.Of(err).Code.Permanent() {
		err = try()
	}
	return make([]struct{}, len(entries)), err
}
