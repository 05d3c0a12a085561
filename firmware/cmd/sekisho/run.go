package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/term"

	"sekisho/firmware/config"
	"sekisho/firmware/gateway"
)

type runCmd struct {
	Config string `required:"" type:"path" placeholder:"FILE" help:"Settings file (TOML)."`
	Debug  bool   `help:"Log more."`
}

// Run starts the gateway and runs it until it is told to stop.
func (c *runCmd) Run(ctx context.Context, s streams) error {
	settings, err := config.Load(c.Config)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	around := gateway.Surroundings{Quit: stop, Version: version}
	logTo := s.err
	if settings.Panel.Kind == "virtual" && term.IsTerminal(int(os.Stdin.Fd())) && term.IsTerminal(int(os.Stdout.Fd())) {
		// The panel has the terminal; what there is to log goes to a file.
		around.In, around.Out = os.Stdin, os.Stdout
		file, err := openLog(settings.Storage.State)
		if err != nil {
			return err
		}
		defer file.Close()
		logTo = file
	}
	level := slog.LevelInfo
	if c.Debug {
		level = slog.LevelDebug
	}
	around.Log = slog.New(slog.NewTextHandler(logTo, &slog.HandlerOptions{Level: level}))
	if around.Listener, err = listen(settings.Web.Listen); err != nil {
		return err
	}
	defer around.Listener.Close()
	g, closeParts, err := gateway.Open(ctx, settings, around)
	if err != nil {
		return err
	}
	if _, err := daemon.SdNotify(false, daemon.SdNotifyReady); err != nil {
		around.Log.Warn("tell the service manager", "err", err)
	}
	return errors.Join(g.Run(ctx), closeParts())
}

// listen takes the socket that the service manager hands over, or opens one.
func listen(addr string) (net.Listener, error) {
	handed, err := activation.Listeners()
	if err != nil {
		return nil, fmt.Errorf("take the web page's socket: %w", err)
	}
	for _, l := range handed {
		if l != nil {
			return l, nil
		}
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("web.listen: %w; is another program using it?", err)
	}
	return l, nil
}

func openLog(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("storage.state: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "sekisho.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the log: %w", err)
	}
	return f, nil
}
