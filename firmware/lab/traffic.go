package lab

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// action is one thing that people and machines of an office do. Each is a
// whole transaction whose answer is checked.
type action struct {
	name string
	do   func(context.Context, *Host) error
	// with returns the machine on the other side, nil for the internet.
	with func(o *Office) *Host
}

func (o *Office) actions() []action {
	internet := func(*Office) *Host { return nil }
	return []action{
		{"web", o.browse("http"), internet},
		{"https", o.browse("https"), internet},
		{"dns", o.lookUp, internet},
		{"time", o.askTime, internet},
		{"share", o.useShare, func(o *Office) *Host { return o.Host("nas") }},
		{"print", o.print, func(o *Office) *Host { return o.Host("printer") }},
		{"ipp", o.printIPP, func(o *Office) *Host { return o.Host("printer") }},
	}
}

const transactionTime = 3 * time.Second

func (o *Office) try(ctx context.Context, h *Host, a action) error {
	ctx, cancel := context.WithTimeout(ctx, transactionTime)
	defer cancel()
	if err := a.do(ctx, h); err != nil {
		return fmt.Errorf("%s: %s: %w", h.Name, a.name, err)
	}
	return nil
}

func (o *Office) client(h *Host) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{RootCAs: o.roots},
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			name, port, err := net.SplitHostPort(addr)
			if err != nil {
				return nil, err
			}
			ip, err := h.Resolve(ctx, name)
			if err != nil {
				return nil, err
			}
			return h.Dial(ctx, network, net.JoinHostPort(ip.String(), port))
		},
	}}
}

func (o *Office) browse(scheme string) func(context.Context, *Host) error {
	return func(ctx context.Context, h *Host) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+webName+"/", nil)
		if err != nil {
			return err
		}
		resp, err := o.client(h).Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err == nil && !bytes.Equal(body, page) {
			err = fmt.Errorf("got another page of %d bytes", len(body))
		}
		return err
	}
}

func (o *Office) lookUp(ctx context.Context, h *Host) error {
	ip, err := h.Resolve(ctx, webName)
	if err == nil && ip != webServer {
		err = fmt.Errorf("%s is said to be at %s", webName, ip)
	}
	return err
}

func (o *Office) askTime(ctx context.Context, h *Host) error {
	conn, err := h.Dial(ctx, "udp", addrPort(ntpServer, 123))
	if err != nil {
		return err
	}
	defer conn.Close()
	until, _ := ctx.Deadline()
	conn.SetDeadline(until) //nolint:errcheck
	request := make([]byte, ntpSize)
	request[0] = 0x23 // version 4, client
	if _, err := conn.Write(request); err != nil {
		return err
	}
	n, err := conn.Read(request)
	if err == nil && n != ntpSize {
		err = fmt.Errorf("answer of %d bytes", n)
	}
	return err
}

// useShare writes a file to the NAS, reads it back and compares.
func (o *Office) useShare(ctx context.Context, h *Host) error {
	want := []byte("minutes of " + h.Name + "\n")
	out := filepath.Join(o.config.Dir, h.Name+".out")
	in := filepath.Join(o.config.Dir, h.Name+".in")
	if err := os.WriteFile(out, want, 0o644); err != nil {
		return err
	}
	os.Remove(in) //nolint:errcheck // so that an old copy proves nothing
	if err := o.smb(ctx, h, o.Host("nas").Addr().String(), fmt.Sprintf("put %s %s.txt; get %s.txt %s", out, h.Name, h.Name, in)); err != nil {
		return err
	}
	got, err := os.ReadFile(in)
	if err == nil && !bytes.Equal(got, want) {
		err = errors.New("the share gave back something else")
	}
	return err
}

func (o *Office) smb(ctx context.Context, h *Host, server, commands string) error {
	cmd := h.Command(ctx, "smbclient", "--no-pass", "--configfile=/dev/null", "--timeout=2", "//"+server+"/"+shareName, "-c", commands)
	cmd.WaitDelay = time.Second
	said, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("smbclient: %w: %s", err, strings.TrimSpace(string(said)))
	}
	return nil
}

func (o *Office) print(ctx context.Context, h *Host) error {
	conn, err := h.Dial(ctx, "tcp", addrPort(o.Host("printer").Addr(), 9100))
	if err != nil {
		return err
	}
	defer conn.Close()
	until, _ := ctx.Deadline()
	conn.SetDeadline(until) //nolint:errcheck
	job := bytes.Repeat([]byte("\x1b%-12345X@PJL invoice\r\n"), 400)
	if _, err := conn.Write(job); err != nil {
		return err
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		return err
	}
	said, err := io.ReadAll(conn)
	if want := fmt.Sprintf("BYTES=%d", len(job)); err == nil && !strings.Contains(string(said), want) {
		err = fmt.Errorf("the printer said %q", said)
	}
	return err
}

