package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// dialFor lets the inside reach the web page, whose socket is of the network
// outside: for each byte that comes in over the returned socket, one connection
// goes back.
func dialFor(ctx context.Context, addr string) (inner *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("make the way out of the lab: %w", err)
	}
	outer := os.NewFile(uintptr(fds[0]), "outer")
	go func() {
		defer outer.Close()
		var ask [1]byte
		for {
			if n, err := unix.Read(fds[0], ask[:]); err == unix.EINTR {
				continue
			} else if n != 1 || err != nil {
				return
			}
			if sendConn(ctx, fds[0], addr) != nil {
				return
			}
		}
	}()
	return os.NewFile(uintptr(fds[1]), "inner"), nil
}

// sendConn sends an empty reply when the page cannot be reached.
func sendConn(ctx context.Context, to int, addr string) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return unix.Sendmsg(to, []byte{0}, nil, nil, 0)
	}
	defer conn.Close()
	file, err := conn.(*net.TCPConn).File()
	if err != nil {
		return unix.Sendmsg(to, []byte{0}, nil, nil, 0)
	}
	defer file.Close()
	return unix.Sendmsg(to, []byte{1}, unix.UnixRights(int(file.Fd())), nil, 0)
}

// pageClient is the inner end of dialFor.
func pageClient(fd int) *http.Client {
	var mu sync.Mutex
	dial := func(context.Context, string, string) (net.Conn, error) {
		mu.Lock()
		defer mu.Unlock()
		if err := unix.Send(fd, []byte{1}, 0); err != nil {
			return nil, fmt.Errorf("ask for a connection to the page: %w", err)
		}
		var b [1]byte
		oob := make([]byte, unix.CmsgSpace(4))
		_, n, _, _, err := unix.Recvmsg(fd, b[:], oob, unix.MSG_CMSG_CLOEXEC)
		if err != nil {
			return nil, fmt.Errorf("take a connection to the page: %w", err)
		}
		messages, err := unix.ParseSocketControlMessage(oob[:n])
		if err != nil || len(messages) != 1 {
			return nil, fmt.Errorf("the page refuses connections")
		}
		fds, err := unix.ParseUnixRights(&messages[0])
		if err != nil || len(fds) != 1 {
			return nil, fmt.Errorf("take a connection to the page: %d descriptors came", len(fds))
		}
		file := os.NewFile(uintptr(fds[0]), "page")
		defer file.Close()
		return net.FileConn(file)
	}
	return &http.Client{Transport: &http.Transport{DialContext: dial}}
}

func (p *play) press(ctx context.Context, target string) error {
	body, err := json.Marshal(map[string]string{"gesture": "short", "target": target})
	if err != nil {
		return err
	}
	return p.do(ctx, http.MethodPost, "/api/press", body, nil)
}

func (p *play) get(ctx context.Context, path string, into any) error {
	return p.do(ctx, http.MethodGet, path, nil, into)
}

func (p *play) do(ctx context.Context, method, path string, body []byte, into any) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "http://127.0.0.1"+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := p.api.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, 8<<20))
	if err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s: %s: %s", method, path, strconv.Itoa(resp.StatusCode), bytes.TrimSpace(data))
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(data, into)
}
