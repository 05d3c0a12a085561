package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"filippo.io/age"
	"golang.org/x/crypto/ssh"
)

func (c Config) validateEvidence(p *problems) {
	e := c.Evidence
	p.check(e.Before >= 0, "evidence.before", "must not be negative")
	p.check(e.After >= 0, "evidence.after", "must not be negative")
	p.check(time.Duration(e.Keep) >= MinKeep, "evidence.keep", "must be at least %v (90 days)", MinKeep)
	for i, r := range e.Recipients {
		if _, err := age.ParseX25519Recipient(r); err != nil {
			p.add(fmt.Sprintf("evidence.recipients[%d]", i), "%q is not an age public key; it begins with \"age1\"", r)
		}
	}
	p.check(e.Timestamp == "" || isURL(e.Timestamp, "http", "https"), "evidence.timestamp", "%q is no http or https address", e.Timestamp)
}

func isURL(text string, schemes ...string) bool {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" {
		return false
	}
	for _, s := range schemes {
		if u.Scheme == s {
			return true
		}
	}
	return false
}

// validateRemote keeps the vendor's way in away from the internet's side.
func (c Config) validateRemote(p *problems) {
	r := c.Remote
	p.check(r.Interface == "" || r.Interface != c.Network.WAN, "remote.interface",
		"%q is the WAN; name the bridge or a WireGuard interface, so that nobody on the internet can ask", r.Interface)
	p.check(len(r.Interface) < 16 && !strings.ContainsAny(r.Interface, "/ \t"), "remote.interface", "%q is not an interface name", r.Interface)
	p.check(r.Port > 0 && r.Port < 1<<16, "remote.port", "%d is not a port", r.Port)
	p.check(r.Host == "" || !strings.ContainsAny(r.Host, "/ \t"), "remote.host", "%q is not a name or an address", r.Host)
	p.check(r.Rate >= 10e3, "remote.rate", "must be at least 10kB a second")
	p.check(time.Duration(r.MaxGrant) >= time.Minute && time.Duration(r.MaxGrant) <= 24*time.Hour, "remote.max_grant", "must be between 1m and 24h")
}

func (c Config) validateCopy(p *problems) {
	p.check(c.Copy.Medium == "" || filepath.IsAbs(c.Copy.Medium), "copy.medium", "%q is not an absolute path", c.Copy.Medium)
	p.check(c.Copy.Rate >= 10e3, "copy.rate", "must be at least 10kB a second")
	c.validateS3(p)
	c.validateSFTP(p)
}

func (c Config) validateS3(p *problems) {
	s := c.Copy.S3
	if s.Bucket == "" {
		p.check(s.Endpoint == "", "copy.s3.bucket", "is empty; write the bucket that copies go to")
		return
	}
	p.check(isURL(s.Endpoint, "https") || isURL(s.Endpoint, "http") && onLoopback(s.Endpoint), "copy.s3.endpoint", "%q is no https address", s.Endpoint)
	p.check(filepath.IsAbs(s.Credentials), "copy.s3.credentials", "%q is not an absolute path", s.Credentials)
	p.check(time.Duration(s.Lock) >= 24*time.Hour, "copy.s3.lock", "must be at least 24h; without a lock whoever steals the credentials deletes the copies")
	p.oneOf("copy.s3.lock_mode", s.LockMode, "compliance", "governance")
}

func onLoopback(address string) bool {
	u, err := url.Parse(address)
	if err != nil {
		return false
	}
	a, err := netip.ParseAddr(u.Hostname())
	return err == nil && a.IsLoopback()
}

func (c Config) validateSFTP(p *problems) {
	s := c.Copy.SFTP
	if s.Host == "" {
		return
	}
	if _, _, err := net.SplitHostPort(s.Host); err != nil {
		p.add("copy.sftp.host", "%q is not host:port; write for example \"backup.example:22\"", s.Host)
	}
	p.check(s.User != "", "copy.sftp.user", "is empty")
	if _, _, _, _, err := ssh.ParseAuthorizedKey([]byte(s.HostKey)); err != nil {
		p.add("copy.sftp.host_key", "%q is not a host key; ask whoever runs the server for a line such as \"ssh-ed25519 AAAA…\"", s.HostKey)
	}
}