func (o *Office) printIPP(ctx context.Context, h *Host) error {
	// IPP/1.1 Get-Printer-Attributes, request 7 (RFC 8010 section 3.1).
	body := []byte{1, 1, 0, 0x0b, 0, 0, 0, 7, 3}
	url := "http://" + addrPort(o.Host("printer").Addr(), 631) + "/ipp/print"
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/ipp")
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: h.Dial}}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err == nil && (len(answer) < 8 || answer[7] != 7) {
		err = fmt.Errorf("the printer answered % x", answer)
	}
	return err
}

// announce sends what mDNS responders say on joining (RFC 6762 section 8.3).
func (o *Office) announce(ctx context.Context, h *Host) error {
	name, err := dnsmessage.NewName(h.Name + ".local.")
	if err != nil {
		return err
	}
	msg := dnsmessage.Message{
		Header: dnsmessage.Header{Response: true, Authoritative: true},
		Answers: []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: name, Class: dnsmessage.ClassINET | 1<<15, TTL: 120},
			Body:   &dnsmessage.AResource{A: h.Addr().As4()},
		}},
	}
	packed, err := msg.Pack()
	if err != nil {
		return err
	}
	return h.Do(func() error {
		d := net.Dialer{LocalAddr: &net.UDPAddr{IP: h.Addr().AsSlice(), Port: 5353}}
		conn, err := d.DialContext(ctx, "udp4", "224.0.0.251:5353")
		if err != nil {
			return err
		}
		defer conn.Close()
		_, err = conn.Write(packed)
		return err
	})
}

// users are the machines with somebody in front of them.
func (o *Office) users(except ...*Host) []*Host {
	return slices.DeleteFunc(slices.Clone(o.Hosts), func(h *Host) bool {
		return h.Role == RoleNAS || h.Role == RolePrinter || slices.Contains(except, h)
	})
}

// Check runs every transaction of every machine but the given ones, which
// nobody talks to either, and joins what failed. A machine gets retries until
// ctx ends: caches that an attack poisoned need their time to heal.
func (o *Office) Check(ctx context.Context, except ...*Host) error {
	var users = o.users(except...)
	results := make(chan error, len(users))
	for _, h := range users {
		go func() {
			results <- retry(ctx, 200*time.Millisecond, func() error { return o.checkOne(ctx, h, except) })
		}()
	}
	var errs []error
	for range users {
		errs = append(errs, <-results)
	}
	return errors.Join(errs...)
}

func (o *Office) checkOne(ctx context.Context, h *Host, except []*Host) error {
	for _, a := range o.actions() {
		if peer := a.with(o); peer != nil && slices.Contains(except, peer) {
			continue
		}
		if err := o.try(ctx, h, a); err != nil {
			return err
		}
	}
	return nil
}

// Traffic lets the office work until ctx ends: every user does one thing after
// another, in an order that the seed fixes. What fails is logged, not fatal. It
// returns the number of transactions that succeeded.
func (o *Office) Traffic(ctx context.Context, except ...*Host) int {
	var users = o.users(except...)
	counts := make(chan int, len(users))
	for i, h := range users {
		go func() { counts <- o.work(ctx, h, uint64(i)) }()
	}
	total := 0
	for range users {
		total += <-counts
	}
	return total
}

func (o *Office) work(ctx context.Context, h *Host, stream uint64) (done int) {
	r, actions := o.rand(stream+1), o.actions()
	if err := o.announce(ctx, h); err != nil {
		o.config.Log.Debug("announcement failed", "host", h.Name, "error", err)
	}
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			return done
		case <-pause.C:
		}
		err := o.try(ctx, h, actions[r.IntN(len(actions))])
		if err == nil {
			done++
		} else if ctx.Err() == nil {
			o.config.Log.Debug("transaction failed", "host", h.Name, "error", err)
		}
		pause.Reset(time.Duration(200+r.IntN(600)) * time.Millisecond)
	}
}

// Confined checks that a machine reaches none of the others and not the
// internet, but still gets an address. It joins what it could do and should
// not. A gateway may answer in the place of a web server, to explain; what
// counts is that the server's own page does not come.
func (o *Office) Confined(ctx context.Context, h *Host) error {
	dial := func(addr string) func(context.Context, *Host) error {
		return func(ctx context.Context, h *Host) error {
			conn, err := h.Dial(ctx, "tcp", addr)
			if err != nil {
				return err
			}
			return conn.Close()
		}
	}
	tries := []action{
		{name: "the web", do: o.browse("http")}, {name: "the web over TLS", do: dial(addrPort(webServer, 443))},
		{name: "the drop point", do: dial(addrPort(dropServer, 443))},
		{name: "the file share", do: dial(addrPort(o.Host("nas").Addr(), 445))},
		{name: "the printer", do: dial(addrPort(o.Host("printer").Addr(), 9100))},
	}
	results := make(chan error, len(tries))
	for _, t := range tries {
		go func() {
			ctx, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			if err := t.do(ctx, h); err == nil {
				results <- fmt.Errorf("%s still reaches %s", h.Name, t.name)
				return
			}
			results <- nil
		}()
	}
	var errs []error
	for range tries {
		errs = append(errs, <-results)
	}
	return errors.Join(append(errs, h.Renew(ctx))...)
}
