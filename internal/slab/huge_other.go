//go:build !linux

package slab

const hugeBytes = 2 << 20

func alignedHuge(n int) []byte { return Aligned(n) }
