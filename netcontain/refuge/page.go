package refuge

import (
	"bytes"
	_ "embed"
	"html/template"
	"net/http"
)

//go:embed page.html
var pageText string

// Handler answers every request of an isolated host: "/" and what the host
// asked the gateway for by address with the help page, everything else with a
// redirect to it. The captive portal checks of all systems expect their own
// answer (204, or a fixed text) and take a redirect as "sign in here", which
// opens the page by itself.
func Handler(cfg Config) http.Handler {
	page := render(cfg)
	home := "http://" + cfg.Addr4.String() + "/"
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'")
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			h.Set("Allow", "GET, HEAD")
			http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
			return
		}
		own := r.Host == cfg.Addr4.String() || r.Host == "["+cfg.Addr6.String()+"]"
		if !own || r.URL.Path != "/" {
			h.Set("Location", home)
			w.WriteHeader(http.StatusFound)
			return
		}
		h.Set("Content-Type", "text/html; charset=utf-8")
		if r.Method == http.MethodGet {
			if _, err := w.Write(page); err != nil {
				cfg.Log.Debug("send help page", "err", err)
			}
		}
	})
}

// render is done once: the page shows nothing of any request.
func render(cfg Config) []byte {
	var out bytes.Buffer
	err := template.Must(template.New("page").Parse(pageText)).Execute(&out, cfg)
	if err != nil { // Config has the fields that the embedded page names
		cfg.Log.Error("render help page", "err", err)
	}
	return out.Bytes()
}
