package refuge

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"
)

// maxQuery bounds what is read of one query, in bytes.
const maxQuery = 1232

// Answer returns the answer to one DNS query, or nil when it deserves none: it
// is no query, or cannot be read. Every name has the gateway's addresses, for
// zero seconds, so that no host remembers them after its release; every other
// question has an empty answer. It is total on any bytes, and never answers
// with much more than it was asked.
func Answer(query []byte, addr4, addr6 netip.Addr) []byte {
	if len(query) > maxQuery {
		return nil
	}
	var p dnsmessage.Parser
	h, err := p.Start(query)
	if err != nil || h.Response {
		return nil
	}
	head := dnsmessage.Header{
		ID: h.ID, Response: true, OpCode: h.OpCode, Authoritative: true,
		RecursionDesired: h.RecursionDesired, RecursionAvailable: true,
	}
	q, err := p.Question()
	switch {
	case h.OpCode != 0:
		head.RCode = dnsmessage.RCodeNotImplemented
		return build(head, nil, nil)
	case errors.Is(err, dnsmessage.ErrSectionDone), err != nil:
		head.RCode = dnsmessage.RCodeFormatError
		return build(head, nil, nil)
	case q.Class != dnsmessage.ClassINET && q.Class != dnsmessage.ClassANY:
		head.RCode = dnsmessage.RCodeRefused
		return build(head, &q, nil)
	}
	var body dnsmessage.ResourceBody
	switch {
	case q.Type == dnsmessage.TypeA && addr4.Is4():
		body = &dnsmessage.AResource{A: addr4.As4()}
	case q.Type == dnsmessage.TypeAAAA && addr6.Is6():
		body = &dnsmessage.AAAAResource{AAAA: addr6.As16()}
	}
	return build(head, &q, body)
}

func build(h dnsmessage.Header, q *dnsmessage.Question, body dnsmessage.ResourceBody) []byte {
	m := dnsmessage.Message{Header: h}
	if q != nil {
		m.Questions = []dnsmessage.Question{*q}
	}
	if body != nil {
		m.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET}, Body: body,
		}}
	}
	out, err := m.Pack()
	if err != nil {
		return nil // a name that the packer refuses
	}
	return out
}

// asked makes the kernel tell with each datagram which of our addresses it went
// to, so that the answer can come from there (RFC 2181, 4.1). The bridge has
// several, decoys among them, and the redirect takes the first: an answer from
// any other would not be translated back, and never reach the host.
func asked(c *net.UDPConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	failed := raw.Control(func(fd uintptr) {
		// A socket of both families tells IPv4 addresses by this option, too.
		if err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1); err != nil {
			err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_PKTINFO, 1) // no IPv6 on this machine
		}
	})
	return errors.Join(err, failed)
}

func (f *front) serveUDP() error {
	udp := f.dnsUDP.(*net.UDPConn)
	buf, info := make([]byte, maxQuery+1), make([]byte, unix.CmsgSpace(unix.SizeofInet6Pktinfo))
	for {
		n, told, _, from, err := udp.ReadMsgUDPAddrPort(buf, info)
		if errors.Is(err, net.ErrClosed) {
			return err
		}
		if err != nil {
			continue // an ICMP error of a client that went away
		}
		addr4, addr6 := f.called()
		if a := Answer(buf[:n], addr4, addr6); a != nil {
			// What was told of the query is, word for word, how to send the answer.
			if _, _, err := udp.WriteMsgUDPAddrPort(a, info[:told], from); err != nil {
				f.cfg.Log.Debug("answer DNS", "err", err)
			}
		}
	}
}

func (f *front) serveTCP(ctx context.Context) error {
	slots := make(chan struct{}, maxTCPDNS)
	for {
		c, err := f.dnsTCP.Accept()
		if err != nil {
			return err
		}
		select {
		case slots <- struct{}{}:
			go func() {
				defer func() { <-slots }()
				stop := context.AfterFunc(ctx, func() { c.Close() })
				defer stop()
				f.oneTCP(c)
			}()
		default:
			c.Close() // bounded: the client asks again by UDP
		}
	}
}

// oneTCP answers one query a connection (RFC 7766 allows the server to close).
func (f *front) oneTCP(c net.Conn) {
	defer c.Close()
	if c.SetDeadline(time.Now().Add(ioTimeout)) != nil {
		return
	}
	var size [2]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return
	}
	n := int(binary.BigEndian.Uint16(size[:]))
	if n > maxQuery {
		return
	}
	query := make([]byte, n)
	if _, err := io.ReadFull(c, query); err != nil {
		return
	}
	addr4, addr6 := f.called()
	if a := Answer(query, addr4, addr6); a != nil {
		if _, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(a))), a...)); err != nil {
			f.cfg.Log.Debug("answer DNS over TCP", "err", err)
		}
	}
}
