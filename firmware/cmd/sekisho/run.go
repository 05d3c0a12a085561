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
	if around.Listener, around.Vendor, err = listen(settings.Web.Listen); err != nil {
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

// vendorSocket is the name (FileDescriptorName=, systemd.socket(5)) of the socket
// for the vendor; whatever else is handed over is the web page's.
const vendorSocket = "vendor"

// listen takes the sockets that the service manager hands over. The web page's
// is opened when there is none.
func listen(addr string) (page net.Listener, vendor *net.TCPListener, err error) {
	handed, err := activation.ListenersWithNames()
	if err != nil {
		return nil, nil, fmt.Errorf("take the sockets: %w", err)
	}
	for name, all := range handed {
		for _, l := range all {
			if tcp, ok := l.(*net.TCPListener); ok && name == vendorSocket {
				vendor = tcp
			} else if l != nil && page == nil {
				page = l
			}
		}
	}
	if page == nil {
		if page, err = net.Listen("tcp", addr); err != nil {
			return nil, nil, fmt.Errorf("web.listen: %w; is another program using it?", err)
		}
	}
	return page, vendor, nil
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
