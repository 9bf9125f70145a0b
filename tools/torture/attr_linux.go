package torture

import "syscall"

// childAttr makes the kernel end a child together with the thread that started it.
func childAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
