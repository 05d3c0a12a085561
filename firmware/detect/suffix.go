package detect

import (
	"strings"

	"golang.org/x/net/publicsuffix"
)

// domainOf is what one party registered and may delegate: the public suffix
// and one label more, by the list that golang.org/x/net carries (Mozilla's,
// embedded, with the suffixes under which providers hand out names, as
// cloudfront.net). It is a part of name, "" for a suffix itself. public is
// false when the last label is none of the internet's: an office's own zone.
func domainOf(name string) (domain string, public bool) {
	suffix, icann := publicsuffix.PublicSuffix(name)
	public = icann || strings.IndexByte(suffix, '.') >= 0
	if len(name) <= len(suffix)+1 {
		return "", public
	}
	rest := name[:len(name)-len(suffix)-1]
	return name[strings.LastIndexByte(rest, '.')+1:], public
}

// appended says that a name is one of the internet with a search list's domain
// put behind it, as resolvers try it (RFC 1123 section 6.1.4.3):
// www.example.com.office.lan. prefix is what stands before the domain that was
// registered; the search domain may have three labels more.
func appended(prefix string) bool {
	for range 4 {
		suffix, icann := publicsuffix.PublicSuffix(prefix)
		if icann && len(prefix) > len(suffix) {
			return true
		}
		cut := strings.LastIndexByte(prefix, '.')
		if cut < 0 {
			return false
		}
		prefix = prefix[:cut]
	}
	return false
}

// reverse says that a name asks for an address or an infrastructure parameter
// (RFC 3172).
func reverse(name string) bool { return strings.HasSuffix(name, ".arpa") || name == "arpa" }

// under says that name is domain or lies below it.
func under(name, domain string) bool {
	return strings.HasSuffix(name, domain) &&
		(len(name) == len(domain) || name[len(name)-len(domain)-1] == '.')
}

// lookupServices are domains whose names are questions by design: lists of
// addresses and senders (RFC 5782), and reputation look-ups of antivirus and
// filter products. What is asked there is information indeed, but it goes to
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

// icannDomain is domainOf by the suffixes of registries only: under those of
// providers, names are random by design.
func icannDomain(name string) (domain string, ok bool) {
	suffix, icann := publicsuffix.PublicSuffix(name)
	if !icann || len(name) <= len(suffix)+1 {
		return "", false
	}
	rest := name[:len(name)-len(suffix)-1]
	return name[strings.LastIndexByte(rest, '.')+1:], true
}
