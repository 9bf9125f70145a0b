// Package crushtool is the "cairn crush" command: it compiles, decompiles, shows
// and tests CRUSH maps outside a cluster, with the flags and the output of Ceph's
// crushtool where that has them.
//
// The text form is Ceph's. The compiled form is cairn's own (crush.Encode); it
// is not that of Ceph's crushtool -c. Every subcommand reads either.
package crushtool

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
)

// NewCommand returns the command "crush" with its subcommands.
func NewCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "crush",
		Short: "Compile, decompile, show and test CRUSH maps",
		Long: `Compile, decompile, show and test CRUSH maps.

A map is read as text or in compiled form, whichever it is; "-" is standard input.
All subcommands exit with 0 on success and with 1 after an error, which names
file, line and column if the map's text is wrong.`,
	}
	cmd.AddCommand(newCompileCommand(), newDecompileCommand(), newTreeCommand(), newTestCommand())
	return cmd
}

func newCompileCommand() *cobra.Command {
	var o compileOptions
	cmd := &cobra.Command{
		Use:   "compile [-c] MAP.TXT [-o OUT]",
		Short: "Check the text of a map and compile it",
		Long: `Check the text of a map and compile it. Without an output file the map is only
checked. The compiled form is cairn's own, not that of Ceph's crushtool.`,
		Args:         cobra.MaximumNArgs(1),
		SilenceUsage: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := onePath(&o.In, args, "-c"); err != nil {
				return err
			}
			o.stdio = stdioOf(cmd)
			return runCompile(cmd.Context(), o)
		},
	}
	cmd.Flags().StringVarP(&o.In, "compile", "c", "", "text of the map")
	cmd.Flags().StringVarP(&o.Out, "outfn", "o", "", "file to write the compiled map to")
	return cmd
}

func newDecompileCommand() *cobra.Command {
	var o decompileOptions
	var infn string
	cmd := &cobra.Command{
		Use:          "decompile [-d] MAP [-o OUT.TXT]",
		Short:        "Print a map as text",
		Args:         cobra.MaximumNArgs(1),
		SilenceUsage: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if infn != "" {
				args = append(args, infn)
			}
			if err := onePath(&o.In, args, "-d"); err != nil {
				return err
			}
			o.stdio = stdioOf(cmd)
			return runDecompile(cmd.Context(), o)
		},
	}
	cmd.Flags().StringVarP(&o.In, "decompile", "d", "", "map to decompile")
	cmd.Flags().StringVarP(&infn, "infn", "i", "", "the same as -d")
	cmd.Flags().StringVarP(&o.Out, "outfn", "o", "", "file to write the text to (default: standard output)")
	return cmd
}

func newTreeCommand() *cobra.Command {
	var o treeOptions
	cmd := &cobra.Command{
		Use:          "tree [-i] MAP",
		Short:        "Print the hierarchy of a map",
		Args:         cobra.MaximumNArgs(1),
		SilenceUsage: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := onePath(&o.In, args, "-i"); err != nil {
				return err
			}
			o.stdio = stdioOf(cmd)
			return runTree(cmd.Context(), o)
		},
	}
	cmd.Flags().StringVarP(&o.In, "infn", "i", "", "map to show, as text or compiled")
	cmd.Flags().StringVarP(&o.Format, "format", "f", "text", "text or json")
	return cmd
}

