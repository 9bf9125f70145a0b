package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cairnstore/cairn/internal/api"
	"github.com/cairnstore/cairn/tools/crushtool"
)

// commands lists what makes the commands below the root. A new command is a file
// with its constructor and a line here. When two have the same name, as a daemon
// ("cairn osd --data ...") and the commands about its kind ("cairn osd tree"), the
// later one takes over the subcommands of the earlier one.
func commands() []func(*env) *cobra.Command {
	return []func(*env) *cobra.Command{
		newStatusCommand,
		newHealthCommand,
		newDFCommand,
		newMonCommand,
		newOSDCommand,
		newPGCommand,
		newPoolCommand,
		newObjectCommand,
		newBenchCommand,
		newS3Command,
		newBucketCommand,
		newUserCommand,
		newAccountCommand,
		newGroupCommand,
		newRoleCommand,
		newPolicyCommand,
		newProviderCommand,
		newKMSCommand,
		newMapCommand,
		newConfigCommand,
		newAuditCommand,
		newDedupCommand,
		newChunkCommand,
		newGCCommand,
		func(*env) *cobra.Command { return crushtool.NewCommand() },
		newMonDaemonCommand,
		newOSDDaemonCommand,
		newGatewayCommand,
		newObjectstoreCommand,
		newDevCommand,
		newDemoCommand,
		newVersionCommand,
	}
}

func newRoot(e *env) *cobra.Command {
	root := group("cairn", "A distributed storage cluster")
	root.Long = `cairn runs and administers a distributed storage cluster.

Commands find the monitors by --admin, CAIRN_ADMIN, the file ./.cairn/admin or
~/.config/cairn/admin (one HOST:PORT in each line), or at ` + defaultAdmin + `.
If the monitors ask for a token, put it into CAIRN_ADMIN_TOKEN. If they speak HTTPS, write
https://HOST:PORT, and put the file with the certificates to trust into CAIRN_ADMIN_CA.`
	refuse := root.Args
	root.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		return refuse(cmd, args)
	}
	root.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	root.SilenceErrors, root.SilenceUsage = true, true
	root.SetIn(e.stdin)
	root.SetOut(e.stdout)
	root.SetErr(e.stderr)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageErrorf("%s: %v", cmd.CommandPath(), err)
	})
	root.PersistentFlags().StringVar(&e.admin, "admin", "", "monitors' REST addresses, HOST:PORT[,HOST:PORT...]")
	root.PersistentFlags().DurationVar(&e.timeout, "timeout", api.DefaultTimeout, "how long to wait for the cluster, such as 10s or 2m")
	for _, newCommand := range commands() {
		cmd := newCommand(e)
		for _, old := range root.Commands() {
			if old.Name() == cmd.Name() {
				root.RemoveCommand(old)
				takeOver(cmd, old)
			}
		}
		root.AddCommand(cmd)
	}
	root.AddCommand(&cobra.Command{Use: "exit-codes", Short: "What the exit codes mean", Long: exitCodesText})
	return root
}

// takeOver gives a daemon's command the subcommands of a group of the same name,
// and the group's way to refuse those that do not exist.
func takeOver(cmd, group *cobra.Command) {
	own := cmd.Args
	cmd.Args = func(c *cobra.Command, args []string) error {
		if len(args) > 0 {
			return group.Args(c, args)
		}
		return own(c, args)
	}
	cmd.SuggestionsMinimumDistance = group.SuggestionsMinimumDistance
	cmd.AddCommand(group.Commands()...)
}

// run carries out one command line and returns its exit code.
func run(ctx context.Context, e *env, argv []string) int {
	root := newRoot(e)
	root.SetArgs(argv)
	cmd, err := root.ExecuteContextC(ctx)
	var health *healthError
	var damage *damageError
	if err == nil || errors.As(err, &health) || errors.As(err, &damage) {
		return exitCode(err)
	}
	code := exitCode(err)
	// Errors that begin with the path of the command do without our own "cairn".
	text := strings.TrimPrefix(strings.TrimPrefix(strings.TrimSpace(err.Error()), "cairn: "), "cairn ")
	text = fmt.Sprintf("cairn: %s\n", text)
	var usage *usageError
	if errors.As(err, &usage) {
		text += fmt.Sprintf("Run '%s --help' for usage.\n", cmd.CommandPath())
	}
	_, _ = io.WriteString(e.stderr, text) // what cannot be said there cannot be said elsewhere
	return code
}
