// Command switchhook is a webhook platform and its tools.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/switchhook/switchhook/internal/hook"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// The exit codes of all commands.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
	// verify: a request is not valid.
	exitInvalid = 3
	// trigger: the endpoint gave no answer, one that is not 2xx, or none in time.
	exitNoAnswer = 4
	exitRefused  = 5
	exitSlow     = 6
	// trigger and doctor: the endpoint does not do what the contract asks.
	exitFaults = 7
	// listen and logs tail: the platform was followed and cannot be any more.
	exitLost = 8
)

// run executes the program and returns its exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	if _, ok := errors.AsType[*quiet](err); !ok {
		fmt.Fprintln(stderr, "switchhook: "+message(err))
	}
	if _, ok := errors.AsType[*usageError](err); ok {
		return exitUsage
	}
	if e, ok := errors.AsType[*exitError](err); ok {
		return e.code
	}
	return exitFailed
}

// usageError is a command line that cannot be understood.
type usageError struct{ error }

func (e *usageError) Unwrap() error { return e.error }

// exitError is a failure with an exit code of its own.
type exitError struct {
	error
	code int
}

func (e *exitError) Unwrap() error { return e.error }

// quiet is a failure that has been reported already.
type quiet struct{ error }

// message returns what to tell people of an error: for a fault of many fields, a
// line for each.
func message(err error) string {
	e, ok := errors.AsType[*hook.Error](err)
	if !ok || len(e.Faults) < 2 {
		return err.Error()
	}
	lines := []string{(&hook.Error{Subject: e.Subject, Detail: e.Detail}).Error()}
	for _, f := range e.Faults {
		lines = append(lines, "  "+f.Field+" "+f.Message)
	}
	return strings.Join(lines, "\n")
}

func newRoot() *cobra.Command {
	root := group("switchhook", "A webhook platform with both ends of the wire",
		newServe(), newDemo(), newApply(), newAccounts(), newApps(), newSubscriptions(), newEvents(), newDeliveries(), newExplain(), newLogs(), newListen(), newNotices(), newAudit(),
		newSign(), newVerify(), newTrigger(), newDoctor(),
		newKeys(), newStore(), newCatalog(), newCarriers(), newNumbers(), newNodes(), newSimulate(), newBench(), newBenchSink(), newVersion(),
		newReceive(), newInbox(), newBenchReceiver(),
	)
	root.SilenceUsage, root.SilenceErrors = true, true
	root.SetFlagErrorFunc(flagError)
	// Whoever looks for the version tries the flag as well as the command.
	root.Version = version()
	root.SetVersionTemplate("switchhook {{.Version}}\n")
	return root
}

// version returns the program's version as the Go module system knows it.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" || info.Main.Version == "(devel)" {
		return "dev"
	}
	return info.Main.Version
}

// userAgent is what deliveries are sent with by default.
func userAgent() string {
	return fmt.Sprintf("Switchhook/%s (Zoom Marketplace/1.0a compatible)", version())
}

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), "switchhook", version())
			return err
		},
	}
}
