// Command cairn is the one binary of a cairn cluster: its daemons and the
// commands that administer it. It parses, wires and prints; everything else
// lives in the packages it uses.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/cairnstore/cairn/internal/slab"
)

func main() {
	if os.Getenv(slab.PoisonVariable) == "1" {
		slab.Poison()
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, newEnv(), os.Args[1:])
	stop()
	os.Exit(code)
}