func newTestCommand() *cobra.Command {
	var o testOptions
	var weights []string
	var x int
	cmd := &cobra.Command{
		Use:   "test -i MAP [--rule N] [--num-rep N] [--min-x N] [--max-x N] [--weight OSD WEIGHT]... --show-...",
		Short: "Map a range of inputs and print what becomes of them",
		Long: `Map a range of inputs and print what becomes of them.

Without --rule all rules are tested; without --num-rep or --min-rep and --max-rep
all sizes between a rule's min_size and max_size. Inputs are 0 to 1023 unless
given. --weight OSD WEIGHT (or OSD=WEIGHT) reweights a device between 0, which
takes it out, and 1.

A bad mapping, one with too few devices, is printed with --show-bad-mappings; it
is not an error.`,
		SilenceUsage: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if o.Weights, err = parseWeights(weights, args); err != nil {
				return err
			}
			if cmd.Flags().Changed("x") {
				if cmd.Flags().Changed("min-x") || cmd.Flags().Changed("max-x") {
					return errors.New("give --x or --min-x and --max-x, not both")
				}
				o.MinX, o.MaxX = x, x
			} else if !cmd.Flags().Changed("max-x") {
				o.MaxX = max(o.MaxX, o.MinX)
			}
			o.stdio = stdioOf(cmd)
			return runTest(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringVarP(&o.In, "infn", "i", "", "map to test, as text or compiled")
	f.IntVar(&o.Rule, "rule", -1, "the rule to test")
	f.IntVar(&o.MinRule, "min-rule", -1, "the first rule to test")
	f.IntVar(&o.MaxRule, "max-rule", -1, "the last rule to test")
	f.IntVar(&o.NumRep, "num-rep", -1, "how many devices to ask for")
	f.IntVar(&o.MinRep, "min-rep", -1, "the least number of devices to ask for")
	f.IntVar(&o.MaxRep, "max-rep", -1, "the greatest number of devices to ask for")
	f.IntVar(&o.MinX, "min-x", 0, "first input")
	f.IntVar(&o.MaxX, "max-x", 1023, "last input")
	f.IntVar(&x, "x", 0, "the only input")
	f.IntVar(&o.PoolID, "pool-id", -1, "derive inputs from the placement groups of this pool")
	f.StringArrayVarP(&weights, "weight", "w", nil, "reweight a device: --weight OSD WEIGHT, or OSD=WEIGHT")
	f.BoolVar(&o.ShowMappings, "show-mappings", false, "print each mapping")
	f.BoolVar(&o.ShowBadMappings, "show-bad-mappings", false, "print mappings with too few devices")
	f.BoolVar(&o.ShowStatistics, "show-statistics", false, "print how many mappings have which size")
	f.BoolVar(&o.ShowUtilization, "show-utilization", false, "print how often each device was chosen")
	f.BoolVar(&o.ShowUtilizationAll, "show-utilization-all", false, "the same, with devices never chosen")
	f.BoolVar(&o.ShowChooseTries, "show-choose-tries", false, "print how many retries choices took")
	f.StringVarP(&o.Format, "format", "f", "text", "text or json")
	return cmd
}

// onePath lets a file be named by a flag or as the argument.
func onePath(path *string, args []string, flag string) error {
	switch {
	case *path == "" && len(args) == 0:
		return fmt.Errorf("no map given: name a file, or - for standard input")
	case *path == "":
		*path = args[0]
		args = args[1:]
	}
	if len(args) > 0 {
		return fmt.Errorf("both %s %s and %s are given: name one map", flag, *path, args[0])
	}
	return nil
}

// parseWeights reads --weight flags. A flag takes one word, so in the two-word form
// that crushtool has, the second word is left among the arguments, in order.
func parseWeights(flags, args []string) (map[int]float64, error) {
	out := map[int]float64{}
	for _, f := range flags {
		id, weight, ok := strings.Cut(f, "=")
		if !ok {
			if len(args) == 0 {
				return nil, fmt.Errorf("--weight %s: no weight given: write --weight %s 0.5", f, f)
			}
			weight, args = args[0], args[1:]
		}
		n, err := strconv.Atoi(strings.TrimPrefix(id, "osd."))
		if err != nil || n < 0 {
			return nil, fmt.Errorf("--weight %s: %q is not the id of a device", f, id)
		}
		w, err := strconv.ParseFloat(weight, 64)
		if err != nil || !(w >= 0 && w <= 1) {
			return nil, fmt.Errorf("--weight %s: %q is not a weight between 0 and 1", f, weight)
		}
		out[n] = w
	}
	if len(args) > 0 {
		return nil, fmt.Errorf("unexpected argument %q: the map is named by -i", args[0])
	}
	return out, nil
}
