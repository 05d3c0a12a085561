package gateway

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestAnIsolatedHostIsToldSoWhereThereAreDecoys asks as an operating system
// does. A decoy is the first address of the bridge, which is where the kernel's
// redirect leads.
func TestAnIsolatedHostIsToldSoWhereThereAreDecoys(t *testing.T) {
	o := newOffice(t)
	o.config.Decoy.Count = 3
	o.start(t)
	await(t, "the decoys", func() bool { return strings.Count(o.gw.Run(t, "ip -o -4 addr show br0"), "br0:dcy") == 3 })
	stop := o.attack(t, 1)
	o.press(t, 1)
	o.awaitIncident(t, 1, "contained and proven", proven)
	stop()

	dial := func(network string) func(context.Context, string, string) (net.Conn, error) {
		return func(ctx context.Context, _, to string) (c net.Conn, err error) {
			o.hosts[1].Do(t, func() { c, err = (&net.Dialer{Timeout: 10 * time.Second}).DialContext(ctx, network, to) })
			return c, err
		}
	}
	for _, network := range []string{"udp", "tcp"} {
		r := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dial(network)(ctx, "", "198.51.100.1:53") // a resolver on the internet
		}}
		if got, err := r.LookupNetIP(t.Context(), "ip4", "update.example."); err != nil || got[0].Unmap() != gatewayIP {
			t.Errorf("DNS by %s: %v, %v", network, got, err)
		}
	}
	web := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: dial("tcp")}}
	res, err := web.Get("http://198.51.100.1/generate_204")
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	res.Body.Close()
	if err != nil || res.Request.URL.String() != "http://192.168.77.1/" || !strings.Contains(string(body), "isolated") {
		t.Errorf("landed at %s: %v", res.Request.URL, err)
	}
	if _, err := dial("tcp")(t.Context(), "", "192.168.77.1:443"); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("HTTPS to where every name leads: %v, want refused", err)
	}
}
