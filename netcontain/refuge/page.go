package refuge

import (
	"bytes"
	_ "embed"
	"html/template"
	"net"
	"net/http"
	"net/netip"
	"time"
)

//go:embed page.html
var pageText string

var pageTemplate = template.Must(template.New("page").Parse(pageText))

// pageData is everything that the page says. It shows nothing of a request but
// the time at which the host was isolated.
type pageData struct {
	Vendor, VendorPhone string
	SinceJA, SinceEN    string // empty: not known
}

// handler answers every request of an isolated host: "/" of the gateway's own
// address with the help page, everything else with a redirect to it. The
// captive portal checks of all systems expect their own answer (204, or a fixed
// text) and take a redirect as "sign in here", which opens the page by itself;
// the table is in the tests. A host that came by IPv6 may have nothing else, so
// it is sent to an IPv6 address.
func handler(cfg Config, called names) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		addr4, addr6 := called()
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		h.Set("Connection", "close") // the host has better things to do after its release
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			h.Set("Allow", "GET, HEAD")
			http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
			return
		}
		if home := homeOf(r, addr4, addr6); r.URL.Path != "/" || !own(r.Host, addr4, addr6) && home != "" {
			if home == "" {
				home = "/" // by IPv6, where the gateway has no address to name
			}
			h.Set("Location", home)
			w.WriteHeader(http.StatusFound)
			return
		}
		h.Set("Content-Type", "text/html; charset=utf-8")
		page := render(cfg, r)
		if r.Method == http.MethodGet {
			if _, err := w.Write(page); err != nil {
				cfg.Log.Debug("send help page", "err", err)
			}
		}
	})
}

// own says whether a request names the gateway itself.
func own(host string, addr4, addr6 netip.Addr) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	} else if len(host) > 2 && host[0] == '[' {
		host = host[1 : len(host)-1]
	}
	a, err := netip.ParseAddr(host)
	return err == nil && (a == addr4 || a == addr6)
}

// homeOf is the page's address in the family of the request; empty when there
// is none.
func homeOf(r *http.Request, addr4, addr6 netip.Addr) string {
	if from := remote(r); !from.Is6() {
		return "http://" + addr4.String() + "/"
	}
	if addr6.IsValid() {
		return "http://[" + addr6.String() + "]/"
	}
	return ""
}

// remote is who asks; invalid when that is not known.
func remote(r *http.Request) netip.Addr {
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap().WithZone("")
}

func render(cfg Config, r *http.Request) []byte {
	d := pageData{Vendor: cfg.Vendor, VendorPhone: cfg.VendorPhone}
	if cfg.Since != nil {
		if at := cfg.Since(remote(r)); !at.IsZero() {
			at = at.In(time.Local)
			d.SinceJA, d.SinceEN = at.Format("1月2日 15:04"), at.Format("2 January, 15:04")
		}
	}
	var out bytes.Buffer
	if err := pageTemplate.Execute(&out, d); err != nil { // pageData has the fields that the embedded page names
		cfg.Log.Error("render help page", "err", err)
	}
	return out.Bytes()
}
