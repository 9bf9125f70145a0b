package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/internal/api"
	"github.com/cairnstore/cairn/osd/inspect"
	"github.com/cairnstore/cairn/osd/store"
)

// The exit codes. docs/operations/cli.md and `cairn help exit-codes` list them.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitNotFound    = 3
	exitUnreachable = 4
	exitConflict    = 5
	exitHealthWarn  = 10
	exitHealthErr   = 11
	exitDamage      = 20
	exitRepaired    = 21
	exitCannotOpen  = 22
	exitInterrupted = 130
)

const exitCodesText = `Every command exits with one of these codes:

    0  done
    1  failed for another reason than those below
    2  used wrongly: unknown command or flag, bad argument, or a value the
       cluster refuses as senseless or over a limit
    3  not found: pool, object, OSD, PG, user, bucket ...
    4  unreachable: no monitor answered, there is no quorum, the cluster asked to
       try again later, or time ran out. A change may have been made: the message
       says so when it is not certain
    5  conflict or not permitted: it exists already, is in use, was changed
       meanwhile, lacks --confirm, or the token is wrong
   10  health --check only: HEALTH_WARN
   11  health --check only: HEALTH_ERR
   20  objectstore and chunk verify only: damage was found, in the store, in the
       file or in the chunk, or is left after a repair
   21  objectstore fsck --repair only: damage was found, and all of it repaired
   22  objectstore only: the store cannot be opened: there is none, its format is
       newer, or too much of it is damaged
  130  interrupted

Messages go to standard error, results to standard output.`

// usageError is a command line that makes no sense.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

func usageErrorf(format string, args ...any) error {
	return &usageError{text: fmt.Sprintf(format, args...)}
}

// usageArgs makes what a check of arguments says a usage error.
func usageArgs(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usageErrorf("%s: %v", cmd.CommandPath(), err)
		}
		for _, a := range args {
			if a == "" {
				return usageErrorf("%s: an argument is empty; usage: %s", cmd.CommandPath(), cmd.UseLine())
			}
		}
		return nil
	}
}

// args wants as many arguments as the names given; those in brackets may be left out.
func args(want ...string) cobra.PositionalArgs {
	least := 0
	for _, w := range want {
		if !strings.HasPrefix(w, "[") {
			least++
		}
	}
	return func(_ *cobra.Command, got []string) error {
		switch {
		case len(got) < least:
			return fmt.Errorf("argument %s is missing", want[len(got)])
		case len(got) > len(want):
			return fmt.Errorf("argument %q is one too many", got[len(want)])
		}
		return nil
	}
}

// healthError ends `health --check`; the output has said everything.
type healthError struct{ status api.Severity }

func (e *healthError) Error() string { return string(e.status) }

// exitCode tells which code an error means.
func exitCode(err error) int {
	var usage *usageError
	var health *healthError
	var damage *damageError
	var cannot *cannotOpenError
	var damaged *damagedError
	var unreachable *api.UnreachableError
	is := func(targets ...error) bool {
		for _, t := range targets {
			if errors.Is(err, t) {
				return true
			}
		}
		return false
	}
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &usage):
		return exitUsage
	case errors.As(err, &damage):
		return damage.code
	case errors.As(err, &health):
		if health.status == api.HealthErr {
			return exitHealthErr
		}
		return exitHealthWarn
	case is(store.ErrInUse, inspect.ErrExists, inspect.ErrForeign):
		return exitConflict
	case is(inspect.ErrDamaged, inspect.ErrJournal):
		return exitDamage
	case errors.As(err, &cannot):
		return exitCannotOpen
	case errors.As(err, &damaged):
		return exitDamage
	case is(context.Canceled):
		return exitInterrupted
	case is(api.ErrNotFound, client.ErrNotFound, store.ErrNotFound):
		return exitNotFound
	case is(api.ErrInvalid, client.ErrInvalid):
		return exitUsage
	case errors.As(err, &unreachable),
		is(api.ErrNoQuorum, api.ErrTryLater, api.ErrTimeout, client.ErrTryLater, client.ErrTimeout, context.DeadlineExceeded):
		return exitUnreachable
	case is(os.ErrExist, api.ErrExists, api.ErrConflict, api.ErrNotPermitted, client.ErrExists, client.ErrConflict, client.ErrNotPermitted):
		return exitConflict
	}
	return exitFailed
}
