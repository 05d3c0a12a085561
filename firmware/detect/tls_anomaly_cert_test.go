package detect

import (
	"testing"

	"sekisho/firmware/flow"
)

func TestNamesOfACertificate(t *testing.T) {
	for _, c := range []struct {
		pattern, host string
		want          bool
	}{
		{"www.shop.jp", "WWW.shop.jp.", true}, {"*.shop.jp", "a.shop.jp", true}, {"*.shop.jp", "a.b.shop.jp", false},
		{"*.shop.jp", "shop.jp", false}, {"shop.jp", "www.shop.jp", false}, {"", "www.shop.jp", false},
	} {
		if got := matches(c.pattern, c.host); got != c.want {
			t.Errorf("%q for %q: %v", c.pattern, c.host, got)
		}
	}
	sixteen := flow.TLSCert{Names: make([]string, 16)}
	if !certFor(&sixteen, "a.jp") {
		t.Error("a list that was cut passes for a mismatch")
	}
}

func TestAttributesOfASubject(t *testing.T) {
	const subject = `CN=a\,O=b,OU=x+O=Yamada\+Co\, Ltd,C=JP`
	if got := attribute(subject, "O="); got != `Yamada\+Co\, Ltd` {
		t.Errorf("organisation %q", got)
	}
	if attribute(subject, "ST=") != "" || attribute(`O=\`, "O=") != `\` {
		t.Error("an attribute that is not there")
	}
}

func TestInventedOrganisations(t *testing.T) {
	for _, s := range []string{"O=Pajfds", "O=ACME,OU=Hkjfdsu", "O=qxvbzk gmbh"} {
		if madeUpName(s) < madeUpMost {
			t.Errorf("%s is worth %.1f", s, madeUpName(s))
		}
	}
	for _, s := range []string{"O=QNAP", "O=Synology Inc.", "O=KYOCERA Document Solutions Inc.", "CN=qxvbzkw", "O=Yamada Seisakusho", "", "O=Ubiquiti Networks Inc.",
		"O=Hewlett-Packard Co.", "O=Kabushiki Kaisha Suzuki"} {
		if madeUpName(s) > 1 {
			t.Errorf("%s is worth %.1f", s, madeUpName(s))
		}
	}
}
