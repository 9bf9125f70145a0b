//go:build !linux

package lab

import (
	"context"
	"fmt"
	"net"
)

// Lab exists on Linux only.
type Lab struct{}

// Host is one machine of a Lab.
type Host struct{ Name, Addr string }

// Disk is a file system of a host's own.
type Disk struct{ Dir string }

// New returns ErrUnsupported.
func New(uint64) (*Lab, error) { return nil, fmt.Errorf("%w: they need Linux", ErrUnsupported) }

// Host returns ErrUnsupported.
func (*Lab) Host(string) (*Host, error) { return nil, ErrUnsupported }

// Link does nothing.
func (*Lab) Link(_, _ *Host, _ Link) {}

// Heal does nothing.
func (*Lab) Heal() {}

// Stats returns nothing.
func (*Lab) Stats() Stats { return Stats{} }

// Close does nothing.
func (*Lab) Close() error { return nil }

// Run calls f.
func (*Host) Run(f func()) { f() }

// Dial returns ErrUnsupported.
func (*Host) Dial(context.Context, string, string) (net.Conn, error) { return nil, ErrUnsupported }

// Mount returns ErrUnsupported.
func (*Host) Mount(string, string, int64) (*Disk, error) { return nil, ErrUnsupported }

// Path returns the name.
func (*Disk) Path(name string) string { return name }

// Free returns ErrUnsupported.
func (*Disk) Free() (int64, error) { return 0, ErrUnsupported }

// Fill returns ErrUnsupported.
func (*Disk) Fill(int64) error { return ErrUnsupported }

// Empty returns ErrUnsupported.
func (*Disk) Empty() error { return ErrUnsupported }

// Wipe returns ErrUnsupported.
func (*Disk) Wipe() error { return ErrUnsupported }

// Freeze returns ErrUnsupported.
func (*Disk) Freeze() error { return ErrUnsupported }

// Thaw returns ErrUnsupported.
func (*Disk) Thaw() error { return ErrUnsupported }
