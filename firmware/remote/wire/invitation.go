package wire

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// Pin is the SHA-256 of a certificate's SubjectPublicKeyInfo, the hash that RFC
// 7469 pins. Both sides are known by theirs; there is no authority.
type Pin [sha256.Size]byte

// PinOf is the pin of c's key.
func PinOf(c *x509.Certificate) Pin { return sha256.Sum256(c.RawSubjectPublicKeyInfo) }

// String is the pin in base64url without padding, as invitations carry it.
func (p Pin) String() string { return base64.RawURLEncoding.EncodeToString(p[:]) }

// Curl is the pin as curl's --pinnedpubkey wants it.
func (p Pin) Curl() string { return "sha256//" + base64.StdEncoding.EncodeToString(p[:]) }

// SecretBytes is the length of an invitation's secret before base64url: 128 bit.
const SecretBytes = 16

const invitationScheme = "sekisho:"

// Invitation is what the owner hands to the vendor, one line of text:
//
//	sekisho:HOST:PORT:PIN:SECRET
//
// HOST is a name, an IPv4 address, or an IPv6 address in brackets; PIN (the
// server's) and SECRET are base64url without padding, 43 and 22 characters.
type Invitation struct {
	Host   string // name or address, without brackets
	Port   uint16
	Pin    Pin    // of the server's key
	Secret string // goes into EnrollRequest as it is
}

// Addr is where to connect, "host:port".
func (v Invitation) Addr() string { return net.JoinHostPort(v.Host, strconv.Itoa(int(v.Port))) }

// String is the line of text.
func (v Invitation) String() string {
	return invitationScheme + v.Addr() + ":" + v.Pin.String() + ":" + v.Secret
}

// ParseInvitation reads the line, with space around it. It refuses every other
// spelling; errors never repeat the secret.
func ParseInvitation(text string) (Invitation, error) {
	text = strings.TrimSpace(text)
	rest, ok := strings.CutPrefix(text, invitationScheme)
	if !ok {
		return Invitation{}, fmt.Errorf("invitation: does not begin with %q", invitationScheme)
	}
	rest, secret, ok1 := cutLast(rest)
	addr, pin, ok2 := cutLast(rest)
	host, port, err := net.SplitHostPort(addr)
	if !ok1 || !ok2 || err != nil {
		return Invitation{}, errors.New("invitation: not sekisho:HOST:PORT:PIN:SECRET, perhaps it was cut off")
	}
	v := Invitation{Host: host, Secret: secret}
	if !validHost(host) {
		return Invitation{}, errors.New("invitation: no name or address of a gateway")
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return Invitation{}, errors.New("invitation: the port is no number from 1 to 65535")
	}
	v.Port = uint16(n)
	strict := base64.RawURLEncoding.Strict() // no two texts for one secret
	sum, err := strict.DecodeString(pin)
	if err != nil || len(sum) != len(v.Pin) {
		return Invitation{}, errors.New("invitation: the gateway's key is not whole")
	}
	v.Pin = Pin(sum)
	if raw, err := strict.DecodeString(secret); err != nil || len(raw) != SecretBytes {
		return Invitation{}, errors.New("invitation: the secret is not whole, perhaps it was cut off")
	}
	if v.String() != text {
		return Invitation{}, errors.New("invitation: not spelled as it was made")
	}
	return v, nil
}

func cutLast(s string) (before, after string, ok bool) {
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}

// validHost accepts addresses without zone, and host names (RFC 1123, 2.1).
func validHost(host string) bool {
	if a, err := netip.ParseAddr(host); err == nil {
		return a.Zone() == "" && a.String() == host
	}
	if host == "" || len(host) > 253 {
		return false
	}
	for label := range strings.SplitSeq(host, ".") {
		if label == "" || len(label) > 63 || strings.Trim(label, "-") != label || strings.Trim(label, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") != "" {
			return false
		}
	}
	return true
}
