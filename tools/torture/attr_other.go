//go:build !linux

package torture

import "syscall"

// childAttr: only Linux ends a child together with its parent; elsewhere Close does.
func childAttr() *syscall.SysProcAttr { return nil }
