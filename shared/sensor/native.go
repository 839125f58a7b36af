package sensor

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"

	"github.com/auroramesh/auroramesh/shared/federation"
)

// native reads the API's own body. A field that the API does not know is refused:
// it is a slip of whoever wrote the file, and would be lost without a word.
func native(data []byte) (*federation.NewAlert, string, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	var n federation.NewAlert
	if err := dec.Decode(&n); err != nil {
		var t *json.UnmarshalTypeError
		if !errors.As(err, &t) {
			if name, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
				return nil, "", refuseField(strings.Trim(name, `"`), "", "is no field of an alert")
			}
		}
		return nil, "", unreadable(Native, err)
	}
	if err := n.Validate(); err != nil {
		return nil, "", err
	}
	return &n, "", nil
}
