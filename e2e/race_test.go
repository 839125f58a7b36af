//go:build race

package e2e_test

// raced says that the race detector watches, which makes everything many times slower.
const raced = true
