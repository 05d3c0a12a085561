package detect

import (
	"strings"

	"golang.org/x/net/publicsuffix"
)

// nameParts is what the public suffix list says of a name, by the copy of
// Mozilla's that golang.org/x/net embeds. domain is what one party registered
// and may delegate, the suffix and one label more, as a part of name; "" for a
// suffix itself. prefix is what stands before it.
type nameParts struct {
	name, domain, prefix string
	icann                bool // by a registry's suffix
	public               bool // or one under which a provider hands out names, as cloudfront.net; else an office's own zone
	appended             bool // see appended
}

// nameCache keeps the parts of recent names: a question is asked for two types
// and answered, and looked at by several detectors.
type nameCache [256]nameParts

// split is valid until the next call.
func (c *nameCache) split(name string) *nameParts {
	p := &c[hash64(name)%uint64(len(c))]
	if p.name != name || name == "" {
		*p = splitName(name)
	}
	return p
}

func splitName(name string) nameParts {
	suffix, icann := publicsuffix.PublicSuffix(name)
	p := nameParts{name: name, prefix: name, icann: icann, public: icann || strings.IndexByte(suffix, '.') >= 0}
	if p.public {
		p.prefix = ""
		if len(name) > len(suffix)+1 {
			p.domain = name[strings.LastIndexByte(name[:len(name)-len(suffix)-1], '.')+1:]
			p.prefix = strings.TrimSuffix(name[:len(name)-len(p.domain)], ".")
		}
	}
	p.appended = appended(p.prefix)
	return p
}

// appended says that a name is one of the internet with a search list's domain
// put behind it, as resolvers try it (RFC 1123 section 6.1.4.3):
// www.example.com.office.lan. prefix is what stands before the domain that was
// registered; the search domain may have three labels more.
func appended(prefix string) bool {
	for range 4 {
		if strings.IndexByte(prefix, '.') < 0 {
			return false
		}
		suffix, icann := publicsuffix.PublicSuffix(prefix)
		if icann && len(prefix) > len(suffix) {
			return true
		}
		prefix = prefix[:strings.LastIndexByte(prefix, '.')]
	}
	return false
}

// reverse says that a name asks for an address or an infrastructure parameter
// (RFC 3172).
func reverse(name string) bool { return strings.HasSuffix(name, ".arpa") || name == "arpa" }

// attributeName says that a name is one below a label that a protocol reserves for
// its records (RFC 8552): services of printers and domain controllers, keys and
// policies of mail. TXT and SRV are what one asks there, many at once.
func attributeName(name string) bool {
	for rest, more := name, true; more; {
		var label string
		label, rest, more = strings.Cut(rest, ".")
		switch label {
		case "_tcp", "_udp", "_sites", "_msdcs", "_domainkey", "_dmarc", "_dns-sd", "_acme-challenge":
			return true
		}
	}
	return false
}

// under says that name is domain or lies below it.
func under(name, domain string) bool {
	return strings.HasSuffix(name, domain) &&
		(len(name) == len(domain) || name[len(name)-len(domain)-1] == '.')
}

// lookupServices are domains whose names are questions by design: lists of
// addresses and senders (RFC 5782), measurements, and reputation look-ups of
// antivirus and filter products. What is asked there is information indeed, but it goes to
// the owner of the zone, who is not the attacker. Each stands in the public
// documentation of its operator; Paxson et al. removed the same kinds by hand
// (section 6). The domain is the key, so nobody else can hide behind one.
var lookupServices = map[string]bool{
	// Lists of senders.
	"spamhaus.org": true, "spamhaus.net": true, "spamcop.net": true, "sorbs.net": true,
	"barracudacentral.org": true, "surbl.org": true, "uribl.com": true, "abuseat.org": true,
	"dnswl.org": true, "mailspike.net": true, "mailspike.org": true, "senderscore.com": true,
	"senderbase.org": true, "ivmsip.com": true, "ivmuri.com": true, "uceprotect.net": true,
	"backscatterer.org": true, "psbl.org": true, "surriel.com": true, "njabl.org": true,
	"manitu.net": true, "habeas.com": true, "isipp.com": true, "junkemailfilter.com": true,
	"nszones.com": true, "sem-fresh.com": true, "spameatingmonkey.net": true, "rspamd.com": true,
	"mailcleaner.net": true, "invaluement.com": true, "abusix.zone": true, "dnsbl.info": true,
	"s5h.net": true, "0spam.org": true, "interserver.net": true, "gbudb.net": true, "rfc-clueless.org": true,
	// Who owns an address or a file, by name.
	"cymru.com": true, "routeviews.org": true, "nerd.dk": true,
	// Measurements by a name that is made for each page or call, so that no
	// cache answers: Google's ad frames, Akamai mPulse, Fastly Insights,
	// Cedexis, Microsoft's footprint, tests of resolvers.
	"googlesyndication.com": true, "akstat.io": true, "go-mpulse.net": true, "fastly-insights.com": true,
	"cedexis-radar.net": true, "cedexis.com": true, "footprintdns.com": true, "msedge.net": true, "office.com": true,
	"ip-api.com": true, "dnsleaktest.com": true, "ipleak.net": true, "nextdns.io": true,
	// Antivirus and web filters.
	"mcafee.com": true, "trellix.com": true, "sophosxl.net": true, "sophosxl.com": true, "sophos.com": true,
	"e5.sk": true, "eset.com": true, "trendmicro.com": true, "trendmicro.co.jp": true, "kaspersky.com": true, "kaspersky-labs.com": true,
	"avast.com": true, "avg.com": true, "avira.com": true, "bitdefender.com": true, "bitdefender.net": true,
	"f-secure.com": true, "fsapi.com": true, "withsecure.com": true, "webroot.com": true, "brightcloud.com": true,
	"symantec.com": true, "symanteccloud.com": true, "norton.com": true, "fortinet.net": true, "fortiguard.com": true,
	"fortiguard.net": true, "pandasecurity.com": true, "mailshell.net": true, "commtouch.com": true, "cyren.com": true,
	"opendns.com": true, "umbrella.com": true, "zvelo.com": true, "lavasoft.com": true, "gdata.de": true, "alyac.com": true,
	"ikarus.at": true, "drweb.com": true, "malwarebytes.com": true, "sonicwall.com": true, "checkpoint.com": true,
	"zscaler.net": true, "paloaltonetworks.com": true, "digitalarts.co.jp": true,
}

// domainOf is the domain of a name, and whether it is public, see nameParts; of
// an office's own zone the last two labels.
func domainOf(name string) (domain string, public bool) {
	p := splitName(name)
	if last := strings.LastIndexByte(name, '.'); !p.public && last > 0 {
		return name[strings.LastIndexByte(name[:last], '.')+1:], false
	}
	return p.domain, p.public
}
