package wire

import (
	"strings"
	"testing"
)

func sample(host string) Invitation {
	v := Invitation{Host: host, Port: 8443, Secret: "AAECAwQFBgcICQoLDA0ODw"}
	for i := range v.Pin {
		v.Pin[i] = byte(0xf0 + i)
	}
	return v
}

const line = "sekisho:192.0.2.1:8443:8PHy8_T19vf4-fr7_P3-_wABAgMEBQYHCAkKCwwNDg8:AAECAwQFBgcICQoLDA0ODw"

func TestAnInvitationIsOneLineAndComesBackAsItWas(t *testing.T) {
	for _, host := range []string{"192.0.2.1", "fd00::1", "gateway.example", "gw-2"} {
		want := sample(host)
		got, err := ParseInvitation("  " + want.String() + "\r\n")
		if err != nil || got != want {
			t.Errorf("%s: %+v, %v", host, got, err)
		}
	}
	if s := sample("192.0.2.1").String(); s != line {
		t.Errorf("spelled %s", s)
	}
	if s := sample("fd00::1"); !strings.HasPrefix(s.String(), "sekisho:[fd00::1]:8443:") || s.Addr() != "[fd00::1]:8443" {
		t.Errorf("spelled %s", s)
	}
}

func TestADamagedInvitationIsRefusedWithoutTellingTheSecret(t *testing.T) {
	bad := []string{"", "sekisho:", "http" + line, strings.ToUpper(line), line + "=", line[1:],
		strings.Replace(line, "8443", "0", 1), strings.Replace(line, "8443", "65536", 1), strings.Replace(line, "8443", "08443", 1),
		strings.Replace(line, "192.0.2.1", "", 1), strings.Replace(line, "192.0.2.1", "a/b", 1), strings.Replace(line, "192.0.2.1", "-a", 1),
		strings.Replace(line, "192.0.2.1", "[192.0.2.1]", 1), strings.Replace(line, "192.0.2.1", "[fe80::1%eth0]", 1),
		strings.Replace(line, "8PHy", "8PHy\n", 1), strings.TrimSuffix(line, "w") + "x", line + ":" + line}
	for i := range line {
		bad = append(bad, line[:i])
	}
	for _, s := range bad {
		if v, err := ParseInvitation(s); err == nil {
			t.Errorf("%q was read as %+v", s, v)
		} else if strings.Contains(err.Error(), "AAECAwQFBg") {
			t.Errorf("%v tells the secret", err)
		}
	}
}

func FuzzAnInvitationHasOneSpelling(f *testing.F) {
	f.Add(line)
	f.Add(sample("fd00::1").String())
	f.Fuzz(func(t *testing.T, s string) {
		if v, err := ParseInvitation(s); err == nil && v.String() != strings.TrimSpace(s) {
			t.Fatalf("%q became %q", s, v)
		}
	})
}
