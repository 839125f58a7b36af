//go:build !unix

package authority

import "errors"

func lock(string) (func() error, error) {
	return nil, errors.New("an authority needs a system that can lock files, such as Linux")
}
