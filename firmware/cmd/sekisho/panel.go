package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"

	"sekisho/firmware/config"
	"sekisho/hal/virtual"
	"sekisho/ui/mirror"
)

type panelCmd struct {
	Page   string `xor:"where" placeholder:"URL" help:"Page of the gateway. Without it and --config: http://127.0.0.1:8080/"`
	Config string `xor:"where" type:"path" placeholder:"FILE" help:"Settings file of the gateway; web.listen says where its page is."`
	Lang   string `enum:"en,ja," default:"" help:"Language of what stands around the picture: en or ja. The picture has the office's."`
}

// Run shows the panel in the terminal until somebody types q. Without a terminal
// it says once what is shown.
func (c *panelCmd) Run(ctx context.Context, s streams) error {
	page, err := c.page()
	if err != nil {
		return &exitError{exitUsage, err}
	}
	if c.Lang == "" {
		c.Lang = language()
	}
	m := mirror.New(mirror.Config{Page: page, Lang: c.Lang})
	if err := m.Fetch(ctx); err != nil {
		return noPanel(page, c.Lang, err)
	}
	ctx, quit := context.WithCancel(ctx)
	done := make(chan struct{})
	defer func() { quit(); <-done }()
	go func() {
		defer close(done)
		m.Run(ctx) //nolint:errcheck // ends with ctx
	}()
	err = virtual.Operate(ctx, virtual.Config{
		In: os.Stdin, Out: os.Stdout, Page: page.String(), Lang: c.Lang, Note: m.Note, Watch: true, Quit: quit,
	}, m)
	if errors.Is(err, virtual.ErrNoTerminal) {
		return say(s, m, c.Lang)
	}
	return err
}

// say prints what the panel shows.
func say(s streams, m *mirror.Mirror, lang string) error {
	f := m.Frame()
	lamp := "Lamp: "
	if lang == "ja" {
		lamp = "ランプ: "
	}
	for _, line := range append([]string{lamp + f.LampWords}, f.Lines...) {
		if _, err := fmt.Fprintln(s.out, virtual.Harmless(line)); err != nil {
			return err
		}
	}
	return nil
}

// page is where the gateway's page is.
func (c *panelCmd) page() (*url.URL, error) {
	if c.Page != "" {
		u, err := url.Parse(c.Page)
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
			return nil, fmt.Errorf("--page: %q is no page; one looks like http://127.0.0.1:8080/", c.Page)
		}
		return u, nil
	}
	listen := config.Default().Web.Listen
	if c.Config != "" {
		settings, err := config.Load(c.Config)
		if err != nil {
			return nil, err
		}
		listen = settings.Web.Listen
	}
	return pageOf(listen)
}

// pageOf is how this machine reaches what listens on an address. One that
// listens everywhere does so here as well.
func pageOf(listen string) (*url.URL, error) {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return nil, fmt.Errorf("web.listen: %w", err)
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return &url.URL{Scheme: "http", Host: net.JoinHostPort(host, port), Path: "/"}, nil
}

// noPanel says why nothing can be shown, and what to do.
func noPanel(page *url.URL, lang string, err error) error {
	var refused *mirror.Refused
	switch {
	case errors.As(err, &refused) && refused.Message != "":
		return fmt.Errorf("%s: %s", page, refused.Message)
	case errors.As(err, &refused), errors.Is(err, mirror.ErrNoPanel):
		if lang == "ja" {
			return fmt.Errorf("%s で応答しているのは関所ではありません。--page で関所のページを指定してください: %w", page, err)
		}
		return fmt.Errorf("what answers at %s is no Sekisho gateway; say with --page where it is: %w", page, err)
	}
	if lang == "ja" {
		return fmt.Errorf("%s から応答がありません。関所が動いているか確かめ、別の場所なら --page か --config で指定してください: %w", page, err)
	}
	return fmt.Errorf("no gateway answers at %s; see whether it runs, or say with --page or --config where: %w", page, err)
}
