package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"sekisho/image/twin"
	"sekisho/image/twin/office"
)

// restartAfter is systemd's own pause (RestartSec= of systemd.service(5)).
const restartAfter = 100 * time.Millisecond

// service keeps a program running, as systemd does with Restart=always.
type service struct {
	path string
	args []string

	mu      sync.Mutex
	wanted  bool
	keeping bool
	process *exec.Cmd
}

func (s *service) start() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wanted = true
	if !s.keeping {
		s.keeping = true
		go s.keep()
	}
}

// keep runs the program until it is not wanted any more.
func (s *service) keep() {
	for {
		s.mu.Lock()
		if !s.wanted {
			s.keeping = false
			s.mu.Unlock()
			return
		}
		c := exec.Command(s.path, s.args...)
		out, err := c.StdoutPipe()
		c.Stderr = c.Stdout
		if err == nil {
			err = c.Start()
		}
		s.process = c
		s.mu.Unlock()
		if err == nil {
			say(out)
			err = c.Wait()
		}
		fmt.Println("gateway ended:", err)
		time.Sleep(restartAfter)
	}
}

// say passes the gateway's log on to the console.
func say(r io.Reader) {
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadString('\n')
		if line != "" {
			fmt.Println("gateway:", strings.TrimRight(line, "\n"))
		}
		if err != nil {
			return
		}
	}
}

// do is "kill", "stop" or "start".
func (s *service) do(what string) (struct{}, error) {
	switch what {
	case "kill":
		return struct{}{}, s.signal(syscall.SIGKILL, true)
	case "stop":
		return struct{}{}, s.signal(syscall.SIGTERM, false)
	case "start":
		s.start()
		return struct{}{}, nil
	}
	return struct{}{}, fmt.Errorf("the gateway cannot be told to %q", what)
}

func (s *service) signal(sig syscall.Signal, wanted bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wanted = wanted
	if s.process == nil || s.process.Process == nil {
		return errors.New("the gateway does not run")
	}
	return s.process.Process.Signal(sig)
}

// ask is a browser in the guest.
func ask(r office.HTTPRequest) (office.HTTPAnswer, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, r.Method, "http://"+office.Page+r.Path, strings.NewReader(r.Body))
	if err != nil {
		return office.HTTPAnswer{}, err
	}
	if r.Body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return office.HTTPAnswer{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, twin.MaxMessage/2))
	return office.HTTPAnswer{Status: resp.StatusCode, Body: string(body)}, err
}
