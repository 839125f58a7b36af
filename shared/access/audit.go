package access

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"
	"time"
	"unicode"
)

// maxEntryText bounds each text of an entry, in characters.
const maxEntryText = 512

// Entry is one thing that a principal did, or tried without the scope for it.
type Entry struct {
	// ID tells it from every other, so that it is stored once however often it is sent.
	ID   string    `json:"id"`
	At   time.Time `json:"at"`
	Kind Kind      `json:"kind"`
	Who  string    `json:"who"`
	Name string    `json:"name"`
	// From is the address of the client, or the host of a command.
	From string `json:"from"`
	// Action is the route, or the command.
	Action string `json:"action"`
	// Target is the path of what it was done to.
	Target string `json:"target"`
	// Result is the HTTP status of the answer.
	Result    int    `json:"result"`
	RequestID string `json:"request_id"`
}

// Clean is e as a database keeps it: times in microseconds, texts in one line of a bounded length.
func (e Entry) Clean() Entry {
	e.At = e.At.UTC().Truncate(time.Microsecond)
	for _, text := range []*string{&e.ID, &e.Who, &e.Name, &e.From, &e.Action, &e.Target, &e.RequestID} {
		*text = oneLine(*text)
	}
	return e
}

func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return '\uFFFD'
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
	if r := []rune(s); len(r) > maxEntryText {
		return string(r[:maxEntryText-1]) + "…"
	}
	return s
}

// Record is an entry in its place in the audit log. Each carries the hash of the
// one before it, so none can be changed, taken out, added or moved without every
// later hash being made anew.
type Record struct {
	Seq int64 `json:"seq"`
	Entry
	Prev string `json:"prev"`
	Hash string `json:"hash"`
}

// Head is the last record of the audit log. Noted elsewhere, it shows later that
// the log still begins with all it held then.
type Head struct {
	Seq  int64  `json:"seq"`
	Hash string `json:"hash"`
}

// After is the record of an entry that follows h.
func (h Head) After(e Entry) Record {
	r := Record{Seq: h.Seq + 1, Entry: e.Clean(), Prev: h.Hash}
	r.Hash = r.sum()
	return r
}

// Head is what the log ends with, with r as its last record.
func (r Record) Head() Head { return Head{r.Seq, r.Hash} }

// sum is the SHA-256 of the record as JSON, its own hash left empty.
func (r Record) sum() string {
	r.Hash = ""
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(r); err != nil {
		panic(err) // texts, numbers and a time: cannot fail
	}
	sum := sha256.Sum256(bytes.TrimSuffix(b.Bytes(), []byte("\n")))
	return hex.EncodeToString(sum[:])
}

// Follows says why r cannot be what follows h; it is empty where it can.
func (r Record) Follows(h Head) string {
	switch {
	case r.Seq != h.Seq+1:
		return "the record before it is missing"
	case r.Prev != h.Hash:
		return "it does not follow the record before it"
	case r.Hash != r.sum():
		return "its content is not what it was when it was written"
	}
	return ""
}

// Verification is what became of checking the whole audit log.
type Verification struct {
	// Records is how many are sound, from the first on.
	Records int64 `json:"records"`
	Head    Head  `json:"head"`
	// Broken is the first thing that is wrong; nil where nothing is.
	Broken *Break `json:"broken,omitempty"`
}

// Break is the first record at which the chain does not hold.
type Break struct {
	Seq    int64  `json:"seq"`
	ID     string `json:"id"`
	Reason string `json:"reason"`
}
