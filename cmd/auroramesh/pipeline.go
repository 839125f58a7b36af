package main

import (
	"context"
	"iter"
)

// inOrder calls do on each item, for up to n items at a time, and then done on
// each result, one by one and in the order of the items. It ends with the items,
// with the first error of done, or with ctx. At most 2n items are held at a time.
func inOrder[T, R any](ctx context.Context, n int, items iter.Seq[T], do func(context.Context, T) R, done func(R) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	queue := make(chan chan R, n)
	slots := make(chan struct{}, n)
	// A read of standing input cannot be broken off, so nobody waits for this goroutine.
	go func() {
		defer close(queue)
		for item := range items {
			select {
			case slots <- struct{}{}:
			case <-ctx.Done():
				return
			}
			result := make(chan R, 1)
			go func() {
				defer func() { <-slots }()
				result <- do(ctx, item)
			}()
			select {
			case queue <- result:
			case <-ctx.Done():
				return
			}
		}
	}()

	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case result, more := <-queue:
			if !more {
				return ctx.Err()
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case r := <-result:
				if err := done(r); err != nil {
					return err
				}
			}
		}
	}
}
